"""Population stability index: how far a feature's distribution moved between two sets of clicks."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidr.features import FEATURE_NAMES
from training.mlp_weights import Floats

BINS: Final = 10
_LEAST_SHARE: Final = 1e-4
"""An empty bin counts as this share: the index stays finite."""
MOVED: Final = 0.25
"""From here on a distribution is said to have moved; below 0.1 it is said to be the same."""


def stability_index(before: NDArray[np.floating], after: NDArray[np.floating], *, bins: int = BINS) -> float:
    """Sum over bins of (after - before) log(after / before), the bins being quantiles of `before`; 0 means no change.

    A value that fills several quantiles (a count that is mostly 0) makes one bin.

    >>> stability_index(np.arange(100.0), np.arange(100.0))
    0.0
    >>> stability_index(np.arange(100.0), np.arange(100.0) + 50) > MOVED
    True
    """
    edges = np.unique(np.quantile(before, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))

    def counts(values: NDArray[np.floating]) -> NDArray[np.int64]:
        return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)

    return float(index_of_counts(counts(before), counts(after)))


def index_of_counts(before: NDArray[np.integer], after: NDArray[np.integer]) -> NDArray[np.float64]:
    """The same of clicks already counted into common bins, shape (..., bins); one index for each of the others.

    >>> index_of_counts(np.array([[50, 50], [50, 50]]), np.array([[5, 5], [9, 1]])).round(2).tolist()
    [0.0, 0.88]
    """

    def share(counts: NDArray[np.integer]) -> NDArray[np.float64]:
        shares = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
        return np.asarray(np.maximum(shares, _LEAST_SHARE), dtype=np.float64)

    old, new = share(before), share(after)
    return np.asarray(((new - old) * np.log(new / old)).sum(axis=-1), dtype=np.float64)


def drift_of(before: Floats, after: Floats) -> dict[str, float]:
    """The index of each feature, the largest first; hour and weekday left out, which move with the days taken.

    Args:
        before: features of the clicks that thresholds were chosen on, shape (clicks, FEATURE_COUNT).
        after: of the later ones.
    """
    found = {
        name: stability_index(before[:, i], after[:, i])
        for i, name in enumerate(FEATURE_NAMES)
        if not name.startswith("time.")
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))
