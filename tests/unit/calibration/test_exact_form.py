from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from slidr.errors import CalibrationInfeasible
from tests.curve_worlds import SLICES, curves, many_curves
from training.calibration.curve import Curves
from training.calibration.exact import exact_form
from training.calibration.problem import Problem, Spending, pose

Slices = list[list[tuple[int, int]]]
ALLOWED = st.integers(0, 20)


def posed(given_curves: Curves, allowed: float, *, cap_factor: float = 3.0, min_coverage: float = 0.0) -> Problem:
    purchases = float(given_curves.purchases.sum())
    spending = Spending(budget=allowed / purchases, purchases=purchases)
    return pose(given_curves, spending, cap_factor=cap_factor, min_coverage=min_coverage)


def brute_force(problem: Problem) -> float:
    """The most clicks that any choice of usable vertices invalidates within the allowance."""
    curves = problem.curves
    ranges = [range(a, b + 1) for a, b in zip(problem.first, problem.last, strict=True)]
    sums = ((curves.invalid[list(chosen)].sum(), curves.wrong[list(chosen)].sum()) for chosen in product(*ranges))
    return max(float(invalid) for invalid, wrong in sums if wrong <= problem.allowance + 1e-9)


def linear_program(problem: Problem) -> float:
    """Its optimum by HiGHS: a mixture of each slice's usable vertices."""
    curves = problem.curves
    usable = np.concatenate([np.arange(a, b + 1) for a, b in zip(problem.first, problem.last, strict=True)])
    mixtures = (curves.owner[usable][None, :] == np.arange(curves.slices)[:, None]).astype(float)
    solved = linprog(
        -curves.invalid[usable],
        A_ub=curves.wrong[usable][None, :],
        b_ub=[problem.allowance],
        A_eq=mixtures,
        b_eq=np.ones(curves.slices),
    )
    assert solved.status == 0
    return -float(solved.fun)


@given(SLICES, ALLOWED)
def test_is_feasible_and_short_of_brute_force_by_one_step_at_most(slices: Slices, allowed: int) -> None:
    problem = posed(curves(slices), allowed)

    exact = exact_form(problem)

    assert (problem.first <= exact.vertex).all()
    assert (exact.vertex <= problem.last).all()
    assert exact.wrong == problem.curves.wrong[exact.vertex].sum() <= allowed + 1e-9
    assert exact.invalid == problem.curves.invalid[exact.vertex].sum()
    best = brute_force(problem)
    assert exact.invalid <= best <= exact.bound + 1e-9
    if exact.split < 0:
        assert exact.invalid == best == pytest.approx(exact.bound)
    else:
        rest = problem.curves.invalid[exact.vertex[exact.split] : problem.last[exact.split] + 1]
        assert best - exact.invalid <= rest[-1] - rest[0]


@given(SLICES, ALLOWED)
def test_its_bound_is_the_optimum_of_the_linear_program(slices: Slices, allowed: int) -> None:
    problem = posed(curves(slices), allowed)

    assert exact_form(problem).bound == pytest.approx(linear_program(problem), rel=1e-9)


@pytest.mark.parametrize("allowed", [0, 40, 900, 5_000])
def test_its_bound_is_the_optimum_of_a_large_linear_program(allowed: int) -> None:
    problem = posed(many_curves(300, seed=allowed), allowed, min_coverage=0.02 if allowed > 900 else 0.0)

    exact = exact_form(problem)

    assert exact.bound == pytest.approx(linear_program(problem), rel=1e-9)
    assert exact.invalid >= 0.99 * exact.bound


@given(SLICES, ALLOWED)
def test_a_larger_budget_never_gives_less(slices: Slices, allowed: int) -> None:
    less, more = (exact_form(posed(curves(slices), budget, cap_factor=50)) for budget in (allowed, allowed + 1))

    assert less.invalid <= more.invalid
    assert less.bound <= more.bound + 1e-9


@given(SLICES, ALLOWED, st.randoms(use_true_random=False))
def test_the_order_of_the_slices_does_not_matter(slices: Slices, allowed: int, shuffler: object) -> None:
    order = list(range(len(slices)))
    shuffler.shuffle(order)  # type: ignore[attr-defined]

    one = exact_form(posed(curves(slices), allowed))
    other = exact_form(posed(curves([slices[i] for i in order]), allowed))

    assert one.bound == pytest.approx(other.bound, rel=1e-12)
    assert (one.split < 0) == (other.split < 0)
    if one.split < 0:
        assert (one.invalid, one.wrong) == (other.invalid, other.wrong)


def test_of_equal_slices_all_but_one_are_served_whole() -> None:
    exact = exact_form(posed(curves([[(5, 0), (30, 2)]] * 3), 5, cap_factor=50))

    assert sorted(exact.vertex - np.array([0, 2, 4])) == [0, 1, 1]
    assert (exact.wrong, exact.invalid, exact.bound) == (4, 75, 90)


def test_the_slice_that_cannot_be_served_whole_takes_what_the_rest_pays_for() -> None:
    sagging = [(0, 0), (1, 1), (1, 1), (90, 1)]  # the envelope goes straight from the first to the last

    exact = exact_form(posed(curves([sagging]), 2, cap_factor=50))

    assert (exact.split, exact.vertex.tolist(), exact.wrong) == (0, [2], 2)
    assert exact.bound == pytest.approx(2 / 3 * 92)


@given(SLICES, ALLOWED, st.sampled_from([0.1, 0.3, 0.6, 1.0]))
def test_floors_hold_or_the_error_says_what_would_do(slices: Slices, allowed: int, floor: float) -> None:
    given_curves = curves(slices)
    try:
        problem = posed(given_curves, allowed, min_coverage=floor)
    except CalibrationInfeasible as failure:
        least, named = failure.least_budget * float(given_curves.purchases.sum()), failure.slices
        problem = posed(given_curves, least + 1e-6, min_coverage=floor)
        with pytest.raises(CalibrationInfeasible):
            posed(given_curves, least - 1e-3, min_coverage=floor)
        assert named
    exact = exact_form(problem)
    assert (given_curves.covered[exact.vertex] >= floor * given_curves.robotic * (1 - 1e-9)).all()
    assert exact.wrong <= problem.allowance + 1e-6


def test_a_slice_whose_buyers_are_few_is_not_sacrificed() -> None:
    cheap = [(0, 0), *[(100, 1)] * 20]
    dear = [(0, 0), *[(1, 1)] * 20]

    exact = exact_form(posed(curves([cheap, dear]), 5, cap_factor=3.0))

    assert exact.vertex[0] == 5
    capped = exact_form(posed(curves([cheap, dear]), 5, cap_factor=1.0))
    assert capped.vertex[0] == 2  # 5% of its 50 purchasing clicks
    assert capped.wrong == 4


def test_the_lists_are_charged_first() -> None:
    steps = [(0, 0), *[(10, 1)] * 9]
    without = exact_form(pose(curves([steps]), Spending(budget=0.1, purchases=50)))
    charged = exact_form(pose(curves([steps]), Spending(budget=0.1, purchases=50, listed=2, charged=1)))

    assert (without.wrong, charged.wrong) == (5, 2)
    with pytest.raises(CalibrationInfeasible, match="at least 12") as failure:
        pose(curves([steps]), Spending(budget=0.1, purchases=50, listed=6))
    assert failure.value.slices == ()
    assert failure.value.least_budget == pytest.approx(0.12)


def test_names_the_slices_that_bind_the_dearest_first() -> None:
    early, late = [(0, 0), (90, 1), (10, 1)], [(0, 0), (10, 3), (90, 4)]
    with pytest.raises(CalibrationInfeasible, match="bind in late, early") as failure:
        pose(curves([early, late]), Spending(budget=0.01, purchases=100), names=["early", "late"],
             min_coverage=0.5, cap_factor=50)  # fmt: skip
    assert failure.value.slices == ("late", "early")
    assert failure.value.least_budget == pytest.approx(0.08)


def test_no_slices_are_no_problem() -> None:
    empty = np.empty(0)
    none = Curves(starts=np.zeros(1, dtype=np.int64), threshold=empty.astype(np.float32), invalid=empty, wrong=empty,
                  covered=empty, clicks=empty, purchases=empty, robotic=empty)  # fmt: skip

    exact = exact_form(pose(none, Spending(budget=0.01, purchases=10)))

    assert (exact.invalid, exact.wrong, exact.split) == (0.0, 0.0, -1)


@pytest.mark.parametrize(("budget", "cap_factor"), [(-0.1, 3.0), (1.0, 3.0), (0.1, 0.0)])
def test_refuses_a_budget_or_cap_that_means_nothing(budget: float, cap_factor: float) -> None:
    with pytest.raises(ValueError, match="budget must be"):
        pose(curves([[(0, 0)]]), Spending(budget=budget, purchases=10), cap_factor=cap_factor)
