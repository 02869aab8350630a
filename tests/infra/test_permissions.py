from __future__ import annotations

import json
import re
from typing import Any

from tests.infra.conftest import Synthesised

KNOW_NO_RESOURCE = {
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricStatistics",
    "cloudwatch:ListMetrics",
    "cloudwatch:PutMetricData",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "ecr:GetAuthorizationToken",
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_only_actions_that_know_no_resource_are_allowed_on_every_resource(prod: Synthesised) -> None:
    actions = {
        action
        for _, statement in prod.statements()
        if "*" in listed(statement["Resource"])
        for action in listed(statement["Action"])
    }
    assert actions == KNOW_NO_RESOURCE


def test_no_action_is_a_pattern(prod: Synthesised) -> None:
    patterns = {
        (policy, action)
        for policy, statement in prod.statements()
        for action in listed(statement["Action"])
        if "*" in action
    }
    assert patterns == set()


def actions_of(stage: Synthesised, policy: str, service: str) -> set[str]:
    return {
        action
        for name, statement in stage.statements()
        if name.startswith(policy)
        for action in listed(statement["Action"])
        if action.startswith(service)
    }


def test_the_scoring_function_can_neither_read_nor_delete_raw_records(prod: Synthesised) -> None:
    for name, statement in prod.statements():
        if name.startswith(("ScoreClicks", "Prepare")) and "Quarantine" in str(statement["Resource"]):
            assert set(listed(statement["Action"])) <= {"s3:PutObject", "s3:ListBucket", "kms:GenerateDataKey"}


def test_the_scoring_function_cannot_change_the_pointer_or_a_profile(prod: Synthesised) -> None:
    forbidden = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem"}
    assert actions_of(prod, "ScoreClicksRole", "dynamodb") & forbidden == set()


def test_training_jobs_reach_the_lakes_records_and_training_data_the_image_and_their_logs_alone(
    prod: Synthesised,
) -> None:
    statements = [statement for name, statement in prod.statements() if name.startswith("TrainingRole")]
    objects: dict[str, str] = {}
    for statement in statements:
        for action in listed(statement["Action"]):
            if action in {"s3:GetObject", "s3:PutObject"}:
                objects[action] = objects.get(action, "") + json.dumps(statement["Resource"])
    readable = set(re.findall(r'/([a-z]+/\*)"', objects["s3:GetObject"]))
    assert readable == {"training/*", "replays/*", "billing/*", "clicks/*", "purchases/*", "verdicts/*"}
    assert set(re.findall(r'/([a-z]+/\*)"', objects["s3:PutObject"])) == {"training/*", "replays/*", "billing/*"}
    assert all("Lake" in resource for resource in objects.values())
    assert not any(other in str(objects) for other in ("Quarantine", "Releases"))
    assert actions_of(prod, "TrainingRole", "s3") == {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}
    assert actions_of(prod, "TrainingRole", "kms") == {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"}
    assert "ecr:BatchGetImage" in actions_of(prod, "TrainingRole", "ecr")
    logs = [statement["Resource"] for statement in statements if "logs:PutLogEvents" in listed(statement["Action"])]
    assert [job in json.dumps(logs) for job in ("TrainingJobs:*", "ProcessingJobs:*")] == [True, True]
    assert {service.partition(":")[0] for service in actions_of(prod, "TrainingRole", "")} == {
        "cloudwatch", "ecr", "kms", "logs", "s3",
    }  # fmt: skip


def test_nothing_online_deletes_objects(prod: Synthesised) -> None:
    for name, statement in prod.statements():
        deletes = any("Delete" in action for action in listed(statement["Action"]) if action.startswith("s3:"))
        if name.startswith("ReplaysFinishRole"):  # notes of hours whose undecided clicks were decided
            assert not deletes or "/replays/undecided/*" in json.dumps(statement["Resource"])
        else:
            assert not deletes


def test_the_verdict_transform_does_not_get_the_pseudonym_key(prod: Synthesised) -> None:
    assert actions_of(prod, "PrepareVerdictArchiveRole", "secretsmanager") == set()
    assert actions_of(prod, "PrepareClickArchiveRole", "secretsmanager") == {"secretsmanager:GetSecretValue"}
