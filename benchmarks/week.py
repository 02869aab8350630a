"""A week of the daily loop on this machine: seven simulated days, one run a day, each started by the deployed schedule.

The lake begins with the days that the first release is made from; before each run the day that lets its day mature is
brought in. The schedule's own expression is set to a moment soon, since a simulated day has passed when its records
are there; all else of it (role, target, machine) is as deployed. One of the days is disturbed: its purchases are lost,
so its run must be stopped, with the champion serving on.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.daily_runs import TRAINING_DAYS, LoopNotRun, date_of
from benchmarks.deployed import running_cloud
from benchmarks.harness import RESULTS, Measured
from benchmarks.loop import backfill
from functions.adapters.serving_state import PointerStore
from local.cloud.s3_uri import split_uri
from local.console import console
from local.daily_run import DailyRun, run_ended
from local.session import Session

FIGURES: Final = {
    "days": "simulated days, a run each",
    "promoted": "runs that put a release in force",
    "stopped": "runs that were stopped, each for a stated reason",
    "seconds_a_run": "of a run, median",
}
DAYS: Final = 7
LOST: Final = 4
"""The day of the week whose purchases are lost."""
CLICKS_PER_DAY: Final = 8_000
_SOON: Final = dt.timedelta(seconds=5)
_STARTS_WITHIN_S: Final = 120.0
_ENDS_WITHIN_S: Final = 900.0


def measure() -> Measured:
    runs: list[tuple[dt.date, DailyRun, str]] = []
    with running_cloud():
        session = Session()
        backfill(days=TRAINING_DAYS + 1, clicks_per_day=CLICKS_PER_DAY)
        for number in range(DAYS):
            day = TRAINING_DAYS + number
            backfill(days=1, first_day=day + 1, clicks_per_day=CLICKS_PER_DAY)
            if number == LOST:
                _lose_purchases(session, date_of(day))
            run = run_ended(session, _scheduled(session, date_of(day)), within_s=_ENDS_WITHIN_S)
            pointer = PointerStore(session.client("dynamodb"), session.outputs.control_table).read()
            page = _kept(session, run, date_of(day))
            runs.append((date_of(day), run, pointer.champion or ""))
            console.print(f"  {date_of(day)}: {run.outcome} {run.release} {run.why[:120]} ({run.seconds:.0f} s) {page}")
    missed = []
    for number, (day, run, champion) in enumerate(runs):
        wanted = "stopped" if number == LOST else "promoted"
        if run.outcome not in {wanted, "stopped"} or not (run.why or run.outcome == "promoted"):
            missed.append(f"{day} {wanted}, came {run.outcome}: {run.why}")
        if run.outcome == "promoted" and champion != run.release:
            missed.append(f"{day}: champion {run.release}, came {champion}")
        if run.outcome == "stopped" and champion != runs[number - 1][2]:
            missed.append(f"{day}: champion {runs[number - 1][2]} serving on, came {champion}")
    seconds = sorted(run.seconds for _, run, _ in runs)
    rows: list[dict[str, Any]] = [
        {"day": f"{day}", "outcome": run.outcome, "release": run.release, "champion after": champion, "why": run.why,
         "seconds": run.seconds} for day, run, champion in runs
    ]  # fmt: skip
    steps = [f"{day}: " + ", ".join(f"{s.name} {s.seconds:.1f}" for s in run.steps) for day, run, _ in runs]
    return Measured(
        figures={
            "days": len(runs),
            "promoted": sum(run.outcome == "promoted" for _, run, _ in runs),
            "stopped": sum(run.outcome == "stopped" for _, run, _ in runs),
            "seconds_a_run": seconds[len(seconds) // 2],
        },
        spread={"seconds_a_run": (seconds[0], seconds[-1])},
        rows=rows,
        notes=[f"{CLICKS_PER_DAY:,} clicks a day; pages in {RESULTS / 'week'}", *steps],
        missed=missed,
    )


def _scheduled(session: Session, day: dt.date) -> str:
    """Have the deployed schedule start the run of a day soon; the execution that it started."""
    scheduler, machines = session.client("scheduler"), session.client("stepfunctions")
    machine = session.outputs.release_machine_arn

    def known() -> set[str]:
        return {one["executionArn"] for one in machines.list_executions(stateMachineArn=machine)["executions"]}

    before = known()
    group, _, name = session.outputs.schedule_name.rpartition("/")
    schedule = scheduler.get_schedule(Name=name, **({"GroupName": group} if group else {}))
    wanted = ("Name", "GroupName", "FlexibleTimeWindow", "Target", "State")
    target = {**schedule["Target"], "Input": json.dumps({"day": f"{day}"})}
    at = (dt.datetime.now(dt.UTC) + _SOON).strftime("%Y-%m-%dT%H:%M:%S")
    scheduler.update_schedule(
        **{key: schedule[key] for key in wanted if key in schedule} | {"Target": target, "State": "ENABLED"},
        ScheduleExpression=f"at({at})",
    )
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < deadline:
        started = {
            one["executionArn"] for one in machines.list_executions(stateMachineArn=machine)["executions"]
        } - before
        if started:
            return str(started.pop())
        time.sleep(0.5)
    raise LoopNotRun(f"the schedule {session.outputs.schedule_name} must start a run within {_STARTS_WITHIN_S:.0f} s")


def _lose_purchases(session: Session, day: dt.date) -> None:
    """Take a day's purchases out of the lake: a stream that was down."""
    s3, bucket = session.client("s3"), session.outputs.lake_bucket
    for item in s3.list_objects_v2(Bucket=bucket, Prefix=f"purchases/date={day}/").get("Contents", []):
        s3.delete_object(Bucket=bucket, Key=item["Key"])


def _kept(session: Session, run: DailyRun, day: dt.date) -> Path | str:
    """The run's page, copied beside the figures."""
    if not run.page:
        return "no page"
    folder = RESULTS / "week"
    folder.mkdir(parents=True, exist_ok=True)
    bucket, key = split_uri(run.page)
    path = folder / f"{day}.html"
    path.write_bytes(session.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    return path
