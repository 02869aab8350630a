"""When people click: activity by hour of the local day and by weekday."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidr.features import local_minute_of_week
from training.simulator.families import Hours

QUARTERS: Final = 96
QUARTER_MS: Final = 900_000

_BY_HOUR: Final[dict[Hours, tuple[float, ...]]] = {
    "home": (3, 1.5, 0.8, 0.5, 0.5, 0.8, 1.5, 2.5, 3.5, 4.5, 5, 5, 5, 5, 5, 5, 5.5, 6, 7, 8.5, 9.5, 9.5, 8, 5.5),
    "commute": (3, 1.5, 0.7, 0.4, 0.5, 1.2, 3, 5.5, 6.5, 5, 4.5, 5, 6, 5.5, 4.5, 4.5, 5, 6.5, 7, 7, 8, 9, 8, 5.5),
    "office": (0.1, 0.05, 0.05, 0.05, 0.1, 0.2, 0.8, 3, 7, 9, 10, 10, 11, 9.5, 9, 9, 8.5, 7, 3.5, 1.5, 0.8, 0.5, 0.3,
               0.2),
    "flat": (1,) * 24,
}  # fmt: skip


def intensity(hours: Hours, *, weekend: float, day_start_ms: int, zone: str) -> NDArray[np.float64]:
    """Relative activity in each quarter-hour of a UTC day, shape (96,); its mean over a whole week is 1.

    >>> quiet = intensity("office", weekend=0.15, day_start_ms=1795219200000, zone="UTC")  # a Saturday
    >>> busy = intensity("office", weekend=0.15, day_start_ms=1795392000000, zone="UTC")  # a Monday
    >>> round(float(quiet.sum() / busy.sum()), 2)
    0.15
    """
    starts = day_start_ms + QUARTER_MS * np.arange(QUARTERS, dtype=np.int64)
    minute = local_minute_of_week(starts, [zone] * QUARTERS)
    curve = np.asarray((*_BY_HOUR[hours], _BY_HOUR[hours][0]), dtype=np.float64)
    by_time = np.interp((minute % 1440) / 60.0, np.arange(25), curve)
    mean = np.interp(np.arange(QUARTERS) / 4.0, np.arange(25), curve).mean()
    by_day = np.where(minute // 1440 >= 5, weekend, 1.0) * 7.0 / (5.0 + 2.0 * weekend)
    return np.asarray(by_time / mean * by_day, dtype=np.float64)
