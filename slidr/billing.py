"""Net clicks and money by advertiser and hour: they follow from the verdicts in force alone (rule 8)."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec

from slidr.hours import partition

BILLING: Final = "billing/"
WATERMARK_KEY: Final = f"{BILLING}watermark.json"
"""Where the lake tells up to when hours are final."""
FINAL_AFTER: Final = dt.timedelta(hours=48)
"""How long after its end an hour becomes final: late clicks and the scheduled replay are through by then."""


class NetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One advertiser's clicks of one hour, in one currency."""

    hour: dt.datetime
    """Its beginning, UTC, by the time of the clicks."""
    advertiser: str
    currency: str
    clicks: int
    invalid: int
    """INVALID ones, billed (observe mode) or not."""
    undecided: int
    billed: int
    gross_micros: int
    """Cost of all clicks."""
    net_micros: int
    """Cost of those that are billed."""


class FinalHour(msgspec.Struct, frozen=True, kw_only=True):
    """An hour as it was when it became final. What the ledger says later is an adjustment."""

    hour: dt.datetime
    closed_at: dt.datetime
    rows: tuple[NetRow, ...]


class MaturedCell(msgspec.Struct, frozen=True, kw_only=True):
    """Matured clicks of one hour, slice and release that led to a purchase."""

    slice: str
    release_id: str
    """Empty where none decided."""
    purchasing: int
    invalid: int
    """INVALID ones of them: false positives, by the verdicts in force."""


class MaturedHour(msgspec.Struct, frozen=True, kw_only=True):
    """An hour whose attribution window is over."""

    hour: dt.datetime
    cells: tuple[MaturedCell, ...]


class HoursAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What the hourly job is asked for."""

    matured: tuple[dt.datetime, ...]
    """Hours that have matured and are not counted yet."""
    final: tuple[dt.datetime, ...]
    """Hours that become final."""
    now: dt.datetime


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """Up to when hours are final."""

    final_until: dt.datetime


class Adjustment(msgspec.Struct, frozen=True, kw_only=True):
    """What an hour owes after it became final."""

    hour: dt.datetime
    advertiser: str
    currency: str
    billed: int
    """Clicks billed more (or, below 0, less) than when it became final."""
    net_micros: int


def final_key(hour: dt.datetime) -> str:
    """Where a final hour is kept.

    >>> final_key(dt.datetime(2026, 3, 4, 5, tzinfo=dt.UTC))
    'billing/final/date=2026-03-04/hour=05.json'
    """
    return f"{BILLING}final/{partition(hour).rstrip('/')}.json"


def matured_key(hour: dt.datetime) -> str:
    """Where it is kept what a matured hour shows.

    >>> matured_key(dt.datetime(2026, 3, 4, 5, tzinfo=dt.UTC))
    'billing/matured/date=2026-03-04/hour=05.json'
    """
    return f"{BILLING}matured/{partition(hour).rstrip('/')}.json"


def adjustments(final: FinalHour, now: Iterable[NetRow]) -> list[Adjustment]:
    """What the verdicts in force say now, less what was said when the hour became final; nothing where they agree."""
    sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for sign, rows in ((-1, final.rows), (1, now)):
        for row in rows:
            total = sums[row.advertiser, row.currency]
            total[0] += sign * row.billed
            total[1] += sign * row.net_micros
    return [
        Adjustment(hour=final.hour, advertiser=advertiser, currency=currency, billed=billed, net_micros=net)
        for (advertiser, currency), (billed, net) in sorted(sums.items())
        if billed or net
    ]
