"""Putting a log into event-time order within bounded memory: sorted runs on disk, merged while sending."""

from __future__ import annotations

import heapq
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from operator import itemgetter
from typing import IO, Final

from local.sources.event import CHUNK, Chunk, Event, Kind, chunked

RUN_EVENTS: Final = 200_000
"""Events held in memory at once: about 150 MB of clicks."""
_BY_TIME: Final = itemgetter(0, 1)
"""Event time, then clicks before purchases; what is equal stays in file order (sorts and merges are stable)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Playlist:
    """What is about to be sent: chunks in event-time order, and what is known of the whole."""

    chunks: Iterator[Chunk]
    first_ms: int
    last_ms: int
    clicks: int | None
    """How many clicks there are; None where only sending tells."""


def in_event_order(
    sources: Iterable[Iterator[Chunk]],
    *,
    stack: ExitStack,
    run_events: int = RUN_EVENTS,
    on_read: Callable[[int], None] = lambda _events: None,
) -> Playlist:
    """Everything of `sources` together, by event time; at most `run_events` in memory, the rest in temporary files.

    Args:
        sources: unsorted logs (clicks, purchases).
        stack: closes (and so deletes) the temporary files.
        run_events: how many events a run holds.
        on_read: told how many more events were read.
    """
    runs: list[IO[bytes]] = []
    held: Chunk = []
    clicks, first_ms, last_ms = 0, 2**63, 0
    for source in sources:
        for chunk in source:
            on_read(len(chunk))
            clicks += sum(event.kind is Kind.CLICK for event in chunk)
            times = [event.at_ms for event in chunk]
            first_ms, last_ms = min(first_ms, *times), max(last_ms, *times)
            held.extend(chunk)
            if len(held) >= run_events:
                held.sort(key=_BY_TIME)
                runs.append(_spilled(held, stack))
                held = []
    held.sort(key=_BY_TIME)
    events = heapq.merge(*(_read_run(run) for run in runs), held, key=_BY_TIME) if runs else iter(held)
    return Playlist(chunks=chunked(events), first_ms=min(first_ms, last_ms), last_ms=last_ms, clicks=clicks)


def _spilled(events: Chunk, stack: ExitStack) -> IO[bytes]:
    file = stack.enter_context(tempfile.TemporaryFile(prefix="slidr-send-"))  # noqa: SIM115 - the stack closes it
    for start in range(0, len(events), CHUNK):
        rows = [tuple(event) for event in events[start : start + CHUNK]]
        pickle.dump(rows, file, protocol=pickle.HIGHEST_PROTOCOL)
    file.seek(0)
    return file


def _read_run(file: IO[bytes]) -> Iterator[Event]:
    while True:
        try:
            rows = pickle.load(file)  # noqa: S301 - our own unnamed temporary file
        except EOFError:
            return
        for row in rows:
            yield Event(*row)
