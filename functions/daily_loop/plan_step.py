"""The first step: take the lease, decide what the run is about, and lay out what its jobs read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from functions.adapters.lake import Lake
from functions.adapters.run_lease import RunLease
from functions.adapters.serving_state import AuditLog, PointerStore
from functions.daily_loop.run_plan import (
    ONE_DAY,
    AlreadyReleased,
    RunAsked,
    RunPlan,
    clicks_to_read,
    copy_releases,
    day_of,
    former_champions,
    kept_former,
    manifest,
    matured_former,
    midnight,
    purchases_to_read,
    released_before,
    run_name,
)
from functions.daily_loop.settings import Settings
from slidr.errors import SlidrError


class RunInputInvalid(SlidrError):
    """What the execution was started with is no input of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanServices:
    """What planning talks to."""

    lake: Lake
    releases: Lake
    pointers: PointerStore
    audit: AuditLog
    lease: RunLease


def plan_run(event: Mapping[str, Any], services: PlanServices, settings: Settings, *, now: dt.datetime) -> RunPlan:
    """The plan of an execution; kept in the lake for its jobs.

    Args:
        event: `input` (see RunAsked) and `execution`.
        services: see there.
        settings: days, budget, lease.
        now: UTC.

    Raises:
        RunInputInvalid: the input is malformed.
        RunInProgress: another run holds the lease.
        DayNotMature: see `day_of`.
        AlreadyReleased: a run of this day was promoted, and `again` was not asked for.
        NothingToTrainOn: no clicks or no purchases.
    """
    try:
        asked = msgspec.convert(event.get("input") or {}, RunAsked)
    except msgspec.ValidationError as failure:
        raise RunInputInvalid(
            f'the input must be like {{"day": "2026-11-23", "again": false, "why": "..."}}, came: {failure}'
        ) from failure
    execution = str(event["execution"])
    day = day_of(asked, now=now)
    services.lease.take(execution, now_s=int(now.timestamp()), lease_s=settings.lease_s)
    if not asked.again and (known := released_before(services.lake, day)):
        raise AlreadyReleased(
            f"a day that was not released yet is required, the run of {day} put {known} in force. Run it again with "
            "again: true (slidr train-day --again)."
        )
    lake, pointer = services.lake, services.pointers.read()
    name = run_name(day, execution)
    prefix = f"training/{name}/"
    until = midnight(day) + 2 * ONE_DAY
    former = former_champions(services.audit.entries(), pointer)
    matured = matured_former(former, until=until)
    plan = RunPlan(
        run=name,
        job=f"slidr-{settings.stage}-{name}",
        day=day,
        training_days=settings.training_days,
        profile_days=settings.profile_days,
        budget=float(settings.fpr_budget),
        prefix=prefix,
        uri=lake.uri(prefix),
        clicks=lake.uri(f"{prefix}clicks.manifest"),
        purchases=lake.uri(f"{prefix}purchases.manifest"),
        compare=lake.uri(f"{prefix}compare/"),
        champion=pointer.champion or "",
        stable=pointer.stable or "",
        former=matured.release if matured else "",
        kept=kept_former(former, until=until),
        former_interval=(matured.start, matured.end) if matured else None,
        generation=pointer.generation,
        started=now,
        why=asked.why or ("the schedule" if asked.scheduled else "an operator"),
    )
    clicks = clicks_to_read(lake, day, days_before=settings.training_days + settings.profile_days)
    lake.write(f"{prefix}clicks.manifest", manifest(lake, "clicks", clicks))
    lake.write(f"{prefix}purchases.manifest", manifest(lake, "purchases", purchases_to_read(lake, day)))
    lake.write(f"{prefix}compare/plan.json", msgspec.json.encode(plan))
    copy_releases(services.releases, lake, plan, [one for one in (plan.champion, plan.former) if one])
    return plan
