"""Rule 6: doubt favours the human. Each way to fail, by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from functions.adapters.release_store import ReleaseUnavailable
from slidr.errors import ReleaseInvalid, ScoringUnavailable, SlidrError
from slidr.verdict import Decision, Mode, Reason
from tests.scoring_world import World, any_click, any_release, any_robot


def assert_undecided(world: World, payload: Any, *reasons: Reason) -> Any:
    world.set_policy(default=Mode.ENFORCE)
    verdict = world.decide(payload)
    assert (verdict.decision, verdict.reasons, verdict.billable) == (Decision.UNDECIDED, reasons, True)
    assert [(click.click_id, click.reasons) for click in world.undecided.kept] == [(verdict.click_id, reasons)]
    return verdict


def test_leaves_clicks_undecided_when_counters_fail(world: World) -> None:
    world.break_counters()

    verdict = assert_undecided(world, any_robot(), Reason.COUNTERS_UNAVAILABLE)

    assert (verdict.score, verdict.features, verdict.release_id) == (None, None, None)
    assert world.endpoint.asked == []


def test_leaves_only_the_clicks_undecided_whose_profiles_fail(world: World) -> None:
    world.profiles.failed_users = frozenset({"ada"})

    world.score(any_robot("ada"), any_robot("bob", user="bob"))

    assert [(v.click_id, v.decision) for v in world.verdicts.kept] == [
        ("ada", Decision.UNDECIDED),
        ("bob", Decision.INVALID),
    ]
    assert world.verdicts.kept[0].reasons == (Reason.PROFILES_UNAVAILABLE,)
    assert len(world.endpoint.asked[0][2]) == 1


def test_leaves_clicks_undecided_when_endpoint_times_out(world: World) -> None:
    world.endpoint.failure = ScoringUnavailable("read timed out")

    verdict = assert_undecided(world, any_robot(), Reason.SCORING_UNAVAILABLE)

    assert verdict.features is not None  # replay can score what serving saw
    assert (verdict.score, verdict.threshold, verdict.release_id) == (None, None, None)


def test_one_row_without_a_score_fails_only_itself(world: World) -> None:
    world.endpoint.scores = [0.9, float("nan"), 0.1]

    outcome = world.score(any_click("a"), any_click("b"), any_click("c"))

    decided = [(v.decision, v.reasons) for v in world.verdicts.kept]
    assert decided[1] == (Decision.UNDECIDED, (Reason.SCORING_UNAVAILABLE,))
    assert [decision for decision, _ in decided] == [Decision.INVALID, Decision.UNDECIDED, Decision.VALID]
    assert world.verdicts.kept[1].release_id is None
    assert outcome.undecided == {Reason.SCORING_UNAVAILABLE: 1}


def test_leaves_clicks_undecided_when_pointer_names_no_champion(world: World) -> None:
    world.set_pointer()

    assert_undecided(world, any_robot(), Reason.NO_RELEASE)

    assert world.endpoint.asked == []
    assert world.counters.seen[0].clicks == 1  # counted all the same


def test_leaves_clicks_undecided_and_billed_when_the_serving_state_is_unreadable(world: World) -> None:
    world.set_policy(default=Mode.ENFORCE)
    world.break_serving_state()

    verdict = world.decide(any_robot())

    assert (verdict.decision, verdict.mode, verdict.reasons) == (
        Decision.UNDECIDED,
        Mode.OBSERVE,
        (Reason.NO_RELEASE,),
    )


def test_decides_by_the_last_known_pointer_and_says_that_it_is_old(world: World) -> None:
    world.serving_state.error = "the control table must be readable"

    outcome = world.score(any_robot())

    assert world.verdicts.kept[0].decision is Decision.INVALID
    assert [problem.partition(":")[0] for problem in outcome.problems] == ["serving_state_stale"]


@pytest.mark.parametrize("failure", [ReleaseUnavailable("gone"), ReleaseInvalid("changed")])
def test_leaves_clicks_undecided_when_the_release_that_scored_is_unusable(world: World, failure: SlidrError) -> None:
    world.releases.failure = failure

    verdict = assert_undecided(world, any_robot(), Reason.NO_RELEASE)

    assert verdict.score == float(np.float32(0.9))
    assert (verdict.release_id, verdict.threshold) == (world.champion, None)


def test_leaves_clicks_undecided_when_the_release_is_of_another_feature_spec(world: World) -> None:
    world.set_pointer(champion=world.releases.add(any_release(feature_spec="other")))

    assert_undecided(world, any_robot(), Reason.NO_RELEASE)


def test_gives_every_reason_of_doubt(world: World) -> None:
    world.break_counters()
    world.profiles.failed_users = frozenset({"ada"})
    world.set_pointer()

    assert_undecided(
        world,
        any_robot(),
        Reason.COUNTERS_UNAVAILABLE,
        Reason.PROFILES_UNAVAILABLE,
        Reason.NO_RELEASE,
    )


def test_a_list_leaves_no_doubt(world: World) -> None:
    world.break_counters()
    world.set_policy(allowed_advertisers=("friend",))

    world.score(any_click("bot", user_agent="Googlebot"), any_robot("friend", advertiser="friend"))

    assert [(v.decision, v.reasons) for v in world.verdicts.kept] == [
        (Decision.INVALID, (Reason.KNOWN_CRAWLER,)),
        (Decision.VALID, (Reason.ALLOW_LISTED,)),
    ]
    assert world.undecided.kept == []


def test_undecided_queue_says_where_the_click_is(world: World) -> None:
    world.break_counters()

    world.score(b"{}", any_click("c"))

    (queued,) = world.undecided.kept
    assert (queued.stream, queued.shard, queued.sequence) == ("clicks", "shardId-000000000000", "101")
    assert queued.at == world.verdicts.kept[0].at


def test_problems_name_what_failed_and_no_person(world: World) -> None:
    world.break_counters()
    world.profiles.failed_users = frozenset({"ada"})

    outcome = world.score(any_click())

    assert [problem.partition(":")[0] for problem in outcome.problems] == [
        "counters_unavailable",
        "profiles_unavailable",
    ]
    assert not any("ada" in problem or "192.0.2" in problem for problem in outcome.problems)
