"""Runs of the daily loop on a local cloud: the deployed state machine, its steps, and the memory of what they start."""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from local.cloud.children import MARK
from local.session import Session
from local.sources.simulated import FIRST_DAY
from slidr.errors import SlidrError

TRAINING_DAYS: Final = 10
"""As a stage has by default; the day after them judges, and the one after that lets it mature."""
_POLL_S: Final = 0.5
_SAMPLE_S: Final = 0.1


class LoopNotRun(SlidrError):
    """The state machine did not run: no figure would mean anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A state of the machine, from when it was entered to when it was left; waiting included."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyRun:
    """One execution, ended."""

    execution: str
    outcome: str
    """promoted, stopped or failed."""
    why: str
    page: str
    """s3:// address of its page; empty where it made none."""
    release: str
    seconds: float
    steps: Sequence[Step]


@dataclass(slots=True, kw_only=True)
class Memory:
    """The most that any one process held, by what it is."""

    peak_gb: float = 0.0
    of: str = ""


def date_of(day: int) -> dt.date:
    """The date of a simulated day."""
    return (FIRST_DAY + day * dt.timedelta(days=1)).date()


def start_run(session: Session, given: Mapping[str, Any]) -> str:
    """Start an execution by hand; its ARN."""
    started = session.client("stepfunctions").start_execution(
        stateMachineArn=session.outputs.release_machine_arn, input=json.dumps(given)
    )
    return str(started["executionArn"])


def run_ended(session: Session, execution: str, *, within_s: float) -> DailyRun:
    """Wait until an execution has ended.

    Raises:
        LoopNotRun: it still runs after so long.
    """
    machine = session.client("stepfunctions")
    deadline = time.monotonic() + within_s
    while (told := machine.describe_execution(executionArn=execution))["status"] == "RUNNING":
        if time.monotonic() > deadline:
            raise LoopNotRun(f"{execution} must end within {within_s:.0f} s, it still runs")
        time.sleep(_POLL_S)
    events = _events(machine, execution)
    state = _last_state(events)
    report = state.get("report") or {}
    return DailyRun(
        execution=execution,
        outcome=report.get("outcome", told["status"].lower()),
        why=report.get("why", told.get("cause", "")),
        page=report.get("page", ""),
        release=(state.get("release") or {}).get("release_id", ""),
        seconds=(told["stopDate"] - told["startDate"]).total_seconds(),
        steps=_steps(events),
    )


def _events(machine: Any, execution: str) -> list[dict[str, Any]]:
    pages = machine.get_paginator("get_execution_history").paginate(executionArn=execution)
    return [event for page in pages for event in page["events"]]


def _last_state(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the last state of the machine itself was given or gave: the whole of what is known of the run."""
    for event in reversed(events):
        for details in ("stateExitedEventDetails", "stateEnteredEventDetails"):
            told = event.get(details) or {}
            text = told.get("output") or told.get("input")
            if text and "plan" in (state := json.loads(text)):
                return dict(state)
    return {}


def _steps(events: Sequence[Mapping[str, Any]]) -> list[Step]:
    entered: dict[str, dt.datetime] = {}
    steps: dict[str, float] = {}
    for event in events:
        if details := event.get("stateEnteredEventDetails"):
            entered[details["name"]] = event["timestamp"]
        elif (details := event.get("stateExitedEventDetails")) and details["name"] in entered:
            took = (event["timestamp"] - entered.pop(details["name"])).total_seconds()
            steps[details["name"]] = steps.get(details["name"], 0.0) + took
    return [Step(name=name, seconds=seconds) for name, seconds in steps.items()]


@contextmanager
def memory_watched() -> Iterator[Memory]:
    """The most that any process of the local cloud holds meanwhile, by VmHWM: no peak is missed between two looks."""
    memory, done = Memory(), threading.Event()

    def watch() -> None:
        while not done.wait(_SAMPLE_S):
            for process in _marked_processes():
                _look(process, memory)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        done.set()
        watcher.join()


@dataclass(slots=True)
class _Known:
    """Processes that were looked at already: reading an environment anew each time would cost more than it tells."""

    marked: dict[int, bool] = field(default_factory=dict)


_KNOWN: Final = _Known()


def _marked_processes() -> Iterator[psutil.Process]:
    for pid in psutil.pids():
        try:
            if pid not in _KNOWN.marked:
                _KNOWN.marked[pid] = pid != os.getpid() and MARK in psutil.Process(pid).environ()
            if _KNOWN.marked[pid]:
                yield psutil.Process(pid)
        except psutil.Error:
            _KNOWN.marked.pop(pid, None)


def _look(process: psutil.Process, memory: Memory) -> None:
    try:
        with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            peak = next((line for line in file if line.startswith("VmHWM:")), None)
        if peak and (held := int(peak.split()[1]) * 1024 / 1e9) > memory.peak_gb:
            memory.peak_gb, memory.of = held, " ".join(process.cmdline()[-4:])
    except (OSError, psutil.Error, ValueError):
        return  # it ended meanwhile
