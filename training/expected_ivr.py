"""The IVR that a release should show in each hour of the local week: what the alarms compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidr.release import HOURS_OF_WEEK

PRIOR_CLICKS: Final = 200
"""A cell leans on its wider neighbourhood as if that had shown it so many more clicks."""


def expected_ivr(invalid: NDArray[np.bool_], hour_of_week: NDArray[np.integer]) -> tuple[float, ...]:
    """Expected IVR of each hour of the local week, length 168.

    A few days do not show all hours well: each hour of the week leans on that hour of the day, which leans on the
    overall rate. An hour never seen gets what it leans on.

    Args:
        invalid: which clicks are invalid (crawlers included), shape (clicks,), not empty, none of them trained on.
        hour_of_week: local, in [0, 168).

    >>> rates = expected_ivr(np.array([True, False] * 500), np.full(1000, 9))
    >>> len(rates), rates[9], rates[100]
    (168, 0.5, 0.5)
    """
    overall = np.full(24, invalid.mean())
    by_hour_of_day = _leaning_rate(invalid, hour_of_week % 24, overall)
    by_hour_of_week = _leaning_rate(invalid, hour_of_week, np.tile(by_hour_of_day, HOURS_OF_WEEK // 24))
    return tuple(float(rate) for rate in by_hour_of_week)


def expected_ivr_by_slice(
    invalid: NDArray[np.bool_], hour_of_week: NDArray[np.integer], slices: Sequence[str]
) -> dict[str, tuple[float, ...]]:
    """`expected_ivr` of each slice by itself.

    Args:
        invalid: see `expected_ivr`.
        hour_of_week: see `expected_ivr`.
        slices: the slice of each click.

    >>> rates = expected_ivr_by_slice(np.array([True, False] * 500), np.full(1000, 9), ["a", "b"] * 500)
    >>> rates["a"][9], rates["b"][9]
    (1.0, 0.0)
    """
    names, cell = np.unique(np.asarray(slices, dtype=str), return_inverse=True)
    return {
        str(name): expected_ivr(invalid[cell == number], hour_of_week[cell == number])
        for number, name in enumerate(names.tolist())
    }


def _leaning_rate(
    hits: NDArray[np.bool_], cell: NDArray[np.integer], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    clicks = np.bincount(cell, minlength=len(prior))
    count = np.bincount(cell, weights=hits.astype(np.float64), minlength=len(prior))
    return np.asarray((count + PRIOR_CLICKS * prior) / (clicks + PRIOR_CLICKS), dtype=np.float64)
