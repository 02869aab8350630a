"""Simulated days as events: what a deployment would have received, in event-time order."""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from local.sources.event import Chunk, Event, Kind, chunked
from slidr.contract import epoch_ms

if TYPE_CHECKING:
    import polars as pl

    from training.simulator import SimulatedDay, Traffic

DAY_MS: Final = 86_400_000
FIRST_DAY: Final = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
"""Day 0 of simulated traffic unless told otherwise: a Monday, fixed so that a seed gives the same days for ever."""
_ENCODER: Final = msgspec.json.Encoder()


def simulated_chunks(days: Iterator[SimulatedDay]) -> Iterator[Chunk]:
    """Clicks and purchases of consecutive days by event time; purchases of a day reach into the next."""
    waiting: list[Event] = []
    for day in days:
        clicks = _events(day.clicks, Kind.CLICK, "click_id")
        waiting = sorted([*waiting, *_events(day.purchases, Kind.PURCHASE, "order_id")], key=itemgetter(0))
        end_ms = _end_of(day)
        today = [event for event in waiting if event.at_ms < end_ms]
        waiting = waiting[len(today) :]
        yield from chunked(heapq.merge(clicks, today, key=itemgetter(0, 1)))
    yield from chunked(iter(waiting))


def span_of(traffic: Traffic, *, days: int, first: int = 0) -> tuple[int, int]:
    """Event times that days `first` to `first + days - 1` and their purchases can have, epoch milliseconds."""
    start_ms = epoch_ms(traffic.start) + first * DAY_MS
    return start_ms, start_ms + (days + 1) * DAY_MS


def _end_of(day: SimulatedDay) -> int:
    first: Any = day.clicks["at"].min()
    return 0 if first is None else (epoch_ms(first) // DAY_MS + 1) * DAY_MS


def _events(frame: pl.DataFrame, kind: Kind, id_column: str) -> Iterator[Event]:
    for row in frame.iter_rows(named=True):
        record = {name: value for name, value in row.items() if value is not None}
        yield Event(epoch_ms(record["at"]), kind, record[id_column], _ENCODER.encode(record))
