"""Step Functions without Lambda: choices, maps, waits, service calls, and errors caught or tried again by name."""

from __future__ import annotations

import json
from typing import Any

from tests.localstack.conftest import LocalStack, eventually, new_name

ROLE = "arn:aws:iam::000000000000:role/line"


def run(localstack: LocalStack, states: dict[str, Any], start: str, given: Any) -> dict[str, Any]:
    """Run a machine to its end; what DescribeExecution says then."""
    machines = localstack.client("stepfunctions")
    definition = json.dumps({"StartAt": start, "States": states})
    machine = machines.create_state_machine(name=new_name(), definition=definition, roleArn=ROLE)["stateMachineArn"]
    execution = machines.start_execution(stateMachineArn=machine, input=json.dumps(given))["executionArn"]

    def ended() -> dict[str, Any] | None:
        said: dict[str, Any] = machines.describe_execution(executionArn=execution)
        return said if said["status"] != "RUNNING" else None

    said = eventually(ended)
    assert said is not None
    return {**said, "history": machines.get_execution_history(executionArn=execution, maxResults=200)["events"]}


def guardrail(queue_url: str) -> dict[str, Any]:
    """Each slice's false-positive rate against its bound: what is out of bounds is queued."""
    return {
        "Slices": {
            "Type": "Map",
            "ItemsPath": "$.slices",
            "ItemSelector": {"slice.$": "$$.Map.Item.Value", "bound.$": "$.bound"},
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "INLINE"},
                "StartAt": "WithinBound",
                "States": {
                    "WithinBound": {
                        "Type": "Choice",
                        "Choices": [{"Variable": "$.slice.fpr", "NumericGreaterThanPath": "$.bound", "Next": "Tell"}],
                        "Default": "Passed",
                    },
                    "Tell": {
                        "Type": "Task",
                        "Resource": "arn:aws:states:::sqs:sendMessage",
                        "Parameters": {"QueueUrl": queue_url, "MessageBody.$": "$"},
                        "ResultPath": None,
                        "OutputPath": "$.slice.name",
                        "End": True,
                    },
                    "Passed": {"Type": "Pass", "Result": "passed", "End": True},
                },
            },
            "Next": "Pause",
        },
        "Pause": {"Type": "Wait", "Seconds": 1, "Next": "Done"},
        "Done": {"Type": "Succeed"},
    }


def test_map_with_a_choice_sends_what_is_out_of_bounds(localstack: LocalStack) -> None:
    queue = localstack.queue()
    slices = [{"name": "mobile", "fpr": 0.2}, {"name": "desktop", "fpr": 0.0}, {"name": "tablet", "fpr": 0.3}]

    said = run(localstack, guardrail(queue.url), "Slices", {"bound": 0.1, "slices": slices})

    assert (said["status"], json.loads(said["output"])) == ("SUCCEEDED", ["mobile", "passed", "tablet"])
    assert sorted(message["slice"]["name"] for message in queue.messages(2)) == ["mobile", "tablet"]


def reading(bucket: str, **changes: Any) -> dict[str, Any]:
    return {
        "Read": {
            "Type": "Task",
            "Resource": "arn:aws:states:::aws-sdk:s3:getObject",
            "Parameters": {"Bucket": bucket, "Key.$": "$.key"},
            "ResultSelector": {"body.$": "States.StringToJson($.Body)"},
            "End": True,
            **changes,
        },
    }


def test_service_call_reads_an_object(localstack: LocalStack) -> None:
    bucket = localstack.bucket()
    localstack.client("s3").put_object(Bucket=bucket, Key="metrics.json", Body=b'{"fpr": 0.01}')

    said = run(localstack, reading(bucket), "Read", {"key": "metrics.json"})

    assert (said["status"], json.loads(said["output"])) == ("SUCCEEDED", {"body": {"fpr": 0.01}})


def test_error_is_caught_by_its_name(localstack: LocalStack) -> None:
    missing = {"ErrorEquals": ["S3.NoSuchKeyException"], "ResultPath": "$.error", "Next": "NoRelease"}
    other = {"ErrorEquals": ["States.ALL"], "Next": "Other"}
    states = {
        **reading(localstack.bucket(), Catch=[missing, other]),
        "NoRelease": {"Type": "Pass", "Parameters": {"told.$": "$.error.Error"}, "End": True},
        "Other": {"Type": "Fail", "Error": "NotByName"},
    }

    said = run(localstack, states, "Read", {"key": "missing"})

    assert (said["status"], json.loads(said["output"])) == ("SUCCEEDED", {"told": "S3.NoSuchKeyException"})


def test_error_is_tried_again_before_the_machine_fails_with_its_name(localstack: LocalStack) -> None:
    again = {"ErrorEquals": ["S3.NoSuchKeyException"], "IntervalSeconds": 1, "MaxAttempts": 2, "BackoffRate": 1}

    said = run(localstack, reading(localstack.bucket(), Retry=[again]), "Read", {"key": "missing"})

    assert (said["status"], said["error"]) == ("FAILED", "S3.NoSuchKeyException")
    tries = [event["type"] for event in said["history"] if event["type"] == "TaskScheduled"]
    assert len(tries) == 3
