"""What each role did, as its metrics say it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from functions.observability import Telemetry
from functions.score_clicks.outcome import Outcome, report
from functions.score_clicks.roles import RoleTally
from local.cloud.embedded_metrics import metrics_in
from slidr.errors import CountersUnavailable, ScoringUnavailable
from slidr.slices import Thresholds
from slidr.telemetry import Role
from tests.scoring_world import World, any_click, any_release, any_robot

IN, OUT = "device=desktop|logged_in=true", "device=desktop|logged_in=false"


@pytest.fixture
def world() -> World:
    return World()


def tallies(outcome: Outcome) -> dict[tuple[Role, str], RoleTally]:
    return {(tally.role, tally.slice): tally for tally in outcome.roles}


def test_sums_are_by_slice(world: World) -> None:
    told = tallies(world.score(any_click("a"), any_click("b"), any_robot("c")))
    assert {key: (one.clicks, one.invalid, one.undecided) for key, one in told.items()} == {
        (Role.CHAMPION, OUT): (2, 0, 0),
        (Role.CHAMPION, IN): (1, 1, 0),
    }
    assert told[Role.CHAMPION, OUT].expected_invalid == pytest.approx(2 * 0.25)
    assert told[Role.CHAMPION, OUT].expected_variance == pytest.approx(2 * 0.25 * 0.75)


def test_a_slice_expects_what_it_showed_itself(world: World) -> None:
    release = any_release(expected_ivr=(0.5,) * 168, expected_ivr_by_slice={IN: (1.0,) * 168})
    world.set_pointer(champion=world.releases.add(release))
    told = tallies(world.score(any_click("a"), any_robot("b")))
    assert (told[Role.CHAMPION, IN].expected_invalid, told[Role.CHAMPION, OUT].expected_invalid) == (1.0, 0.5)


def test_a_champion_that_is_stable_has_the_role_of_stable(world: World) -> None:
    world.set_pointer(champion=world.champion, stable=world.champion)
    assert {role for role, _ in tallies(world.score(any_click("a")))} == {Role.STABLE}


def test_undecided_clicks_count_for_the_role_that_should_have_decided(world: World) -> None:
    world.counters.failure = CountersUnavailable("silent")
    (one,) = world.score(any_click("a")).roles
    assert (one.role, one.clicks, one.undecided, one.unusable) == (Role.CHAMPION, 0, 1, 0)


def test_an_endpoint_that_is_silent_does_not_make_the_release_unusable(world: World) -> None:
    world.endpoint.failure = ScoringUnavailable("silent")
    (one,) = world.score(any_click("a")).roles
    assert (one.undecided, one.unusable) == (1, 0)


def test_scores_that_are_no_numbers_make_the_release_unusable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    score = world.endpoint.score

    def no_numbers(features: Any, *, release_id: str, shadows: Any = ()) -> Any:
        answer = score(features, release_id=release_id, shadows=shadows)
        return replace(answer, scores=np.full_like(answer.scores, np.nan))

    monkeypatch.setattr(world.endpoint, "score", no_numbers)
    (one,) = world.score(any_click("a"), any_click("b")).roles
    assert (one.clicks, one.undecided, one.unusable) == (0, 2, 2)


def test_a_release_whose_content_cannot_be_read_is_unusable(world: World) -> None:
    world.releases.by_id = {}
    (one,) = world.score(any_click("a")).roles
    assert (one.undecided, one.unusable) == (1, 1)


def test_a_challenger_in_shadow_is_told_by_what_it_would_have_decided(world: World) -> None:
    strict = world.releases.add(any_release(thresholds=Thresholds(default=0.05)))
    world.set_pointer(champion=world.champion, challenger=strict)
    told = tallies(world.score(any_click("a"), any_click("b")))
    assert (told[Role.CHAMPION, OUT].clicks, told[Role.CHAMPION, OUT].invalid) == (2, 0)
    assert (told[Role.CHALLENGER, OUT].clicks, told[Role.CHALLENGER, OUT].invalid) == (2, 2)
    assert told[Role.CHALLENGER, OUT].release_id == strict


def test_a_canary_divides_the_clicks_between_the_roles(world: World) -> None:
    strict = world.releases.add(any_release(thresholds=Thresholds(default=0.05)))
    world.set_pointer(champion=world.champion, challenger=strict, canary_share=0.5)
    outcome = world.score(*(any_click(f"c{n}", session=f"s{n}") for n in range(200)))
    by_challenger = sum(verdict.release_id == strict for verdict in world.verdicts.kept)
    champion = [one for one in outcome.roles if one.role is Role.CHAMPION]
    challenger = [one for one in outcome.roles if one.role is Role.CHALLENGER]
    assert 0 < by_challenger < 200
    assert sum(one.clicks for one in champion) == 200 - by_challenger
    assert [one.clicks for one in challenger] == [by_challenger, 200 - by_challenger]  # decided, and in shadow


def test_robotic_sessions_are_those_with_more_than_ten_clicks_in_the_hour(world: World) -> None:
    (one,) = world.score(any_click("a")).roles
    assert (one.robotic_clicks, one.robotic_invalid) == (0, 0)


def test_each_metric_is_told_for_its_slice_and_for_all(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = world.score(any_click("a"), any_click("b"), any_robot("c"))
    metrics: Any = Mock()
    report(outcome, Telemetry(logger=Mock(), tracer=None, metrics=metrics, service="score_clicks"))
    lines = capsys.readouterr().out.splitlines()
    found = [one for one in metrics_in(lines) if one.name == "Clicks"]
    by_dimensions = sorted((len(one.dimensions), one.dimensions.get("slice", ""), one.value) for one in found)
    assert by_dimensions == [(2, "", 1.0), (2, "", 2.0), (3, OUT, 2.0), (3, IN, 1.0)]
    assert all("release_id" not in one.dimensions for one in found)
    assert {json.loads(line)["release_id"] for line in lines} == {world.champion}


def test_latencies_are_told_by_rank_where_a_batch_is_large() -> None:
    added: list[float] = []
    metrics = Mock()
    metrics.add_metric = lambda name, value, **_: added.append(value) if name == "ArrivalToVerdict" else None
    outcome = Outcome(records=500, rejects=Mock(), retry_from=None, waited_ms=list(range(499, -1, -1)))
    outcome.rejects.total.return_value = 0
    outcome.rejects.__bool__ = lambda _self: False
    report(outcome, Telemetry(logger=Mock(), tracer=None, metrics=metrics, service="score_clicks"))
    assert (len(added), added[0], added[-1]) == (50, 0.0, 499.0)
    assert np.median(added) == pytest.approx(249.5, abs=6)
