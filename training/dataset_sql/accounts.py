"""Accounts whose RFM is high, in SQL: training.labels.rfm_scores, account by account the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import ibis
import ibis.expr.types as ir

from slidr.contract import epoch_ms
from training.dataset_sql.tables import Span


def loyal_accounts(orders: ir.Table, span: Span) -> ir.Table:
    """The accounts with high RFM: `user_token`, each once.

    Args:
        orders: each once, with at_ms.
        span: its `until`, `orders_from`, `rfm_high` and `rfm_cuts` count.
    """
    scored = rfm_scores(orders, span)
    return scored.filter(scored.rfm >= span.rfm_high).select("user_token")


def rfm_scores(orders: ir.Table, span: Span) -> ir.Table:
    """user_token, recency, frequency, monetary (1 to 5), rfm (their sum) of every account with known orders."""
    known = orders.filter(orders.user_token.notnull(), orders.at_ms < epoch_ms(span.until))
    if span.orders_from is not None:
        known = known.filter(known.at_ms >= epoch_ms(span.orders_from))
    by_currency = known.group_by("user_token", "currency").aggregate(
        newest=known.at_ms.max(), orders=known.count(), amount=known.amount_micros.sum()
    )
    typical = _typical_amounts(known)
    joined = by_currency.left_join(typical, by_currency.currency == typical.currency).select(
        by_currency.user_token, by_currency.newest, by_currency.orders, by_currency.amount, typical.typical
    )
    # Whole sums first, so that two accounts that paid the same have the same amount to the bit.
    divisor = ibis.cases((joined.typical > 0.0, joined.typical), else_=1.0)
    accounts = (
        joined.mutate(relative=joined.amount.cast("float64") / divisor)
        .group_by("user_token")
        .aggregate(newest=ibis._.newest.max(), orders=ibis._.orders.sum(), amount=ibis._.relative.sum())
    )
    if span.rfm_cuts is None:
        scored = accounts.select("user_token", recency=_quintile(accounts.newest),
                                 frequency=_quintile(accounts.orders), monetary=_quintile(accounts.amount))  # fmt: skip
    else:
        cuts = span.rfm_cuts
        since = [epoch_ms(span.until - dt.timedelta(days=days)) for days in cuts.recency_days]
        scored = accounts.select("user_token", recency=_reached(accounts.newest, since),
                                 frequency=_reached(accounts.orders, cuts.frequency),
                                 monetary=_reached(accounts.amount, cuts.monetary))  # fmt: skip
    return scored.mutate(rfm=scored.recency + scored.frequency + scored.monetary)


def _typical_amounts(orders: ir.Table) -> ir.Table:
    """The median order of each currency, exactly: `median` is approximate in Trino."""
    by_currency = ibis.window(group_by="currency")
    placed = orders.select(
        "currency",
        "amount_micros",
        place=ibis.row_number().over(group_by="currency", order_by="amount_micros"),
        orders=orders.count().over(by_currency),
    )
    middle = placed.filter(2 * placed.place >= placed.orders - 2, 2 * placed.place <= placed.orders)
    return middle.group_by("currency").aggregate(typical=middle.amount_micros.cast("float64").mean())


def _quintile(column: ir.NumericColumn) -> ir.IntegerColumn:
    """1 + floor(5 x share of accounts that are strictly worse)."""
    worse = ibis.rank().over(order_by=column)
    return (1 + (5 * worse) // column.count().over(ibis.window())).cast("int64")


def _reached(column: ir.NumericColumn, cuts: Sequence[float]) -> ir.IntegerColumn:
    """1 + the number of cut points that the value reaches."""
    score = ibis.literal(1, "int64")
    for cut in cuts:
        score = score + ibis.cases((column >= cut, 1), else_=0)
    return score
