"""The hours that have matured or become final: which ones a job looks at, and what is told of them."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from functions.adapters.lake import Lake
from functions.replay.plan_step import DAY
from functions.replay.settings import Settings
from slidr.billing import (
    BILLING,
    WATERMARK_KEY,
    HoursAsked,
    MaturedCell,
    MaturedHour,
    Watermark,
    final_key,
    matured_key,
)
from slidr.hours import HOUR, hour_of, hours_between, partition
from slidr.pointer import Pointer
from slidr.replay import APPLIED, CORRECTIONS
from slidr.telemetry import Role

if TYPE_CHECKING:
    from functions.observability import Telemetry

WINDOW: Final = DAY
"""Attribution window: after it a click has matured."""
_MOST: Final = 48
"""Hours of each kind that one run looks at; what is left is the next run's."""


def plan_hours(event: Mapping[str, Any], lake: Lake, settings: Settings, *, now: dt.datetime) -> dict[str, Any]:
    """Say which hours the job looks at; of none where there is nothing to do.

    Raises:
        ObjectUnavailable: the lake cannot be read or written.
    """
    run = f"{now:%Y%m%dT%H%M%S}-{str(event['execution'])[-12:]}"
    settled = hour_of(now - dt.timedelta(seconds=settings.settled_after_s))
    newest = settled - WINDOW
    recent = [newest - number * HOUR for number in range(1, _MOST + 1)]
    counted = {key for day in {hour.date() for hour in recent} for key in lake.keys(f"{BILLING}matured/date={day}/")}
    matured = sorted(hour for hour in recent if matured_key(hour) not in counted and _has_verdicts(lake, hour))
    known = lake.find(WATERMARK_KEY)
    end = hour_of(now - dt.timedelta(hours=settings.final_after_h))
    begin = msgspec.json.decode(known, type=Watermark).final_until if known else end - _MOST * HOUR
    final = hours_between(begin, end)[:_MOST]
    prefix = f"{BILLING}runs/{run}/"
    ask = HoursAsked(matured=tuple(matured), final=tuple(final), now=now)
    lake.write(f"{prefix}ask/ask.json", msgspec.json.encode(ask))
    keys = _keys(lake, ask)
    lake.write(f"{prefix}lake.manifest", msgspec.json.encode([{"prefix": lake.uri("")}, *keys]))
    return {
        "prefix": prefix,
        "job": f"slidr-{settings.stage}-hours-{run.lower()}",
        "ask": lake.uri(f"{prefix}ask/"),
        "manifest": lake.uri(f"{prefix}lake.manifest"),
        "output": lake.uri(BILLING),
        "objects": len(keys),
    }


def tell_hours(event: Mapping[str, Any], lake: Lake, pointer: Pointer, telemetry: Telemetry) -> dict[str, Any]:
    """Publish the false positives of the matured hours, and move the watermark behind the final ones.

    Raises:
        ObjectUnavailable: what the job wrote is missing, or the watermark cannot be written.
    """
    ask = msgspec.json.decode(lake.read(f"{event['plan']['prefix']}ask/ask.json"), type=HoursAsked)
    hours = [msgspec.json.decode(lake.read(matured_key(hour)), type=MaturedHour) for hour in ask.matured]
    cells: defaultdict[tuple[Role, str], list[MaturedCell]] = defaultdict(list)
    for hour in hours:
        for cell in hour.cells:
            cells[_role(cell.release_id, pointer), cell.slice].append(cell)
    if cells:
        telemetry.tell({}, _counts([cell for those in cells.values() for cell in those]))
    for (role, name), those in cells.items():
        telemetry.tell({"role": role.value}, _counts(those), within={"slice": name})
    if ask.final and all(lake.find(final_key(hour)) is not None for hour in ask.final):
        lake.write(WATERMARK_KEY, msgspec.json.encode(Watermark(final_until=ask.final[-1] + HOUR)))
    return {"matured": len(ask.matured), "final": len(ask.final)}


def _counts(cells: list[MaturedCell]) -> dict[str, float]:
    return {
        "MaturedPurchasing": sum(cell.purchasing for cell in cells),
        "MaturedPurchasingInvalid": sum(cell.invalid for cell in cells),
    }


def _role(release_id: str, pointer: Pointer) -> Role:
    """The role that the release has now; a former champion's clicks count for the champion."""
    if release_id == pointer.stable:
        return Role.STABLE
    return Role.CHALLENGER if release_id == pointer.challenger else Role.CHAMPION


def _has_verdicts(lake: Lake, hour: dt.datetime) -> bool:
    return bool(lake.keys(f"verdicts/{partition(hour)}"))


def _keys(lake: Lake, ask: HoursAsked) -> list[str]:
    """All objects that the job reads."""
    prefixes = {f"{table}{partition(hour)}" for hour in (*ask.matured, *ask.final)
                for table in ("verdicts/", APPLIED, CORRECTIONS)}  # fmt: skip
    window = int(WINDOW / HOUR)
    for hour in ask.matured:
        prefixes |= {f"clicks/{partition(hour + number * HOUR)}" for number in range(-window, window + 1)}
        prefixes |= {f"purchases/{partition(hour + number * HOUR)}" for number in range(window + 1)}
    return sorted({key for prefix in prefixes for key in lake.keys(prefix)})
