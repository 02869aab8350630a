from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from slidr.errors import CalibrationInexact
from tests.curve_worlds import SLICES, curves, many_curves
from tests.unit.calibration.test_exact_form import brute_force, posed
from training.calibration import paper
from training.calibration.exact import exact_form
from training.calibration.paper import Parabolas, fitted, paper_form, solved_by_clarabel, solved_by_dual
from training.calibration.problem import Problem

Slices = list[list[tuple[int, int]]]
ALLOWED = st.integers(1, 20)


def any_parabolas(slices: int, *, seed: int, room: float) -> Parabolas:
    draw = np.random.default_rng(seed)
    curvature = -draw.exponential(20.0, slices) * (draw.random(slices) > 0.2)  # a fifth of them straight
    return Parabolas(
        curvature=curvature,
        slope=draw.exponential(30.0, slices) - 2.0 * curvature,
        base=np.zeros(slices),
        cost=draw.uniform(1.0, 90.0, slices),
        room=room * slices,
    )


def best_parabola(problem: Problem, s: int) -> float:
    """The least sum of squares of a concave, rising parabola over the usable vertices, by SciPy."""
    c = problem.curves
    usable = slice(problem.first[s], problem.last[s] + 1)
    low = c.fpr[problem.first[s]]
    x, y = (c.fpr[usable] - low) / max(problem.cap[s] - low, 1e-300), c.invalid[usable]
    # -a x^2 + (d + 2 a) x + c with a, d >= 0: bounds instead of constraints
    found = lsq_linear(np.column_stack([2 * x - x**2, x, np.ones_like(x)]), y, bounds=([0, 0, -np.inf], np.inf),
                       tol=1e-14)  # fmt: skip
    return float(2.0 * found.cost)


@settings(max_examples=60)
@given(SLICES, ALLOWED)
def test_fits_the_best_concave_rising_parabola(slices: Slices, allowed: int) -> None:
    problem = posed(curves(slices), allowed)
    parabolas = fitted(problem)

    assert (parabolas.curvature <= 0).all()
    assert (parabolas.slope + 2 * parabolas.curvature >= -1e-9).all()
    c = problem.curves
    for s in range(c.slices):
        usable = slice(problem.first[s], problem.last[s] + 1)
        low = c.fpr[problem.first[s]]
        x = (c.fpr[usable] - low) / max(problem.cap[s] - low, 1e-300)
        modelled = parabolas.curvature[s] * x**2 + parabolas.slope[s] * x + parabolas.base[s]
        squares = float(((c.invalid[usable] - modelled) ** 2).sum())
        assert squares <= best_parabola(problem, s) * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize(("slices", "room"), [(1, 0.5), (7, 5.0), (400, 0.01), (400, 10.0), (400, 80.0), (3000, 3.0)])
def test_clarabel_reaches_the_dual_bound(slices: int, room: float) -> None:
    parabolas = any_parabolas(slices, seed=slices, room=room)
    x, (dual, bound) = solved_by_clarabel(parabolas), solved_by_dual(parabolas)

    for solution in (x, dual):
        assert ((solution >= 0) & (solution <= 1)).all()
        assert parabolas.cost @ solution <= parabolas.room * (1 + 1e-12) + 1e-12
    assert parabolas.gain(x) == pytest.approx(bound, rel=1e-6)
    assert parabolas.gain(dual) == pytest.approx(bound, rel=1e-9)


@given(st.integers(0, 2**31), st.integers(1, 3), st.floats(0.0, 120.0))
def test_the_dual_is_no_worse_than_a_fine_grid(seed: int, slices: int, room: float) -> None:
    parabolas = any_parabolas(slices, seed=seed, room=room)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 21)] * slices), axis=-1).reshape(-1, slices)
    paid = grid[grid @ parabolas.cost <= parabolas.room]
    best = (parabolas.curvature * paid**2 + parabolas.slope * paid).sum(axis=1).max(initial=0.0)

    x, bound = solved_by_dual(parabolas)

    assert parabolas.cost @ x <= parabolas.room * (1 + 1e-12) + 1e-12
    assert best - 1e-9 <= parabolas.gain(x) <= bound * (1 + 1e-12) + 1e-12
    assert parabolas.gain(x) == pytest.approx(bound, rel=1e-9)


@settings(max_examples=25)
@given(SLICES, ALLOWED)
def test_its_vertices_are_feasible_and_no_better_than_brute_force(slices: Slices, allowed: int) -> None:
    problem = posed(curves(slices), allowed)

    form = paper_form(problem)

    assert (problem.first <= form.vertex).all()
    assert (form.vertex <= problem.last).all()
    assert form.wrong <= problem.allowance + 1e-9
    assert form.invalid <= brute_force(problem)
    assert (problem.curves.fpr[form.vertex] <= form.fpr * (1 + 1e-6)).all()


def test_both_solvers_choose_the_same_vertices() -> None:
    problem = posed(many_curves(500, seed=3), 2_000)

    clarabel, dual = paper_form(problem), paper_form(problem, clarabel_slices=0)

    assert (clarabel.solver, dual.solver) == ("clarabel", "dual")
    assert clarabel.modelled == pytest.approx(dual.modelled, rel=1e-6)
    assert (clarabel.vertex != dual.vertex).mean() <= 0.01
    assert exact_form(problem).invalid >= max(clarabel.invalid, dual.invalid)


def test_a_status_other_than_optimal_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def inaccurate(self: Any, **_: Any) -> None:
        self._status = cp.OPTIMAL_INACCURATE

    monkeypatch.setattr(cp.Problem, "solve", inaccurate)
    with pytest.raises(CalibrationInexact, match="came 'optimal_inaccurate'"):
        paper_form(posed(many_curves(3, seed=1), 30))


def test_a_solver_that_gives_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any, **_: Any) -> None:
        raise cp.SolverError("Solver 'CLARABEL' failed")

    monkeypatch.setattr(cp.Problem, "solve", fails)
    with pytest.raises(CalibrationInexact, match="'CLARABEL' failed"):
        paper_form(posed(many_curves(3, seed=1), 30))


def test_a_solution_below_the_dual_bound_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "solved_by_clarabel", lambda parabolas: np.zeros(len(parabolas.cost)))
    with pytest.raises(CalibrationInexact, match="dual bound"):
        paper_form(posed(many_curves(3, seed=1), 30))


def test_parabolas_that_are_not_concave_are_an_error() -> None:
    bent_up = Parabolas(curvature=np.ones(1), slope=np.ones(1), base=np.zeros(1), cost=np.ones(1), room=0.5)
    with pytest.raises(CalibrationInexact, match="concave"):
        solved_by_clarabel(bent_up)


def test_without_room_every_slice_stays_at_its_floor() -> None:
    problem = posed(curves([[(5, 0), (30, 2)], [(7, 0), (9, 1)]]), 0)

    assert paper_form(problem).vertex.tolist() == [0, 2]
