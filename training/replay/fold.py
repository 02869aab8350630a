"""The fold of slidr/ledger.py for whole tables of verdicts: which record of each click is in force."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import msgspec
import polars as pl

from slidr.ledger import Ledger, LedgerEntry
from slidr.verdict import Reason

NARROW: Final = LedgerEntry.__struct_fields__
"""Columns that the fold needs: a verdict's but for its features."""
_UTC: Final = pl.Datetime("us", "UTC")


def in_force(records: pl.DataFrame) -> pl.DataFrame:
    """The record in force of each click: the same that `slidr.ledger.Ledger` holds of `LedgerEntry`s.

    Args:
        records: the columns of NARROW and `row`, a number of each, in any order, any record any number of times.

    Returns:
        Those rows, one a click, by click_id.
    """
    placed = records.with_columns(
        pl.when(pl.col("kind") == "correction")
        .then(2)
        .when(pl.col("reasons").list.contains(Reason.BACKFILLED.value))
        .then(0)
        .otherwise(1)
        .alias("_standing")
    )
    # The last correction wins, the first of the others: the greatest time wins where those count backwards.
    time = pl.col("decided_at").cast(_UTC).dt.epoch("us")
    placed = placed.with_columns(pl.when(pl.col("kind") == "correction").then(time).otherwise(-time).alias("_time"))
    best = _best(placed)
    tied = best.filter(pl.len().over("click_id") > 1)
    if len(tied):
        losers = _losers(tied)
        best = best.filter(~pl.col("row").is_in(losers))
    return best.drop("_standing", "_time").sort("click_id")


def _best(placed: pl.DataFrame) -> pl.DataFrame:
    """The records of each click that no other precedes: more than one only where the clock cannot tell."""
    highest = placed.filter(pl.col("_standing") == pl.col("_standing").max().over("click_id"))
    return highest.filter(pl.col("_time") == pl.col("_time").max().over("click_id"))


def _losers(tied: pl.DataFrame) -> list[int]:
    """Of records that were decided at one time, the rows of all but the one whose content wins in the ledger."""
    wanted: dict[str, tuple[int, LedgerEntry]] = {}
    ledger: Ledger[LedgerEntry] = Ledger()
    losers: list[int] = []
    for row in tied.select("row", *NARROW).iter_rows(named=True):
        place = int(row.pop("row"))
        entry = entry_of(row)
        ledger.add([entry])
        if ledger.get(entry.click_id) is entry:
            if entry.click_id in wanted:
                losers.append(wanted[entry.click_id][0])
            wanted[entry.click_id] = place, entry
        else:
            losers.append(place)
    return losers


def entry_of(row: dict[str, Any]) -> LedgerEntry:
    """A row of the lake as the ledger's entry."""
    times = {name: _utc(row[name]) for name in ("at", "arrived_at", "decided_at")}
    return msgspec.convert({**row, **times, "reasons": tuple(row["reasons"] or ())}, LedgerEntry)


def _utc(at: dt.datetime) -> dt.datetime:
    return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at.astimezone(dt.UTC)
