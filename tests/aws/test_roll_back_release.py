"""Alarms and what follows from them: each failure mode of a bad day by its name."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from botocore.exceptions import ClientError

from functions.adapters.alarms import AlarmReader, AlarmsUnavailable
from functions.adapters.incidents import Incidents
from functions.adapters.serving_state import AuditLog, Change, PointerStore, PolicyStore
from functions.roll_back_release.respond import Services, respond
from functions.roll_back_release.settings import Settings
from slidr.errors import PromotionFrozen, ServingStateUnavailable
from slidr.pointer import Pointer, challenged, challenger_promoted, matured, promoted, unfrozen, with_canary
from slidr.policy import with_kill_switch
from slidr.rollback import AlarmState

pytestmark = pytest.mark.aws
NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
MODEL, STABLE, INFRASTRUCTURE, FPR = "model", "stable", "infrastructure", "fpr"
PARTS = {MODEL: "slidr-test-Champion-Deviation", STABLE: "slidr-test-Stable-Deviation"}
SLOW = "slidr-test-Champion-TooFew-slow"
MINUTE = dt.timedelta(minutes=1)
SETTINGS = Settings(
    stage="test", control_table="control", topic_arn="", model_alarm=MODEL, stable_alarm=STABLE,
    infrastructure_alarm=INFRASTRUCTURE, fpr_alarm=FPR, alarm_prefix="slidr-test-", dashboard_url="https://dashboard",
)  # fmt: skip


def after(seconds: float) -> dt.datetime:
    return NOON + dt.timedelta(seconds=seconds)


@dataclass
class FakeAlarms:
    """Alarms by name: since when they are on."""

    on_since: dict[str, dt.datetime] = field(default_factory=dict)
    off_since: dict[str, dt.datetime] = field(default_factory=dict)

    def states(self, names: Iterable[str]) -> dict[str, AlarmState]:
        return {name: self._state(name) for name in names}

    def on(self, prefix: str) -> list[AlarmState]:
        assert prefix == "slidr-test-"
        return [self._part(PARTS.get(name, name), since) for name, since in self.on_since.items()]

    def _part(self, name: str, since: dt.datetime) -> AlarmState:
        period = 15 * MINUTE if name == SLOW else MINUTE
        reason = f"{name} is off by 9"
        return AlarmState(name=name, on=True, since=since, reason=reason, period=period, window=3 * period)

    def _state(self, name: str) -> AlarmState:
        on_since = [self.on_since[one] for one in (name, *([SLOW] if name == MODEL else [])) if one in self.on_since]
        if on_since:
            return AlarmState(name=name, on=True, since=min(on_since), reason=f"{name} is off by 9")
        since = self.off_since.get(name, NOON - dt.timedelta(days=1))
        return AlarmState(name=name, on=False, since=since, reason="fine")


@dataclass
class World:
    services: Services
    alarms: FakeAlarms
    settings: Settings
    inbox: Any

    def look(self, seconds: float) -> dict[str, Any]:
        return respond(self.services, self.settings, now=after(seconds))

    @property
    def pointer(self) -> Pointer:
        return self.services.pointers.read()

    def messages(self) -> list[str]:
        found: list[str] = []
        while batch := self.inbox.receive_message(
            QueueUrl=self.inbox.get_queue_url(QueueName="inbox")["QueueUrl"], MaxNumberOfMessages=10
        ).get("Messages"):
            found += [json.loads(message["Body"])["Subject"] for message in batch]
        return found

    def changes_by_alarms(self) -> int:
        return sum(entry.who.startswith("alarm ") for entry in self.services.audit.entries())

    def promote(self, release: str, *, at: float) -> None:
        change = Change(who="ada", why="test", at=after(at))
        self.services.pointers.apply(lambda pointer: promoted(pointer, release), change)


@pytest.fixture
def world(aws: Any, control: Any) -> World:
    """Release b serves since an hour, a is stable, c is in shadow on a tenth of the sessions."""
    sns, sqs = aws.client("sns"), aws.client("sqs")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    alarms = FakeAlarms()
    services = Services(
        alarms=alarms,  # type: ignore[arg-type]
        pointers=PointerStore(control, "control"),
        policies=PolicyStore(control, "control"),
        audit=AuditLog(control, "control"),
        incidents=Incidents(control, "control"),
        sns=sns,
    )
    made = World(services, alarms, replace(SETTINGS, topic_arn=topic), sqs)
    change = Change(who="ada", why="test", at=after(-3_600))
    services.pointers.apply(lambda pointer: promoted(pointer, "a"), change)
    services.pointers.apply(lambda pointer: matured(pointer, "a"), change)
    services.pointers.apply(lambda pointer: promoted(pointer, "b"), change)
    services.pointers.apply(lambda pointer: challenged(pointer, "c"), change)
    services.pointers.apply(lambda pointer: with_canary(pointer, 0.1), change)
    return made


def test_an_alarm_rolls_back_freezes_ends_the_canary_and_tells(world: World) -> None:
    world.alarms.on_since[MODEL] = after(0)
    told = world.look(1)
    assert told["action"] == "roll_back"
    assert (world.pointer.champion, world.pointer.stable, world.pointer.frozen) == ("a", "a", True)
    assert world.pointer.canary_share == 0
    last = world.services.audit.entries()[-1]
    assert (last.who, last.before.champion) == ("alarm model", "b")  # type: ignore[union-attr]
    assert "off by 9" in last.why
    assert world.messages() == ["SLIDR test: rolled back to the stable release"]


def test_no_alarm_changes_nothing(world: World) -> None:
    before = world.pointer
    assert world.look(1)["action"] == "nothing"
    assert (world.pointer, world.messages()) == (before, [])


def test_a_flapping_alarm_rolls_back_once(world: World) -> None:
    for second in range(0, 600, 60):
        if (second // 60) % 2:
            world.alarms.on_since.pop(MODEL, None)
        else:
            world.alarms.on_since[MODEL] = after(second)
        world.look(second + 1)
    assert world.changes_by_alarms() == 1
    assert len(world.messages()) == 1
    assert world.pointer.champion == "a"


def test_two_alarms_at_once_roll_back_once(world: World) -> None:
    world.alarms.on_since = {MODEL: after(0), FPR: after(0)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: world.look(1), range(8)))
    rollbacks = [one for one in world.services.audit.entries() if one.who == "alarm model"]
    assert len(rollbacks) == 1
    assert world.pointer.champion == "a"


def test_events_that_come_again_do_nothing_more(world: World) -> None:
    world.alarms.on_since[MODEL] = after(0)
    for second in range(1, 20):
        world.look(second)
    assert (world.changes_by_alarms(), len(world.messages())) == (1, 1)


def test_an_alarm_during_a_promote_does_not_blame_the_new_champion(world: World) -> None:
    world.alarms.on_since[MODEL] = after(0)  # b's doing
    world.promote("d", at=0.5)
    assert world.look(1)["action"] == "wait"
    world.alarms.on_since.clear()  # d is well: the alarm ends with b's clicks
    assert world.look(120)["action"] == "nothing"
    assert world.pointer.champion == "d"


def test_an_alarm_during_a_promote_blames_the_new_champion_where_it_goes_on(world: World) -> None:
    world.alarms.on_since[MODEL] = after(0)
    world.promote("d", at=0.5)
    assert world.look(61)["action"] == "wait"
    assert world.look(182)["action"] == "roll_back"
    assert world.pointer.champion == "a"


def test_an_alarm_that_goes_off_after_a_promotion_is_answered_at_once(world: World) -> None:
    world.promote("d", at=0)
    world.alarms.on_since[MODEL] = after(75)
    assert world.look(76)["action"] == "roll_back"


def test_slow_alarms_are_no_evidence_while_they_see_the_champion_before(world: World) -> None:
    world.alarms.on_since[SLOW] = after(0)
    world.promote("d", at=0.5)
    assert world.look(200)["action"] == "wait"
    assert world.look(44 * 60)["action"] == "wait"
    assert world.look(46 * 60)["action"] == "roll_back"


def test_a_quick_alarm_about_the_new_champion_is_answered_while_a_slow_one_sees_the_champion_before(
    world: World,
) -> None:
    world.alarms.on_since[SLOW] = after(0)
    world.promote("d", at=0.5)
    world.alarms.on_since[MODEL] = after(75)
    assert world.look(76)["action"] == "roll_back"
    assert PARTS[MODEL] in world.services.audit.entries()[-1].why


def test_slow_alarms_are_no_evidence_while_they_see_trouble_of_the_infrastructure(world: World) -> None:
    world.alarms.on_since[SLOW] = after(0)
    world.alarms.off_since[INFRASTRUCTURE] = after(0)
    assert world.look(44 * 60)["action"] == "wait"
    assert world.look(46 * 60)["action"] == "roll_back"


def test_an_alarm_whose_parts_are_well_again_blames_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.alarms.on_since[MODEL] = after(0)
    monkeypatch.setattr(world.alarms, "on", lambda _: [])
    assert world.look(1)["action"] == "wait"


def test_a_promotion_under_way_is_refused_after_a_rollback(world: World) -> None:
    world.alarms.on_since[MODEL] = after(0)
    world.look(1)
    with pytest.raises(PromotionFrozen):
        challenger_promoted(world.pointer, "c", over="a")


def test_without_a_stable_release_every_click_is_billed_and_a_person_is_paged(world: World, control: Any) -> None:
    store = world.services.pointers
    before = store.read()
    store.change(before, msgspec.structs.replace(before, stable=None), Change(who="ada", why="test", at=after(-3_000)))
    world.alarms.on_since[MODEL] = after(0)
    assert world.look(1)["action"] == "observe"
    assert world.pointer.champion == "b"
    assert world.pointer.frozen
    assert world.services.policies.read().kill_switch
    assert world.messages() == ["SLIDR test: PAGE: every click is billed, a person is needed"]


def test_an_alarm_that_goes_on_with_stable_blames_the_input_and_no_model(world: World) -> None:
    world.alarms.on_since[MODEL] = after(0)
    world.look(1)
    world.alarms.on_since = {STABLE: after(130)}
    assert world.look(131)["action"] == "observe"
    assert world.services.policies.read().kill_switch
    assert world.pointer.champion == "a"
    assert world.messages() == [
        "SLIDR test: rolled back to the stable release",
        "SLIDR test: PAGE: every click is billed, a person is needed",
    ]


def test_the_alarm_of_the_former_champion_that_lasts_does_not_blame_stable(world: World) -> None:
    world.alarms.on_since[MODEL] = after(0)
    world.look(1)
    for second in (30, 90, 150):
        assert world.look(second)["action"] == "nothing"
    assert not world.services.policies.read().kill_switch


def test_alarms_of_the_infrastructure_blame_no_model(world: World) -> None:
    world.alarms.on_since = {MODEL: after(0), INFRASTRUCTURE: after(-10)}
    before = world.pointer
    assert world.look(1)["action"] == "nothing"
    del world.alarms.on_since[INFRASTRUCTURE]
    world.alarms.off_since[INFRASTRUCTURE] = after(30)
    assert world.look(31)["action"] == "wait"  # what it did to the clicks is still in the alarm's periods
    assert world.pointer == before
    assert world.look(30 + 181)["action"] == "roll_back"


def test_false_positives_of_matured_clicks_stop_promotion_and_page(world: World) -> None:
    world.alarms.on_since[FPR] = after(0)
    assert world.look(1)["action"] == "freeze"
    assert (world.pointer.champion, world.pointer.frozen) == ("b", True)
    assert world.messages() == ["SLIDR test: PAGE: promotion is frozen"]


def test_an_operator_who_lifts_the_kill_switch_is_not_overruled_by_an_alarm_that_is_over(world: World) -> None:
    world.alarms.on_since[MODEL] = after(0)
    world.look(1)
    world.alarms.on_since = {STABLE: after(130)}
    world.look(131)
    world.alarms.on_since = {}
    change = Change(who="ada", why="well again", at=after(500))
    world.services.policies.apply(lambda policy: with_kill_switch(policy, on=False), change)
    world.services.pointers.apply(unfrozen, change)
    world.look(501)
    assert not world.services.policies.read().kill_switch
    assert not world.pointer.frozen


@pytest.mark.parametrize("killed_at", ["evidence", "write", "publish", "remember"])
def test_a_look_that_is_killed_half_way_is_finished_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    world.alarms.on_since[MODEL] = after(0)
    owner, name = {
        "write": (world.services.pointers, "change"),
        "evidence": (world.alarms, "on"),
        "publish": (world.services.sns, "publish"),
        "remember": (world.services.incidents, "remember"),
    }[killed_at]

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(KeyboardInterrupt):
            world.look(1)
    if killed_at not in {"evidence", "write"}:
        world.alarms.on_since.clear()  # the rollback has ended the alarm
    world.look(61)
    assert world.pointer.champion == "a"
    assert world.changes_by_alarms() == 1
    messages = world.messages()
    assert set(messages) == {"SLIDR test: rolled back to the stable release"}
    assert len(messages) == (2 if killed_at == "remember" else 1)  # told rather twice than never


def test_a_table_that_is_unreachable_is_tried_again_at_the_next_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.alarms.on_since[MODEL] = after(0)
    client = world.services.pointers._table._client

    def unreachable(**_: object) -> None:
        raise ClientError({"Error": {"Code": "InternalServerError"}}, "TransactWriteItems")

    with monkeypatch.context() as patch:
        patch.setattr(client, "transact_write_items", unreachable)
        with pytest.raises(ServingStateUnavailable):
            world.look(1)
    assert world.look(61)["action"] == "roll_back"


def test_the_message_says_what_was_done_and_what_to_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(world.services.sns, "publish", lambda **message: told.append(message["Message"]))
    world.alarms.on_since[MODEL] = after(0)
    world.look(1)
    (text,) = told
    for said in ("champion: b -> a", "frozen: no -> yes", f"{PARTS[MODEL]} is off by 9", "https://dashboard",
                 "slidr replay --stage test --from HOUR --to HOUR --release stable --decided-by b"):  # fmt: skip
        assert said in text


def test_an_alarm_that_was_only_just_created_was_never_in_trouble(world: World) -> None:
    fine = AlarmState(name=INFRASTRUCTURE, on=False, since=after(-5), reason="")
    states = world.alarms.states
    world.alarms.states = lambda names: states(names) | {INFRASTRUCTURE: fine}  # type: ignore[method-assign]
    world.alarms.on_since[MODEL] = after(0)
    assert world.look(1)["action"] == "roll_back"


@pytest.mark.parametrize(
    ("value", "said", "reason"),
    [
        ("OK", "arn:... was created and its alarm rule evaluates to OK", ""),
        ("INSUFFICIENT_DATA", "Unchecked: Initial alarm creation", ""),
        ("OK", "arn:... transitioned to OK", "arn:... transitioned to OK"),
        ("ALARM", "arn:... transitioned to ALARM", "arn:... transitioned to ALARM"),
    ],
)
def test_an_alarm_has_a_reason_only_where_it_is_or_was_on(value: str, said: str, reason: str) -> None:
    alarm = {"AlarmName": "a", "StateValue": value, "StateReason": said, "StateUpdatedTimestamp": NOON}
    client = Mock()
    client.get_paginator.return_value.paginate.return_value = [{"CompositeAlarms": [alarm]}]
    assert AlarmReader(client).states(["a"])["a"].reason == reason


def test_knows_how_far_back_an_alarm_of_metric_math_looks() -> None:
    stat = {"MetricStat": {"Metric": {"MetricName": "m"}, "Period": 900, "Stat": "Sum"}}
    alarm = {
        "AlarmName": "a", "StateValue": "ALARM", "StateReason": "off", "StateUpdatedTimestamp": NOON,
        "EvaluationPeriods": 3, "Metrics": [{"Id": "e", "Expression": "ABS(m)"}, {"Id": "m", **stat}],
    }  # fmt: skip
    client = Mock()
    client.get_paginator.return_value.paginate.return_value = [{"MetricAlarms": [alarm]}]
    (found,) = AlarmReader(client).on("a")
    assert (found.period, found.window) == (15 * MINUTE, 45 * MINUTE)


def test_reads_alarms_by_name(aws: Any) -> None:
    client = aws.client("cloudwatch")
    client.put_metric_alarm(
        AlarmName="slidr-test-one", ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=3, Threshold=1,
        MetricName="m", Namespace="n", Period=60, Statistic="Sum",
    )  # fmt: skip
    reader = AlarmReader(client)
    client.set_alarm_state(AlarmName="slidr-test-one", StateValue="ALARM", StateReason="9 > 1")
    found = reader.states(["slidr-test-one"])
    assert (found["slidr-test-one"].on, found["slidr-test-one"].reason) == (True, "9 > 1")
    assert (found["slidr-test-one"].period, found["slidr-test-one"].window) == (MINUTE, 3 * MINUTE)
    assert found["slidr-test-one"].since.tzinfo is not None
    with pytest.raises(AlarmsUnavailable, match="slidr-test-other"):
        reader.states(["slidr-test-other"])
