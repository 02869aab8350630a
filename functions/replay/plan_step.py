"""What a replay reads: the hours, a day a job, the objects of each, and the release that decides.

    {"from": "2026-11-23T14:00Z", "to": "2026-11-23T16:00Z", "release": "stable", "apply": false, "why": "INC-4711"}
    {"undecided": true, "apply": true}          the hours that the queue of undecided clicks names

In the lake, below `replays/runs/<run>/`: release/ (the bundle), days.json (the Map's list), and of each day
<date>/ask.json and <date>/lake.manifest.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from functions.adapters.lake import Lake
from functions.adapters.release_store import release_key
from functions.adapters.serving_state import PointerStore
from functions.adapters.undecided_queue import UndecidedReader
from functions.replay.settings import Settings
from slidr.contract import Instant
from slidr.counters import TTL_MS
from slidr.hours import HOUR, hour_of, hours_between, partition
from slidr.release import RELEASE_FILE, WEIGHTS_FILE
from slidr.replay import APPLIED, CHUNKS, CORRECTIONS, REPLAYS, ReplayAsked, ReplayRefused

DAY: Final = dt.timedelta(days=1)
WAITING: Final = f"{REPLAYS}undecided/"
"""Where hours with undecided clicks are noted between the queue and the replay that decides them."""
_WARM_UP_HOURS: Final = -(-TTL_MS // 3_600_000)


class ReplayInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an execution is started with."""

    start: Instant | None = msgspec.field(default=None, name="from")
    end: Instant | None = msgspec.field(default=None, name="to")
    release: str = "champion"
    """An id, or champion, or stable."""
    recompute_features: bool = False
    decided_by: str = ""
    undecided: bool = False
    apply: bool = False
    why: str = "a replay"


class ReplayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine goes by."""

    run: str
    prefix: str
    days: int
    apply: bool
    undecided: bool
    release_id: str
    who: str
    why: str
    noted: tuple[str, ...] = ()
    """Objects below WAITING that this run answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanServices:
    """What planning talks to."""

    lake: Lake
    releases: Lake
    pointers: PointerStore
    queue: UndecidedReader


def plan_replay(
    event: Mapping[str, Any], services: PlanServices, settings: Settings, *, now: dt.datetime
) -> ReplayPlan:
    """Plan a replay; of no days where there is nothing to do.

    Raises:
        ReplayRefused: the input is malformed, or nothing may decide.
        ObjectUnavailable: the lake or the release cannot be read.
    """
    try:
        asked = msgspec.convert(event.get("input") or {}, ReplayInput)
    except msgspec.ValidationError as failure:
        raise ReplayRefused(
            f"the input must be like that in functions/replay/plan_step.py, came: {failure}"
        ) from failure
    run = f"{now:%Y%m%dT%H%M%S}-{str(event['execution'])[-12:]}"
    prefix = f"{REPLAYS}runs/{run}/"
    noted, hours = _hours(asked, services, settings, run=run, now=now)
    release = _release(asked.release, services.pointers) if hours else ""
    plan = ReplayPlan(
        run=run, prefix=prefix, days=len({hour.date() for hour in hours}), apply=asked.apply, undecided=asked.undecided,
        release_id=release, who=f"replay {run}", why=asked.why, noted=tuple(noted),
    )  # fmt: skip
    if not hours:
        return plan
    lake = services.lake
    for name in (RELEASE_FILE, WEIGHTS_FILE):
        lake.write(f"{prefix}release/{name}", services.releases.read(release_key(release, name)))
    recompute = asked.recompute_features or asked.undecided
    by_day: defaultdict[dt.date, list[dt.datetime]] = defaultdict(list)
    for hour in hours:
        by_day[hour.date()].append(hour)
    days = []
    for date, own in sorted(by_day.items()):
        folder = f"{prefix}{date}/"
        ask = ReplayAsked(
            release_id=release, start=min(own), end=max(own) + HOUR, recompute=recompute, undecided=asked.undecided,
            decided_by=asked.decided_by, profile_days=settings.profile_days, now=now, found=f"{folder}found.json",
        )  # fmt: skip
        lake.write(f"{folder}ask/ask.json", msgspec.json.encode(ask))
        keys = _keys(lake, ask)
        lake.write(f"{folder}lake.manifest", msgspec.json.encode([{"prefix": lake.uri("")}, *keys]))
        days.append(
            {
                "job": f"slidr-{settings.stage}-replay-{run.lower()}-{date}",
                "ask": lake.uri(f"{folder}ask/"),
                "release": lake.uri(f"{prefix}release/"),
                "manifest": lake.uri(f"{folder}lake.manifest"),
                "output": lake.uri(REPLAYS),
            }
        )
    lake.write(f"{prefix}days.json", msgspec.json.encode(days))
    return plan


def _hours(
    asked: ReplayInput, services: PlanServices, settings: Settings, *, run: str, now: dt.datetime
) -> tuple[list[str], list[dt.datetime]]:
    """The noted objects that are answered, and the hours that have verdicts or clicks in the lake."""
    if asked.start is not None and asked.end is not None:
        return [], [hour for hour in _between(asked.start, asked.end) if _is_there(services.lake, hour)]
    if not asked.undecided:
        raise ReplayRefused(
            "a replay needs from and to, such as 2026-11-23T14:00Z, or undecided: true. Say which hours."
        )
    return _noted(services, run=run, before=now - dt.timedelta(seconds=settings.settled_after_s))


def _between(start: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    for at in (start, end):
        if (at.minute, at.second, at.microsecond) != (0, 0, 0):
            raise ReplayRefused(f"a replay begins and ends at whole hours, came {at.isoformat()}")
    if start >= end:
        raise ReplayRefused(f"a replay must end after it begins, came {start.isoformat()} to {end.isoformat()}")
    return hours_between(start, end)


def _is_there(lake: Lake, hour: dt.datetime) -> bool:
    return any(lake.keys(f"{table}{partition(hour)}") for table in ("verdicts/", "clicks/"))


def _noted(services: PlanServices, *, run: str, before: dt.datetime) -> tuple[list[str], list[dt.datetime]]:
    """Take what the queue holds into the lake, then all that is noted there and old enough.

    A message is deleted when its hour is noted, a note when its hour was replayed: whatever is cut off between them is
    found again by the next run.
    """
    lake = services.lake
    for number, batch in enumerate(services.queue.batches()):
        hours = sorted({hour_of(click.at) for click in batch.clicks})
        lake.write(f"{WAITING}{run}-{number:05d}.json", msgspec.json.encode(hours))
        services.queue.delete(batch)
    notes: list[str] = []
    found: set[dt.datetime] = set()
    for key in lake.keys(WAITING):
        hours = msgspec.json.decode(lake.read(key), type=list[dt.datetime])
        if all(hour + HOUR <= before for hour in hours):
            notes.append(key)
            found.update(hours)
    return notes, sorted(found)


def _keys(lake: Lake, ask: ReplayAsked) -> list[str]:
    """All objects that the job of a day reads."""
    hours = hours_between(ask.start, ask.end)
    keys = [key for hour in hours for table in ("verdicts/", APPLIED, CORRECTIONS, CHUNKS, "clicks/")
            for key in lake.keys(f"{table}{partition(hour)}")]  # fmt: skip
    if ask.recompute:
        days = [ask.start.date() - number * DAY for number in range(1, ask.profile_days + 1)]
        warm = [ask.start - number * HOUR for number in range(1, _WARM_UP_HOURS + 1)]
        keys += [key for day in days for key in lake.keys(f"clicks/date={day}/")]
        keys += [key for hour in warm for key in lake.keys(f"clicks/{partition(hour)}")]
        keys += lake.keys(f"clicks/date={ask.start.date()}/")
    return sorted(set(keys))


def _release(named: str, pointers: PointerStore) -> str:
    if named not in {"champion", "stable"}:
        return named
    pointer = pointers.read()
    found = pointer.champion if named == "champion" else pointer.stable
    if found is None:
        raise ReplayRefused(f"the pointer names no {named} release. Say which release decides: its id.")
    return found


def answered(lake: Lake, notes: Sequence[str]) -> None:
    """Delete notes whose hours were replayed.

    Raises:
        ObjectUnavailable: one is still there: the next run replays its hours again, which adds nothing.
    """
    for key in notes:
        lake.delete(key)
