"""A malformed record never blocks its shard; a transient failure is retried from the right record; nothing is lost."""

from __future__ import annotations

import base64
import datetime as dt

import msgspec
import pytest

from functions.adapters.reject_store import read_rejects
from tests.scoring_world import World, any_click, any_robot


def test_reject_keeps_reason_and_origin(world: World) -> None:
    outcome = world.score(any_click(), b"\xff not json", any_click("late", at="yesterday"))

    first, second = world.rejects.kept
    assert (first.reason, first.payload_base64) == ("not_json", b"\xff not json")
    assert (first.stream, first.shard, first.sequence) == ("clicks", "shardId-000000000000", "101")
    assert first.arrived_at == dt.datetime(2026, 11, 23, 11, 59, 59, tzinfo=dt.UTC)
    assert second.reason == "wrong_value"
    assert len(world.verdicts.kept) == 1
    assert outcome.retry_from is None
    assert outcome.rejects == {"not_json": 1, "wrong_value": 1}


def test_reject_line_gives_the_payload_back(world: World) -> None:
    world.score(b"\x00\xff")

    line = msgspec.json.Encoder().encode_lines(world.rejects.kept)

    assert base64.b64decode(msgspec.json.decode(line)["payload_base64"]) == b"\x00\xff"
    assert read_rejects(line) == world.rejects.kept


def test_batch_of_rejects_only_asks_no_service(world: World) -> None:
    world.break_counters()

    outcome = world.score(b"", b"[]")

    assert len(world.rejects.kept) == 2
    assert (outcome.retry_from, outcome.problems, world.verdicts.kept) == (None, (), [])


def test_click_ahead_of_its_arrival_is_rejected_by_the_streams_own_stamp(world: World) -> None:
    click = any_click(at="2026-11-23T12:00:00Z")
    at = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC).timestamp()

    world.score(click, arrived_s=at - 300)
    world.score(click, arrived_s=at - 300.001)

    assert (len(world.verdicts.kept), [r.reason for r in world.rejects.kept]) == (1, ["ahead_of_arrival"])


def test_retries_from_first_unpublished_record(world: World) -> None:
    world.verdicts.fails_from = 1

    outcome = world.score(b"bad", any_click("a"), b"bad", any_click("b"), b"bad", any_click("c"))

    assert outcome.retry_from == 3  # where b is
    assert [reject.sequence for reject in world.rejects.kept] == ["100", "102"]  # the third comes again with b


def test_retries_from_first_unstored_reject(world: World) -> None:
    world.rejects.fails_from = 0

    outcome = world.score(any_click("a"), b"bad", any_click("b"))

    assert outcome.retry_from == 1


def test_retries_from_first_unqueued_click_and_publishes_no_verdict_behind_it(world: World) -> None:
    world.break_counters()
    world.undecided.fails_from = 1

    outcome = world.score(any_click("a"), any_click("b"), b"bad", any_click("c"))

    assert outcome.retry_from == 1
    assert [verdict.click_id for verdict in world.verdicts.kept] == ["a"]
    assert world.rejects.kept == []


def test_healthy_part_of_a_batch_is_published_when_all_stores_fail_later(world: World) -> None:
    world.verdicts.fails_from = 2
    world.rejects.fails_from = 0

    outcome = world.score(any_click("a"), b"bad", any_click("b"), any_click("c"))

    assert outcome.retry_from == 1
    assert len(outcome.problems) == 2


def test_retry_of_the_rest_makes_the_batch_whole(world: World) -> None:
    batch = [any_click("a"), b"bad 1", any_click("b"), b"bad 2", any_robot("c")]
    world.verdicts.fails_from = 1
    retry_from = world.score(*batch).retry_from
    world.verdicts.fails_from = None
    rest = world.score(*batch[retry_from:])

    assert rest.retry_from is None
    assert [verdict.click_id for verdict in world.verdicts.kept] == ["a", "b", "c"]
    assert [reject.payload_base64 for reject in world.rejects.kept] == [b"bad 1", b"bad 2"]


@pytest.mark.parametrize("service", ["pseudonymiser", "counters"])
def test_unknown_failure_is_not_swallowed(world: World, service: str) -> None:
    setattr(world, service, None)

    with pytest.raises(AttributeError):
        world.score(any_click())
