"""CloudWatch alarms of the local cloud fire as the service's do."""

from __future__ import annotations

import json
import uuid
from typing import Any

from .conftest import Emulator, eventually

WRITER = """
    import json, os, time, uuid
    import boto3
    def handler(event, context):
        key = f"{os.environ['KIND']}/{uuid.uuid4()}"
        boto3.client("s3").put_object(Bucket=os.environ["BUCKET"], Key=key, Body=json.dumps(event))
"""


def put(emulator: Emulator, namespace: str, name: str, value: float, **dimensions: str) -> None:
    listed = [{"Name": key, "Value": held} for key, held in dimensions.items()]
    emulator.client("cloudwatch").put_metric_data(
        Namespace=namespace, MetricData=[{"MetricName": name, "Value": value, "Dimensions": listed}]
    )


def state(emulator: Emulator, alarm: str) -> str:
    found = emulator.client("cloudwatch").describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    return str(found[0]["StateValue"])


def deploy(emulator: Emulator, alarm: dict[str, Any]) -> str:
    """Create an alarm by a stack; return its name."""
    name = f"alarm-{uuid.uuid4().hex[:8]}"
    template = {"Resources": {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": {"AlarmName": name, **alarm}}}}
    cloudformation = emulator.client("cloudformation")
    cloudformation.create_stack(StackName=f"stack-{name}", TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_create_complete").wait(StackName=f"stack-{name}", WaiterConfig={"Delay": 1})
    return name


def metric(identity: str, namespace: str, name: str) -> dict[str, Any]:
    stat = {"Metric": {"Namespace": namespace, "MetricName": name}, "Period": 60, "Stat": "Sum"}
    return {"Id": identity, "ReturnData": False, "MetricStat": stat}


def test_an_alarm_with_dimensions_fires_for_its_own_and_invokes_its_function(emulator: Emulator) -> None:
    namespace, bucket = f"ns-{uuid.uuid4().hex[:8]}", emulator.bucket()
    function = emulator.function(WRITER, BUCKET=bucket, KIND="action")
    name = deploy(
        emulator,
        {
            "Namespace": namespace,
            "MetricName": "undecided",
            "Dimensions": [{"Name": "slice", "Value": "mobile"}],
            "Statistic": "Average",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 0.5,
            "ComparisonOperator": "GreaterThanThreshold",
            "AlarmActions": [f"arn:aws:lambda:us-east-1:000000000000:function:{function}"],
        },
    )
    put(emulator, namespace, "undecided", 9, slice="desktop")
    assert state(emulator, name) == "INSUFFICIENT_DATA"

    put(emulator, namespace, "undecided", 9, slice="mobile")

    eventually(lambda: state(emulator, name) == "ALARM")
    (body,) = eventually(lambda: emulator.objects(bucket)).values()
    event = json.loads(body)
    assert event["alarmData"]["alarmName"] == name
    assert event["alarmData"]["state"]["value"] == "ALARM"


def test_an_alarm_on_metric_math_fires_and_eventbridge_gets_the_change(emulator: Emulator) -> None:
    namespace, bucket = f"ns-{uuid.uuid4().hex[:8]}", emulator.bucket()
    function = emulator.function(WRITER, BUCKET=bucket, KIND="rule")
    name = deploy(
        emulator,
        {
            "Metrics": [
                metric("errors", namespace, "errors"),
                metric("calls", namespace, "calls"),
                {"Id": "rate", "Expression": "errors / FILL(calls, 1)"},
            ],
            "EvaluationPeriods": 1,
            "Threshold": 0.2,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        },
    )
    rule = f"rule-{uuid.uuid4().hex[:8]}"
    events = emulator.client("events")
    pattern = {"source": ["aws.cloudwatch"], "detail": {"alarmName": [name], "state": {"value": ["ALARM"]}}}
    events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
    target = f"arn:aws:lambda:us-east-1:000000000000:function:{function}"
    events.put_targets(Rule=rule, Targets=[{"Id": "1", "Arn": target}])
    put(emulator, namespace, "calls", 100)
    put(emulator, namespace, "errors", 10)
    eventually(lambda: state(emulator, name) == "OK")

    put(emulator, namespace, "errors", 30)

    (body,) = eventually(lambda: emulator.objects(bucket)).values()
    event = json.loads(body)
    assert event["detail-type"] == "CloudWatch Alarm State Change"
    assert event["detail"]["previousState"]["value"] == "OK"


def test_metrics_that_a_function_prints_reach_cloudwatch(emulator: Emulator) -> None:
    namespace = f"ns-{uuid.uuid4().hex[:8]}"
    source = """
        import json, os
        def handler(event, context):
            print(json.dumps({
                "_aws": {"Timestamp": 0, "CloudWatchMetrics": [
                    {"Namespace": os.environ["NS"], "Dimensions": [["stage"]], "Metrics": [{"Name": "clicks"}]}]},
                "stage": "local", "clicks": 7}))
    """
    function = emulator.function(source, NS=namespace)
    emulator.client("lambda").invoke(FunctionName=function)

    listed = emulator.client("cloudwatch").list_metrics(Namespace=namespace)["Metrics"]

    assert [(item["MetricName"], item["Dimensions"]) for item in listed] == [
        ("clicks", [{"Name": "stage", "Value": "local"}])
    ]
