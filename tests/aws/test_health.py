"""`slidr status`: what a look at a stage says."""

from __future__ import annotations

import datetime as dt
import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from functions.adapters.lake import Lake
from functions.adapters.serving_state import Change, PointerStore, PolicyStore
from local.commands.health_view import shown
from local.health import Health, health
from local.session import Session
from slidr.pointer import frozen, matured, promoted
from slidr.policy import with_kill_switch
from slidr.telemetry import namespace
from tests.aws.conftest import REGION
from tests.aws.test_command_line import OUTPUTS, credentials
from training.billing import close_hours

pytestmark = pytest.mark.aws
__all__ = ["credentials"]
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def session(aws: Any, credentials: None, control: Any, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A stage whose stores are there, and empty."""
    queue = aws.client("sqs").create_queue(QueueName="undecided")["QueueUrl"]
    states, iam = aws.client("stepfunctions"), aws.client("iam")
    role = iam.create_role(RoleName="role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    machines = {
        name: states.create_state_machine(name=name, definition="{}", roleArn=role)["stateMachineArn"]
        for name in ("loop", "replay")
    }
    outputs = replace(
        OUTPUTS, undecided_queue_url=queue, release_machine_arn=machines["loop"], replay_machine_arn=machines["replay"]
    )
    monkeypatch.setattr(Session, "outputs", outputs)
    made = Session(stage="dev", region=REGION)
    made.client("s3").create_bucket(Bucket=outputs.lake_bucket)
    return made


def text_of(found: Health) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(shown(found, stage="dev"))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def tell(session: Session, name: str, value: float, **dimensions: str) -> None:
    named = {"service": "score_clicks", **dimensions}
    session.client("cloudwatch").put_metric_data(
        Namespace=namespace("dev"),
        MetricData=[
            {
                "MetricName": name, "Value": value, "Timestamp": NOW - dt.timedelta(minutes=1),
                "Dimensions": [{"Name": key, "Value": of} for key, of in named.items()],
            }
        ],
    )  # fmt: skip


def test_a_stage_without_a_release_says_so(session: Session) -> None:
    text = text_of(health(session, now=NOW))
    for said in ("none: every click is UNDECIDED", "none: nothing to roll back to", "No alarm is on", "has never run",
                 "no hour yet", "none to measure"):  # fmt: skip
        assert said in text


def test_says_who_decides_and_what_the_last_minutes_were_like(session: Session, control: Any) -> None:
    change = Change(who="ada", why="test", at=NOW - dt.timedelta(hours=1))
    store = PointerStore(control, "control")
    store.apply(lambda pointer: promoted(pointer, "r-1"), change)
    store.apply(lambda pointer: matured(pointer, "r-0"), change)
    for name, value in (("Clicks", 900), ("Invalid", 90), ("ExpectedInvalid", 99), ("Undecided", 3)):
        tell(session, name, value, role="champion")
    tell(session, "Clicks", 100, role="stable")
    tell(session, "Rejects", 7)
    found = health(session, now=NOW)
    assert (found.recent.decided, found.recent.invalid.count, found.recent.undecided) == (1_000, 90, 3)
    text = text_of(found)
    assert f"r-1, since {change.at:%Y-%m-%d %H:%M}" in text
    assert "expected 9.90%" in text
    assert "3, 7" in text


def test_what_is_not_as_usual_stands_out(session: Session, control: Any, aws: Any) -> None:
    change = Change(who="alarm", why="test", at=NOW)
    PointerStore(control, "control").apply(frozen, change)
    PolicyStore(control, "control").apply(lambda policy: with_kill_switch(policy, on=True), change)
    cloudwatch = aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="slidr-dev-Rollback", ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=1, Threshold=1,
        MetricName="m", Namespace="n", Period=60, Statistic="Sum",
    )  # fmt: skip
    cloudwatch.set_alarm_state(AlarmName="slidr-dev-Rollback", StateValue="ALARM", StateReason="9 > 1")
    text = text_of(health(session, now=NOW))
    for said in ("frozen", "kill switch on: every click is billed", "slidr-dev-Rollback", "9 > 1"):
        assert said in text


def test_says_until_when_billing_is_final(session: Session) -> None:
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    close_hours(Lake(session.client("s3"), OUTPUTS.lake_bucket), now=hour, since=hour - dt.timedelta(hours=50))
    assert f"{hour - dt.timedelta(hours=48):%Y-%m-%d %H:%M}" in text_of(health(session, now=NOW))
