"""The path of a bad day on LocalStack: metric -> alarm -> SNS -> queue, and alarm event -> EventBridge rule -> queue.

LocalStack's CloudWatch sends EventBridge no events of its own (4.9.2 to 2026.3.0), so the rule is given them here.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

import pytest

from slidr.telemetry import namespace
from tests.localstack.conftest import LocalStack, Queue, eventually, new_name

MINUTE_S = 60
NAMESPACE = namespace("localstack")


@dataclass(frozen=True)
class Watched:
    """A metric of a function of its own, so that tests do not meet, and who hears of its alarm."""

    localstack: LocalStack
    service: str
    told: Queue
    topic: str

    @property
    def dimensions(self) -> list[dict[str, str]]:
        return [{"Name": "service", "Value": self.service}]

    def measure(self, *values: float, metric: str = "UndecidedClicks", apart_s: int = MINUTE_S) -> None:
        """Put values, the newest last, one a period up to now."""
        now = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=apart_s / 2)
        data = [
            {
                "MetricName": metric,
                "Dimensions": self.dimensions,
                "Timestamp": now - dt.timedelta(seconds=apart_s * age),
                "Value": value,
                "Unit": "Count",
            }
            for age, value in enumerate(reversed(values))
        ]
        self.localstack.client("cloudwatch").put_metric_data(Namespace=NAMESPACE, MetricData=data)

    def alarm(self, *, of: int = 3, least: int = 2, period_s: int = MINUTE_S, **changes: Any) -> str:
        """An alarm on more than 100 undecided clicks a period, in `least` of `of` periods."""
        name = new_name()
        self.localstack.client("cloudwatch").put_metric_alarm(
            **{
                "AlarmName": name,
                "Namespace": NAMESPACE,
                "MetricName": "UndecidedClicks",
                "Dimensions": self.dimensions,
                "Statistic": "Sum",
                "Period": period_s,
                "EvaluationPeriods": of,
                "DatapointsToAlarm": least,
                "Threshold": 100,
                "ComparisonOperator": "GreaterThanThreshold",
                "TreatMissingData": "notBreaching",
                "AlarmActions": [self.topic],
                "OKActions": [self.topic],
                **changes,
            }
        )
        return name

    def state(self, alarm: str) -> str:
        alarms = self.localstack.client("cloudwatch").describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
        return str(alarms[0]["StateValue"])


@pytest.fixture
def watched(localstack: LocalStack) -> Watched:
    told, sns = localstack.queue(), localstack.client("sns")
    topic = sns.create_topic(Name=new_name())["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=told.arn)
    return Watched(localstack, new_name(), told, topic)


def test_alarm_in_two_periods_of_three_tells_the_topic(watched: Watched) -> None:
    watched.measure(500, 3, 500)

    alarm = watched.alarm(of=3, least=2)

    (notice,) = watched.told.messages(1)
    told = json.loads(notice["Message"])
    assert (told["AlarmName"], told["NewStateValue"]) == (alarm, "ALARM")
    assert told["Trigger"]["MetricName"] == "UndecidedClicks"
    assert told["Trigger"]["Namespace"] == NAMESPACE
    assert watched.state(alarm) == "ALARM"


def test_one_period_of_three_alarms_nobody(watched: Watched) -> None:
    watched.measure(3, 500, 3)

    alarm = watched.alarm(of=3, least=2)

    assert eventually(lambda: watched.state(alarm) == "OK")
    (notice,) = watched.told.messages(1)  # the way to OK is told too
    assert json.loads(notice["Message"])["NewStateValue"] == "OK"


def test_clicks_of_another_function_alarm_nobody(watched: Watched, localstack: LocalStack) -> None:
    other = Watched(localstack, new_name(), watched.told, watched.topic)
    other.measure(500, 500, 500)

    alarm = watched.alarm()

    assert eventually(lambda: watched.state(alarm) == "OK")


def test_silence_is_what_the_alarm_takes_it_for(watched: Watched) -> None:
    breaching = watched.alarm(TreatMissingData="breaching")
    calm = watched.alarm(TreatMissingData="notBreaching")
    unknown = watched.alarm(TreatMissingData="missing")

    assert eventually(lambda: watched.state(breaching) == "ALARM")
    assert eventually(lambda: watched.state(calm) == "OK")
    assert watched.state(unknown) == "INSUFFICIENT_DATA"


def test_metric_that_turns_bad_changes_the_state_and_the_topic_hears_the_one_before(watched: Watched) -> None:
    alarm = watched.alarm(of=1, least=1, period_s=10)
    assert eventually(lambda: watched.state(alarm) == "OK")

    watched.measure(500, apart_s=1)

    assert eventually(lambda: watched.state(alarm) == "ALARM")
    *_, last = (json.loads(notice["Message"]) for notice in watched.told.messages(2))
    assert (last["OldStateValue"], last["NewStateValue"]) == ("OK", "ALARM")


def state_change(alarm: str, state: str) -> dict[str, str]:
    """The event that CloudWatch sends when an alarm changes its state."""
    states = {"state": {"value": state, "reason": "a test says so"}, "previousState": {"value": "OK"}}
    detail = json.dumps({"alarmName": alarm, **states})
    return {"Source": "aws.cloudwatch", "DetailType": "CloudWatch Alarm State Change", "Detail": detail}


def test_rule_hands_on_only_its_alarm_entering_its_state(localstack: LocalStack) -> None:
    events, queue, rule, mine = localstack.client("events"), localstack.queue(), new_name(), new_name()
    detail = {"alarmName": [mine], "state": {"value": ["ALARM"]}}
    pattern = {"source": ["aws.cloudwatch"], "detail-type": ["CloudWatch Alarm State Change"], "detail": detail}
    events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
    assert events.put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": queue.arn}])["FailedEntryCount"] == 0

    changes = [(new_name(), "ALARM"), (mine, "INSUFFICIENT_DATA"), (mine, "ALARM")]
    answer = events.put_events(Entries=[state_change(*change) for change in changes])

    assert answer["FailedEntryCount"] == 0
    (event,) = queue.messages(1)
    assert (event["detail"]["alarmName"], event["detail"]["state"]["value"]) == (mine, "ALARM")
    assert queue.is_empty()
