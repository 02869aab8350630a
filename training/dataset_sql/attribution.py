"""Purchases to clicks, in SQL: training.labels.attribute, purchase by purchase the same."""

from __future__ import annotations

import datetime as dt
from typing import Final

import ibis
import ibis.expr.types as ir

from slidr.contract import epoch_ms
from training.dataset_sql.tables import Span

_NAMED, _USER, _SESSION = range(3)
_KEYS: Final = (
    # tier, the click's person and goods, the purchase's person and goods
    (_NAMED, "click_id", "click_id", "click_id", "click_id"),
    (_USER, "user_token", "advertiser", "user_token", "advertiser"),
    (_USER, "user_token", "ad", "user_token", "item"),
    (_SESSION, "session_token", "advertiser", "session_token", "advertiser"),
    (_SESSION, "session_token", "ad", "session_token", "item"),
)


def purchased_clicks(clicks: ir.Table, orders: ir.Table, span: Span) -> ir.Table:
    """The clicks that led to a purchase: `click_id`, each once.

    Clicks and orders of one key are laid in one row of time, and each order takes the last click before it: a sort,
    so that a robot's thousand clicks and ten orders cost a thousand and ten rows, not ten thousand. No join on a range
    of time, which engines do in different ways or not at all.

    Args:
        clicks: each once, with at_ms: the span's, and those near it.
        orders: each once, with at_ms.
        span: its `window` and `until` count.
    """
    known = orders.filter(orders.at_ms < epoch_ms(span.until))
    candidates = None
    for number, (tier, person, goods, its_person, its_goods) in enumerate(_KEYS):
        theirs = _keyed(known, its_person, its_goods)
        ours = _keyed(clicks, person, goods).semi_join(theirs, ["person", "goods"])
        events = ours.mutate(click_id=ours.id, order_id=ibis.null("string"), is_order=0).union(
            theirs.mutate(click_id=ibis.null("string"), order_id=theirs.id, is_order=1)
        )
        found = _last_clicks(events, span).mutate(tier=ibis.literal(tier, "int64"), way=ibis.literal(number, "int64"))
        candidates = found if candidates is None else candidates.union(found)
    assert candidates is not None  # noqa: S101 - there are keys
    best = candidates.mutate(
        place=ibis.row_number().over(
            group_by="order_id",
            order_by=["tier", ibis.desc("click_ms"), ibis.desc("click_id"), "way"],
        )
    )
    return best.filter(best.place == 0).select("click_id").distinct()


def _keyed(table: ir.Table, person: str, goods: str) -> ir.Table:
    """Records with both parts of a key: person, goods, at_ms, id."""
    name = "order_id" if "order_id" in table.columns else "click_id"
    complete = table.filter(table[person].notnull(), table[goods].notnull())
    return complete.select(person=complete[person], goods=complete[goods], at_ms=complete.at_ms, id=complete[name])


def _last_clicks(events: ir.Table, span: Span) -> ir.Table:
    """Of each order, the last click of its key at or before it, if within the window: order_id, click_id, click_ms."""
    ordered = ["at_ms", "is_order", "click_id"]  # orders after the clicks of their millisecond
    counted = events.mutate(
        nth=(1 - events.is_order).sum().over(ibis.cumulative_window(group_by=["person", "goods"], order_by=ordered))
    )
    # The nth click and the orders up to the next one share a number; the clicks of a number are one.
    stretch = ibis.window(group_by=["person", "goods", "nth"])
    told = counted.mutate(
        last_click=counted.click_id.max().over(stretch),
        click_ms=ibis.cases((counted.is_order == 0, counted.at_ms)).max().over(stretch),
    )
    orders = told.filter(told.is_order == 1, told.last_click.notnull(), told.at_ms - told.click_ms <= _window_ms(span))
    return orders.select("order_id", click_id=orders.last_click, click_ms=orders.click_ms)


def _window_ms(span: Span) -> int:
    return span.window // dt.timedelta(milliseconds=1)
