"""Runs of the daily loop: starting one, following its steps, and what came of it."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from local.cloud.s3_uri import split_uri
from local.session import Session, state_directory
from slidr.errors import SlidrError

_POLL_S: Final = 1.0
_TOLD_AFTER_S: Final = 0.05
"""States that take less only choose the next one."""


class RunNotFound(SlidrError):
    """There is no such execution of the daily loop."""


class RunStillGoing(SlidrError):
    """A run of the daily loop did not end in the time that was given to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A state of the machine, from when it was entered to when it was left, waiting included."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyRun:
    """An execution that has ended."""

    execution: str
    outcome: str
    """promoted, stopped or failed; the execution's own status where it could not even report."""
    why: str
    page: str
    """s3:// address of its page; empty where it made none."""
    release: str
    seconds: float
    steps: Sequence[Step]


def start_run(session: Session, asked: Mapping[str, Any]) -> str:
    """Start an execution (functions/daily_loop/run_plan.RunAsked says what it takes); its ARN."""
    started = session.client("stepfunctions").start_execution(
        stateMachineArn=session.outputs.release_machine_arn, input=json.dumps(asked)
    )
    return str(started["executionArn"])


def run_ended(
    session: Session,
    execution: str,
    *,
    within_s: float | None = None,
    on_step: Callable[[Step], None] = lambda _step: None,
) -> DailyRun:
    """Wait until an execution has ended.

    Args:
        session: the stage.
        execution: its ARN.
        within_s: how long to wait; None: as long as it takes.
        on_step: told of each step that is done.

    Raises:
        RunNotFound: there is none of this name.
        RunStillGoing: it has not ended by then.
    """
    machine, told = session.client("stepfunctions"), 0
    deadline = None if within_s is None else time.monotonic() + within_s
    while True:
        try:
            described = machine.describe_execution(executionArn=execution)
        except machine.exceptions.ExecutionDoesNotExist as failure:
            raise RunNotFound(f"a run of the daily loop is required, there is no execution {execution}.") from failure
        events = _events(machine, execution)
        steps = _steps(events)
        for step in steps[told:]:
            on_step(step)
        told = len(steps)
        if described["status"] != "RUNNING":
            break
        if deadline is not None and time.monotonic() > deadline:
            raise RunStillGoing(f"{execution} must end within {within_s:.0f} s, it is still running.")
        time.sleep(_POLL_S)
    state = _last_state(events)
    report = state.get("report") or {}
    return DailyRun(
        execution=execution,
        outcome=str(report.get("outcome", described["status"].lower())),
        why=str(report.get("why") or described.get("cause", "")),
        page=str(report.get("page", "")),
        release=str((state.get("release") or {}).get("release_id", "")),
        seconds=(described["stopDate"] - described["startDate"]).total_seconds(),
        steps=steps,
    )


def last_run(session: Session) -> str | None:
    """The execution that was started last, if any was."""
    listed = session.client("stepfunctions").list_executions(
        stateMachineArn=session.outputs.release_machine_arn, maxResults=1
    )
    return next((str(one["executionArn"]) for one in listed["executions"]), None)


def kept_page(session: Session, page: str) -> Path:
    """A copy of a run's page beside this machine's state, for a browser."""
    bucket, key = split_uri(page)
    path = state_directory() / "pages" / f"{key.split('/')[-2]}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(session.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    return path


def _events(machine: Any, execution: str) -> list[dict[str, Any]]:
    pages = machine.get_paginator("get_execution_history").paginate(executionArn=execution)
    return [event for page in pages for event in page["events"]]


def _last_state(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the machine itself knew last: the whole of a run."""
    for event in reversed(events):
        for details in ("stateExitedEventDetails", "stateEnteredEventDetails"):
            told = event.get(details) or {}
            text = told.get("output") or told.get("input")
            if text and isinstance(state := json.loads(text), dict) and ("plan" in state or "stopped" in state):
                return state
    return {}


def _steps(events: Sequence[Mapping[str, Any]]) -> list[Step]:
    """The steps that are done and took some time, in the order in which they ended."""
    entered: dict[str, dt.datetime] = {}
    steps = []
    for event in events:
        if details := event.get("stateEnteredEventDetails"):
            entered[details["name"]] = event["timestamp"]
        elif (details := event.get("stateExitedEventDetails")) and (began := entered.pop(details["name"], None)):
            seconds = (event["timestamp"] - began).total_seconds()
            if seconds >= _TOLD_AFTER_S:
                steps.append(Step(name=details["name"], seconds=seconds))
    return steps
