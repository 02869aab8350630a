"""What the dataset reads: the lake's tables, two small tables that we make, and the span of one dataset."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from slidr.contract import epoch_ms
from slidr.features import SPEC_HASH
from training.labels import ATTRIBUTION_WINDOW, RFM_HIGH, RfmCuts

INSTANT: Final = "timestamp(3)"
"""UTC, without a zone: what Hive's `timestamp` is to Athena."""

CLICKS: Final = {
    "click_id": "string", "at": INSTANT, "arrived_at": INSTANT, "user_token": "string", "session_token": "string",
    "givt": "boolean", "device": "string", "logged_in": "boolean", "advertiser": "string", "ad": "string",
    "placement": "string", "marketplace": "string", "time_zone": "string", "date": "string",
}  # fmt: skip
VERDICTS: Final = {
    "click_id": "string", "kind": "string", "at": INSTANT, "decided_at": INSTANT, "reasons": "array<string>",
    "givt": "boolean", "feature_spec": "string", "features": "array<float64>", "date": "string",
}  # fmt: skip
PURCHASES: Final = {
    "order_id": "string", "at": INSTANT, "arrived_at": INSTANT, "user_token": "string", "session_token": "string",
    "advertiser": "string", "item": "string", "amount_micros": "int64", "currency": "string", "click_id": "string",
    "date": "string",
}  # fmt: skip
ZONE_OFFSETS: Final = {"time_zone": "string", "from_ms": "int64", "until_ms": "int64", "offset_minutes": "int64"}
"""Offsets from UTC by zone and time. Ours, so that every engine has the local hours that serving has."""
CELL_WEIGHTS: Final = {"hour_of_week": "int64", "logged_in": "boolean", "label": "int64", "weight": "float64"}
LAKE_SCHEMAS: Final = {"clicks": CLICKS, "verdicts": VERDICTS, "purchases": PURCHASES}
SMALL_SCHEMAS: Final = {"zone_offsets": ZONE_OFFSETS, "cell_weights": CELL_WEIGHTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which clicks become rows, and what is known of them."""

    start: dt.datetime
    end: dt.datetime
    """Rows are the clicks with start <= at < end."""
    until: dt.datetime
    """Purchases at or after it are not known yet; clicks younger than `window` then are immature."""
    orders_from: dt.datetime | None = None
    """Oldest order that counts for RFM; by default all that the lake holds."""
    window: dt.timedelta = ATTRIBUTION_WINDOW
    rfm_high: int = RFM_HIGH
    rfm_cuts: RfmCuts | None = None
    """Fixed cut points; by default quintiles."""
    feature_spec: str = SPEC_HASH
    """Rows logged under another spec are left out."""

    @property
    def near(self) -> tuple[dt.datetime, dt.datetime]:
        """The clicks that may take a purchase away from a row, or belong to a row's session: a window more each way."""
        return self.start - self.window, self.end + self.window


@dataclass(frozen=True, slots=True, kw_only=True)
class Lake:
    """The tables, as expressions."""

    clicks: ir.Table
    verdicts: ir.Table
    purchases: ir.Table
    zone_offsets: ir.Table
    cell_weights: ir.Table

    @classmethod
    def unbound(cls) -> Lake:
        """By name and schema only: for any engine that has tables of these names."""
        every = LAKE_SCHEMAS | SMALL_SCHEMAS
        return cls(**{name: ibis.table(schema, name=name) for name, schema in every.items()})


def within(table: ir.Table, start: dt.datetime, end: dt.datetime) -> ir.Table:
    """The records with start <= at < end; by partition first, so that nothing else is read."""
    last = end - dt.timedelta(milliseconds=1)
    dates = table.date.between(f"{start.astimezone(dt.UTC):%Y-%m-%d}", f"{last.astimezone(dt.UTC):%Y-%m-%d}")
    return table.filter(dates, table.at >= moment(start), table.at < moment(end))


def moment(at: dt.datetime) -> ir.TimestampScalar:
    """A time as a literal: UTC without a zone."""
    return ibis.literal(at.astimezone(dt.UTC).replace(tzinfo=None), type=INSTANT)


def with_at_ms(table: ir.Table) -> ir.Table:
    """With `at_ms`, epoch milliseconds: integers mean the same to every engine, intervals do not."""
    epoch = ibis.literal(dt.datetime(1970, 1, 1), type=INSTANT)  # noqa: DTZ001 - the lake's times carry no zone
    return table.mutate(at_ms=table.at.delta(epoch, unit="millisecond"))


def repeated_firsts(table: ir.Table, key: str, order: Sequence[str]) -> ir.Table:
    """Of each key that occurs more than once, which record came first: `key` and its values of `order`.

    Only narrow columns are sorted, and only those of keys that were delivered twice: most were not.
    """
    copies = table.group_by(key).aggregate(copies=ibis._.count())
    narrow = table.select(key, *order).semi_join(copies.filter(copies.copies > 1), key)
    return _first(narrow, key, order)


def once(table: ir.Table, firsts: ir.Table, key: str, order: Sequence[str]) -> ir.Table:
    """Each key once, the first by `order`; `firsts` are the `repeated_firsts` of a table that holds all of this one."""
    single = table.anti_join(firsts, key)
    return single.union(_first(table.semi_join(firsts, [key, *order]), key, order))


def _first(table: ir.Table, key: str, order: Sequence[str]) -> ir.Table:
    placed = table.mutate(place=ibis.row_number().over(group_by=key, order_by=list(order)))
    return placed.filter(placed.place == 0).drop("place")


CLICK_ORDER: Final = ("arrived_at", "at")
ORDER_ORDER: Final = ("arrived_at", "at")
VERDICT_ORDER: Final = ("backfilled", "decided_at")
"""The first original wins; a row that was taken over from a log gives way to any that was decided (slidr/ledger.py)."""


def originals(verdicts: ir.Table) -> ir.Table:
    """The first decisions and backfilled rows; corrections decide again with features of old, they log none."""
    kept = verdicts.filter(verdicts.kind == "original")
    return kept.mutate(backfilled=kept.reasons.contains("backfilled").cast("int64"))


def zone_offsets(zones: Iterable[str], start: dt.datetime, end: dt.datetime) -> list[tuple[str, int, int, int]]:
    """Rows of ZONE_OFFSETS that cover [start, end]: one a zone, and one more for each change in it.

    >>> spring = dt.datetime(2026, 3, 1, tzinfo=dt.UTC), dt.datetime(2026, 4, 1, tzinfo=dt.UTC)
    >>> [offset for _, _, _, offset in zone_offsets(["Europe/Berlin", "Asia/Tokyo"], *spring)]
    [540, 60, 120]
    """
    rows = []
    for name in sorted(set(zones)):
        zone = ZoneInfo(name)
        edges = [start, *_changes(zone, start, end), end + dt.timedelta(seconds=1)]
        rows += [(name, epoch_ms(a), epoch_ms(b), _offset_minutes(zone, a)) for a, b in pairwise(edges)]
    return rows


def _changes(zone: ZoneInfo, start: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    """When the offset changes in (start, end]: looked for day by day, then by halves down to the quarter of an hour."""
    found = []
    quarter = dt.timedelta(minutes=15)
    low = start - (start - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) % quarter
    while low <= end:
        high = low + dt.timedelta(days=1)
        while _offset_minutes(zone, low) != _offset_minutes(zone, high) and high - low > quarter:
            middle = low + (high - low) // 2 // quarter * quarter
            low, high = (middle, high) if _offset_minutes(zone, middle) == _offset_minutes(zone, low) else (low, middle)
        if _offset_minutes(zone, low) != _offset_minutes(zone, high) and start < high <= end:
            found.append(high)
        low = high
    return found


def _offset_minutes(zone: ZoneInfo, at: dt.datetime) -> int:
    offset = at.astimezone(zone).utcoffset()
    return int(offset.total_seconds() // 60) if offset is not None else 0
