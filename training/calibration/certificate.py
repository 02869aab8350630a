"""The certificate: an upper confidence bound on the overall FPR of thresholds that were chosen on other people.

Thresholds are fixed before the certifying fold is looked at, and its people are exchangeable with those to come.
People, not clicks: whoever bought twice was taken for a robot twice or not at all, so a binomial bound over purchasing
clicks claims more evidence than there is. Therefore one purchasing click a buyer counts, drawn by a hash, and counted
buyers are drawn in proportion to their purchasing clicks, at most `clicks_per_buyer` = M of them:

    buyer with n purchasing clicks counts with probability min(n, M) / M; one of the n is looked at

Each look is then one independent draw from the purchasing clicks of the population (a buyer's clicks beyond M have no
say), the wrong ones are binomial, and the Clopper-Pearson bound holds exactly, at any number of buyers. M = 1, the
default, looks at every buyer and certifies the FPR in which each buyer has one vote. A larger M certifies the FPR by
clicks, and takes about M times the buyers: errors that come M at a time are M times as rare to meet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import betaincinv  # type: ignore[import-untyped]

from slidr.metrics import Rate
from training.calibration.curve import Flags
from training.calibration.folds import drawn

DELTA: Final = 0.05
"""The certificate may be wrong in this share of cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What the certifying fold says of the overall FPR."""

    budget: float
    """The overall FPR that was asked for."""
    delta: float
    clicks_per_buyer: int
    """M: see the module."""
    counted: Rate
    """Of the buyers looked at (`total`), those whose drawn purchasing click is invalid (`count`)."""
    by_click: Rate
    """All purchasing clicks of the fold: the point estimate, whose own interval takes clicks for independent."""
    beyond: int
    """Purchasing clicks of buyers beyond their first M: they have no say."""

    @property
    def bound(self) -> float:
        """The FPR is at most this, with confidence 1 - delta."""
        return upper_bound(self.counted.count, self.counted.total, delta=self.delta)

    @property
    def certified(self) -> bool:
        """Whether the bound is within the budget."""
        return self.bound <= self.budget

    @property
    def needed(self) -> int:
        """Buyers to look at for the bound to be within the budget, were none of them wrong."""
        return buyers_needed(self.budget, delta=self.delta)

    @property
    def says(self) -> str:
        """The outcome in a few words.

        >>> Certificate(budget=0.001, delta=0.05, clicks_per_buyer=1, counted=Rate(count=0, total=400),
        ...             by_click=Rate(count=0, total=410), beyond=10).says
        'needs 2995, has 400'
        """
        if self.certified:
            return "certified"
        if self.counted.total < self.needed:
            return f"needs {self.needed}, has {self.counted.total}"
        return f"not certified: the bound is {self.bound:.3%}, the budget {self.budget:.3%}"


def certify(
    wrong: Flags,
    *,
    buyer: Sequence[str],
    click_id: Sequence[str],
    budget: float,
    delta: float = DELTA,
    clicks_per_buyer: int = 1,
) -> Certificate:
    """The certificate of fixed thresholds from the purchasing clicks of a fold that did not choose them.

    Args:
        wrong: which purchasing clicks are invalid, by a threshold or by a list, shape (purchasing clicks,).
        buyer: training.calibration.folds.person_of each.
        click_id: of each; it decides which click of a buyer is looked at.
        budget: overall FPR, in (0, 1).
        delta: in (0, 1).
        clicks_per_buyer: M, at least 1.

    >>> certify(np.array([False] * 299), buyer=[f"user {i}" for i in range(299)], click_id=[*map(str, range(299))],
    ...         budget=0.01).says
    'certified'
    """
    if not 0.0 < budget < 1.0 or not 0.0 < delta < 1.0 or clicks_per_buyer < 1:
        raise ValueError(
            "budget and delta must be in (0, 1) and clicks_per_buyer at least 1, "
            f"came {budget}, {delta}, {clicks_per_buyer}"
        )
    buyers, code, clicks = np.unique(np.asarray(buyer, dtype=np.str_), return_inverse=True, return_counts=True)
    look = np.lexsort((drawn(click_id, purpose="look"), code))  # by buyer, in an order that is nobody's choice
    looked_at = look[np.searchsorted(code[look], np.arange(len(buyers)))]
    votes = np.minimum(clicks, clicks_per_buyer)
    counts = drawn(buyers.tolist(), purpose="count") * clicks_per_buyer < votes
    return Certificate(
        budget=budget,
        delta=delta,
        clicks_per_buyer=clicks_per_buyer,
        counted=Rate(count=int(wrong[looked_at][counts].sum()), total=int(counts.sum())),
        by_click=Rate(count=int(wrong.sum()), total=len(wrong)),
        beyond=int((clicks - votes).sum()),
    )


def upper_bound(count: int, total: int, *, delta: float = DELTA) -> float:
    """One-sided Clopper-Pearson: the largest rate at which `count` or fewer of `total` still have probability delta.

    Source: Clopper and Pearson (1934).

    >>> round(upper_bound(0, 299), 5), round(upper_bound(3, 1000), 5), upper_bound(0, 0)
    (0.00997, 0.00774, 1.0)
    """
    return 1.0 if count >= total else float(betaincinv(count + 1, total - count, 1.0 - delta))


def buyers_needed(budget: float, *, delta: float = DELTA) -> int:
    """The fewest looks whose bound is within the budget with none wrong.

    >>> buyers_needed(0.01), buyers_needed(0.001)
    (299, 2995)
    """
    return math.ceil(math.log(delta) / math.log1p(-budget))
