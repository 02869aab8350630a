"""Simulated traffic as producers send it: JSON records in time order, without a trace of the truth."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from training.simulator.traffic import SimulatedDay

_RFC3339: Final = "%Y-%m-%dT%H:%M:%S%.3fZ"


@dataclass(frozen=True, slots=True, order=True)
class WireRecord:
    """One record to send. Ordered by event time, then kind and key."""

    at_ms: int
    kind: Literal["click", "purchase"]
    key: str
    """The stream's partition key: click_id or order_id."""
    payload: bytes
    """UTF-8 JSON by the contract of `kind`."""


def click_lines(clicks: pl.DataFrame) -> list[bytes]:
    """The JSON of each click, in order.

    Args:
        clicks: as in `SimulatedDay.clicks`.
    """
    return _lines(clicks)


def purchase_lines(purchases: pl.DataFrame) -> list[bytes]:
    """The JSON of each purchase, in order.

    Args:
        purchases: as in `SimulatedDay.purchases`.
    """
    return _lines(purchases)


def wire_records(days: Iterable[SimulatedDay]) -> Iterator[WireRecord]:
    """All records of consecutive days, clicks and purchases merged by event time, one day in memory at a time.

    Purchases past the end of their day wait for the next; those past the last day come at the end.
    """
    waiting: list[WireRecord] = []
    for day in days:
        clicks = _records("click", day.clicks)
        purchases = sorted([*waiting, *_records("purchase", day.purchases)])
        last_ms = clicks[-1].at_ms if clicks else 0
        due = [record for record in purchases if record.at_ms <= last_ms]
        waiting = purchases[len(due) :]
        yield from heapq.merge(clicks, due)
    yield from waiting


def _records(kind: Literal["click", "purchase"], frame: pl.DataFrame) -> list[WireRecord]:
    at_ms = frame["at"].to_physical().to_list()
    keys = frame.to_series(0).to_list()
    return [WireRecord(a, kind, k, p) for a, k, p in zip(at_ms, keys, _lines(frame), strict=True)]


def _lines(frame: pl.DataFrame) -> list[bytes]:
    text = frame.with_columns(pl.col("at").dt.strftime(_RFC3339)).write_ndjson()
    return text.encode().splitlines()
