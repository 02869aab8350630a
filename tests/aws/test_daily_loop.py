"""The steps of the daily loop against AWS in process: what they write, what stops them, what they leave alone."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from functions.adapters.attempts import Attempts
from functions.adapters.lake import ObjectUnavailable
from functions.adapters.profile_table import ProfileItem, ProfileTable
from functions.adapters.run_lease import RunInProgress
from functions.daily_loop.judge_step import GuardrailsStopped, judge
from functions.daily_loop.plan_step import RunInputInvalid
from functions.daily_loop.point_step import ActionUnknown, point
from functions.daily_loop.profile_step import ProfilesUnreadable, write_profiles
from functions.daily_loop.publish_step import NothingNew, publish
from functions.daily_loop.report_step import ReportServices, report
from functions.daily_loop.run_plan import AlreadyReleased, DayNotMature, NothingToTrainOn
from slidr.artifact import unpacked
from slidr.errors import PromotionFrozen, PromotionOutdated, PublishFailed, ReleaseConflict, ReleaseInvalid
from slidr.guardrails import GuardrailsUnreadable, encode_results
from slidr.pointer import Pointer
from tests.loop_world import DAY, EXECUTION, NOW, LoopStage, bundle, decoded, result

pytestmark = pytest.mark.aws
ONE = dt.timedelta(days=1)
LAKE_DAYS = [DAY + number * ONE for number in range(-5, 2)]
OLD, NEW, FORMER = bundle(1), bundle(2), bundle(3)


@pytest.fixture
def stage(aws: Any, control: Any) -> LoopStage:
    """A stage with a week in the lake and no release."""
    s3 = aws.client("s3")
    for bucket in ("lake", "releases"):
        s3.create_bucket(Bucket=bucket)
    made = LoopStage(s3=s3, dynamodb=control)
    made.fill_lake(LAKE_DAYS)
    return made


# --- plan


def test_plans_the_newest_day_that_has_matured(stage: LoopStage) -> None:
    plan = stage.plan()
    assert (plan.day, plan.champion, plan.former) == (DAY, "", "")
    manifest = decoded(stage.lake.read(f"{plan.prefix}clicks.manifest"))
    assert manifest[0] == {"prefix": "s3://lake/clicks/"}
    assert manifest[1:] == [f"date={day}/hour=07/part.parquet" for day in LAKE_DAYS]
    assert decoded(stage.lake.read(f"{plan.prefix}compare/plan.json"))["day"] == f"{DAY}"


def test_reads_no_clicks_and_no_purchases_of_later_days(stage: LoopStage) -> None:
    stage.fill_lake([DAY + 2 * ONE, DAY + 9 * ONE])
    plan = stage.plan(day=f"{DAY}")
    for table in ("clicks", "purchases"):
        assert (
            decoded(stage.lake.read(f"{plan.prefix}{table}.manifest"))[-1] == f"date={DAY + ONE}/hour=07/part.parquet"
        )


def test_a_schedule_names_its_day_however_late_it_starts(stage: LoopStage) -> None:
    scheduled = "2026-11-22T02:30:00Z"
    assert stage.plan(now=NOW + 3 * ONE, scheduled=scheduled).day == DAY


def test_a_day_whose_clicks_may_still_lead_to_purchases_is_not_mature(stage: LoopStage) -> None:
    with pytest.raises(DayNotMature, match="2026-11-21 has not before 2026-11-23"):
        stage.plan(day="2026-11-21")
    stage.lease.take("another", now_s=int(NOW.timestamp()), lease_s=60)  # and no lease was left behind


@pytest.mark.parametrize("table", ["clicks", "purchases"])
def test_without_clicks_or_purchases_there_is_nothing_to_train_on(aws: Any, control: Any, table: str) -> None:
    s3 = aws.client("s3")
    for bucket in ("lake", "releases"):
        s3.create_bucket(Bucket=bucket)
    stage = LoopStage(s3=s3, dynamodb=control)
    stage.put(f"{table}/date={DAY}/hour=07/part.parquet")
    with pytest.raises(NothingToTrainOn):
        stage.plan()


def test_a_malformed_input_is_told(stage: LoopStage) -> None:
    with pytest.raises(RunInputInvalid, match="day"):
        stage.plan(day="yesterday")


def test_two_runs_at_once_are_one(stage: LoopStage) -> None:
    stage.plan()
    with pytest.raises(RunInProgress, match="execution:slidr-dev-daily-release:one"):
        stage.plan(execution="another")
    assert stage.plan().run == stage.plan().run  # a retried step keeps its own lease


def test_a_run_that_died_gives_way_when_its_lease_expires(stage: LoopStage) -> None:
    stage.plan()
    assert stage.plan(execution="another", now=NOW + dt.timedelta(hours=7)).day == DAY
    assert not stage.lease.give_back(EXECUTION)  # the dead one, come to life, takes nothing from the living


def test_a_day_is_released_once_unless_asked_for_again(stage: LoopStage) -> None:
    stage.put(f"training/done/{DAY}.json", b'{"release_id": "r-1"}')
    with pytest.raises(AlreadyReleased, match="put r-1 in force"):
        stage.plan()
    assert stage.plan(again=True).day == DAY


def test_names_the_former_champion_that_has_matured_and_keeps_the_one_that_has_not(stage: LoopStage) -> None:
    start = dt.datetime(2026, 11, 15, tzinfo=dt.UTC)
    for number, release in enumerate((FORMER.id, OLD.id, NEW.id)):
        stage.point(Pointer(champion=release), at=start + 3 * number * ONE)
    stage.publish(FORMER)
    stage.publish(NEW)
    plan = stage.plan()
    assert (plan.champion, plan.former, plan.kept) == (NEW.id, OLD.id, "")
    assert plan.former_interval == (start + 3 * ONE, start + 6 * ONE)
    stage.point(Pointer(champion=FORMER.id), at=NOW)
    plan = stage.plan()
    assert (plan.champion, plan.former, plan.kept) == (FORMER.id, OLD.id, NEW.id)
    assert stage.lake.find(f"{plan.prefix}compare/releases/{FORMER.id}/release.json") == FORMER.files["release.json"]


def test_stable_is_no_former_champion(stage: LoopStage) -> None:
    stage.point(Pointer(champion=OLD.id), at=NOW - 9 * ONE)
    stage.point(Pointer(champion=NEW.id, stable=OLD.id), at=NOW - 6 * ONE)
    assert stage.plan().former == ""


# --- judge


def test_guardrails_that_stop_raise_what_they_say(stage: LoopStage) -> None:
    warning = result("x", passed=False, severity="warn")
    stage.put("results.json", encode_results([result(), result("fpr", passed=False), warning]))
    with pytest.raises(GuardrailsStopped, match=r"^fpr, all: 0\.1, must be at least 0\.6$"):
        judge(stage.lake, ["results.json"])


def test_guardrails_that_warn_let_a_run_go_on(stage: LoopStage) -> None:
    stage.put("results.json", encode_results([result(), result("x", passed=False, severity="warn")]))
    assert judge(stage.lake, ["results.json"]) == {"passed": 1, "warned": ["x, all: 0.1, must be at least 0.6"]}


@pytest.mark.parametrize("content", [None, b"", b"[]", b'[{"name": "auc"}]'])
def test_results_that_are_missing_or_malformed_stop_a_run(stage: LoopStage, content: bytes | None) -> None:
    if content is not None:
        stage.put("results.json", content)
    with pytest.raises(GuardrailsUnreadable):
        judge(stage.lake, ["results.json"])


# --- publish


def test_publishes_a_release_with_what_let_it_through(stage: LoopStage) -> None:
    plan = stage.plan()
    told = publish(plan, stage.keep_run(plan, NEW), stage.publishing, endpoint="slidr-dev")
    kept = {key.rpartition("/")[2] for key in stage.publishing.lake.keys("")}  # nothing of it went to the lake
    assert "weights.safetensors" not in kept
    stored = {
        item["Key"]: stage.s3.get_object(Bucket="releases", Key=item["Key"])["Body"].read()
        for item in stage.s3.list_objects_v2(Bucket="releases")["Contents"]
    }
    assert stored[f"releases/{NEW.id}/release.json"] == NEW.files["release.json"]
    assert [one["name"] for one in decoded(stored[f"releases/{NEW.id}/guardrails.json"])] == ["clicks_in_day", "auc"]
    assert (told["first"], told["known"], told["mature"]) == (True, False, "")
    assert told["metadata"] == {"release_id": NEW.id, "run": plan.run, "day": f"{DAY}", "ivr": "0.125"}
    archive = unpacked(stored[told["artifact_uri"].removeprefix("s3://releases/")])
    assert decoded(archive["manifest.json"]) == {"champion": NEW.id, "stable": None}
    assert len(told["config"]) <= 63


def test_the_endpoint_holds_both_sides_of_the_change_and_who_is_still_to_mature(stage: LoopStage) -> None:
    for made in (OLD, FORMER, bundle(4)):
        stage.publish(made)
    stage.point(Pointer(champion=FORMER.id), at=NOW - 3 * ONE)
    stage.point(Pointer(champion=OLD.id, stable=bundle(4).id), at=NOW)
    plan = stage.plan()
    assert plan.kept == FORMER.id
    told = publish(plan, stage.keep_run(plan, NEW), stage.publishing, endpoint="slidr-dev")
    assert set(told["loads"]) == {NEW.id, OLD.id, FORMER.id, bundle(4).id}
    assert told["over"] == OLD.id


def test_a_former_champion_that_passed_becomes_stable_and_one_that_did_not_does_not(stage: LoopStage) -> None:
    for made in (OLD, FORMER):
        stage.publish(made)
    stage.point(Pointer(champion=FORMER.id), at=NOW - 9 * ONE)
    stage.point(Pointer(champion=OLD.id), at=NOW - 5 * ONE)
    plan = stage.plan()
    assert plan.former == FORMER.id
    key = stage.keep_run(plan, NEW, stable=[result("served_fpr", passed=False)])
    stage.put(f"{plan.prefix}evaluation/realised.json", b"{}")
    assert publish(plan, key, stage.publishing, endpoint="e")["mature"] == ""
    stage.keep_run(plan, NEW, stable=[result("served_fpr")])
    told = publish(plan, key, stage.publishing, endpoint="e")
    assert told["mature"] == FORMER.id
    assert stage.s3.get_object(Bucket="releases", Key=f"releases/{FORMER.id}/realised.json")["Body"].read() == b"{}"


def test_the_champion_again_is_nothing_new(stage: LoopStage) -> None:
    stage.point(Pointer(champion=NEW.id))
    plan = stage.plan()
    with pytest.raises(NothingNew):
        publish(plan, stage.keep_run(plan, NEW), stage.publishing, endpoint="e")


def test_a_published_release_that_somebody_changed_is_a_conflict(stage: LoopStage) -> None:
    stage.publish(NEW)
    stage.put(f"releases/{NEW.id}/weights.safetensors", b"other", bucket="releases")
    plan = stage.plan()
    with pytest.raises(ReleaseConflict):
        publish(plan, stage.keep_run(plan, NEW), stage.publishing, endpoint="e")


def test_publishing_twice_changes_nothing(stage: LoopStage) -> None:
    plan = stage.plan()
    key = stage.keep_run(plan, NEW)
    first = publish(plan, key, stage.publishing, endpoint="e")
    again = publish(plan, key, stage.publishing, endpoint="e")
    assert again == {**first, "known": True}


def test_weights_that_are_not_the_releases_are_refused(stage: LoopStage) -> None:
    plan = stage.plan()
    broken = bundle(5)
    broken.files["weights.safetensors"] = b"swapped"
    with pytest.raises(ReleaseInvalid, match="must hash"):
        publish(plan, stage.keep_run(plan, broken), stage.publishing, endpoint="e")


def test_a_damaged_champion_is_told_and_a_damaged_former_one_left_out(stage: LoopStage) -> None:
    stage.publish(OLD)
    stage.point(Pointer(champion=FORMER.id), at=NOW - 3 * ONE)  # never published: nothing of it is there
    stage.point(Pointer(champion=OLD.id), at=NOW)
    plan = stage.plan()
    key = stage.keep_run(plan, NEW)
    assert set(publish(plan, key, stage.publishing, endpoint="e")["loads"]) == {NEW.id, OLD.id}
    stage.put(f"releases/{OLD.id}/weights.safetensors", b"rot", bucket="releases")
    with pytest.raises(ReleaseInvalid, match=OLD.id):
        publish(plan, key, stage.publishing, endpoint="e")


def test_results_that_stop_are_not_published_whoever_judged_them_before(stage: LoopStage) -> None:
    plan = stage.plan()
    key = stage.keep_run(plan, NEW, results=[result(passed=False)])
    with pytest.raises(GuardrailsStopped):
        publish(plan, key, stage.publishing, endpoint="e")
    assert "Contents" not in stage.s3.list_objects_v2(Bucket="releases")


# --- point


def asked(action: str, release: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "release_id": release, "run": "day-1", "why": "a test", **more}


def test_the_first_release_serves_at_once(stage: LoopStage) -> None:
    assert point(asked("challenge", "r-1"), stage.pointers, now=NOW)["champion"] == "r-1"
    assert point(asked("promote", "r-1", over=""), stage.pointers, now=NOW)["generation"] == 1


def test_a_challenger_goes_from_shadow_by_canary_to_champion(stage: LoopStage) -> None:
    stage.point(Pointer(champion="r-1"))
    shadow = point(asked("challenge", "r-2", mature="r-0"), stage.pointers, now=NOW)
    assert (shadow["challenger"], shadow["stable"], shadow["canary_share"]) == ("r-2", "r-0", 0.0)
    assert point(asked("canary", "r-2", share=0.05), stage.pointers, now=NOW)["canary_share"] == 0.05
    after = point(asked("promote", "r-2", over="r-1"), stage.pointers, now=NOW)
    assert (after["champion"], after["challenger"], after["canary_share"]) == ("r-2", None, 0.0)
    again = point(asked("promote", "r-2", over="r-1"), stage.pointers, now=NOW)
    assert again == after  # a retry whose answer was lost
    who = [item["who"]["S"] for item in stage.dynamodb.scan(TableName="control")["Items"] if "who" in item]
    assert who.count("daily-loop day-1") == 3


def test_a_promotion_over_another_champion_is_outdated(stage: LoopStage) -> None:
    stage.point(Pointer(champion="r-9", challenger="r-2"))
    with pytest.raises(PromotionOutdated):
        point(asked("promote", "r-2", over="r-1"), stage.pointers, now=NOW)


def test_a_frozen_pointer_holds_promotion_and_stable(stage: LoopStage) -> None:
    stage.point(Pointer(champion="r-1", challenger="r-2", frozen=True))
    for action, more in (("promote", {"over": "r-1"}), ("challenge", {"mature": "r-0"}), ("canary", {"share": 0.1})):
        with pytest.raises(PromotionFrozen):
            point(asked(action, "r-2", **more), stage.pointers, now=NOW)


def test_withdrawal_takes_back_this_runs_challenger_and_no_other(stage: LoopStage) -> None:
    before = stage.point(Pointer(champion="r-1", challenger="r-3", canary_share=0.1))
    assert point(asked("withdraw", "r-2"), stage.pointers, now=NOW) == msgspec.to_builtins(before)
    after = point(asked("withdraw", "r-3"), stage.pointers, now=NOW)
    assert (after["challenger"], after["canary_share"], after["champion"]) == (None, 0.0, "r-1")


def test_an_unknown_action_is_refused(stage: LoopStage) -> None:
    with pytest.raises(ActionUnknown):
        point(asked("delete", "r-1"), stage.pointers, now=NOW)


# --- profiles


@pytest.fixture
def profiles(control: Any) -> Any:
    control.create_table(
        TableName="profiles",
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return control


def profile(number: int) -> ProfileItem:
    return ProfileItem(key=f"ip#{number}", clicks_per_day=1 / 3, first_seen=1.5, expires_at=9, users_per_day=0.1)


def test_writes_every_profile_of_a_file_exactly(stage: LoopStage, profiles: Any) -> None:
    lines = b"\n".join(map(msgspec.json.encode, map(profile, range(60))))
    stage.put("part.jsonl.gz", gzip.compress(lines))
    table = ProfileTable(profiles, "profiles", attempts=Attempts(deadline_s=1.0))
    assert write_profiles(stage.lake, "part.jsonl.gz", table) == {"written": 60}
    item = profiles.get_item(TableName="profiles", Key={"key": {"S": "ip#59"}})["Item"]
    assert float(item["clicks_per_day"]["N"]) == 1 / 3


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b'{"key": 1}\n', mtime=0)], ids=["not compressed", "not a profile"]
)
def test_a_file_that_holds_no_profiles_is_told(stage: LoopStage, profiles: Any, content: bytes) -> None:
    stage.put("part.jsonl.gz", content)
    with pytest.raises(ProfilesUnreadable):
        write_profiles(stage.lake, "part.jsonl.gz", ProfileTable(profiles, "profiles", attempts=Attempts(deadline_s=1)))


def test_what_the_table_does_not_take_at_once_is_sent_again() -> None:
    refused = {"profiles": [{"PutRequest": {"Item": profile(7).item()}}]}
    client = Mock(batch_write_item=Mock(side_effect=[{"UnprocessedItems": refused}, {"UnprocessedItems": {}}]))
    table = ProfileTable(client, "profiles", attempts=Attempts(deadline_s=1.0, sleep=lambda _: None))
    assert table.put(map(profile, range(10))) == 10
    assert client.batch_write_item.call_args.kwargs == {"RequestItems": refused}


def test_profiles_that_the_table_never_takes_are_told() -> None:
    refused = {"profiles": [{"PutRequest": {"Item": profile(7).item()}}]}
    client = Mock(batch_write_item=Mock(return_value={"UnprocessedItems": refused}))
    with pytest.raises(PublishFailed, match="1 were not taken"):
        ProfileTable(client, "profiles", attempts=Attempts(deadline_s=0.0)).put([profile(7)])


# --- report


@pytest.fixture
def reporting(aws: Any, stage: LoopStage) -> ReportServices:
    at = dt.datetime(2026, 11, 22, 2, 30, tzinfo=dt.UTC)
    events = [
        {"stateEnteredEventDetails": {"name": "BuildDataset"}, "timestamp": at},
        {"stateExitedEventDetails": {"name": "BuildDataset"}, "timestamp": at + dt.timedelta(seconds=90)},
    ]
    pages = Mock(paginate=Mock(return_value=[{"events": events}]))
    return ReportServices(
        lake=stage.lake,
        lease=stage.lease,
        machine=Mock(get_paginator=Mock(return_value=pages)),
        sns=Mock(),
        topic_arn="topic",
    )


def reported(state: dict[str, Any], services: ReportServices) -> dict[str, Any]:
    return report({"state": state, "execution": EXECUTION}, services, stage="dev", instance_type="ml.c7i.2xlarge")


def test_a_promotion_is_told_with_its_page_and_the_lease_is_given_back(
    stage: LoopStage, reporting: ReportServices
) -> None:
    plan = stage.plan()
    stage.keep_run(plan, NEW)
    stage.s3.delete_object(Bucket="lake", Key=f"{plan.prefix}evaluation/evaluation.json")  # a page needs no part of it
    state = {"plan": msgspec.to_builtins(plan), "release": {"release_id": NEW.id, "mature": ""}}
    told = reported(state, reporting)
    assert (told["outcome"], told["release_id"]) == ("promoted", NEW.id)
    page = stage.lake.read(f"{plan.prefix}page.html").decode()
    for said in ("put a release in force", "BuildDataset", "0.0107"):  # 90 s at 0.428 dollars an hour
        assert said in page
    assert decoded(stage.lake.read(f"training/done/{DAY}.json"))["release_id"] == NEW.id
    assert reporting.sns.publish.call_args.kwargs["Subject"] == f"SLIDR dev: {DAY} promoted {NEW.id}"  # type: ignore[attr-defined]
    assert stage.plan(execution="the next", again=True).day == DAY


def test_a_stop_is_told_with_its_reason_and_releases_nothing(stage: LoopStage, reporting: ReportServices) -> None:
    plan = stage.plan()
    stopped = {"Error": "GuardrailsStopped", "Cause": json.dumps({"errorMessage": "auc, all: <b>0.1</b>" + "x" * 200})}
    told = reported({"plan": msgspec.to_builtins(plan), "stopped": stopped}, reporting)
    assert told["outcome"] == "stopped"
    assert stage.lake.find(f"training/done/{DAY}.json") is None
    assert "&lt;b&gt;" in stage.lake.read(f"{plan.prefix}page.html").decode()
    assert len(reporting.sns.publish.call_args.kwargs["Subject"]) == 100  # type: ignore[attr-defined]


def test_a_run_that_was_not_even_planned_is_told_without_a_page(stage: LoopStage, reporting: ReportServices) -> None:
    stopped = {"Error": "NothingToTrainOn", "Cause": json.dumps({"errorMessage": "no clicks"})}
    told = reported({"stopped": stopped}, reporting)
    assert told == {"outcome": "stopped", "why": "NothingToTrainOn: no clicks", "page": "", "release_id": ""}


def test_a_job_that_failed_tells_its_own_reason(stage: LoopStage, reporting: ReportServices) -> None:
    reason = "AlgorithmError: UnusableTrainingData: no rows of one label, exit code: 1"
    stopped = {"Error": "States.TaskFailed", "Cause": json.dumps({"FailureReason": reason})}
    told = reported({"stopped": stopped}, reporting)
    assert (told["outcome"], told["why"]) == ("stopped", "UnusableTrainingData: no rows of one label, exit code: 1")
    crashed = {"Error": "States.TaskFailed", "Cause": json.dumps({"FailureReason": "InternalServerError"})}
    assert reported({"stopped": crashed}, reporting)["outcome"] == "failed"


def test_an_object_that_cannot_be_read_is_a_dependency_and_is_retried(stage: LoopStage) -> None:
    with pytest.raises(ObjectUnavailable):
        stage.lake.read("nothing/here")
