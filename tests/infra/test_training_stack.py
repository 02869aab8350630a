"""The daily release as it is deployed: every step can be retried, caught and timed out; every role does one thing."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from infra.release_machine import MachineSettings, definition
from infra.settings import StageInvalid, TrainingSettings, load_stage
from infra.training_stack import FUNCTIONS
from tests.infra.conftest import Synthesised, Template

SETTINGS = MachineSettings(
    functions={name: f"arn:aws:lambda:us-east-1:000000000000:function:{name}" for name in FUNCTIONS},
    lake_bucket="lake", lake_key="key", image="image", training_role="training", serving_role="serving",
    instance_type="ml.c7i.2xlarge", volume_gb=100, job_timeout_s=600, hyperparameters={}, endpoint="slidr-dev",
    endpoint_key="key", variant={"InstanceType": "ml.g5.xlarge"}, container_environment={}, security_groups=["group"],
    subnets=["subnet"], retain_variant=True, rollback_alarms=["one"], bake_s=300, update_timeout_s=3_600, poll_s=15,
    package_group="slidr-dev", shadow_s=60, canary_share=0.0, canary_s=60, retry_s=30, timeout_s=9_000,
)  # fmt: skip
ENDS = {"Report", "Withdraw", "NotReported", "ProfilesNotWritten"}


def states(machine: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every state, those of branches and maps too."""
    for name, state in machine["States"].items():
        yield name, state
        inner = [*state.get("Branches", []), *([state["ItemProcessor"]] if "ItemProcessor" in state else [])]
        for one in inner:
            yield from states(one)


MACHINE = definition(SETTINGS)
TASKS = [(name, state) for name, state in states(MACHINE) if state["Type"] == "Task"]


@pytest.mark.parametrize(("name", "state"), TASKS, ids=[name for name, _ in TASKS])
def test_every_task_has_a_timeout_and_retries_with_backoff_and_jitter(name: str, state: dict[str, Any]) -> None:
    assert state["TimeoutSeconds"] > 0
    for retry in state["Retry"]:
        assert retry["BackoffRate"] > 1
        assert retry["JitterStrategy"] == "FULL"
        assert 0 < retry["MaxAttempts"] < 10


@pytest.mark.parametrize(
    "name", [name for name, state in MACHINE["States"].items() if state["Type"] in {"Task", "Parallel"}]
)
def test_whatever_goes_wrong_ends_in_the_report(name: str) -> None:
    (catch,) = MACHINE["States"][name]["Catch"]
    assert catch["ErrorEquals"] == ["States.ALL"]
    assert catch["Next"] in ENDS


def test_every_state_is_reached_and_leads_on() -> None:
    reached, waiting = set(), [MACHINE["StartAt"]]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            state = MACHINE["States"][name]
            waiting += [state["Next"]] if "Next" in state else []
            waiting += [one["Next"] for one in (*state.get("Catch", []), *state.get("Choices", []))]
            waiting += [state["Default"]] if "Default" in state else []
    assert reached == set(MACHINE["States"])


def test_nothing_is_promoted_but_after_both_guardrails_and_the_shadow() -> None:
    order, name = [], MACHINE["StartAt"]
    while name:
        order.append(name)
        state = MACHINE["States"][name]
        name = state.get("Next") or state.get("Default") or ""
        name = {"RolloutFailed": "Challenge", "Stopped": ""}.get(name, name)  # the way of a run that goes well
    wanted = [
        *("Plan", "BuildDataset", "JudgeData", "TrainBesideProfiles", "Evaluate", "JudgeModel", "Publish", "Register"),
        *("UpdateEndpoint", "Challenge", "Shadow", "WatchShadow", "Promote", "Approve", "Report"),
    ]
    assert [step for step in order if step in wanted] == wanted


def test_a_canary_comes_between_shadow_and_promotion_where_the_stage_wants_one() -> None:
    machine = definition(dataclasses.replace(SETTINGS, canary_share=0.05))["States"]
    assert machine["WatchShadow"]["Next"] == "Canary"
    assert machine["Canary"]["Parameters"]["share"] == 0.05
    assert machine["WatchCanary"]["Next"] == "Promote"
    assert "Canary" not in MACHINE["States"]


def test_no_path_is_null() -> None:
    assert "null" not in json.dumps(MACHINE)  # CDK would drop it


def test_an_update_is_blue_green_and_taken_back_on_the_endpoints_alarms(prod: Synthesised) -> None:
    given = MACHINE["States"]["UpdateEndpoint"]["Parameters"]["DeploymentConfig"]
    assert given["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": "one"}]}
    assert given["BlueGreenUpdatePolicy"]["TerminationWaitInSeconds"] == 300
    alarm = prod.training.named("AWS::CloudWatch::Alarm", "EndpointErrors")["Properties"]
    assert (alarm["AlarmName"], alarm["TreatMissingData"], alarm["DatapointsToAlarm"]) == (
        "slidr-prod-EndpointErrors", "notBreaching", 2,
    )  # fmt: skip


def test_a_run_begins_once_a_day_and_one_that_could_not_is_kept(prod: Synthesised, local: Synthesised) -> None:
    schedule = prod.training.named("AWS::Scheduler::Schedule", "Daily")["Properties"]
    assert (schedule["ScheduleExpression"], schedule["ScheduleExpressionTimezone"], schedule["State"]) == (
        "cron(30 2 * * ? *)", "UTC", "ENABLED",
    )  # fmt: skip
    target = schedule["Target"]
    assert target["Input"] == '{"scheduled": "<aws.scheduler.scheduled-time>"}'
    assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0
    assert "DeadLetterConfig" in target
    assert local.training.named("AWS::Scheduler::Schedule", "Daily")["Properties"]["State"] == "DISABLED"


def test_a_run_that_failed_is_told(prod: Synthesised) -> None:
    alarm = prod.training.named("AWS::CloudWatch::Alarm", "RunFailed")["Properties"]
    assert alarm["AlarmName"] == "slidr-prod-RunFailed"
    assert alarm["AlarmActions"]


def test_the_machine_logs_without_data_encrypted_and_kept_as_long_as_the_stage_says(prod: Synthesised) -> None:
    machine = prod.training.named("AWS::StepFunctions::StateMachine", "DailyRelease")["Properties"]
    logged = machine["LoggingConfiguration"]
    assert (logged["IncludeExecutionData"], logged["Level"]) == (False, "ALL")
    assert machine["TracingConfiguration"] == {"Enabled": True}
    groups = prod.training.all("AWS::Logs::LogGroup")
    assert len(groups) == len(FUNCTIONS) + 1
    assert all({"KmsKeyId", "RetentionInDays"} <= set(group["Properties"]) for group in groups.values())


def actions(stack: Template, function: str) -> set[str]:
    """What the role of a function may do, but for its logs and traces."""
    role = re.compile("".join(part.capitalize() for part in function.split("_")) + "Role")
    found: set[str] = set()
    for name, policy in stack.all("AWS::IAM::Policy").items():
        if role.match(name):
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                did = statement["Action"]
                found |= {did} if isinstance(did, str) else set(did)
    return {one for one in found if not one.startswith(("kms:", "xray:"))}


@pytest.mark.parametrize(
    ("function", "may"),
    [
        ("judge", {"s3:GetObject", "s3:ListBucket"}),
        ("write_profiles", {"s3:GetObject", "s3:ListBucket", "dynamodb:BatchWriteItem"}),
        ("watch", {"s3:GetObject", "s3:ListBucket", "s3:PutObject", "cloudwatch:GetMetricStatistics",
                   "cloudwatch:ListMetrics"}),
        ("report", {"s3:GetObject", "s3:ListBucket", "s3:PutObject", "dynamodb:DeleteItem", "sns:Publish",
                    "states:GetExecutionHistory"}),
    ],
)  # fmt: skip
def test_a_step_may_do_what_it_does_and_nothing_else(prod: Synthesised, function: str, may: set[str]) -> None:
    assert actions(prod.training, function) == may


def test_only_publication_writes_releases_and_only_two_steps_write_the_control_table(prod: Synthesised) -> None:
    of = {name: actions(prod.training, name) for name in FUNCTIONS}
    assert {name for name, may in of.items() if "dynamodb:PutItem" in may} == {"plan", "point"}
    assert not any("s3:DeleteObject" in may for may in of.values())
    writes = {
        name
        for name, policy in prod.training.all("AWS::IAM::Policy").items()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Action"] == "s3:PutObject" and "/releases/*" in json.dumps(statement)
    }
    assert len(writes) == 1
    assert writes.pop().startswith("Publish")


@pytest.mark.parametrize(
    ("key", "value"),
    [("schedule", "daily"), ("training_days", "1"), ("canary_share", "1.5"), ("fpr_budget", "0.9"), ("shadow_s", "0"),
     ("instance_type", "c7i.large")],
)  # fmt: skip
def test_settings_out_of_range_are_told(key: str, value: str) -> None:
    with pytest.raises(StageInvalid, match=f"training.{key}"):
        load_stage("prod", {f"training.{key}": value})


def test_a_lease_outlives_the_longest_run() -> None:
    settings = TrainingSettings()
    assert settings.timeout_s > 2 * 3 * settings.job_timeout_s + settings.shadow_s + settings.canary_s
