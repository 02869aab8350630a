"""A replay over the hours of a lake: each hour a piece of work of its own, named by its content, found again if done.

    replays/chunks/date=D/hour=H/<chunk>.json              what the hour's replay found (`Found`)
    replays/corrections/date=D/hour=H/<chunk>.jsonl.gz     the corrections, as the verdict stream carries them
    replays/applied/date=D/hour=H/<chunk>.json             how many of them were published (`Applied`)

A chunk's name stands for all that its outcome follows from: the release, what was asked for, and the objects of the
lake that it read. So the same replay finds what it did before and goes on where it was interrupted, and a lake that
has more by now is replayed anew. Corrections that were published count as part of the ledger whether or not the
lake has them yet: a second replay adds nothing.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import msgspec
import polars as pl

from slidr.features import SPEC_HASH
from slidr.hours import HOUR, hour_of, hours_between
from slidr.replay import Found, ReplayRefused, chunk_key, corrections_key
from training.backfill import WARM_UP
from training.profiles import TOKENS, daily_traffic
from training.replay.decide import HourRecords, Judge, Wanted, corrections, encoded, replay_hour
from training.replay.lake import LakeFiles, LakeHours
from training.replay.read import archived_clicks, hour_records
from training.replay.recount import Recount

_DAY: Final = dt.timedelta(days=1)
_AHEAD: Final = 3
"""Hours that are read while one is decided."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ask:
    """What is to be replayed, with what."""

    start: dt.datetime
    end: dt.datetime
    """Whole hours, UTC: clicks with start <= at < end."""
    judge: Judge
    wanted: Wanted = field(default_factory=Wanted)
    recompute: bool = False
    """Decide by features that are counted anew from the archive, instead of those that were logged."""
    profile_days: int = 28

    def __post_init__(self) -> None:
        for at in (self.start, self.end):
            if at.tzinfo is None or at.astimezone(dt.UTC) != hour_of(at):
                raise ReplayRefused(
                    f"a replay begins and ends at whole hours with a time zone, such as 2026-11-23T14:00Z, came {at}"
                )
        if self.start >= self.end:
            raise ReplayRefused(f"a replay must end after it begins, came {self.start} to {self.end}")

    @property
    def hours(self) -> list[dt.datetime]:
        """The beginnings of the hours."""
        return hours_between(self.start, self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class HourOutcome:
    """What came of one hour."""

    hour: dt.datetime
    found: Found
    reused: bool
    """Whether it had been found before; an hour without clicks was not."""


def replay(ask: Ask, lake: LakeFiles, *, now: dt.datetime) -> Generator[HourOutcome]:
    """Replay hour after hour; each is kept in the lake before it is handed out. Nothing is published.

    Args:
        ask: see there.
        lake: with the tables verdicts/ and, where features are recomputed, clicks/.
        now: when the corrections are decided that are not kept already.

    Raises:
        ReplayRefused: there is no archive to count anew from, or slices cannot be named.
    """
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as the lake keeps it
    listing = LakeHours(lake)
    recount = _warmed_up(ask, listing) if ask.recompute else None
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="replay") as pool:
        for hour, read in _ahead(pool, ask.hours, lambda hour: _read(ask, hour, listing)):
            if recount is not None and read.clicks is not None and read.found is not None:
                recount.pass_over(read.clicks)
            if read.found is not None:
                yield HourOutcome(hour=hour, found=read.found, reused=read.reused)
                continue
            recomputed = None
            if recount is not None and read.clicks is not None:
                recomputed = recount.of(read.clicks, read.records)
            came = replay_hour(read.records, ask.judge, wanted=ask.wanted, clicks=read.clicks, recomputed=recomputed)
            found = Found(chunk=read.chunk, corrections=len(came.corrected), difference=came.difference)
            _keep(lake, hour, found, encoded(corrections(came, ask.judge, decided_at=now)))
            yield HourOutcome(hour=hour, found=found, reused=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Hour:
    """What of an hour was read."""

    chunk: str
    found: Found | None
    """What is known already: found before, or nothing where there is no click."""
    reused: bool
    records: HourRecords
    clicks: pl.DataFrame | None = None


def _read(ask: Ask, hour: dt.datetime, listing: LakeHours) -> _Hour:
    lake = listing.lake
    verdicts = listing.of("verdicts/", hour)
    published = listing.published(hour)
    clicks = listing.of("clicks/", hour) if ask.recompute or verdicts else []
    chunk = _chunk(ask, hour, [*verdicts, *published, *(clicks if ask.recompute else [])])
    known = lake.find(chunk_key(hour, chunk))
    found = msgspec.json.decode(known, type=Found) if known else None
    archive = archived_clicks(listing.bodies(clicks)) if ask.recompute else None
    if found is not None or not (verdicts or clicks):
        return _Hour(
            chunk=chunk,
            found=found or Found(chunk=chunk),
            reused=found is not None,
            records=hour_records([]),
            clicks=archive,
        )
    records = hour_records(listing.bodies(verdicts), listing.bodies(published))
    if archive is None and _names_slices_otherwise(ask, records):
        archive = archived_clicks(listing.bodies(clicks))
    return _Hour(chunk=chunk, found=None, reused=False, records=records, clicks=archive)


def _names_slices_otherwise(ask: Ask, records: HourRecords) -> bool:
    columns = list(ask.judge.release.slices.columns)
    return any(
        [part.partition("=")[0] for part in name.split("|")] != columns
        for name in records.records["slice"].unique().to_list()
    )


def _keep(lake: LakeFiles, hour: dt.datetime, found: Found, lines: bytes) -> None:
    if found.corrections:
        packed = gzip.compress(lines, compresslevel=1, mtime=0)
        lake.write(corrections_key(hour, found.chunk), packed, content_type="application/gzip")
    lake.write(chunk_key(hour, found.chunk), msgspec.json.encode(found))  # last: a chunk that is there is whole


def _chunk(ask: Ask, hour: dt.datetime, keys: Sequence[str]) -> str:
    told = {
        "release": ask.judge.release_id, "hour": hour.isoformat(), "spec": SPEC_HASH, "recompute": ask.recompute,
        "undecided": ask.wanted.undecided, "decided_by": ask.wanted.decided_by, "profile_days": ask.profile_days,
        "keys": sorted(keys),
    }  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:16]


def _warmed_up(ask: Ask, listing: LakeHours) -> Recount:
    """A count that has seen the clicks that the first hour's windows reach, and profiles of the days before."""
    first_day = ask.start.astimezone(dt.UTC).replace(hour=0)
    days = [first_day + number * _DAY for number in range(-ask.profile_days, (ask.end - first_day).days + 1)]
    traffic = [part for day in days if len(part := _traffic(listing, day))]
    recount = Recount(pl.concat(traffic) if traffic else None, profile_days=ask.profile_days)
    hours = -(-int(WARM_UP.total_seconds()) // 3600)
    for number in range(hours, 0, -1):
        recount.pass_over(archived_clicks(listing.bodies(listing.of("clicks/", ask.hours[0] - number * HOUR))))
    return recount


def _traffic(listing: LakeHours, day: dt.datetime) -> pl.DataFrame:
    keys = [key for number in range(24) for key in listing.of("clicks/", day + number * HOUR)]
    return daily_traffic(archived_clicks(listing.bodies(keys)).select("at", *TOKENS.values()))


def _ahead(
    pool: ThreadPoolExecutor, hours: Sequence[dt.datetime], read: Callable[[dt.datetime], _Hour]
) -> Iterator[tuple[dt.datetime, _Hour]]:
    """The hours and what was read of them, read a little ahead."""
    waiting: deque[tuple[dt.datetime, Future[_Hour]]] = deque()
    for hour in hours:
        waiting.append((hour, pool.submit(read, hour)))
        if len(waiting) > _AHEAD:
            first, future = waiting.popleft()
            yield first, future.result()
    for hour, future in waiting:
        yield hour, future.result()
