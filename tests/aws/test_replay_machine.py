"""The steps of a replay's machine, in its order, over a lake in moto; the job between them as a job is run."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from functions.adapters.attempts import Attempts
from functions.adapters.lake import Lake
from functions.adapters.serving_state import Change, PointerStore
from functions.adapters.undecided_queue import QueueUnavailable, UndecidedClick, UndecidedQueue, UndecidedReader
from functions.replay.apply_step import Publisher, apply_corrections
from functions.replay.hour_step import plan_hours, tell_hours
from functions.replay.outcome_step import FinishServices, finish, summarise
from functions.replay.plan_step import WAITING, PlanServices, plan_replay
from functions.replay.settings import Settings
from infra.constructs.replay_runner import FUNCTIONS
from infra.glue_columns import glue_columns
from infra.replay_machine import ReplayMachineSettings, replay_definition
from local.cloud.parquet import Column, schema_of, to_parquet
from slidr.archive import ArchivedPurchase
from slidr.billing import WATERMARK_KEY, FinalHour, Watermark, final_key
from slidr.hours import HOUR, partition
from slidr.pointer import Pointer, promoted
from slidr.release import RELEASE_FILE, WEIGHTS_FILE
from slidr.replay import ReplayRefused
from slidr.verdict import Decision, Reason, Verdict
from tests.aws.test_replay_commands import release, rows_of, wrong
from tests.replay_world import NOON, FakeLake, FakeStream, archived, features, verdict
from training.artifact import LoadedRelease, write_release
from training.hour_step import process_hours
from training.mlp_weights import save_weights
from training.replay_step import process_replay
from training.scoring import open_scorer

pytestmark = pytest.mark.aws
__all__ = ["release"]
LATER = NOON + dt.timedelta(days=2)
DAY_TWO = NOON + dt.timedelta(days=1)


@dataclass
class World:
    plan_services: PlanServices
    lake: Lake
    queue: UndecidedQueue
    stream: FakeStream
    told: list[str]
    folder: Path

    def plan(self, **asked: Any) -> dict[str, Any]:
        event = {"input": asked, "execution": "execution-1"}
        return dict(
            msgspec.to_builtins(
                plan_replay(event, self.plan_services, Settings(stage="test", settled_after_s=60), now=LATER)
            )
        )

    def run(self, **asked: Any) -> dict[str, Any]:
        """What the machine does; the finished state."""
        plan = self.plan(**asked)
        if not plan["days"]:
            return {"plan": plan, "found": {"changed": 0, "corrections": 0}}
        for number, day in enumerate(json.loads(self.lake.read(f"{plan['prefix']}days.json"))):
            self.job(day, self.folder / plan["run"] / str(number))
        found = summarise({"plan": plan}, self.lake)
        if plan["apply"]:
            for one in json.loads(self.lake.read(f"{plan['prefix']}corrections.json")):
                publisher = Publisher(
                    lake=self.lake,
                    stream=self.stream,
                    who=one["who"],
                    why=one["why"],
                    now=lambda: LATER,  # type: ignore[arg-type]
                )
                apply_corrections(one["key"], publisher)
        services = FinishServices(lake=self.lake, sns=self, topic_arn="topic")  # type: ignore[arg-type]
        return {
            "plan": plan,
            "found": found,
            "finished": finish({"plan": plan, "found": found}, services, stage="test"),
        }

    def publish(self, *, Subject: str, Message: str, TopicArn: str) -> None:  # noqa: N803 - as the service has them
        assert TopicArn
        self.told.append(f"{Subject}\n{Message}")

    def job(self, day: dict[str, str], processing: Path) -> None:
        """Mount what the job reads, run it, upload what it wrote."""
        self.mount(day, processing, ("ask", "release"))
        process_replay(processing)
        self.upload(day, processing / "output" / "replays")

    def mount(self, day: dict[str, Any], processing: Path, folders: tuple[str, ...]) -> None:
        prefix, *keys = json.loads(self.lake.read(day["manifest"].removeprefix("s3://lake/")))
        assert prefix == {"prefix": "s3://lake/"}
        mounted = {f"lake/{key}": key for key in keys}
        for name in folders:
            folder = day[name].removeprefix("s3://lake/")
            mounted |= {f"{name}/{key.removeprefix(folder)}": key for key in self.lake.keys(folder)}
        for path, key in mounted.items():
            (processing / "input" / path).parent.mkdir(parents=True, exist_ok=True)
            (processing / "input" / path).write_bytes(self.lake.read(key))

    def upload(self, day: dict[str, Any], written: Path) -> None:
        for path in (path for path in written.rglob("*") if path.is_file()):
            self.lake.write(
                day["output"].removeprefix("s3://lake/") + str(path.relative_to(written)), path.read_bytes()
            )


@pytest.fixture
def world(aws: Any, control: Any, release: LoadedRelease, tmp_path: Path) -> World:
    s3, sqs = aws.client("s3"), aws.client("sqs")
    for bucket in ("lake", "releases"):
        s3.create_bucket(Bucket=bucket)
    name = write_release(tmp_path, release=release.release, weights=save_weights(release.weights), evidence={})
    for file in (RELEASE_FILE, WEIGHTS_FILE):
        s3.put_object(
            Bucket="releases", Key=f"releases/{name}/{file}", Body=(tmp_path / "releases" / name / file).read_bytes()
        )
    change = Change(who="test", why="test", at=NOON)
    PointerStore(control, "control").apply(lambda pointer: promoted(pointer, name), change)
    url = sqs.create_queue(QueueName="undecided")["QueueUrl"]
    lake = Lake(s3, "lake")
    return World(
        plan_services=PlanServices(
            lake=lake, releases=Lake(s3, "releases"), pointers=PointerStore(control, "control"),
            queue=UndecidedReader(sqs, url, batch=10),
        ),
        lake=lake,
        queue=UndecidedQueue(sqs, url, attempts=Attempts(deadline_s=1)),
        stream=FakeStream(),
        told=[],
        folder=tmp_path / "jobs",
    )  # fmt: skip


def deliver(world: World, *records: Any, name: str = "delivery") -> None:
    made = FakeLake()
    made.deliver(records, name=name)
    for key, body in made.objects.items():
        world.lake.write(key, body)


def ruined(release: LoadedRelease, at: dt.datetime, name: str) -> list[Verdict]:
    """Forty clicks that are all INVALID."""
    rows = rows_of(40)
    scores = open_scorer(release.weights, "cpu").score(rows)
    return [
        verdict(
            f"{name}-{n}", at=at, score=float(scores[n]), decision=Decision.INVALID, billable=False,
            reasons=(Reason.ROBOTIC_BEHAVIOUR,), features=tuple(rows[n].tolist()),
        )
        for n in range(40)
    ]  # fmt: skip


INTERVAL = {"from": "2026-11-23T12:00:00Z", "to": "2026-11-24T13:00:00Z"}


def test_a_dry_run_tells_the_difference_of_all_days_and_publishes_nothing(world: World, release: LoadedRelease) -> None:
    deliver(world, *ruined(release, NOON, "a"), *ruined(release, DAY_TWO, "b"))
    came = world.run(**INTERVAL)
    assert (came["plan"]["days"], came["found"]["clicks"]) == (2, 80)
    assert came["found"]["changed"] == 2 * len(wrong(release))
    assert not world.stream.taken
    (told,) = world.told
    assert "wait for approval" in told
    assert "INVALID -> VALID" in told
    assert "acme" in told


def test_approved_it_publishes_once_however_often_it_runs(world: World, release: LoadedRelease) -> None:
    deliver(world, *ruined(release, NOON, "a"))
    first, again = world.run(**INTERVAL, apply=True), world.run(**INTERVAL, apply=True)
    assert first["finished"]["corrections"] == len(wrong(release)) == len(world.stream.taken)
    assert again["found"]["corrections"] == 0
    assert len(world.told) == 1


def test_what_the_queue_names_is_decided_and_the_notes_are_deleted(world: World) -> None:
    waiting = {"decision": Decision.UNDECIDED, "reasons": (Reason.SCORING_UNAVAILABLE,), "score": None}
    clicks = [verdict(f"w-{n}", at=NOON, **waiting, features=features(0.5)) for n in range(25)]
    deliver(world, *clicks, *(archived(one.click_id) for one in clicks))
    world.queue.send([queued(one) for one in clicks])
    came = world.run(undecided=True, apply=True)
    assert came["finished"]["corrections"] == 25
    assert {one.click_id for one in world.stream.taken} == {one.click_id for one in clicks}
    assert world.lake.keys(WAITING) == []
    assert world.run(undecided=True, apply=True)["plan"]["days"] == 0
    assert world.told == []  # nobody is told of what happens every hour


def queued(one: Verdict) -> UndecidedClick:
    return UndecidedClick(
        click_id=one.click_id, at=one.at, arrived_at=one.arrived_at, stream="clicks", shard="s", sequence="1",
        reasons=one.reasons,
    )  # fmt: skip


def test_an_hour_whose_deliveries_are_under_way_waits_for_the_next_run(world: World) -> None:
    young = verdict("young", at=LATER - dt.timedelta(minutes=5), score=None)
    deliver(world, young)
    world.queue.send([queued(young)])
    assert world.plan(undecided=True, apply=True)["days"] == 0
    assert len(world.lake.keys(WAITING)) == 1


@pytest.mark.parametrize("killed_at", ["write", "delete", "job"])
def test_a_run_that_is_killed_leaves_its_hours_to_the_next_one(
    world: World, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    waiting = {"decision": Decision.UNDECIDED, "reasons": (Reason.SCORING_UNAVAILABLE,), "score": None}
    clicks = [verdict(f"w-{n}", at=NOON, **waiting, features=features(0.5)) for n in range(5)]
    deliver(world, *clicks, *(archived(one.click_id) for one in clicks))
    world.queue.send([queued(one) for one in clicks])

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    owner: Any = {"write": Lake, "delete": UndecidedReader, "job": World}[killed_at]
    with monkeypatch.context() as patch:
        patch.setattr(owner, killed_at, killed)
        with pytest.raises(KeyboardInterrupt):
            world.run(undecided=True, apply=True)
    visible_again(world)
    world.run(undecided=True, apply=True)
    assert {one.click_id for one in world.stream.taken} == {one.click_id for one in clicks}
    assert len(world.stream.taken) == 5


def visible_again(world: World) -> None:
    """The queue's visibility timeout is over."""
    client = world.plan_services.queue._client
    url = world.plan_services.queue._queue_url
    client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "0"})
    from moto.backends import get_backend  # noqa: PLC0415

    for backend in get_backend("sqs")["123456789012"].values():
        for queue in backend.queues.values():
            for message in queue._messages:
                message.change_visibility(0)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "needs from and to"),
        ({"from": "2026-11-23T12:30:00Z", "to": "2026-11-23T13:00:00Z"}, "whole hours"),
        ({"from": "2026-11-23T14:00:00Z", "to": "2026-11-23T13:00:00Z"}, "must end after"),
        ({"from": "2026-11-23T12:00:00Z", "to": "2026-11-23T13:00:00Z", "release": "stable"}, "no stable release"),
        ({"unknown": 1}, "plan_step.py, came"),
    ],
)
def test_refuses_what_makes_no_replay(world: World, asked: dict[str, Any], told: str) -> None:
    deliver(world, verdict("a"))
    with pytest.raises(ReplayRefused, match=told):
        world.plan(**asked)


def test_a_queue_that_does_not_answer_is_named(world: World) -> None:
    reader = UndecidedReader(world.plan_services.queue._client, "https://sqs.us-east-1.amazonaws.com/123456789012/none")
    with pytest.raises(QueueUnavailable):
        next(reader.batches())


def hours_run(world: World, *, now: dt.datetime) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the hourly machine does: what it told, and the metrics."""
    plan = plan_hours({"execution": "execution-1"}, world.lake, Settings(stage="test", settled_after_s=0), now=now)
    processing = world.folder / "hours" / f"{now:%d%H}"
    world.mount(plan, processing, ("ask",))
    process_hours(processing)
    world.upload(plan, processing / "output" / "billing")
    metrics: list[dict[str, Any]] = []
    telemetry = Mock()
    telemetry.tell = lambda of, counts, *, within=None: metrics.append({**of, **(within or {}), **counts})
    return tell_hours({"plan": plan}, world.lake, Pointer(champion="r-new", stable="r-old"), telemetry), metrics


def test_false_positives_are_told_when_their_hour_has_matured(world: World) -> None:
    deliver(world, *(archived(f"c-{n}", user=f"user-{n}") for n in range(4)))
    wrong_one = {"decision": Decision.INVALID, "reasons": (Reason.ROBOTIC_BEHAVIOUR,)}
    deliver(world, verdict("c-0"), verdict("c-1", **wrong_one), verdict("c-2"), verdict("c-3", **wrong_one), name="v")
    bought(world, "user-0", "user-1", "user-2")
    told, metrics = hours_run(world, now=NOON + 25 * HOUR)
    assert told["matured"] == 1
    assert metrics[0] == {"MaturedPurchasing": 3, "MaturedPurchasingInvalid": 1}
    assert metrics[1] == {
        "role": "stable", "slice": "device=mobile|logged_in=false", "MaturedPurchasing": 3,
        "MaturedPurchasingInvalid": 1,
    }  # fmt: skip
    assert hours_run(world, now=NOON + 25 * HOUR)[0]["matured"] == 0  # each hour once


def test_an_hour_that_has_not_matured_is_not_told(world: World) -> None:
    deliver(world, archived("c-0"))
    deliver(world, verdict("c-0"), name="v")
    assert hours_run(world, now=NOON + 24 * HOUR)[0]["matured"] == 0


def test_hours_become_final_in_order_and_the_watermark_follows(world: World) -> None:
    deliver(world, verdict("c-0"))
    hours_run(world, now=NOON + 50 * HOUR)
    final_until = msgspec.json.decode(world.lake.read(WATERMARK_KEY), type=Watermark).final_until
    assert final_until == NOON + 2 * HOUR
    kept = msgspec.json.decode(world.lake.read(final_key(NOON)), type=FinalHour)
    assert [(row.advertiser, row.clicks) for row in kept.rows] == [("acme", 1)]
    hours_run(world, now=NOON + 51 * HOUR)
    assert msgspec.json.decode(world.lake.read(WATERMARK_KEY), type=Watermark).final_until == NOON + 3 * HOUR


def bought(world: World, *users: str) -> None:
    """An order of each user, ten minutes after noon."""
    at = NOON + dt.timedelta(minutes=10)
    tokens = [archived("x", user=user).user_token for user in users]
    orders = [
        ArchivedPurchase(
            order_id=f"o-{number}", at=at, arrived_at=at, user_token=token, session_token=None, advertiser="acme",
            item=None, amount_micros=1_000_000, currency="EUR", click_id=None,
        )
        for number, token in enumerate(tokens)
    ]  # fmt: skip
    schema = schema_of(Column(*column) for column in glue_columns(ArchivedPurchase))
    times = dict.fromkeys(("at", "arrived_at"), f"{at:%Y-%m-%dT%H:%M:%S}.000Z")
    rows = [{**msgspec.to_builtins(order), **times} for order in orders]
    world.lake.write(f"purchases/{partition(NOON)}orders.parquet", to_parquet(rows, schema))


MACHINE = replay_definition(
    ReplayMachineSettings(
        functions={name: name for name in FUNCTIONS}, function_s=10, lake_bucket="lake",
        lake_key="key", image="image", role="role", instance_type="ml.c7i.large", volume_gb=10, job_timeout_s=60,
        retry_s=1, timeout_s=600,
    )
)  # fmt: skip


def test_every_state_of_the_machine_is_reached_retried_and_caught() -> None:
    def check(states: dict[str, Any], start: str, *, inner: bool) -> None:
        reached, waiting = set(), [start]
        while waiting:
            name = waiting.pop()
            if name in reached:
                continue
            reached.add(name)
            state = states[name]
            if state["Type"] == "Task":
                assert state["TimeoutSeconds"] > 0
                assert all(one["JitterStrategy"] == "FULL" for one in state["Retry"])
            if state["Type"] in {"Task", "Map"} and not inner:
                assert state["Catch"][0]["Next"] == "Stopped"
            if state["Type"] == "Map":
                assert state["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
                check(state["ItemProcessor"]["States"], state["ItemProcessor"]["StartAt"], inner=True)
            waiting += [state[key] for key in ("Next", "Default") if key in state]
            waiting += [one["Next"] for one in (*state.get("Catch", []), *state.get("Choices", []))]
        assert reached == set(states)

    check(MACHINE["States"], MACHINE["StartAt"], inner=False)
