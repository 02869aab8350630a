"""What a log is read into: encoded records with their event time, in bounded chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

from slidr.click import Click
from slidr.contract import epoch_ms
from slidr.errors import SlidrError
from slidr.purchase import Purchase

Chunk = list["Event"]
"""A bounded run of events; readers yield a few thousand at a time."""


CHUNK: Final = 2_000


def chunked(events: Iterable[Event]) -> Iterator[Chunk]:
    """The same events in runs of at most CHUNK."""
    remaining = iter(events)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk


class LogUnreadable(SlidrError):
    """A log is in no format that is known, or a row of it does not follow its format."""


class Kind(StrEnum):
    """Which stream a record belongs to. In the order in which equal event times are sent."""

    CLICK = "click"
    PURCHASE = "purchase"


class Event(NamedTuple):
    """One record on its way to a stream."""

    at_ms: int
    """Event time, epoch milliseconds. Of a record that has none (malformed): the time of the record before it."""
    kind: Kind
    key: str
    """Partition key: click_id or order_id; of a malformed record, its line number."""
    payload: bytes


class LogFormat(Protocol):
    """One format of click logs. A new importer is one more of these in local/sources/formats.py."""

    @property
    def name(self) -> str:
        """What the format is called."""

    @property
    def expects(self) -> str:
        """What the head of such a file looks like; shown when nothing recognises a file."""

    def recognises(self, head: bytes) -> bool:
        """Whether a file that begins with `head` (decompressed, up to 64 KiB) is in this format."""

    def read(self, path: Path, *, kind: Kind) -> Iterator[Chunk]:
        """The file's records in file order.

        Raises:
            LogUnreadable: a row does not follow the format, where the format cannot pass it on as it is.
        """


_ENCODER = msgspec.json.Encoder()


def click_event(click: Click) -> Event:
    """A click as an event.

    >>> import datetime as dt
    >>> at = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
    >>> event = click_event(Click(click_id="c", at=at, advertiser="acme", marketplace="de"))
    >>> event.at_ms, event.kind.value, event.key
    (1795435200000, 'click', 'c')
    """
    return Event(epoch_ms(click.at), Kind.CLICK, click.click_id, _ENCODER.encode(click))


def purchase_event(purchase: Purchase) -> Event:
    """A purchase as an event."""
    return Event(epoch_ms(purchase.at), Kind.PURCHASE, purchase.order_id, _ENCODER.encode(purchase))
