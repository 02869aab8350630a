from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.calibrate import NEVER, global_threshold, mean_ivr
from training.labels import UnusableTrainingData

ROWS = st.lists(
    st.tuples(st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.25, 0.5, 1.0])), st.booleans()),
    min_size=1, max_size=400,
).filter(lambda rows: any(bought for _, bought in rows))  # fmt: skip
BUDGETS = st.sampled_from([0.001, 0.01, 0.05, 0.1, 0.5, 0.9])


def columns(rows: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([s for s, _ in rows], dtype=np.float32), np.array([b for _, b in rows])


@given(ROWS, BUDGETS, st.sampled_from(["point", "upper"]))
def test_never_costs_more_than_the_budget_on_the_rows_it_was_chosen_on(
    rows: list[tuple[float, bool]], budget: float, bound: str
) -> None:
    scores, bought = columns(rows)
    chosen = global_threshold(scores, bought, fpr_budget=budget, bound=bound)
    invalid = scores >= np.float32(chosen.threshold)
    assert (invalid & bought).sum() == chosen.fpr.count
    assert chosen.fpr.value <= budget
    if bound == "upper" and chosen.fpr.count:
        assert chosen.fpr.interval[1] <= budget


@given(ROWS, BUDGETS)
def test_no_lower_threshold_would_do(rows: list[tuple[float, bool]], budget: float) -> None:
    scores, bought = columns(rows)
    chosen = global_threshold(scores, bought, fpr_budget=budget)
    best = int((scores >= np.float32(chosen.threshold)).sum())
    allowed = [s for s in scores if (scores[bought] >= s).sum() <= budget * bought.sum()]
    assert best == (int((scores >= min(allowed)).sum()) if allowed else 0)


def test_says_when_there_are_too_few_purchases_for_the_bound() -> None:
    scores = np.linspace(0, 1, 300, dtype=np.float32)
    few = global_threshold(scores, np.ones(300, dtype=np.bool_), fpr_budget=0.01, bound="upper")
    assert not few.enough
    assert few.fpr.count == 0
    many = np.linspace(0, 1, 5000, dtype=np.float32)
    assert global_threshold(many, np.ones(5000, dtype=np.bool_), fpr_budget=0.01, bound="upper").enough


def test_invalidates_nothing_when_buyers_have_the_highest_score_there_is() -> None:
    chosen = global_threshold(np.ones(10, dtype=np.float32), np.ones(10, dtype=np.bool_), fpr_budget=0.05)
    assert chosen.threshold == NEVER


def test_refuses_rows_without_a_purchase() -> None:
    with pytest.raises(UnusableTrainingData, match="purchasing clicks are required"):
        global_threshold(np.ones(3, dtype=np.float32), np.zeros(3, dtype=np.bool_), fpr_budget=0.01)


@pytest.mark.parametrize(("budget", "bound"), [(0.0, "point"), (1.0, "point"), (0.01, "lower")])
def test_refuses_a_budget_or_bound_that_means_nothing(budget: float, bound: str) -> None:
    with pytest.raises(ValueError, match="fpr_budget"):
        global_threshold(np.ones(3, dtype=np.float32), np.ones(3, dtype=np.bool_), fpr_budget=budget, bound=bound)


def test_mean_ivr_prefers_the_model_that_ranks_robots_above_buyers() -> None:
    bought = np.array([True] * 100 + [False] * 100)
    good = np.concatenate([np.linspace(0, 0.5, 100), np.linspace(0.5, 1, 100)]).astype(np.float32)
    assert mean_ivr(good, bought) > mean_ivr(good[::-1].copy(), bought)
    assert mean_ivr(good, np.zeros(200, dtype=np.bool_)) == 0.0
