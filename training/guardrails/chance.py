"""What chance may explain of a deviation: guardrails judge the end of an interval, so that small cells stay quiet."""

from __future__ import annotations

import math
from typing import Final

from scipy.special import betaincinv, gammaincinv  # type: ignore[import-untyped]

ALPHA: Final = 1e-4
"""Chance of one value's interval to lie beside the truth. A day has some hundred values; there are 365 days a year."""


def at_most(count: float, expected: float) -> float:
    """The largest ratio to what is expected that `count` still speaks for; infinite where nothing is expected.

    Source: Garwood (1936), the Poisson interval.

    >>> round(at_most(0, 100), 3), round(at_most(100, 100), 2), at_most(0, 0)
    (0.092, 1.43, inf)
    """
    return float(gammaincinv(count + 1, 1.0 - ALPHA)) / expected if expected > 0 else math.inf


def at_least(count: float, expected: float) -> float:
    """The smallest ratio to what is expected that `count` still speaks for; 0 where nothing is expected.

    >>> round(at_least(100, 100), 2), at_least(0, 100), at_least(3, 0)
    (0.67, 0.0, 0.0)
    """
    return float(gammaincinv(count, ALPHA)) / expected if count > 0 and expected > 0 else 0.0


def nearest_to_one(count: float, expected: float) -> float:
    """Of all the ratios that `count` speaks for, the one nearest to 1: what a bound on both sides judges.

    >>> nearest_to_one(95, 100), round(nearest_to_one(0, 100), 3), round(nearest_to_one(1000, 100), 1)
    (1.0, 0.092, 8.9)
    """
    low, high = at_least(count, expected), at_most(count, expected)
    return min(max(1.0, low), high)


def share_at_most(count: int, total: int) -> float:
    """The largest share that `count` of `total` still speaks for; 1 where there are none.

    Source: Clopper and Pearson (1934).

    >>> round(share_at_most(0, 100), 3), share_at_most(0, 0)
    (0.088, 1.0)
    """
    return 1.0 if count >= total else float(betaincinv(count + 1, total - count, 1.0 - ALPHA))


def share_at_least(count: int, total: int) -> float:
    """The smallest share that `count` of `total` still speaks for; 0 where there are none.

    >>> share_at_least(0, 100), round(share_at_least(50, 100), 2)
    (0.0, 0.32)
    """
    return float(betaincinv(count, total - count + 1, ALPHA)) if count > 0 else 0.0
