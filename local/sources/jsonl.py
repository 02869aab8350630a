"""The project's own JSON lines: one record of the contract a line, passed on byte by byte.

A line that breaks the contract is passed on too: rejecting it, with a reason, is the deployed system's work.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from local.sources.compressed import lines_of
from local.sources.event import Chunk, Event, Kind, chunked
from slidr.contract import epoch_ms


class _Outline(msgspec.Struct):
    """As much of a record as sending it needs."""

    click_id: str | None = None
    order_id: str | None = None
    at: dt.datetime | None = None


_OUTLINE: Final = msgspec.json.Decoder(_Outline)


class JsonLines:
    """JSON lines of the click contract (or, for `kind` purchase, of the purchase contract), plain or gzipped."""

    name = "SLIDR JSON lines"
    expects = 'one JSON object a line with "click_id" (or, in a file of purchases, "order_id")'

    def recognises(self, head: bytes) -> bool:
        """Whether the first line that is not blank is a JSON object that names a click or an order."""
        line = head.lstrip().partition(b"\n")[0]
        try:
            outline = _OUTLINE.decode(line)
        except msgspec.MsgspecError:
            return line.startswith(b"{") and (b'"click_id"' in line or b'"order_id"' in line)
        return outline.click_id is not None or outline.order_id is not None

    def read(self, path: Path, *, kind: Kind) -> Iterator[Chunk]:
        """The lines as events; blank ones are skipped."""
        return chunked(_events(path, kind))


def _events(path: Path, kind: Kind) -> Iterator[Event]:
    at_ms = 0
    for number, payload in lines_of(path):
        key, came_ms = _key_and_time(payload, kind)
        at_ms = at_ms if came_ms is None else came_ms
        yield Event(at_ms, kind, key or f"line-{number}", payload)


def _key_and_time(payload: bytes, kind: Kind) -> tuple[str | None, int | None]:
    try:
        outline = _OUTLINE.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, None
    key = outline.click_id if kind is Kind.CLICK else outline.order_id
    if outline.at is None or outline.at.tzinfo is None:
        return _partition_key(key), None
    return _partition_key(key), epoch_ms(outline.at)


def _partition_key(key: str | None) -> str | None:
    """A key that Kinesis takes (1 to 256 characters), or None."""
    return key if key and len(key) <= 256 else None
