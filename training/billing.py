"""Hours of the lake as bills: net rows from the verdicts in force, and the hours that become final at the watermark."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import msgspec
import polars as pl

from slidr.billing import FINAL_AFTER, WATERMARK_KEY, FinalHour, NetRow, Watermark, final_key
from slidr.hours import HOUR, hour_of, hours_between
from slidr.verdict import Decision
from training.replay.fold import in_force
from training.replay.lake import LakeFiles, LakeHours


def net_rows(standing: pl.DataFrame, hour: dt.datetime) -> list[NetRow]:
    """The net rows of the verdicts in force of one hour.

    Args:
        standing: `in_force` of all records of the hour.
        hour: its beginning.
    """
    cost, billable = pl.col("cost_micros"), pl.col("billable")
    rows = (
        standing.group_by("advertiser", "currency")
        .agg(
            pl.len().alias("clicks"),
            (pl.col("decision") == Decision.INVALID.value).sum().alias("invalid"),
            (pl.col("decision") == Decision.UNDECIDED.value).sum().alias("undecided"),
            billable.sum().alias("billed"),
            cost.sum().alias("gross_micros"),
            cost.filter(billable).sum().alias("net_micros"),
        )
        .sort("advertiser", "currency")
    )
    return [NetRow(hour=hour, **row) for row in rows.iter_rows(named=True)]


def billed_hours(lake: LakeFiles, hours: list[dt.datetime]) -> Iterator[tuple[dt.datetime, list[NetRow]]]:
    """Hour by hour what the ledger says now."""
    listed = LakeHours(lake)
    for hour in hours:
        yield hour, net_rows(in_force(listed.records(hour).records), hour)


def close_hours(
    lake: LakeFiles, *, now: dt.datetime, since: dt.datetime, final_after: dt.timedelta = FINAL_AFTER
) -> int:
    """Make hours final whose time has come, oldest first, and move the watermark; how many hours that were.

    An hour is closed once: where it is final already it stays as it was. The watermark moves behind the hours, so that
    an interruption only leaves it late.

    Args:
        lake: see there.
        now: UTC.
        since: the first hour ever, where there is no watermark yet.
        final_after: how long after its end an hour becomes final.
    """
    known = lake.find(WATERMARK_KEY)
    begin = msgspec.json.decode(known, type=Watermark).final_until if known else hour_of(since)
    end = hour_of(now - final_after)
    hours = hours_between(begin, end)
    for hour, rows in billed_hours(lake, hours):
        if lake.find(final_key(hour)) is None:
            final = FinalHour(hour=hour, closed_at=now, rows=tuple(rows))
            lake.write(final_key(hour), msgspec.json.encode(final))
        lake.write(WATERMARK_KEY, msgspec.json.encode(Watermark(final_until=hour + HOUR)))
    return len(hours)
