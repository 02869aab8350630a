"""Rates that judge verdicts, each with its counts and a 95% interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]

ROBOTIC_SESSION_CLICKS: Final = 10
"""Robotic coverage looks at sessions with more than this many ad clicks within an hour (default k)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`count` of `total`, with its Wilson interval at 95%; NaN where `total` is 0."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share, in [0, 1].

        >>> Rate(count=1, total=4).value
        0.25
        """
        return self.count / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson score interval at 95%. Source: Wilson (1927).

        >>> tuple(round(x, 3) for x in Rate(count=0, total=299).interval)
        (0.0, 0.013)
        """
        if not self.total:
            return math.nan, math.nan
        z, n, p = 1.959963984540054, self.total, self.value
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        low = 0.0 if self.count == 0 else centre - half
        high = 1.0 if self.count == self.total else centre + half
        return low, high


def rate(hits: Flags, within: Flags | None = None) -> Rate:
    """How many of the clicks in `within` (all by default) are in `hits`."""
    if within is None:
        return Rate(count=int(hits.sum()), total=len(hits))
    return Rate(count=int((hits & within).sum()), total=int(within.sum()))


def invalidation_rate(invalid: Flags) -> Rate:
    """IVR: invalidated clicks / clicks.

    >>> invalidation_rate(np.array([True, False])).value
    0.5
    """
    return rate(invalid)


def false_positive_rate(invalid: Flags, purchasing: Flags) -> Rate:
    """FPR: invalidated purchasing clicks / purchasing clicks.

    A proxy. It rests on two assumptions: (1) robots do not buy, so a click that led to a purchase is human; (2) a
    human click that led to no purchase is invalidated as often as one that did, within a slice. Poisoners that buy
    break the first, shoppers who browse unlike buyers break the second; both are measured apart.

    >>> false_positive_rate(np.array([True, True, False]), np.array([True, False, True])).value
    0.5
    """
    return rate(invalid, purchasing)


def robotic_coverage(invalid: Flags, session_clicks_1h: NDArray[np.int64], *, k: int = ROBOTIC_SESSION_CLICKS) -> Rate:
    """The invalidated share of the clicks in sessions with more than `k` ad clicks in an hour.

    Args:
        invalid: shape (clicks,).
        session_clicks_1h: the most clicks the click's session made within an hour, shape (clicks,).
        k: default 10.

    >>> robotic_coverage(np.array([True, False, False]), np.array([40, 40, 2])).value
    0.5
    """
    return rate(invalid, session_clicks_1h > k)
