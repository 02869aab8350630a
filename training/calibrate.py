"""One global threshold at a stated false-positive budget, from the scores of purchasing clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidr.metrics import Rate
from training.labels import UnusableTrainingData

NEVER: Final = 2.0
"""A threshold that no score reaches: nothing is invalidated."""


STOPPING_BUDGETS: Final = (0.0025, 0.005, 0.01, 0.015, 0.02)
"""False-positive rates over which `mean_ivr` averages."""


def mean_ivr(scores: NDArray[np.float32], purchased: NDArray[np.bool_]) -> float:
    """IVR averaged over a range of small false-positive rates on purchasing clicks: what a model is wanted for.

    Training stops by it, because the weak-label loss does not rank models well: most human clicks carry the label
    "non-human" (training/LOG.md). Zero without a purchasing click.

    >>> scores = np.array([0.1, 0.2, 0.9, 0.8], dtype=np.float32)
    >>> mean_ivr(scores, np.array([True, True, False, False]))
    0.5
    """
    human = np.sort(scores[purchased])[::-1]
    if not len(human):
        return 0.0
    edges = [human[int(budget * len(human))] for budget in STOPPING_BUDGETS]
    return float(np.mean([(scores > edge).mean() for edge in edges]))


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalThreshold:
    """The threshold and what it costs on the rows that it was chosen on."""

    threshold: float
    fpr: Rate
    """Invalidated purchasing clicks, with its Wilson interval."""
    enough: bool
    """Whether there were enough purchasing clicks for the bound to be met at all, even with none of them wrong."""


def global_threshold(
    scores: NDArray[np.float32], purchased: NDArray[np.bool_], *, fpr_budget: float, bound: str = "point"
) -> GlobalThreshold:
    """The lowest threshold whose FPR on these rows does not exceed the budget.

    Args:
        scores: float32 in [0, 1], shape (clicks,), of rows later than any that trained.
        purchased: which clicks led to a purchase.
        fpr_budget: in (0, 1).
        bound: what must be within the budget: "point", the share of these rows, or "upper", the end of its 95% Wilson
            interval, which leaves room for chance on later rows. Where there are too few purchasing clicks for
            "upper", none of them may be wrong.

    Raises:
        UnusableTrainingData: no purchasing click, so no false-positive rate.

    >>> scores = np.array([0.1, 0.2, 0.3, 0.9], dtype=np.float32)
    >>> chosen = global_threshold(scores, np.array([True, True, True, False]), fpr_budget=0.34)
    >>> round(chosen.threshold, 4), chosen.fpr.count, chosen.fpr.total
    (0.3, 1, 3)
    """
    if not 0.0 < fpr_budget < 1.0 or bound not in {"point", "upper"}:
        raise ValueError(f'fpr_budget must be in (0, 1) and bound "point" or "upper", came {fpr_budget}, {bound!r}')
    human = np.sort(scores[purchased].astype(np.float32))[::-1]
    if not len(human):
        raise UnusableTrainingData(
            "purchasing clicks are required to bound the false-positive rate, came none among "
            f"{len(scores)} calibration rows. Take more or later days, or check that purchases arrive."
        )
    allowed = int(np.floor(fpr_budget * len(human) + 1e-9))
    while bound == "upper" and allowed > 0 and Rate(count=allowed, total=len(human)).interval[1] > fpr_budget:
        allowed -= 1
    none_wrong = Rate(count=0, total=len(human))
    # A click is invalid where score >= threshold: just above the first score that must stay valid, ties included.
    threshold = float(np.nextafter(human[allowed], np.float32(2.0), dtype=np.float32))
    above = scores[scores >= np.float32(threshold)]
    if len(above):
        threshold = float(above.min())  # the same decisions here, and the margin falls on the valid side
    elif threshold > 1.0:
        threshold = NEVER
    wrong = int((human >= np.float32(threshold)).sum())
    return GlobalThreshold(
        threshold=threshold,
        fpr=Rate(count=wrong, total=len(human)),
        enough=bound == "point" or none_wrong.interval[1] <= fpr_budget,
    )
