"""The empirical IVR-FPR curve of each slice: what every threshold worth choosing would have done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Scores = NDArray[np.float32]

NEVER: Final = 2.0
"""A threshold that no score reaches: nothing is invalidated."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredClicks:
    """Mature clicks that no list names; every field has one entry a click, shape (clicks,)."""

    slice: Ints
    """Index of the click's slice, from 0."""
    scores: Scores
    """As serving gave or will give them, in [0, 1]."""
    purchased: Flags
    """Whether the click led to a purchase."""
    robotic: Flags
    """Whether its session made more than k ad clicks within an hour (slidr.metrics.robotic_coverage)."""
    weights: Floats | None = None
    """How much traffic each click stands for, above 0; by default each stands for itself."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curves:
    """The curves of all slices, one after another: slice s owns vertices `starts[s]` to `starts[s + 1] - 1`.

    A vertex is a threshold with what it invalidates, in clicks (or in their weights, where those were given). Along
    a slice thresholds fall and `wrong` rises strictly. Of the thresholds with one and the same FPR only the lowest is
    a vertex: it has the highest IVR and coverage of them. A slice without purchases has no FPR, and one vertex: NEVER.
    """

    starts: Ints
    """Shape (slices + 1,)."""
    threshold: Scores
    """A click is invalid where score >= threshold, as serving decides; shape (vertices,)."""
    invalid: Floats
    """Invalidated clicks, shape (vertices,)."""
    wrong: Floats
    """Invalidated purchasing clicks, with the margin that `curves_of` was asked for, shape (vertices,)."""
    covered: Floats
    """Invalidated clicks of robotic sessions, shape (vertices,)."""
    clicks: Floats
    """All clicks of a slice, shape (slices,)."""
    purchases: Floats
    """Its purchasing clicks, shape (slices,)."""
    robotic: Floats
    """Its clicks in robotic sessions, shape (slices,)."""

    @property
    def slices(self) -> int:
        """How many."""
        return len(self.starts) - 1

    @property
    def owner(self) -> Ints:
        """The slice of each vertex, shape (vertices,)."""
        return np.repeat(np.arange(self.slices, dtype=np.int64), np.diff(self.starts))

    @property
    def fpr(self) -> Floats:
        """FPR at each vertex, in [0, 1], shape (vertices,); 0 in a slice without purchases."""
        return self.wrong / np.maximum(self.purchases, np.finfo(np.float64).tiny)[self.owner]

    @property
    def ivr(self) -> Floats:
        """IVR at each vertex, in [0, 1], shape (vertices,)."""
        return self.invalid / np.maximum(self.clicks, np.finfo(np.float64).tiny)[self.owner]

    def leading(self, holds: Flags) -> Ints:
        """How many vertices of each slice hold, shape (slices,); `holds` is True up to some vertex of each slice."""
        return np.add.reduceat(holds.astype(np.int64), self.starts[:-1]) if self.slices else self.starts[:0]


def curves_of(clicks: ScoredClicks, *, slices: int, margin: float = 0.0) -> Curves:
    """The curve of every slice, from one sort of all clicks.

    Args:
        clicks: in any order.
        slices: how many there are; one without clicks has the single vertex NEVER.
        margin: purchasing clicks that `wrong` has beyond those counted, at every vertex that invalidates something.
            A vertex lies just above a buyer's score, so of n buyers to come not k but k + 1 in n + 1 are expected above
            it, and that holds in every slice anew: 1 makes FPR what later buyers will see, 0 what these saw.

    >>> curves = curves_of(ScoredClicks(
    ...     slice=np.zeros(5, dtype=np.int64), scores=np.array([0.9, 0.8, 0.8, 0.5, 0.25], dtype=np.float32),
    ...     purchased=np.array([False, True, False, False, True]), robotic=np.array([True, False, False, True, False]),
    ... ), slices=1)
    >>> curves.threshold.tolist()
    [0.8999999761581421, 0.5, 0.25]
    >>> curves.fpr.tolist(), curves.ivr.tolist(), curves.covered.tolist()
    ([0.0, 0.5, 1.0], [0.2, 0.8, 1.0], [1.0, 2.0, 2.0])
    """
    if clicks.scores.dtype != np.float32:
        raise TypeError(f"scores must be float32, as serving compares them, came {clicks.scores.dtype}")
    order = np.lexsort((-clicks.scores, clicks.slice))
    code, score, bought = clicks.slice[order], clicks.scores[order], clicks.purchased[order]
    weight = np.ones(len(order)) if clicks.weights is None else clicks.weights[order]

    # One candidate a slice that invalidates nothing, then one for each distinct score: equal scores fall together.
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = (np.diff(code) != 0) | (np.diff(score) != 0)
    ends = np.flatnonzero(last)
    owner = np.concatenate([np.arange(slices, dtype=np.int64), code[ends]])
    behind = np.concatenate([np.searchsorted(code, np.arange(slices)), ends + 1])  # clicks before the candidate's end
    threshold = np.concatenate([np.full(slices, NEVER, dtype=np.float32), score[ends]])
    rank = np.lexsort((behind, owner))
    owner, behind, threshold = owner[rank], behind[rank], threshold[rank]

    count = np.concatenate([[0], np.cumsum(bought)])[behind]
    if margin > 0:
        count[threshold == NEVER] = -1  # it alone is free, so the lowest threshold of the same FPR does not replace it
    has_purchases = np.bincount(code[bought], minlength=slices) > 0
    same_slice = np.diff(owner) == 0
    keep = np.ones(len(owner), dtype=np.bool_)
    keep[:-1] = ~same_slice | (np.diff(count) != 0)  # the last of those with equal FPR
    first = np.ones(len(owner), dtype=np.bool_)
    first[1:] = ~same_slice
    keep = np.where(has_purchases[owner], keep, first)
    owner, behind, threshold = owner[keep], behind[keep], threshold[keep]
    starts = np.searchsorted(owner, np.arange(slices + 1))

    ahead_of_slice = np.searchsorted(code, np.arange(slices))[owner]

    def invalidated(amount: Floats) -> Floats:
        running = np.concatenate([[0.0], np.cumsum(amount)])
        return np.asarray(running[behind] - running[ahead_of_slice], dtype=np.float64)

    def total(amount: Floats) -> Floats:
        return np.bincount(code, weights=amount, minlength=slices).astype(np.float64)

    purchasing, robotic = weight * bought, weight * clicks.robotic[order]
    purchases = total(purchasing)
    one_purchase = purchases / np.maximum(total(bought.astype(np.float64)), 1.0)
    in_expectation = np.where(threshold == NEVER, 0.0, margin * one_purchase[owner])
    return Curves(
        starts=starts,
        threshold=threshold,
        invalid=invalidated(weight),
        wrong=invalidated(purchasing) + in_expectation,
        covered=invalidated(robotic),
        clicks=total(weight),
        purchases=purchases,
        robotic=total(robotic),
    )


def knee(curve: Curves) -> int:
    """The vertex of the first curve past which FPR rises faster than IVR: the one where IVR - FPR is greatest.

    Of several it is the one with the least FPR. It always exists, also on a curve of two vertices
    (docs/decisions/0032-calibration-forms.md says why no library looks for it).

    >>> flat = Curves(starts=np.array([0, 3]), threshold=np.array([0.9, 0.5, 0.1], dtype=np.float32),
    ...               invalid=np.array([10.0, 60.0, 100.0]), wrong=np.array([0.0, 2.0, 10.0]), covered=np.zeros(3),
    ...               clicks=np.array([100.0]), purchases=np.array([10.0]), robotic=np.zeros(1))
    >>> knee(flat)
    1
    """
    return int(np.argmax((curve.ivr - curve.fpr)[: curve.starts[1]]))
