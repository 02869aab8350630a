"""The exact form: the linear program over the concave envelopes of the empirical curves, without a solver.

On an envelope every slice buys invalidated clicks at a falling rate, so the optimum takes the envelopes' segments of
all slices together in order of their rate until the allowance is spent (the efficient frontier). It lies on vertices
except in the one slice whose segment was paid for in part; that slice goes back to the last vertex of its own curve
that the rest of the allowance pays for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from training.calibration.curve import Flags, Floats, Ints
from training.calibration.problem import SLACK, Problem


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExactForm:
    """Where each slice ends."""

    vertex: Ints
    """The chosen vertex of each slice, shape (slices,)."""
    invalid: float
    """Clicks that the chosen vertices invalidate."""
    wrong: float
    """Purchasing clicks that they invalidate, within the allowance."""
    bound: float
    """Invalidated clicks at the linear program's optimum: no choice of vertices has more."""
    split: int
    """The slice that was lowered to a vertex, -1 for none."""


def exact_form(problem: Problem) -> ExactForm:
    """The vertices of highest IVR within the allowance, short of the optimum by at most one slice's step.

    A larger allowance never gives less, and the order of the slices does not matter.

    >>> from training.calibration.curve import Curves
    >>> curves = Curves(starts=np.array([0, 3, 5]), threshold=np.array([0.9, 0.6, 0.1, 0.8, 0.2], dtype=np.float32),
    ...     invalid=np.array([10.0, 40.0, 50.0, 0.0, 20.0]), wrong=np.array([0.0, 1.0, 2.0, 0.0, 1.0]),
    ...     covered=np.zeros(5), clicks=np.array([100.0, 100.0]), purchases=np.array([10.0, 10.0]), robotic=np.zeros(2))
    >>> problem = Problem(curves=curves, allowance=2.0, first=np.array([0, 3]), last=np.array([2, 4]), cap=np.ones(2))
    >>> exact = exact_form(problem)
    >>> exact.vertex.tolist(), exact.invalid, exact.bound
    ([1, 4], 60.0, 60.0)
    """
    curves = problem.curves
    vertex = problem.first.copy()
    on_envelope = np.zeros(len(curves.threshold), dtype=np.bool_)
    mark_envelopes(problem.first, problem.last, curves.wrong, curves.invalid, on_envelope)

    ends = np.flatnonzero(on_envelope)
    owner = curves.owner[ends]
    inner = np.flatnonzero(np.diff(owner) == 0)  # segments: from ends[inner] to ends[inner + 1], of one slice
    to, owner = ends[inner + 1], owner[inner]
    cost = curves.wrong[to] - curves.wrong[ends[inner]]
    gain = curves.invalid[to] - curves.invalid[ends[inner]]
    order = np.lexsort((cost, -(gain / cost)))
    spent = problem.least_cost + np.cumsum(cost[order])
    whole = int(np.searchsorted(spent, problem.allowance + SLACK, side="right"))
    np.maximum.at(vertex, owner[order[:whole]], to[order[:whole]])

    bound, split = float(curves.invalid[vertex].sum()), -1
    if whole < len(order):
        part = order[whole]
        rest = problem.allowance - (float(spent[whole - 1]) if whole else problem.least_cost)
        bound += float(gain[part] * max(rest, 0.0) / cost[part])
        split = int(owner[part])
        step = slice(int(vertex[split]), int(to[part]))
        paid = curves.wrong[step] - curves.wrong[vertex[split]] <= rest + SLACK
        vertex[split] += max(int(paid.sum()) - 1, 0)
    return ExactForm(
        vertex=vertex,
        invalid=float(curves.invalid[vertex].sum()),
        wrong=float(curves.wrong[vertex].sum()),
        bound=bound,
        split=split,
    )


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def mark_envelopes(first: Ints, last: Ints, wrong: Floats, invalid: Floats, on_envelope: Flags) -> None:
    """Mark the vertices on the upper concave envelope of each slice's usable part: rates fall strictly along it."""
    longest = 1
    for s in range(len(first)):
        longest = max(longest, last[s] - first[s] + 1)
    stack = np.empty(longest, dtype=np.int64)
    for s in range(len(first)):
        top = 0
        stack[0] = first[s]
        for k in range(first[s] + 1, last[s] + 1):
            while top > 0:
                a, b = stack[top - 1], stack[top]
                # Compared as the rates that the segments are sorted by, so that no rounding can swap two of a slice.
                if (invalid[b] - invalid[a]) / (wrong[b] - wrong[a]) > (invalid[k] - invalid[b]) / (
                    wrong[k] - wrong[b]
                ):
                    break
                top -= 1
            top += 1
            stack[top] = k
        for i in range(top + 1):
            on_envelope[stack[i]] = True
