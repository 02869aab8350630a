"""EventBridge Scheduler as the daily loop uses it: one-time schedules that are set anew, and inputs with their time."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from tests.cloud.conftest import ROLE, Emulator, eventually

MACHINE = {"StartAt": "Keep", "States": {"Keep": {"Type": "Pass", "End": True}}}


def schedule(emulator: Emulator, machine: str, name: str, **given: Any) -> dict[str, Any]:
    soon = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    return {
        "Name": name,
        "ScheduleExpression": f"at({soon:%Y-%m-%dT%H:%M:%S})",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": machine, "RoleArn": ROLE, "Input": json.dumps(given)},
    }


def inputs(emulator: Emulator, machine: str) -> list[dict[str, Any]]:
    client = emulator.client("stepfunctions")
    listed = client.list_executions(stateMachineArn=machine)["executions"]
    return [json.loads(client.describe_execution(executionArn=one["executionArn"])["input"]) for one in listed]


def test_a_schedule_that_is_set_anew_fires_anew_and_tells_its_time(emulator: Emulator) -> None:
    machine = emulator.client("stepfunctions").create_state_machine(
        name="kept-by-a-schedule", definition=json.dumps(MACHINE), roleArn=ROLE
    )["stateMachineArn"]
    client = emulator.client("scheduler")
    client.create_schedule(**schedule(emulator, machine, "anew", scheduled="<aws.scheduler.scheduled-time>"))
    (first,) = eventually(lambda: inputs(emulator, machine), within_s=30)
    assert abs(dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(first["scheduled"])) < dt.timedelta(minutes=1)
    client.update_schedule(**schedule(emulator, machine, "anew", day="2026-11-23"))
    found = eventually(lambda: len(told := inputs(emulator, machine)) == 2 and told, within_s=30)
    assert {"day": "2026-11-23"} in found
