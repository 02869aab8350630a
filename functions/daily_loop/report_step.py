"""The last step, however a run ended: its page and record in the lake, a message, and the lease given back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from functions.adapters.lake import Lake
from functions.adapters.run_lease import RunLease
from functions.daily_loop.page import page
from functions.daily_loop.run_plan import done_key
from functions.daily_loop.run_record import RunRecord, record_of, steps_of

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_stepfunctions import SFNClient

_SUBJECT: Final = 100
"""The service's limit of a subject's length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportServices:
    """What reporting talks to."""

    lake: Lake
    lease: RunLease
    machine: SFNClient
    sns: SNSClient
    topic_arn: str


def report(event: Mapping[str, Any], services: ReportServices, *, stage: str, instance_type: str) -> dict[str, Any]:
    """Tell what became of a run: `outcome`, `why`, `page` (an address; empty where no run was planned).

    Args:
        event: `state` of the machine, and `execution`.
        services: see there.
        stage: its name.
        instance_type: of jobs, for what they cost.

    Raises:
        ObjectUnavailable: nothing can be kept.
    """
    execution = str(event["execution"])
    steps = steps_of(_history(services.machine, execution), instance_type=instance_type)
    record = record_of(event["state"], services.lake, stage=stage, execution=execution, steps=steps)
    address = ""
    if record.prefix:
        lake, key = services.lake, f"{record.prefix}page.html"
        lake.write(key, page(record).encode(), content_type="text/html; charset=utf-8")
        lake.write(f"{record.prefix}run.json", msgspec.json.encode(_kept(record)))
        if record.outcome == "promoted":
            done = {"release_id": record.release, "run": record.run}
            lake.write(done_key(dt.date.fromisoformat(record.day)), msgspec.json.encode(done))
        address = lake.uri(key)
    services.sns.publish(TopicArn=services.topic_arn, Subject=subject(record), Message=message(record, address))
    services.lease.give_back(execution)
    return {"outcome": record.outcome, "why": record.why, "page": address, "release_id": record.release}


def subject(record: RunRecord) -> str:
    """The message's subject: one line of ASCII that the service takes."""
    said = record.release if record.outcome == "promoted" else record.why
    text = f"SLIDR {record.stage}: {record.day} {record.outcome} {said}"
    plain = "".join(letter if " " <= letter <= "~" else " " for letter in text)
    return plain if len(plain) <= _SUBJECT else f"{plain[: _SUBJECT - 3]}..."


def message(record: RunRecord, address: str) -> str:
    """The message's text."""
    serving = record.release if record.outcome == "promoted" else (record.champion or "no release")
    lines = [
        f"The run of {record.day or 'an unknown day'} in stage {record.stage}: {record.outcome}.",
        record.why,
        f"In force: {serving}.",
        f"Page: {address}" if address else "",
        f"Execution: {record.execution}",
    ]
    return "\n".join(filter(None, lines))


def _history(machine: SFNClient, execution: str) -> Sequence[Mapping[str, Any]]:
    pages = machine.get_paginator("get_execution_history").paginate(executionArn=execution, includeExecutionData=False)
    return [event for one in pages for event in one["events"]]


def _kept(record: RunRecord) -> dict[str, Any]:
    """The record without what stands in files of its own."""
    told = asdict(record)
    for name in ("curves", "evaluation", "dataset", "shadow", "results"):
        del told[name]
    return told
