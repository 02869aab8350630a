"""A challenger in shadow and as canary: who decides a click, by which thresholds, and what is told of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.observability import Telemetry
from functions.score_clicks.outcome import report
from slidr.canary import in_canary
from slidr.errors import CountersUnavailable
from slidr.shadow import ShadowTally
from slidr.slices import SliceMap, Thresholds
from slidr.verdict import Decision, Reason
from tests.scoring_world import World, any_click, any_release, any_robot

DESKTOP_OUT = "device=desktop|logged_in=false"
DESKTOP_IN = "device=desktop|logged_in=true"
LOW, HIGH = float(np.float32(0.1)), float(np.float32(0.9))


@pytest.fixture
def world() -> World:
    """A challenger is loaded that scores the opposite and invalidates from 0.8 on; nothing of it counts yet."""
    made = World()
    made.challenger = made.releases.add(any_release(thresholds=Thresholds(default=0.8)))  # type: ignore[attr-defined]
    return made


def shadowed(world: World, share: float = 0.0) -> str:
    challenger: str = world.challenger  # type: ignore[attr-defined]
    world.set_pointer(champion=world.champion, challenger=challenger, canary_share=share)
    return challenger


def test_in_shadow_the_champion_decides_and_the_other_opinion_is_counted(world: World) -> None:
    challenger = shadowed(world)
    outcome = world.score(any_click("a"), any_click("b"), any_robot("c"))
    assert [v.decision for v in world.verdicts.kept] == [Decision.VALID, Decision.VALID, Decision.INVALID]
    assert world.verdicts.kept[0].shadow_scores == {challenger: HIGH}
    assert outcome.shadow == {
        DESKTOP_OUT: ShadowTally(clicks=2, flipped=2),
        DESKTOP_IN: ShadowTally(clicks=1, flipped=1),
    }


def test_without_a_challenger_nothing_is_counted(world: World) -> None:
    assert world.score(any_click("a")).shadow == {}


def test_what_a_list_decides_and_what_nobody_scored_says_nothing_of_a_challenger(world: World) -> None:
    shadowed(world)
    assert world.score(any_click("a", user_agent="Googlebot")).shadow == {}
    world.counters.failure = CountersUnavailable("silent")
    assert world.score(any_click("b")).shadow == {}


def test_a_canary_of_everybody_is_decided_by_the_challenger_and_its_thresholds(world: World) -> None:
    challenger = shadowed(world, share=1.0)
    world.score(any_click("a"), any_robot("b"))
    human, robot = world.verdicts.kept
    assert (human.decision, human.release_id, human.score, human.threshold) == (
        Decision.INVALID, challenger, HIGH, float(np.float32(0.8)),
    )  # fmt: skip
    assert (robot.decision, robot.score) == (Decision.VALID, LOW)
    assert human.shadow_scores == {world.champion: LOW}


def test_the_challengers_own_slices_go_with_its_thresholds(world: World) -> None:
    other = any_release(slices=SliceMap(columns=("device",)), thresholds=Thresholds(default=0.8))
    world.challenger = world.releases.add(other)  # type: ignore[attr-defined]
    shadowed(world, share=1.0)
    assert world.decide(any_click("a")).slice == "device=desktop"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_challenger_that_the_endpoint_does_not_hold_decides_nothing(
    world: World, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadowed(world, share=share)
    score = world.endpoint.score

    def without_shadows(features: Any, *, release_id: str, **_: Any) -> Any:
        return score(features, release_id=release_id)

    monkeypatch.setattr(world.endpoint, "score", without_shadows)
    outcome = world.score(any_click("a"))
    assert world.verdicts.kept[0].release_id == world.champion
    assert any("canary_unavailable" in problem for problem in outcome.problems) == (share > 0)


def test_a_challenger_whose_release_cannot_be_read_decides_nothing(world: World) -> None:
    world.set_pointer(champion=world.champion, challenger="r-unreadable", canary_share=1.0)
    outcome = world.score(any_click("a"))
    assert world.verdicts.kept[0].release_id == world.champion
    assert any("r-unreadable" in problem for problem in outcome.problems)


def test_a_click_that_the_challenger_gives_no_score_is_decided_by_the_champion(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadowed(world, share=1.0)
    score = world.endpoint.score

    def no_score_in_shadow(features: Any, *, release_id: str, shadows: Any = ()) -> Any:
        answer = score(features, release_id=release_id, shadows=shadows)
        return replace(answer, shadows={name: np.full_like(values, np.nan) for name, values in answer.shadows.items()})

    monkeypatch.setattr(world.endpoint, "score", no_score_in_shadow)
    verdict = world.decide(any_click("a"))
    assert (verdict.release_id, verdict.decision, verdict.shadow_scores) == (world.champion, Decision.VALID, {})


def test_a_click_in_doubt_is_undecided_on_either_side(world: World) -> None:
    shadowed(world, share=1.0)
    world.counters.failure = CountersUnavailable("silent")
    verdict = world.decide(any_click("a"))
    assert (verdict.decision, verdict.reasons) == (Decision.UNDECIDED, (Reason.COUNTERS_UNAVAILABLE,))
    assert verdict.release_id is None


@given(share=st.floats(0, 1), clicks=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=30))
def test_each_verdict_is_of_the_release_whose_thresholds_decided(share: float, clicks: list[tuple[str, bool]]) -> None:
    world = World()
    challenger = world.releases.add(any_release(thresholds=Thresholds(default=0.8)))
    world.set_pointer(champion=world.champion, challenger=challenger, canary_share=share)
    if not clicks:
        return
    world.score(*(any_click(f"c{i}", session=s, logged_in=known) for i, (s, known) in enumerate(clicks)))
    decider = {}
    for verdict, (session, _) in zip(world.verdicts.kept, clicks, strict=True):
        release = world.releases.by_id[verdict.release_id]
        assert verdict.threshold == float(release.thresholds.of([verdict.slice])[0])
        assert (verdict.decision is Decision.INVALID) == (verdict.score >= verdict.threshold)
        assert decider.setdefault(session, verdict.release_id) == verdict.release_id  # a visitor stays on one side


def test_the_share_is_what_it_says_and_grows_without_moving_anybody() -> None:
    visitors = [f"visitor-{number}" for number in range(20_000)]
    sides = [in_canary(visitors, share) for share in (0.01, 0.05, 0.5)]
    for share, side in zip((0.01, 0.05, 0.5), sides, strict=True):
        assert abs(side.mean() - share) < 5 * (share * (1 - share) / len(visitors)) ** 0.5
    assert not (sides[0] & ~sides[1]).any()
    assert not (sides[1] & ~sides[2]).any()


def test_churn_is_told_by_slice_in_one_record_a_slice(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    shadowed(world)
    outcome = world.score(any_click("a"), any_robot("b"))
    metrics: Any = Mock()
    report(outcome, Telemetry(logger=Mock(), tracer=None, metrics=metrics, service="score_clicks"))
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "ShadowClicks" in line]
    assert [(one["slice"], one["service"], one["ShadowClicks"], one["ShadowFlips"]) for one in told] == [
        (DESKTOP_OUT, "score_clicks", [1.0], [1.0]),
        (DESKTOP_IN, "score_clicks", [1.0], [1.0]),
    ]
