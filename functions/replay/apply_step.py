"""Publishing the corrections of one hour: in their order, a marker behind each batch, so that it resumes."""

from __future__ import annotations

import datetime as dt
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from functions.adapters.lake import Lake
from functions.adapters.verdict_stream import VerdictStream
from slidr.replay import Applied, applied_key
from slidr.verdict import Verdict

BATCH: Final = 2_000
"""Corrections between two markers: as many may be published twice where a publisher is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Who publishes, where and why."""

    lake: Lake
    stream: VerdictStream
    who: str
    why: str
    now: Callable[[], dt.datetime]


def apply_corrections(
    key: str, publisher: Publisher, *, on_published: Callable[[int], None] = lambda _count: None
) -> int:
    """Publish what of an object of corrections is not published yet; how many that were.

    A correction that is published twice has the same bytes, which the ledger's fold passes over.

    Args:
        key: `replays/corrections/.../<chunk>.jsonl.gz`.
        publisher: see there.
        on_published: told how many more were published.

    Raises:
        ObjectUnavailable: the object or its marker cannot be read or written.
        PublishFailed: the stream did not take a batch; what was published before is marked.
    """
    lines = gzip.decompress(publisher.lake.read(key)).splitlines()
    marker = applied_key(key)
    known = publisher.lake.find(marker)
    begin = msgspec.json.decode(known, type=Applied).published if known else 0
    decoder = msgspec.json.Decoder(Verdict)
    for start in range(begin, len(lines), BATCH):
        batch = [decoder.decode(line) for line in lines[start : start + BATCH]]
        publisher.stream.publish(batch)
        applied = Applied(
            published=start + len(batch),
            corrections=len(lines),
            who=publisher.who,
            why=publisher.why,
            at=publisher.now().isoformat(timespec="milliseconds"),
        )
        publisher.lake.write(marker, msgspec.json.encode(applied))
        on_published(len(batch))
    return max(0, len(lines) - begin)
