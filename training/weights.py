"""Sample weights: hour of day, day of week, logged-in status and label each carry equal total weight.

Two schemes: `raked` scales the four margins until each is level; `joint` gives every occurring cell (hour x day x
logged-in x label) the same total. Either depends on a row's cell only, so it is computed over cells and their counts,
never over rows: 672 numbers, however many clicks. Joint is kept, and why: training/LOG.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from training.labels import UnusableTrainingData

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Scheme = Literal["raked", "joint"]
SCHEMES: Final[tuple[Scheme, ...]] = get_args(Scheme)
SCHEME: Final[Scheme] = "joint"
"""The one that is used where none is named."""

MAX_WEIGHT: Final = 20.0
"""Cap of a weight, relative to the mean weight of 1: no cell may speak with a few clicks for a whole hour."""


def raked_weights(
    margins: Mapping[str, NDArray[np.integer]],
    *,
    counts: NDArray[np.integer] | None = None,
    cap: float = MAX_WEIGHT,
    rounds: int = 50,
    tolerance: float = 1e-6,
) -> Floats:
    """Weights under which every value of each margin carries the same total; mean 1, less where the cap bites.

    Values that do not occur (a weekday that the data lacks) carry nothing. Raking: scale one margin after the other
    until none moves. Source: Deming and Stephan (1940).

    Args:
        margins: by name ("hour", "day", "logged_in", "label"), non-negative codes, shape (cells,).
        counts: clicks of each cell, at least 1; by default a cell is a click.
        cap: largest weight.
        rounds: at most so many passes over the margins.
        tolerance: stop when no weight moves more than this, relatively.

    Raises:
        UnusableTrainingData: no rows, or only one label.

    >>> weights = raked_weights({"label": np.array([0, 1])}, counts=np.array([1, 3]))
    >>> [round(float(w), 3) for w in weights]
    [2.0, 0.667]
    """
    clicks = _clicks(margins, counts)
    weights = np.ones(len(clicks))
    for _ in range(rounds):
        before = weights
        for codes in margins.values():
            totals = np.bincount(codes, weights=weights * clicks)
            occurring = np.count_nonzero(totals)
            factor = np.divide(clicks.sum() / occurring, totals, out=np.zeros_like(totals), where=totals > 0)
            weights = weights * factor[codes]
        weights = np.minimum(weights, cap)
        if np.max(np.abs(weights / before - 1.0)) < tolerance:
            break
    return weights


def joint_weights(
    margins: Mapping[str, NDArray[np.integer]],
    *,
    counts: NDArray[np.integer] | None = None,
    cap: float = MAX_WEIGHT,
) -> Floats:
    """Inverse joint frequency: every combination of values that occurs carries the same total; mean 1, less by the cap.

    Args:
        margins: as for `raked_weights`.
        counts: as for `raked_weights`.
        cap: largest weight.

    Raises:
        UnusableTrainingData: no rows, or only one label.

    >>> margins = {"day": np.array([0, 0, 1]), "label": np.array([0, 1, 1])}
    >>> joint_weights(margins, counts=np.array([1, 2, 3])).tolist()
    [2.0, 1.0, 0.6666666666666666]
    """
    clicks = _clicks(margins, counts)
    _, cell = np.unique(np.stack(list(margins.values())), axis=1, return_inverse=True)
    totals = np.bincount(cell.ravel(), weights=clicks)
    weights: Floats = np.minimum(clicks.sum() / (len(totals) * totals[cell.ravel()]), cap)
    return weights


def weights_of_cells(
    hour_of_week: NDArray[np.integer],
    logged_in: NDArray[Any],
    label: NDArray[np.integer],
    clicks: NDArray[np.integer],
    *,
    scheme: Scheme,
    cap: float = MAX_WEIGHT,
) -> Floats:
    """The weight of a click of each cell, shape (cells,).

    Args:
        hour_of_week: local, in [0, 168), shape (cells,).
        logged_in: booleans, shape (cells,).
        label: 0 or 1, shape (cells,).
        clicks: how many clicks each cell holds.
        scheme: "raked" or "joint".
        cap: largest weight.

    Raises:
        UnusableTrainingData: no rows, or only one label.
    """
    hours = np.asarray(hour_of_week, dtype=np.int64)
    margins = {
        "hour": hours % 24,
        "day": hours // 24,
        "logged_in": np.asarray(logged_in).astype(np.int64),
        "label": np.asarray(label).astype(np.int64),
    }
    if scheme == "raked":
        return raked_weights(margins, counts=clicks, cap=cap)
    return joint_weights(margins, counts=clicks, cap=cap)


def weights_of_rows(
    hour_of_week: NDArray[np.integer],
    logged_in: NDArray[Any],
    label: NDArray[np.integer],
    *,
    scheme: Scheme,
    cap: float = MAX_WEIGHT,
) -> Floats:
    """The weight of each row, shape (rows,); see `weights_of_cells`."""
    codes = np.asarray(hour_of_week, dtype=np.int64) * 4 + np.asarray(logged_in) * 2 + np.asarray(label)
    cells, cell, clicks = np.unique(codes, return_inverse=True, return_counts=True)
    weights: Floats = weights_of_cells(cells // 4, cells // 2 % 2, cells % 2, clicks, scheme=scheme, cap=cap)[cell]
    return weights


def _clicks(margins: Mapping[str, NDArray[np.integer]], counts: NDArray[np.integer] | None) -> Floats:
    """Clicks of each cell; raises where they cannot train."""
    (rows,) = {len(codes) for codes in margins.values()}
    if rows == 0 or ("label" in margins and len(np.unique(margins["label"])) < 2):
        came = np.unique(margins.get("label", np.empty(0))).tolist()
        raise UnusableTrainingData(
            f"rows of both labels (0 human, 1 non-human) are required, came labels {came}. "
            "Take more days, or check that purchases arrive."
        )
    return np.ones(rows) if counts is None else np.asarray(counts, dtype=np.float64)


def effective_sample_size(weights: NDArray[np.floating], counts: NDArray[np.integer] | None = None) -> float:
    """How many equally weighted rows would tell as much. Source: Kish (1965), (sum w)^2 / sum w^2.

    Args:
        weights: of rows, or of cells.
        counts: rows of each cell; by default 1.

    >>> effective_sample_size(np.array([1.0, 1.0, 2.0])) < 3
    True
    """
    w = np.asarray(weights, dtype=np.float64)
    n = np.ones(len(w)) if counts is None else np.asarray(counts, dtype=np.float64)
    return float((n * w).sum() ** 2 / (n * w**2).sum()) if len(w) else 0.0
