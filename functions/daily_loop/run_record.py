"""What is known of a run when it ends: its state, kept results, steps. Page and message are made of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from functions.adapters.lake import Lake
from functions.daily_loop.prices import dollars
from slidr.guardrails import Result

Outcome = Literal["promoted", "stopped", "failed"]
BY_DESIGN: Final = frozenset(
    {
        "AlreadyReleased",
        "CalibrationInfeasible",
        "DayNotMature",
        "EvidenceInvalid",
        "GuardrailsStopped",
        "GuardrailsUnreadable",
        "NothingNew",
        "NothingToTrainOn",
        "PromotionFrozen",
        "PromotionOutdated",
        "ReleaseConflict",
        "ReleaseInvalid",
        "RunInProgress",
        "UnusableTrainingData",
    }
)
"""Errors that say that a release must not go on; all others say that a step could not do its work."""
JOBS: Final = ("BuildDataset", "TrainBesideProfiles", "Evaluate")
"""Steps that an instance of ours works for."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A state of the machine, from when it was entered to when it was left."""

    name: str
    seconds: float
    dollars: float | None = None
    """Of the job's instance, about; None for steps without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run that has ended."""

    run: str
    stage: str
    day: str
    outcome: Outcome
    why: str
    """Empty where it was promoted."""
    release: str
    champion: str
    """That served when the run was planned."""
    execution: str
    asked: str
    """Who started it, or why."""
    steps: Sequence[Step] = ()
    dataset: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    curves: str = ""
    """A fragment of HTML of our own."""
    results: Mapping[str, Sequence[Result]] = field(default_factory=dict)
    """Of guardrails, by what they looked at."""
    shadow: Mapping[str, Any] = field(default_factory=dict)
    mature: str = ""
    """The former champion that became stable."""
    profiles: str = ""
    """What became of the profile table."""
    prefix: str = ""


def stop_of(stopped: Mapping[str, Any] | None) -> tuple[Outcome, str]:
    """The outcome of a run and why, by what the machine caught.

    >>> stop_of(None), stop_of({"Error": "NothingNew", "Cause": '{"errorMessage": "the same again"}'})
    (('promoted', ''), ('stopped', 'NothingNew: the same again'))
    """
    if not stopped:
        return "promoted", ""
    error, cause = str(stopped.get("Error", "")), str(stopped.get("Cause", ""))
    name, message = error, cause
    try:
        told = msgspec.json.decode(cause)
    except msgspec.DecodeError:
        told = None
    if isinstance(told, Mapping):
        message = str(told.get("errorMessage") or told.get("FailureReason") or cause)
    # A job's own error stands in its failure reason: "AlgorithmError: UnusableTrainingData: ..., exit code: 1".
    inner = message.removeprefix("AlgorithmError: ").partition(":")[0]
    if inner in BY_DESIGN:
        name, message = inner, message.removeprefix("AlgorithmError: ").partition(":")[2].strip()
    return ("stopped" if name in BY_DESIGN else "failed"), f"{name}: {message}"


def steps_of(events: Sequence[Mapping[str, Any]], *, instance_type: str) -> list[Step]:
    """The machine's steps in order, of its history; a step that was entered twice is told once."""
    entered: dict[str, dt.datetime] = {}
    seconds: dict[str, float] = {}
    for event in events:
        if details := event.get("stateEnteredEventDetails"):
            entered[details["name"]] = event["timestamp"]
        elif (details := event.get("stateExitedEventDetails")) and (began := entered.pop(details["name"], None)):
            took = (event["timestamp"] - began).total_seconds()
            seconds[details["name"]] = seconds.get(details["name"], 0.0) + took
    return [
        Step(name=name, seconds=took, dollars=dollars(instance_type, took) if name in JOBS else None)
        for name, took in seconds.items()
    ]


def record_of(state: Mapping[str, Any], lake: Lake, *, stage: str, execution: str, steps: Sequence[Step]) -> RunRecord:
    """All that is known of a run, by the machine's state and what the run kept; whatever is missing is left out."""
    plan = state.get("plan") or {}
    release = state.get("release") or {}
    prefix = str(plan.get("prefix", ""))
    outcome, why = stop_of(state.get("stopped"))

    def kept(name: str, otherwise: Any) -> Any:
        content = lake.find(f"{prefix}{name}") if prefix else None
        return msgspec.json.decode(content) if content else otherwise

    results = {
        title: msgspec.convert(found, tuple[Result, ...])
        for title, name in (
            ("data", "checks/guardrails-data.json"),
            ("model", "evaluation/guardrails-model.json"),
            ("former champion", "evaluation/guardrails-stable.json"),
        )
        if (found := kept(name, []))
    }
    shadow = {name: told for name in ("shadow", "canary") if (told := kept(f"{name}.json", {}))}
    for name, told in shadow.items():
        results[name] = msgspec.convert(told["results"], tuple[Result, ...])
    curves = lake.find(f"{prefix}evaluation/curves.html") if prefix else None
    return RunRecord(
        run=str(plan.get("run", "")),
        stage=stage,
        day=str(plan.get("day", "")),
        outcome=outcome,
        why=why,
        release=str(release.get("release_id", "")),
        champion=str(plan.get("champion", "")),
        execution=execution,
        asked=str(plan.get("why", "")),
        steps=steps,
        dataset=kept("checks/dataset.json", {}),
        evaluation=kept("evaluation/evaluation.json", {}),
        curves=curves.decode() if curves else "",
        results=results,
        shadow=shadow,
        mature=str(release.get("mature", "")) if outcome == "promoted" else "",
        profiles=_profiles((state.get("made") or {}).get("profiles")),
        prefix=prefix,
    )


def _profiles(told: Any) -> str:
    """What became of the profiles.

    >>> _profiles(None), _profiles({"Error": "PublishFailed", "Cause": ""}), _profiles({"written": True})
    ('', 'not written: PublishFailed', 'written')
    """
    if not isinstance(told, Mapping):
        return ""
    return f"not written: {told['Error']}" if "Error" in told else "written"
