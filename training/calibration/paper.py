"""The paper form: a parabola fitted to each slice's curve, and the quadratic program over them.

IVR_s(f) = a_s f^2 + b_s f + c_s with a_s <= 0, rising up to the cap, by least squares over the usable vertices. With
x_s = (f_s - l_s) / (u_s - l_s) every slice lives on [0, 1], which keeps the solver's tolerances meaningful where
a hundred thousand slices have a share of 1e-5 each:

    maximise    sum_s curvature_s x_s^2 + slope_s x_s      curvature <= 0, slope >= -2 curvature
    subject to  cost . x <= room,  0 <= x <= 1

Two solvers. cvxpy with Clarabel, and bisection on the price of a purchasing click (the dual), which also bounds what
any solver could reach. Up to CLARABEL_SLICES Clarabel solves and the bound checks it; beyond, the dual solves.
Source: the SLIDR paper, section "Calibration"; Boyd and Vandenberghe, Convex Optimization, section 5.5.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import cvxpy as cp
import numpy as np

from slidr.errors import CalibrationInexact
from training.calibration.curve import Floats, Ints
from training.calibration.problem import SLACK, Problem

CLARABEL_SLICES: Final = 10_000
"""Up to so many slices Clarabel solves; it needs 0.1 s for them, the dual a tenth of that for ten times as many."""
EXACT: Final = 1e-6
"""How far, relative to the objective, a solution may lie below the dual bound."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parabolas:
    """Invalidated clicks of slice s at x in [0, 1]: curvature x^2 + slope x + base, concave and rising; (slices,)."""

    curvature: Floats
    slope: Floats
    base: Floats
    cost: Floats
    """Purchasing clicks from x = 0 to x = 1."""
    room: float
    """Purchasing clicks that may be spent beyond x = 0."""

    def gain(self, x: Floats) -> float:
        """Invalidated clicks beyond x = 0."""
        return float((self.curvature * x**2 + self.slope * x).sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PaperForm:
    """Where the parabolas' optimum puts each slice, and what that is on the curves."""

    vertex: Ints
    """The chosen vertex of each slice: the last one whose FPR is within the optimum's, shape (slices,)."""
    fpr: Floats
    """The optimum's FPR of each slice, before it is lowered to a vertex, shape (slices,)."""
    invalid: float
    """Clicks that the chosen vertices invalidate."""
    wrong: float
    """Purchasing clicks that they invalidate, within the allowance."""
    modelled: float
    """Clicks that the parabolas promised at the optimum."""
    solver: str
    """"clarabel" or "dual"."""


def paper_form(problem: Problem, *, clarabel_slices: int = CLARABEL_SLICES) -> PaperForm:
    """The vertices below the optimum of the fitted parabolas.

    Args:
        problem: as posed.
        clarabel_slices: see CLARABEL_SLICES.

    Raises:
        CalibrationInexact: the solver's status is not `optimal`, or its solution lies below the dual bound.

    >>> from training.calibration.curve import Curves
    >>> curves = Curves(starts=np.array([0, 4]), threshold=np.array([0.9, 0.7, 0.6, 0.5], dtype=np.float32),
    ...     invalid=np.array([0.0, 30.0, 40.0, 45.0]), wrong=np.arange(4.0), covered=np.zeros(4),
    ...     clicks=np.array([100.0]), purchases=np.array([100.0]), robotic=np.zeros(1))
    >>> problem = Problem(curves=curves, allowance=2.0, first=np.array([0]), last=np.array([3]), cap=np.array([0.03]))
    >>> paper = paper_form(problem)
    >>> paper.vertex.tolist(), round(float(paper.fpr[0]), 6), paper.invalid
    ([2], 0.02, 40.0)
    """
    curves = problem.curves
    parabolas = fitted(problem)
    dual, bound = solved_by_dual(parabolas)
    by_clarabel = curves.slices <= clarabel_slices
    x = solved_by_clarabel(parabolas) if by_clarabel else dual
    short = bound - parabolas.gain(x)
    if short > EXACT * max(bound, 1.0):
        raise CalibrationInexact(
            f"a solution within {EXACT:g} of the dual bound {bound:.9g} is required, it lies {short:.3g} below. "
            "Use the exact form (calibration_form=exact)."
        )
    low = curves.fpr[problem.first]
    fpr = low + (np.maximum(problem.cap, low) - low) * x
    vertex = _lowered(problem, fpr * (1.0 + EXACT))  # an optimum at a vertex comes out a little beside it
    if curves.wrong[vertex].sum() > problem.allowance + SLACK:
        vertex = _lowered(problem, fpr)
    return PaperForm(
        vertex=vertex,
        fpr=fpr,
        invalid=float(curves.invalid[vertex].sum()),
        wrong=float(curves.wrong[vertex].sum()),
        modelled=float(parabolas.base.sum()) + parabolas.gain(x),
        solver="clarabel" if by_clarabel else "dual",
    )


def _lowered(problem: Problem, fpr: Floats) -> Ints:
    """The last usable vertex of each slice whose FPR is not above the given one."""
    curves = problem.curves
    within = curves.leading(curves.fpr <= fpr[curves.owner])
    return np.asarray(np.clip(curves.starts[:-1] + within - 1, problem.first, problem.last), dtype=np.int64)


def fitted(problem: Problem) -> Parabolas:
    """The least-squares parabola of each slice over its usable vertices, concave and rising on [l_s, u_s].

    The best parabola of all where it is both; else the better of the best line (curvature 0) and the best parabola with
    its top at the cap: one of the two constraints then holds with equality. Fewer than three vertices: a line, or a
    constant.
    """
    curves = problem.curves
    low = curves.fpr[problem.first]
    width = np.maximum(problem.cap - low, 0.0)
    vertices = np.arange(len(curves.threshold))
    usable = (vertices >= problem.first[curves.owner]) & (vertices <= problem.last[curves.owner])
    owner = curves.owner[usable]
    x = (curves.fpr[usable] - low[owner]) / np.where(width > 0, width, 1.0)[owner]
    y = curves.invalid[usable]

    def total(values: Floats) -> Floats:
        return np.bincount(owner, weights=values, minlength=curves.slices).astype(np.float64)

    number = total(np.ones(len(owner)))

    def centred(values: Floats) -> tuple[Floats, Floats]:
        mean = total(values) / np.maximum(number, 1.0)
        return values - mean[owner], mean

    one, one_mean = centred(x)
    two, two_mean = centred(x**2)
    out, out_mean = centred(y)
    top = 2.0 * one - two  # 2 x - x^2: rises on [0, 1], flat at 1
    s11, s12, s22, stt = total(one * one), total(one * two), total(two * two), total(top * top)
    t1, t2, tt = total(one * out), total(two * out), total(top * out)

    def ratio(numerator: Floats, denominator: Floats) -> Floats:
        return np.divide(numerator, denominator, out=np.zeros(curves.slices), where=denominator > 0)

    determinant = s11 * s22 - s12**2
    determinant = np.where(determinant > 1e-9 * s11 * s22, determinant, 0.0)  # fewer than three distinct x
    curvature, slope = ratio(t2 * s11 - t1 * s12, determinant), ratio(t1 * s22 - t2 * s12, determinant)
    free = (determinant > 0) & (curvature <= 0) & (slope + 2.0 * curvature >= 0)
    line, topped = ratio(t1, s11), ratio(tt, stt)
    straight = t1 * line >= tt * topped  # what each explains of the variance
    curvature = np.where(free, curvature, np.where(straight, 0.0, -np.maximum(topped, 0.0)))
    slope = np.where(free, slope, np.where(straight, np.maximum(line, 0.0), 2.0 * np.maximum(topped, 0.0)))
    return Parabolas(
        curvature=curvature,
        slope=slope,
        base=out_mean - curvature * two_mean - slope * one_mean,
        cost=width * curves.purchases,
        room=max(problem.allowance - problem.least_cost, 0.0),
    )


def solved_by_clarabel(parabolas: Parabolas) -> Floats:
    """The optimal x in [0, 1], shape (slices,), by cvxpy with Clarabel; it spends no more than the room.

    Raises:
        CalibrationInexact: the problem is not convex by cvxpy's rules, or the status is not `optimal`.
    """
    slices, scale = len(parabolas.cost), float(parabolas.slope.max(initial=0.0))
    if not slices or scale == 0.0 or parabolas.room == 0.0:
        return np.zeros(slices)
    x = cp.Variable(slices)
    lost = (-parabolas.curvature / scale) @ cp.square(x)
    problem = cp.Problem(
        cp.Minimize(lost - (parabolas.slope / scale) @ x), [x >= 0, x <= 1, (parabolas.cost / parabolas.room) @ x <= 1]
    )
    if not problem.is_dcp():
        raise CalibrationInexact("the parabolas must be concave for cvxpy. Report this: the fit should have made them.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "solution may be inaccurate": the status says it, below
            problem.solve(solver=cp.CLARABEL)
    except cp.SolverError as failure:
        raise CalibrationInexact(_not_optimal(str(failure))) from failure
    if problem.status != cp.OPTIMAL or x.value is None:
        raise CalibrationInexact(_not_optimal(problem.status))
    solution = np.clip(np.asarray(x.value, dtype=np.float64), 0.0, 1.0)
    spent = float(parabolas.cost @ solution) / parabolas.room
    return solution / spent if spent > 1.0 else solution


def _not_optimal(came: str) -> str:
    return (
        f"Clarabel must end with the status {cp.OPTIMAL!r}, came {came!r}. "
        "Use the exact form (calibration_form=exact), which needs no solver."
    )


def solved_by_dual(parabolas: Parabolas) -> tuple[Floats, float]:
    """The optimal x in [0, 1], shape (slices,), and a bound that no feasible x exceeds.

    At a price of p clicks for a purchasing click every slice chooses alone: curvature x^2 + (slope - p cost) x is
    greatest where its derivative is 0, or at an end. What all of them spend falls with the price; bisection finds where
    it is the room. At that price a straight slice is indifferent: it takes what is left.

    >>> both = Parabolas(curvature=np.array([-1.0, 0.0]), slope=np.array([2.0, 1.0]), base=np.zeros(2),
    ...                  cost=np.array([1.0, 1.0]), room=1.0)
    >>> x, bound = solved_by_dual(both)
    >>> x.round(6).tolist(), round(bound, 6), round(both.gain(x), 6)
    ([0.5, 0.5], 1.25, 1.25)
    """
    bent = parabolas.curvature < 0
    twice = np.where(bent, -2.0 * parabolas.curvature, 1.0)

    def chosen(price: float) -> Floats:
        net = parabolas.slope - price * parabolas.cost
        return np.where(bent, np.clip(net / twice, 0.0, 1.0), (net > 0).astype(np.float64))

    rates = np.divide(parabolas.slope, parabolas.cost, out=np.zeros_like(parabolas.slope), where=parabolas.cost > 0)
    low, high = 0.0, float(rates.max(initial=0.0)) * (1.0 + SLACK)
    x = chosen(low)
    spent = float(parabolas.cost @ x)
    if spent > parabolas.room:
        middle = 0.5 * (low + high)
        while low < middle < high:
            low, high = (middle, high) if parabolas.cost @ chosen(middle) > parabolas.room else (low, middle)
            middle = 0.5 * (low + high)
        dear, cheap = chosen(high), chosen(low)
        spent, over = float(parabolas.cost @ dear), float(parabolas.cost @ cheap)
        share = (parabolas.room - spent) / (over - spent) if over > spent else 0.0
        x = dear + share * (cheap - dear)
        low = high
    price = low
    best = chosen(price)
    bound = price * parabolas.room + parabolas.gain(best) - price * float(parabolas.cost @ best)
    return x, bound
