from __future__ import annotations

import pytest

from training.calibration.certificate import buyers_needed, upper_bound
from training.release_thresholds import affordable


@pytest.mark.parametrize("purchases", [299, 300, 1_000, 5_000])
@pytest.mark.parametrize("budget", [0.01, 0.02, 0.05])
def test_later_buyers_stay_within_the_budget_as_surely_as_asked(purchases: int, budget: float) -> None:
    share, enough = affordable(budget, purchases, bound="upper", delta=0.05)
    expected = round(share * purchases)  # of k + 1, the k that a threshold invalidates here

    assert enough
    assert upper_bound(expected - 1, purchases, delta=0.05) <= budget
    assert upper_bound(expected, purchases, delta=0.05) > budget
    assert share <= affordable(budget, purchases, bound="point", delta=0.05)[0] == budget


def test_says_when_there_are_too_few_purchases_for_the_bound() -> None:
    needed = buyers_needed(0.01)
    assert affordable(0.01, needed, bound="upper", delta=0.05)[1]
    share, enough = affordable(0.01, needed - 1, bound="upper", delta=0.05)
    assert not enough
    assert share * (needed - 1) == pytest.approx(1.0), "a threshold that no buyer reaches is still to be had"
    assert not affordable(0.01, 99, bound="point", delta=0.05)[1]
