from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from slidr.metrics import Rate
from training.calibration.curve import ScoredClicks, curves_of, knee
from training.curves import (
    ALL,
    ROBOTIC,
    JudgedClicks,
    at_fpr,
    by_slice,
    judged_clicks,
    kneed_knee,
    shares,
    vertices_at,
)
from training.intervals import copies, exact_interval, percentile_interval, shares_by_replicate
from training.labels import UnusableTrainingData

SCORES = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
CLICK = st.tuples(SCORES, st.booleans(), st.booleans(), st.integers(0, 9))
CLICKS = st.lists(CLICK, min_size=1, max_size=80).filter(lambda clicks: any(bought for _, bought, _, _ in clicks))
RATES = [0.0, 0.1, 0.34, 0.5, 1.0]


def judged(clicks: list[tuple[float, bool, bool, int]]) -> JudgedClicks:
    return JudgedClicks(
        scores=np.array([score for score, *_ in clicks], dtype=np.float32),
        purchased=np.array([bought for _, bought, _, _ in clicks]),
        person=np.array([person for *_, person in clicks], dtype=np.int64),
        groups={ALL: np.ones(len(clicks), dtype=np.bool_), ROBOTIC: np.array([flag for _, _, flag, _ in clicks])},
    )


def repeated(clicks: JudgedClicks, times: np.ndarray) -> JudgedClicks:
    rows = np.repeat(np.arange(len(clicks.scores)), times[clicks.person].astype(int))
    return JudgedClicks(
        scores=clicks.scores[rows],
        purchased=clicks.purchased[rows],
        person=clicks.person[rows],
        groups={name: flags[rows] for name, flags in clicks.groups.items()},
    )


@settings(max_examples=50)
@given(CLICKS)
def test_the_threshold_at_an_fpr_is_the_lowest_within_it(clicks: list[tuple[float, bool, bool, int]]) -> None:
    log = judged(clicks)
    found = at_fpr(log, RATES, replicates=0)

    for i, stated in enumerate(RATES):
        invalid = log.scores >= found.threshold[i]
        assert found.fpr[i] == Rate(count=int((invalid & log.purchased).sum()), total=int(log.purchased.sum()))
        assert found.fpr[i].value <= stated + 1e-12
        for name, flags in log.groups.items():
            assert found.share[name][i] == Rate(count=int((invalid & flags).sum()), total=int(flags.sum()))
        within = [t for t in log.scores if (log.scores >= t)[log.purchased].mean() <= stated]
        assert invalid.sum() == (max((log.scores >= t).sum() for t in within) if within else 0)


@settings(max_examples=30)
@given(CLICKS)
def test_all_curves_at_once_give_the_thresholds_of_one_at_a_time(clicks: list[tuple[float, bool, bool, int]]) -> None:
    log = judged(clicks)
    scored = ScoredClicks(slice=log.person % 3, scores=log.scores, purchased=log.purchased, robotic=log.groups[ROBOTIC])
    curves = curves_of(scored, slices=3)
    one = by_slice(log, pl.Series(scored.slice).cast(pl.String), RATES, replicates=0)

    for i, stated in enumerate(RATES):
        at = vertices_at(curves, stated)
        for name, found in one.items():
            assert curves.threshold[at[int(name)]] == found.threshold[i]
    assert {int(name) for name in one} == set(scored.slice[log.purchased].tolist())


@settings(max_examples=25)
@given(CLICKS)
def test_a_replicate_is_the_log_with_its_people_repeated(clicks: list[tuple[float, bool, bool, int]]) -> None:
    log = judged(clicks)
    found = at_fpr(log, RATES, replicates=4, seed=3)
    drawn = np.concatenate(list(copies(int(log.person.max()) + 1, replicates=4, seed=3)))

    for r in range(4):
        again = repeated(log, drawn[r])
        if not again.purchased.any():
            assert np.isnan(found.replicates[ALL][r]).all()
            continue
        by_hand = at_fpr(again, RATES, replicates=0)
        for name in log.groups:
            np.testing.assert_allclose(found.replicates[name][r], by_hand.values(name))


def test_an_interval_over_people_is_wider_where_their_clicks_go_together() -> None:
    draw = np.random.default_rng(1)
    person = np.repeat(np.arange(100), 20)
    hit = draw.random(100)[person] < 0.3  # all clicks of a person, or none
    everybody = np.ones(len(hit), dtype=np.bool_)

    together = np.subtract(*percentile_interval(shares_by_replicate(hit, everybody, person)))
    apart = np.subtract(*percentile_interval(shares_by_replicate(hit, everybody, np.arange(len(hit)))))
    low, high = Rate(count=int(hit.sum()), total=len(hit)).interval

    assert -apart == pytest.approx(high - low, rel=0.15)
    assert together / apart == pytest.approx(math.sqrt(20), rel=0.2)


def test_equal_seeds_compare_two_scorers_on_the_same_people() -> None:
    draw = np.random.default_rng(2)
    bought = draw.random(3_000) < 0.2
    scores = (draw.random(3_000) * np.where(bought, 0.8, 1.0)).astype(np.float32)
    log = JudgedClicks(
        scores=scores, purchased=bought, person=draw.integers(0, 500, 3_000), groups={ALL: np.ones(3_000, np.bool_)}
    )
    worse = log.scored_by((scores + draw.normal(0, 0.02, 3_000)).clip(0, 1).astype(np.float32))

    one, other = (at_fpr(clicks, [0.05]) for clicks in (log, worse))
    paired = np.std(one.replicates[ALL] - other.replicates[ALL])
    alone = np.hypot(np.std(one.replicates[ALL]), np.std(other.replicates[ALL]))

    assert paired < 0.9 * alone
    assert np.array_equal(at_fpr(log, [0.05]).replicates[ALL], one.replicates[ALL])


def test_given_verdicts_are_judged_with_the_intervals_of_their_people() -> None:
    log = judged([(0.9, False, True, 0), (0.8, True, False, 1), (0.2, True, False, 2), (0.1, False, False, 3)])
    fpr, found = shares(log.scores >= 0.5, log)

    assert fpr.rate == Rate(count=1, total=2)
    assert (fpr.low, fpr.high) == (0.0, 1.0)
    assert found[ROBOTIC].rate == Rate(count=1, total=1)
    # Where all of them fare alike, no drawing of people tells them apart: one of one, exactly.
    assert (found[ROBOTIC].low, found[ROBOTIC].high) == pytest.approx((0.025, 1.0))


def test_a_group_without_clicks_has_no_share() -> None:
    log = judged([(0.9, True, False, 0), (0.1, False, False, 1)])
    found = at_fpr(log, [0.5])

    assert math.isnan(found.values(ROBOTIC)[0])
    assert np.isnan(found.interval(ROBOTIC)).all()


def test_refuses_clicks_without_a_purchase() -> None:
    with pytest.raises(UnusableTrainingData, match="purchasing clicks are required"):
        at_fpr(judged([(0.5, False, False, 0)]), [0.01])


def test_leaves_out_what_lists_name_and_what_is_too_young() -> None:
    rows = pl.DataFrame(
        {
            "click_id": [*"abc"], "user_token": ["u", None, "u"], "session_token": [None, None, "s"],
            "rule": ["purchase", "givt", "no_evidence"], "purchased": [True, True, False],
            "session_clicks_1h": [1, 50, 50],
        }
    )  # fmt: skip
    clicks = judged_clicks(rows, np.array([0.1, 0.2, 0.3], np.float32), groups={"x": np.array([True, True, False])})

    assert clicks.scores.round(1).tolist() == pytest.approx([0.1, 0.3])
    assert clicks.person[0] == clicks.person[1]
    assert {name: flags.tolist() for name, flags in clicks.groups.items()} == {
        ALL: [True, True], ROBOTIC: [False, True], "x": [True, False],
    }  # fmt: skip


@settings(max_examples=30)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_exact_intervals_agree_with_scipy(counts: tuple[int, int]) -> None:
    theirs = binomtest(*counts).proportion_ci(method="exact")
    assert exact_interval(Rate(count=counts[0], total=counts[1])) == pytest.approx((theirs.low, theirs.high))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 3)), min_size=3, max_size=30))
def test_no_vertex_gains_more_than_the_knee_with_both_axes_brought_to_one(steps: list[tuple[int, int]]) -> None:
    purchased = np.concatenate([[False] * more + [True] * bought for more, bought in steps])
    scores = np.linspace(0.99, 0.01, len(purchased), dtype=np.float32)
    nobody = np.zeros(len(scores), dtype=np.int64)
    curve = curves_of(
        ScoredClicks(slice=nobody, scores=scores, purchased=purchased, robotic=nobody.astype(np.bool_)), slices=1
    )
    gained = (curve.ivr - curve.ivr[0]) / (curve.ivr[-1] - curve.ivr[0]) - curve.fpr

    if gained.max() > 1e-9:
        assert gained[kneed_knee(curve)] == pytest.approx(gained.max())
    else:  # no vertex lies above the straight line: kneed sees no knee
        assert kneed_knee(curve) == knee(curve)
