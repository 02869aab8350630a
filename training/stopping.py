"""What stops a training: how much a model would invalidate at small false-positive rates."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

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
