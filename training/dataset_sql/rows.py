"""The rows of the training set, put together from the lake's tables and the pieces that make their labels."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import ibis
import ibis.expr.types as ir

from slidr.contract import epoch_ms
from slidr.counters import HOUR_MS
from slidr.features import FEATURE_NAMES
from training.dataset import ROW_COLUMNS
from training.dataset_sql.accounts import loyal_accounts
from training.dataset_sql.attribution import purchased_clicks
from training.dataset_sql.tables import (
    CLICK_ORDER,
    ORDER_ORDER,
    VERDICT_ORDER,
    Lake,
    Span,
    once,
    originals,
    repeated_firsts,
    with_at_ms,
    within,
)
from training.labels import LabelRule

WEIGHT: Final = "weight"
_THURSDAY: Final = 3 * 24
"""Hour of the week at which the epoch began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """What labels are made of, for the whole span: expressions, or the tables that an engine keeps of them.

    None is as long as the log: which records came first of those delivered twice, the clicks that led to purchases,
    the accounts of high RFM, the sessions with two clicks or more in an hour.
    """

    first_clicks: ir.Table
    first_verdicts: ir.Table
    first_orders: ir.Table
    purchased: ir.Table
    loyal: ir.Table
    sessions: ir.Table


def pieces(lake: Lake, span: Span, keep: Callable[[str, ir.Table], ir.Table] = lambda _name, piece: piece) -> Pieces:
    """The pieces of a span.

    Args:
        lake: the tables.
        span: the span.
        keep: what an engine does to make each of them once, by name; by default nothing, so that they become part of
            one statement.
    """
    near = within(lake.clicks, *span.near)
    logged = originals(within(lake.verdicts, span.start, span.end))
    first_clicks = keep("first_clicks", repeated_firsts(near, "click_id", CLICK_ORDER))
    first_verdicts = keep("first_verdicts", repeated_firsts(logged, "click_id", VERDICT_ORDER))
    ordered = lake.purchases if span.orders_from is None else _since(lake.purchases, span)
    first_orders = keep("first_orders", repeated_firsts(ordered, "order_id", ORDER_ORDER))
    clicks = with_at_ms(once(near, first_clicks, "click_id", CLICK_ORDER))
    orders = with_at_ms(once(ordered, first_orders, "order_id", ORDER_ORDER))
    return Pieces(
        first_clicks=first_clicks,
        first_verdicts=first_verdicts,
        first_orders=first_orders,
        purchased=keep("purchased", purchased_clicks(clicks, orders, span)),
        loyal=keep("loyal", loyal_accounts(orders, span)),
        sessions=keep("sessions", busy_sessions(clicks)),
    )


def _since(purchases: ir.Table, span: Span) -> ir.Table:
    """Orders that may count: for RFM from `orders_from`, for attribution from the span's start."""
    oldest = min(span.orders_from or span.start, span.start)
    return within(purchases, oldest, max(span.until, span.end + span.window))


def busy_sessions(clicks: ir.Table) -> ir.Table:
    """session_token, session_clicks_1h of the sessions with two clicks or more in some hour."""
    known = clicks.filter(clicks.session_token.notnull())
    hour = ibis.range_window(group_by="session_token", order_by="at_ms", preceding=HOUR_MS - 1, following=0)
    within_hour = known.select("session_token", clicks=known.count().over(hour))
    busiest = within_hour.group_by("session_token").aggregate(session_clicks_1h=within_hour.clicks.max())
    return busiest.filter(busiest.session_clicks_1h > 1)


def labelled(
    lake: Lake,
    made: Pieces,
    span: Span,
    part: tuple[dt.datetime, dt.datetime] | None = None,
    *,
    with_features: bool = True,
) -> ir.Table:
    """ROW_COLUMNS, and `features`, of the clicks whose features were logged under the span's spec.

    Args:
        lake: the tables.
        made: pieces of the whole span.
        span: the span.
        part: only clicks with part[0] <= at < part[1]; by default all of the span.
        with_features: whether `features` is among the columns; without it nothing wide goes through the joins.
    """
    start, end = part or (span.start, span.end)
    clicks = with_at_ms(once(within(lake.clicks, start, end), made.first_clicks, "click_id", CLICK_ORDER))
    verdicts = originals(within(lake.verdicts, start, end))
    verdicts = verdicts.mutate(logged=(verdicts.feature_spec == span.feature_spec) & verdicts.features.notnull())
    if not with_features:
        verdicts = verdicts.drop("features")
    log = once(verdicts, made.first_verdicts, "click_id", VERDICT_ORDER)
    wide = ["features"] if with_features else []
    log = log.filter(log.logged).rename(listed="givt").select("click_id", "listed", *wide)
    bought = made.purchased.mutate(bought=True)
    loyal = made.loyal.mutate(loyal=True)
    zones = lake.zone_offsets.rename(zone="time_zone")
    joined = (
        clicks.inner_join(log, "click_id")
        .inner_join(
            zones, [clicks.time_zone == zones.zone, clicks.at_ms >= zones.from_ms, clicks.at_ms < zones.until_ms]
        )
        .left_join(bought, "click_id")
        .left_join(loyal, "user_token")
        .left_join(made.sessions, "session_token")
    )
    purchased = joined.bought.fill_null(False)
    rule = ibis.cases(
        (joined.givt | joined.listed, LabelRule.GIVT.value),
        (joined.at_ms >= epoch_ms(span.until - span.window), LabelRule.IMMATURE.value),
        (purchased, LabelRule.PURCHASE.value),
        (joined.loyal.fill_null(False), LabelRule.RFM.value),
        else_=LabelRule.NO_EVIDENCE.value,
    )
    alone = ibis.cases((joined.session_token.isnull(), 0), else_=1)
    told = joined.mutate(
        rule=rule,
        purchased=purchased,
        hour_of_week=((joined.at_ms // 60_000 + joined.offset_minutes) // 60 + _THURSDAY) % 168,
        session_clicks_1h=joined.session_clicks_1h.fill_null(alone).cast("int64"),
    )
    non_human = ibis.cases((told.rule == LabelRule.NO_EVIDENCE.value, 1), else_=0).cast("int64")
    return told.mutate(label=non_human).select(*ROW_COLUMNS, *wide)


def trainable(rows: ir.Table) -> ir.BooleanColumn:
    """Whether a row may train and calibrate a model."""
    return rows.rule.notin([LabelRule.GIVT.value, LabelRule.IMMATURE.value])


def cells(lake: Lake, made: Pieces, span: Span) -> ir.Table:
    """Trainable clicks by hour of the week, logged-in status and label: all that weights depend on."""
    rows = labelled(lake, made, span, with_features=False)
    kept = rows.filter(trainable(rows))
    return kept.group_by("hour_of_week", "logged_in", "label").aggregate(clicks=kept.count())


def weighted(lake: Lake, rows: ir.Table) -> ir.Table:
    """The training set: ROW_COLUMNS, `weight` (0 for rows that may not train), one float32 column a feature."""
    known = lake.cell_weights.rename(cell_hour="hour_of_week", cell_logged_in="logged_in", cell_label="label")
    joined = rows.left_join(
        known,
        [
            rows.hour_of_week == known.cell_hour,
            rows.logged_in == known.cell_logged_in,
            rows.label == known.cell_label,
        ],
    )
    weight = ibis.cases((trainable(joined), joined.weight.fill_null(0.0)), else_=0.0).cast("float32")
    features = {name: joined.features[i].cast("float32") for i, name in enumerate(FEATURE_NAMES)}
    narrow = [joined.label.cast("int8").name("label") if name == "label" else name for name in ROW_COLUMNS]
    return joined.select(*narrow, weight.name(WEIGHT), **features)


def dataset(lake: Lake, span: Span) -> ir.Table:
    """The training set of a span as one statement."""
    return weighted(lake, labelled(lake, pieces(lake, span), span))
