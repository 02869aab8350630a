"""Playing a log onto the streams: in event-time order, at a rate or as fast as they take it."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from local.sources.event import Chunk, Kind
from local.sources.formats import format_of
from local.sources.ordering import Playlist, in_event_order
from local.sources.rebase import rebased
from local.sources.simulated import simulated_chunks, span_of
from local.stream_writer import Sent, StreamWriter
from slidr.contract import epoch_ms

if TYPE_CHECKING:
    from training.simulator import Traffic

_SLICE_S: Final = 0.1
"""With a rate: how much is put at once, in seconds of that rate."""


def playlist_of_log(
    path: Path,
    *,
    purchases: Path | None,
    stack: ExitStack,
    mapping: Path | None = None,
    on_read: Callable[[int], None] = lambda _events: None,
) -> Playlist:
    """A log (and a file of purchases beside it), sorted by event time; `mapping` is the log's, where it is any CSV.

    Raises:
        LogUnreadable: a file is in no known format, or breaks it.
    """
    sources = [format_of(path, mapping=mapping).read(path, kind=Kind.CLICK)]
    if purchases is not None:
        sources.append(format_of(purchases).read(purchases, kind=Kind.PURCHASE))
    return in_event_order(sources, stack=stack, on_read=on_read)


def playlist_of_simulation(traffic: Traffic, *, days: int, first: int = 0) -> Playlist:
    """Simulated days, generated one at a time while they are sent."""
    first_ms, last_ms = span_of(traffic, days=days, first=first)
    chunks = simulated_chunks(traffic.days(days, first=first))
    return Playlist(chunks=chunks, first_ms=first_ms, last_ms=last_ms, clicks=None)


def ending_at(playlist: Playlist, now: dt.datetime) -> Playlist:
    """The playlist moved in time so that its last event is `now`."""
    shift_ms = epoch_ms(now) - playlist.last_ms
    return replace(
        playlist,
        chunks=rebased(playlist.chunks, shift_ms=shift_ms),
        first_ms=playlist.first_ms + shift_ms,
        last_ms=playlist.last_ms + shift_ms,
    )


def play(
    playlist: Playlist,
    writer: StreamWriter,
    *,
    rate: float | None = None,
    limit: int | None = None,
    on_put: Callable[[Chunk], None] = lambda _chunk: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Sent:
    """Put the whole playlist on the streams.

    Args:
        playlist: what to send.
        writer: where to.
        rate: clicks a second at most; None: as fast as the streams take them.
        limit: stop before the click after so many.
        on_put: told every chunk whose outcome is known.
        clock: seconds, monotonic.
        sleep: waits for seconds.

    Raises:
        SendFailed: the streams cannot be written to.
    """
    began, clicks = clock(), 0
    for chunk in _limited(playlist.chunks, limit):
        for part in _sliced(chunk, rate):
            if rate is not None and (ahead_s := clicks / rate - (clock() - began)) > 0:
                sleep(ahead_s)
            writer.put(part)
            clicks += clicks_in(part)
            on_put(part)
    return writer.sent


def clicks_in(chunk: Chunk) -> int:
    """How many of the events are clicks."""
    return sum(event.kind is Kind.CLICK for event in chunk)


def _limited(chunks: Iterator[Chunk], limit: int | None) -> Iterator[Chunk]:
    """What comes before the click after `limit` clicks: purchases that follow the last of them too."""
    left = limit
    for chunk in chunks:
        if left is None:
            yield chunk
            continue
        end = place_of_click(chunk, left)
        if kept := chunk[:end]:
            yield kept
        if end < len(chunk):
            return
        left -= clicks_in(chunk)


def place_of_click(chunk: Chunk, number: int) -> int:
    """Where in the chunk the click with this number (from 0) stands; its length where there are not so many."""
    places = (place for place, event in enumerate(chunk) if event.kind is Kind.CLICK)
    return next(islice(places, number, None), len(chunk))


def _sliced(chunk: Chunk, rate: float | None) -> Iterator[Chunk]:
    size = len(chunk) if rate is None else max(1, int(rate * _SLICE_S))
    for start in range(0, len(chunk), size):
        yield chunk[start : start + size]
