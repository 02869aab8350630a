"""Moving a log in time as a whole, so that old traffic arrives as today's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import msgspec

from local.sources.event import Chunk, Event
from slidr.contract import from_epoch_ms


def rebased(chunks: Iterator[Chunk], *, shift_ms: int) -> Iterator[Chunk]:
    """The same events, each `at` later by `shift_ms`; a record that is no JSON object with a time passes unchanged.

    >>> from local.sources.event import Kind
    >>> [[event]] = rebased(iter([[Event(0, Kind.CLICK, "c", b'{"at":"1970-01-01T00:00:00Z"}')]]), shift_ms=1500)
    >>> event.at_ms, event.payload
    (1500, b'{"at":"1970-01-01T00:00:01.500000Z"}')
    """
    for chunk in chunks:
        yield [_shifted(event, shift_ms) for event in chunk]


def _shifted(event: Event, shift_ms: int) -> Event:
    moved = event._replace(at_ms=event.at_ms + shift_ms)
    try:
        record = msgspec.json.decode(event.payload)
        at = msgspec.convert(record["at"], dt.datetime)
    except (msgspec.MsgspecError, TypeError, KeyError, UnicodeDecodeError, RecursionError):
        return moved
    if at.tzinfo is None:
        return moved
    record["at"] = from_epoch_ms(0) + (at - from_epoch_ms(0)) + dt.timedelta(milliseconds=shift_ms)
    return moved._replace(payload=msgspec.json.encode(record))
