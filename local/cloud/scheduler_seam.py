"""Seam: schedules of EventBridge Scheduler as the service fires them.

A schedule that is changed counts from the change, and one of a single moment fires at its new moment too; the input of
its target may name when it was due. ministack fires a one-time schedule once for ever, and fills nothing in.
Source: EventBridge Scheduler user guide, "Adding context attributes".
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from local.cloud import seams


def filled(text: str, *, arn: str, at: dt.datetime, execution: str) -> str:
    """The input of a target with the context attributes of one firing.

    >>> at = dt.datetime(2026, 11, 23, 2, 30, tzinfo=dt.UTC)
    >>> filled('{"scheduled": "<aws.scheduler.scheduled-time>"}', arn="a", at=at, execution="e")
    '{"scheduled": "2026-11-23T02:30:00Z"}'
    """
    values = {
        "<aws.scheduler.schedule-arn>": arn,
        "<aws.scheduler.scheduled-time>": f"{at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "<aws.scheduler.execution-id>": execution,
        "<aws.scheduler.attempt-number>": "1",
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def install() -> None:
    """Register the differences."""
    fired = seams.reach("services.scheduler._schedule_last_fired")
    account, region = seams.reach("core.responses.get_account_id"), seams.reach("core.responses.get_region")

    def update(name: str, body: dict[str, Any]) -> Any:
        fired.pop((account(), region(), f"{body.get('GroupName', 'default')}/{name}"), None)
        return theirs(name, body)

    def invoke(target: Mapping[str, Any], event: Mapping[str, Any], rule: Any, view: Any = None) -> Any:
        return invoked(_with_context(target, event), event, rule, view)

    theirs = seams.replace("services.scheduler._update_schedule", update)
    invoked = seams.replace("services.eventbridge._invoke_target", invoke)


def _with_context(target: Mapping[str, Any], event: Mapping[str, Any]) -> Mapping[str, Any]:
    if event.get("Source") != "aws.scheduler" or not target.get("Input"):
        return target
    arn = next(iter(event.get("Resources") or []), "")
    at = dt.datetime.fromtimestamp(float(event["Time"]), tz=dt.UTC)
    return {**target, "Input": filled(target["Input"], arn=arn, at=at, execution=str(uuid.uuid4()))}
