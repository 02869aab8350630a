"""Alarms as they are deployed: whom they blame, what they do with little or no data, who may answer them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.settings import OperationsSettings, StageInvalid, load_stage
from local.cloud.alarm_series import AlarmSeries, MetricKey, metric_key
from slidr.telemetry import Role, alarms_of
from tests.infra.conftest import Synthesised

ALARM, COMPOSITE = "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"
SLICE = "device=mobile|logged_in=true"


@pytest.fixture(scope="module")
def alarms(prod: Synthesised) -> dict[str, AlarmSeries]:
    """The alarms with metric math, by what follows the stage's prefix."""
    found = [item["Properties"] for item in prod.operations.all(ALARM).values()]
    made = [AlarmSeries(properties=one) for one in found if "Metrics" in one]
    return {alarm.name.removeprefix("slidr-prod-"): alarm for alarm in made}


def sums(role: str = "champion", of_slice: str = "", **counts: float) -> dict[MetricKey, float]:
    names = {"clicks": "Clicks", "invalid": "Invalid", "expected": "ExpectedInvalid", "variance": "ExpectedVariance",
             "undecided": "Undecided", "unusable": "Unusable"}  # fmt: skip
    dimensions = {"service": "score_clicks", "role": role} | ({"slice": of_slice} if of_slice else {})
    return {metric_key(names[name], dimensions): value for name, value in counts.items()}


def usual(clicks: float, ivr: float, **changes: float) -> dict[str, float]:
    """Sums of a period whose clicks are INVALID at a rate where a tenth is expected."""
    return {"clicks": clicks, "invalid": clicks * ivr, "expected": clicks * 0.1, "variance": clicks * 0.09} | changes


@pytest.mark.parametrize("role", ["champion", "stable"])
@pytest.mark.parametrize(("kind", "ivr"), [("Deviation", 0.5), ("TooFew", 0.0)])
def test_goes_off_in_two_periods_of_three_whichever_way_verdicts_are_off(
    alarms: dict[str, AlarmSeries], role: str, kind: str, ivr: float
) -> None:
    alarm = alarms[f"{role.capitalize()}-{kind}"]
    well, off = (alarm.value(sums(role, **usual(8_000, rate))) for rate in (0.1, ivr))
    assert alarm.states([well, off, well, off, off]) == ["OK", "OK", "OK", "ALARM", "ALARM"]
    assert alarm.states([off, well, well, off]) == ["OK"] * 4


def test_the_usual_noise_sets_off_nothing(alarms: dict[str, AlarmSeries]) -> None:
    alarm = alarms["Champion-Deviation"]
    values = [alarm.value(sums(**usual(1_000, ivr))) for ivr in (0.05, 0.15, 0.08, 0.13)]
    assert alarm.states(values) == ["OK"] * 4


def test_missing_data_is_no_failure(alarms: dict[str, AlarmSeries]) -> None:
    for alarm in alarms.values():
        assert alarm.value({}) in {None, 0.0}
        assert alarm.states([None] * 5) == ["OK"] * 5
        assert alarm.properties["TreatMissingData"] == "notBreaching"


def test_missing_data_ends_an_alarm(alarms: dict[str, AlarmSeries]) -> None:
    """After a rollback nobody has the role of champion any more: its alarm must not stay on."""
    alarm = alarms["Champion-Deviation"]
    off = alarm.value(sums(**usual(8_000, 0.9)))
    assert alarm.states([off, off, None, None, None])[-1] == "OK"


def test_low_volume_at_night_says_nothing(alarms: dict[str, AlarmSeries]) -> None:
    least = OperationsSettings().least_clicks
    alarm = alarms["Champion-Deviation"]
    assert alarm.value(sums(**usual(least - 1, 1.0))) == 0
    assert abs(alarm.value(sums(**usual(least, 1.0))) or 0) > 5
    few = alarms["Champion-TooFew"]
    enough = OperationsSettings().least_expected * 10
    assert few.value(sums(**usual(enough - 10, 0.0))) == 1  # too few expected to say anything
    assert few.value(sums(**usual(enough, 0.0))) == 0
    unusable = alarms["Champion-Unusable"]
    assert unusable.value(sums(clicks=0, undecided=least - 1, unusable=least - 1)) == 0
    assert unusable.value(sums(clicks=0, undecided=least, unusable=least)) == 1


def test_a_slice_has_an_alarm_of_its_own(alarms: dict[str, AlarmSeries]) -> None:
    alarm = alarms["Champion-Deviation-device-mobile-logged_in-true"]
    assert abs(alarm.value(sums(of_slice=SLICE, **usual(2_000, 0.6))) or 0) > 6
    assert alarm.value(sums(**usual(2_000, 0.6))) is None  # looks at its slice alone


def test_a_few_robots_where_none_was_expected_are_no_fault_of_the_release(alarms: dict[str, AlarmSeries]) -> None:
    alarm = alarms["Champion-Deviation-device-mobile-logged_in-true"]
    none_expected = {"clicks": 600.0, "expected": 0.0, "variance": 0.0}
    few, many = (alarm.value(sums(of_slice=SLICE, **none_expected, invalid=invalid)) for invalid in (6.0, 200.0))
    assert alarm.states([few, few, few]) == ["OK"] * 3
    assert alarm.states([many, many])[-1] == "ALARM"


def test_undecided_clicks_blame_the_release_only_for_its_own_sake(alarms: dict[str, AlarmSeries]) -> None:
    silent = sums(**usual(500, 0.1, undecided=500, unusable=0))
    broken = sums(**usual(500, 0.1, undecided=500, unusable=500))
    assert (alarms["Undecided"].value(silent), alarms["Champion-Unusable"].value(silent)) == (0.5, 0)
    assert (alarms["Undecided"].value(broken), alarms["Champion-Unusable"].value(broken)) == (0, 0.5)


def test_undecided_clicks_of_stable_count_too(alarms: dict[str, AlarmSeries]) -> None:
    assert alarms["Undecided"].value(sums("stable", clicks=100, undecided=300, unusable=0)) == 0.75


def test_the_function_finds_the_parts_of_a_roles_alarm_by_how_their_names_begin(alarms: dict[str, AlarmSeries]) -> None:
    for role in (Role.CHAMPION, Role.STABLE):
        found = [name for name in alarms if name.startswith(alarms_of(role))]
        assert len(found) == 4 + 2 * len(OperationsSettings().slices)


def test_rollback_needs_a_model_alarm_and_infrastructure_that_is_well(prod: Synthesised) -> None:
    for name, role in (("Rollback", "Champion"), ("InputFault", "Stable")):
        rule = json.dumps(prod.operations.named(COMPOSITE, name)["Properties"]["AlarmRule"])
        assert rule.count(role) == 4 + 2 * len(OperationsSettings().slices)
        assert "(NOT (ALARM(" in rule
        assert "Infrastructure" in rule
    infrastructure = json.dumps(prod.operations.named(COMPOSITE, "Infrastructure")["Properties"]["AlarmRule"])
    for part in ("EndpointErrors", "EndpointLatency", "Undecided", "IteratorAge", "ReturnedBatches"):
        assert part in infrastructure


def test_the_function_is_asked_when_an_alarm_goes_off_and_every_minute(prod: Synthesised) -> None:
    going_off = prod.operations.named("AWS::Events::Rule", "AlarmGoesOff")["Properties"]["EventPattern"]
    assert going_off["source"] == ["aws.cloudwatch"]
    assert going_off["detail"] == {"state": {"value": ["ALARM"]}}
    assert len(going_off["resources"]) == 3
    assert prod.operations.named("AWS::Events::Rule", "EveryMinute")["Properties"]["ScheduleExpression"] == (
        "rate(1 minute)"
    )


def test_the_function_may_change_the_pointer_and_nothing_of_the_endpoint(prod: Synthesised) -> None:
    allowed: set[str] = set()
    for name, policy in prod.operations.all("AWS::IAM::Policy").items():
        if name.startswith("RollBackRelease"):
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                actions = statement["Action"]
                allowed |= {actions} if isinstance(actions, str) else set(actions)
    assert {"dynamodb:PutItem", "sns:Publish", "cloudwatch:DescribeAlarms"} <= allowed
    assert not [action for action in allowed if action.startswith(("sagemaker:", "s3:", "kinesis:", "lambda:"))]
    assert "dynamodb:DeleteItem" not in allowed


def test_the_dashboard_begins_with_the_alarms_that_change_what_serves(prod: Synthesised) -> None:
    board = prod.operations.named("AWS::CloudWatch::Dashboard", "Dashboard")["Properties"]
    body: Any = json.dumps(board["DashboardBody"])
    first = body.index("Rollback"), body.index("InputFault"), body.index("MaturedFpr")
    assert first == tuple(sorted(first))
    for title in ("INVALID clicks", "Deviation", "From arrival to verdict", "UNDECIDED", "Endpoint", "False positives"):
        assert title in body


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("deviation", "0", "operations.deviation"),
        ("too_few", "2", "operations.too_few"),
        ("datapoints", "4", "operations.datapoints"),
        ("fpr_bound", "0", "operations.fpr_bound"),
        ("dispersion", "-1", "operations.dispersion"),
        ("least_rate", "0", "operations.least_rate"),
        ("period_s", "90", "operations.period_s must be whole minutes, came 90 s"),
        ("period_s", "30", "operations.period_s"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(key: str, value: str, told: str) -> None:
    with pytest.raises(StageInvalid, match=told):
        load_stage("dev", {f"operations.{key}": value})


def test_alarms_that_look_further_back_than_can_be_watched_are_refused() -> None:
    with pytest.raises(StageInvalid, match=r"8 periods of operations\.slow_period_s must last 604800 s at most"):
        load_stage("dev", {"operations.periods": "8", "operations.slow_period_s": "86400"})
