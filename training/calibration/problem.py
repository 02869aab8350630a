"""The problem that both forms solve: what may be spent, and between which vertices each slice may choose.

    maximise    sum_s w_s IVR_s(f_s)
    subject to  sum_s v_s f_s <= B'
                l_s <= f_s <= u_s

It is kept in counts, where it is exact: w_s IVR_s is slice s's invalidated clicks, v_s f_s its invalidated purchasing
clicks, each divided by a total that all slices share, so neither total changes the solution. With all P purchasing
clicks of the traffic, of which the lists name G, B' = B - G / P becomes the allowance of B P - G purchasing clicks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slidr.errors import CalibrationInfeasible
from training.calibration.curve import Curves, Flags, Floats, Ints

SLACK: Final = 1e-9
"""Purchasing clicks that rounding may add: 1% of 300 is 3.0000000000000004."""
CAP_FACTOR: Final = 3.0
"""A slice's FPR stays below so many times the overall budget: where many humans seldom buy, their FPR looks free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The overall FPR budget, and what is spent of it before any threshold is chosen."""

    budget: float
    """B: invalidated purchasing clicks / purchasing clicks, over all traffic, in (0, 1)."""
    purchases: float
    """P: all purchasing clicks of the traffic: of the slices, of other slices, and those that a list names."""
    listed: float = 0.0
    """G: purchasing clicks that a GIVT list names. They are invalid whatever the thresholds: the lists' cost."""
    charged: float = 0.0
    """Purchasing clicks invalidated in slices that are not in the problem, whose thresholds are given."""

    @property
    def allowance(self) -> float:
        """Purchasing clicks that the slices of the problem may invalidate together; negative where too much is spent.

        >>> Spending(budget=0.01, purchases=1000, listed=2, charged=1).allowance
        7.0
        """
        return self.budget * self.purchases - self.listed - self.charged


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """Curves with their usable parts, and the allowance."""

    curves: Curves
    allowance: float
    """Purchasing clicks, at least what all slices cost at their first usable vertices."""
    first: Ints
    """The vertex at which each slice's FPR is least (l_s), shape (slices,)."""
    last: Ints
    """The last vertex whose FPR is within the cap u_s, shape (slices,)."""
    cap: Floats
    """u_s, FPR, shape (slices,)."""

    @property
    def least_cost(self) -> float:
        """Purchasing clicks that the floors cost."""
        return float(self.curves.wrong[self.first].sum())


def pose(
    curves: Curves,
    spending: Spending,
    *,
    names: Sequence[str] = (),
    min_coverage: Floats | float = 0.0,
    cap_factor: float = CAP_FACTOR,
) -> Problem:
    """The problem of these curves, or an error that says what budget it would take.

    Args:
        curves: of slices with purchases; one without stays at NEVER.
        spending: the budget and what lists and other slices cost.
        names: of the slices, for the error; by default their numbers.
        min_coverage: the least robotic coverage of each slice, in [0, 1], shape (slices,) or one for all. A slice
            without robotic sessions, or without purchases, has no floor.
        cap_factor: u_s = cap_factor * budget.

    Raises:
        CalibrationInfeasible: the floors, or the lists alone, cost more than the budget or a cap allows.

    >>> curves = Curves(starts=np.array([0, 3]), threshold=np.array([0.9, 0.5, 0.1], dtype=np.float32),
    ...                 invalid=np.array([5.0, 20.0, 40.0]), wrong=np.array([0.0, 1.0, 2.0]),
    ...                 covered=np.array([4.0, 9.0, 10.0]), clicks=np.array([100.0]), purchases=np.array([100.0]),
    ...                 robotic=np.array([10.0]))
    >>> problem = pose(curves, Spending(budget=0.01, purchases=100), min_coverage=0.8)
    >>> problem.first.tolist(), problem.last.tolist(), problem.allowance
    ([1], [2], 1.0)
    >>> pose(curves, Spending(budget=0.001, purchases=100), names=["device=tv"], min_coverage=0.8)
    Traceback (most recent call last):
    slidr.errors.CalibrationInfeasible: an overall FPR budget of at least 1.0000% is required, came 0.1000%: \
lists and given thresholds cost 0 purchasing clicks, coverage floors bind in device=tv. Lower min_coverage there, or \
raise fpr_budget.
    """
    if not 0.0 <= spending.budget < 1.0 or cap_factor <= 0.0:
        raise ValueError(f"budget must be in [0, 1) and cap_factor above 0, came {spending.budget}, {cap_factor}")
    cap = np.full(curves.slices, cap_factor * spending.budget)
    floor = np.broadcast_to(np.asarray(min_coverage, dtype=np.float64), (curves.slices,)) * curves.robotic
    floor = np.where(curves.purchases > 0, floor, 0.0)
    start = curves.starts[:-1]
    short = curves.leading(curves.covered < (floor * (1.0 - SLACK))[curves.owner])
    first = np.minimum(start + short, curves.starts[1:] - 1)
    last = start + curves.leading(curves.fpr <= (cap * (1.0 + SLACK))[curves.owner]) - 1
    problem = Problem(curves=curves, allowance=spending.allowance, first=first, last=last, cap=cap)

    over_cap = first > last
    if over_cap.any() or problem.least_cost > problem.allowance + SLACK:
        raise _infeasible(problem, spending, over_cap=over_cap, names=names, cap_factor=cap_factor)
    return problem


def _infeasible(
    problem: Problem, spending: Spending, *, over_cap: Flags, names: Sequence[str], cap_factor: float
) -> CalibrationInfeasible:
    """The error, with the slices whose floors bind (the dearest first) and the least budget under which none does."""
    curves, cost = problem.curves, problem.curves.wrong[problem.first]
    overall = (spending.listed + spending.charged + problem.least_cost) / max(spending.purchases, 1.0)
    for_caps = float(curves.fpr[problem.first].max(initial=0.0)) / cap_factor
    over_budget = problem.least_cost > problem.allowance + SLACK
    binding = np.flatnonzero(over_cap | ((cost > 0) & over_budget))
    binding = binding[np.argsort(-cost[binding], kind="stable")]
    return CalibrationInfeasible(
        budget=spending.budget,
        least_budget=max(overall, for_caps),
        slices=tuple(names[s] if names else str(s) for s in binding.tolist()),
        spent=spending.listed + spending.charged,
    )
