"""Sample weights: hour of day, day of week, logged-in status and label each carry equal total weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.labels import UnusableTrainingData

Floats = NDArray[np.float64]

MAX_WEIGHT: Final = 20.0
"""Cap of a weight, relative to the mean weight of 1: no cell may speak with a few clicks for a whole hour."""


def raked_weights(
    margins: Mapping[str, NDArray[np.integer]], *, cap: float = MAX_WEIGHT, rounds: int = 50, tolerance: float = 1e-6
) -> Floats:
    """Weights under which every value of each margin carries the same total; mean 1, less where the cap bites.

    Values that do not occur (a weekday that the data lacks) carry nothing. Raking: scale one margin after the other
    until none moves. Source: Deming and Stephan (1940).

    Args:
        margins: by name ("hour", "day", "logged_in", "label"), non-negative codes, shape (clicks,).
        cap: largest weight.
        rounds: at most so many passes over the margins.
        tolerance: stop when no weight moves more than this, relatively.

    Raises:
        UnusableTrainingData: no rows, or only one label.

    >>> weights = raked_weights({"label": np.array([0, 1, 1, 1])})
    >>> [round(float(w), 3) for w in weights]
    [2.0, 0.667, 0.667, 0.667]
    """
    rows = {len(codes) for codes in margins.values()}
    if rows == {0} or ("label" in margins and len(np.unique(margins["label"])) < 2):
        came = np.unique(margins.get("label", np.empty(0))).tolist()
        raise UnusableTrainingData(
            f"rows of both labels (0 human, 1 non-human) are required, came labels {came}. "
            "Take more days, or check that purchases arrive."
        )
    weights = np.ones(rows.pop())
    for _ in range(rounds):
        before = weights
        for codes in margins.values():
            totals = np.bincount(codes, weights=weights)
            occurring = np.count_nonzero(totals)
            factor = np.divide(len(weights) / occurring, totals, out=np.zeros_like(totals), where=totals > 0)
            weights = weights * factor[codes]
        weights = np.minimum(weights, cap)
        if np.max(np.abs(weights / before - 1.0)) < tolerance:
            break
    return weights


def effective_sample_size(weights: NDArray[np.floating]) -> float:
    """How many equally weighted rows would tell as much. Source: Kish (1965), (sum w)^2 / sum w^2.

    >>> effective_sample_size(np.array([1.0, 1.0, 2.0])) < 3
    True
    """
    w = np.asarray(weights, dtype=np.float64)
    return float(w.sum() ** 2 / (w**2).sum()) if len(w) else 0.0
