"""The plan of a run: which day, which clicks, whom to compare with."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from functions.adapters.lake import Lake
from slidr.audit import AuditEntry, times_in_force
from slidr.errors import SlidrError
from slidr.pointer import Pointer
from slidr.release import EVIDENCE_FILE, RELEASE_FILE, WEIGHTS_FILE

ONE_DAY: Final = dt.timedelta(days=1)
_FILES: Final = (RELEASE_FILE, WEIGHTS_FILE, EVIDENCE_FILE)


class DayNotMature(SlidrError):
    """The day's clicks may still lead to purchases."""


class NothingToTrainOn(SlidrError):
    """The lake holds no clicks, or no purchases, of the days."""


class AlreadyReleased(SlidrError):
    """A run of this day has put a release in force."""


class RunAsked(msgspec.Struct, frozen=True, kw_only=True):
    """The input of an execution."""

    day: dt.date | None = None
    """The day that judges; by default the newest that has matured."""
    scheduled: dt.datetime | None = None
    """When the schedule meant to start it."""
    again: bool = False
    """Whether to run though a run of this day was promoted."""
    why: str = ""


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the steps of a run go by."""

    run: str
    job: str
    """How names of its jobs begin."""
    day: dt.date
    training_days: int
    profile_days: int
    budget: float
    prefix: str
    """Of what the run keeps in the lake."""
    uri: str
    """The same as an address."""
    clicks: str
    """Address of the manifest of the clicks to read."""
    purchases: str
    compare: str
    """Address of the releases to compare with."""
    champion: str
    """Empty before the first release; so are the next three."""
    stable: str
    former: str
    """The newest former champion whose served interval has matured and which is not stable yet."""
    kept: str
    """The newest former champion whose interval has not matured: it stays loaded."""
    former_interval: tuple[dt.datetime, dt.datetime] | None
    generation: int
    """Of the pointer that the plan was made by."""
    started: dt.datetime
    why: str

    @property
    def until(self) -> dt.datetime:
        """When the day has matured."""
        return midnight(self.day) + 2 * ONE_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """A former champion and the last interval in which it served."""

    release: str
    start: dt.datetime
    end: dt.datetime


def midnight(day: dt.date) -> dt.datetime:
    """When a UTC day begins."""
    return dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)


def run_name(day: dt.date, execution: str) -> str:
    """A run's name: its day, and which execution it is.

    >>> run_name(dt.date(2026, 11, 23), "arn:1")
    'day-20261123-a1dcce0a'
    """
    return f"day-{day:%Y%m%d}-{hashlib.sha256(execution.encode()).hexdigest()[:8]}"


def day_of(asked: RunAsked, *, now: dt.datetime) -> dt.date:
    """The day that judges: the one asked for, else the newest that has matured.

    Raises:
        DayNotMature: the one asked for has not.

    >>> day_of(RunAsked(), now=dt.datetime(2026, 11, 25, 2, 30, tzinfo=dt.UTC))
    datetime.date(2026, 11, 23)
    """
    newest = (asked.scheduled or now).astimezone(dt.UTC).date() - 2 * ONE_DAY
    day = asked.day or newest
    if midnight(day) + 2 * ONE_DAY > now:
        raise DayNotMature(
            f"a day whose clicks have matured is required, {day} has not before {midnight(day) + 2 * ONE_DAY:%Y-%m-%d} "
            "00:00 UTC: a purchase may follow a click by a day. Ask for an earlier day, or wait."
        )
    return day


def former_champions(audit: Sequence[AuditEntry], pointer: Pointer) -> list[Former]:
    """Champions that gave way, the newest first, but for champion and stable."""
    ended = [
        Former(release=release, start=times[-1][0], end=times[-1][1])
        for release, times in times_in_force(audit).items()
        if times[-1][1] is not None and release not in {pointer.champion, pointer.stable}
    ]
    return sorted(ended, key=lambda former: former.end, reverse=True)


def matured_former(former: Sequence[Former], *, until: dt.datetime) -> Former | None:
    """The newest whose last click had matured by `until`."""
    return next((one for one in former if one.end + ONE_DAY <= until), None)


def kept_former(former: Sequence[Former], *, until: dt.datetime) -> str:
    """The newest that is still to mature; empty for none."""
    return next((one.release for one in former if one.end + ONE_DAY > until), "")


def manifest(lake: Lake, table: str, keys: Sequence[str]) -> bytes:
    """SageMaker's manifest of objects of a table.

    >>> manifest(Lake(None, "lake"), "clicks", ["clicks/date=2026-11-01/hour=00/x.parquet"])  # type: ignore[arg-type]
    b'[{"prefix":"s3://lake/clicks/"},"date=2026-11-01/hour=00/x.parquet"]'
    """
    return msgspec.json.encode([{"prefix": lake.uri(f"{table}/")}, *(key.removeprefix(f"{table}/") for key in keys)])


def clicks_to_read(lake: Lake, day: dt.date, *, days_before: int) -> list[str]:
    """The archived clicks of so many days before a day, of it and of the day after.

    Raises:
        NothingToTrainOn: there are none.
    """
    days = [day + (number - days_before) * ONE_DAY for number in range(days_before + 2)]
    keys = [key for each in days for key in lake.keys(f"clicks/date={each}/")]
    if not keys:
        raise NothingToTrainOn(
            f"archived clicks of {days[0]} to {days[-1]} are required in {lake.uri('clicks/')}, there are none. Send "
            "clicks, or bring a log into the lake with slidr backfill."
        )
    return keys


def purchases_to_read(lake: Lake, day: dt.date) -> list[str]:
    """All purchases up to the day after: the older ones say who buys a lot.

    Raises:
        NothingToTrainOn: there are none.
    """
    last = f"purchases/date={day + ONE_DAY}/~"
    keys = [key for key in lake.keys("purchases/") if key < last]
    if not keys:
        raise NothingToTrainOn(
            f"purchases up to {day + ONE_DAY} are required in {lake.uri('purchases/')}, there are none: without them "
            "no click is known to be human. Send purchases."
        )
    return keys


def released_before(lake: Lake, day: dt.date) -> str:
    """The release that a run of this day put in force; empty for none."""
    kept = lake.find(done_key(day))
    told: Mapping[str, Any] = msgspec.json.decode(kept) if kept else {}
    return str(told.get("release_id", ""))


def done_key(day: dt.date) -> str:
    """Where it is kept that a day was released.

    >>> done_key(dt.date(2026, 11, 23))
    'training/done/2026-11-23.json'
    """
    return f"training/done/{day}.json"


def copy_releases(releases: Lake, lake: Lake, plan: RunPlan, identities: Sequence[str]) -> None:
    """Bring the releases to compare with to where the run's jobs may read them."""
    for identity in identities:
        for name in _FILES:
            content = releases.find(f"releases/{identity}/{name}")
            if content is not None:  # a missing one is told by who reads it
                lake.write(f"{plan.prefix}compare/releases/{identity}/{name}", content)
