from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.calibration.curve import NEVER, ScoredClicks, curves_of, knee

SLICES = 4
SCORES = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
CLICKS = st.lists(st.tuples(st.integers(0, SLICES - 1), SCORES, st.booleans(), st.booleans()), max_size=120)
Click = tuple[int, float, bool, bool]


def scored(clicks: list[Click], weights: list[int] | None = None) -> ScoredClicks:
    return ScoredClicks(
        slice=np.array([s for s, *_ in clicks], dtype=np.int64),
        scores=np.array([score for _, score, *_ in clicks], dtype=np.float32),
        purchased=np.array([bought for *_, bought, _ in clicks], dtype=np.bool_),
        robotic=np.array([robotic for *_, robotic in clicks], dtype=np.bool_),
        weights=None if weights is None else np.array(weights, dtype=np.float64),
    )


@given(CLICKS)
def test_a_vertex_says_what_serving_would_do_at_its_threshold(clicks: list[Click]) -> None:
    log, curves = scored(clicks), curves_of(scored(clicks), slices=SLICES)

    assert curves.starts[-1] == len(curves.threshold)
    for vertex, s in enumerate(curves.owner):
        invalid = (log.slice == s) & (log.scores >= curves.threshold[vertex])
        assert curves.invalid[vertex] == invalid.sum()
        assert curves.wrong[vertex] == (invalid & log.purchased).sum()
        assert curves.covered[vertex] == (invalid & log.robotic).sum()
    for s in range(SLICES):
        mine = log.slice == s
        assert curves.clicks[s] == mine.sum()
        assert curves.purchases[s] == (mine & log.purchased).sum()
        assert curves.robotic[s] == (mine & log.robotic).sum()


@given(CLICKS)
def test_no_threshold_does_better_than_the_vertex_of_its_fpr(clicks: list[Click]) -> None:
    log, curves = scored(clicks), curves_of(scored(clicks), slices=SLICES)

    for s in np.flatnonzero(curves.purchases):
        vertices = slice(curves.starts[s], curves.starts[s + 1])
        wrong = curves.wrong[vertices]
        assert (np.diff(wrong) > 0).all()
        mine = log.slice == s
        for threshold in {NEVER, *log.scores[mine].tolist()}:
            invalid = mine & (log.scores >= np.float32(threshold))
            at = np.flatnonzero(wrong == (invalid & log.purchased).sum())
            assert len(at) == 1
            assert curves.invalid[vertices][at[0]] >= invalid.sum()
            assert curves.covered[vertices][at[0]] >= (invalid & log.robotic).sum()


@given(CLICKS)
def test_a_slice_without_purchases_can_only_be_left_alone(clicks: list[Click]) -> None:
    curves = curves_of(scored(clicks), slices=SLICES)

    for s in np.flatnonzero(curves.purchases == 0):
        assert curves.threshold[curves.starts[s] : curves.starts[s + 1]].tolist() == [NEVER]
        assert curves.fpr[curves.starts[s]] == 0


@given(st.lists(st.tuples(st.tuples(st.integers(0, 3), SCORES, st.booleans(), st.booleans()), st.integers(1, 3)),
                max_size=60))  # fmt: skip
def test_a_click_of_weight_two_is_two_clicks(weighted: list[tuple[Click, int]]) -> None:
    once = curves_of(scored([c for c, _ in weighted], [w for _, w in weighted]), slices=SLICES)
    repeated = curves_of(scored([c for c, w in weighted for _ in range(w)]), slices=SLICES)

    for name in ("starts", "threshold", "invalid", "wrong", "covered", "clicks", "purchases", "robotic"):
        assert getattr(once, name).tolist() == getattr(repeated, name).tolist(), name


def test_refuses_scores_that_serving_would_round() -> None:
    log = scored([(0, 0.5, True, False)])
    with pytest.raises(TypeError, match="float32"):
        curves_of(
            ScoredClicks(
                slice=log.slice, scores=log.scores.astype(np.float64), purchased=log.purchased, robotic=log.robotic
            ),  # type: ignore[arg-type]
            slices=1,
        )


@given(CLICKS.filter(lambda clicks: any(bought for *_, bought, _ in clicks)))
def test_past_the_knee_fpr_rises_faster_than_ivr(clicks: list[Click]) -> None:
    curve = curves_of(scored([(0, *rest) for _, *rest in clicks]), slices=1)  # type: ignore[misc]
    at = knee(curve)

    fpr, ivr = curve.fpr, curve.ivr
    for other in range(len(fpr)):
        if other > at:
            assert ivr[other] - ivr[at] <= fpr[other] - fpr[at] + 1e-12
        else:
            assert ivr[at] - ivr[other] >= fpr[at] - fpr[other] - 1e-12
