"""From values to places in a drawing, and the ticks between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Values in [0, top] on a line from `start` to `end`; with `root` by their square root, so small ones have room."""

    top: float
    start: float
    end: float
    root: bool = False

    def place(self, value: float) -> float:
        """Where a value lies; beyond the top is at the top.

        >>> Scale(top=1.0, start=0, end=100, root=True).place(0.25), Scale(top=0.5, start=200, end=0).place(0.1)
        (50.0, 160.0)
        """
        part = min(max(value / self.top, 0.0), 1.0)
        return round(self.start + (math.sqrt(part) if self.root else part) * (self.end - self.start), 2)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Round values that cover the line without crowding.

        >>> Scale(top=1.0, start=0, end=1).ticks
        (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
        """
        if self.root:
            return tuple(value for value in (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0) if value <= self.top)
        step = next(step for step in _STEPS if self.top / step <= 5.0)
        return tuple(round(i * step, 4) for i in range(int(self.top / step + 1e-9) + 1))


def round_up(value: float) -> float:
    """The least share of a round scale that holds `value`.

    >>> round_up(0.17), round_up(0.62), round_up(0.004)
    (0.2, 0.8, 0.01)
    """
    tops = (0.01, 0.02, 0.03, 0.04, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
    return next((top for top in tops if value <= top), 1.0)


def path(xs: Sequence[float] | np.ndarray, ys: Sequence[float] | np.ndarray, *, x: Scale, y: Scale) -> str:
    """An SVG path through the points."""
    points = [f"{x.place(float(a))},{y.place(float(b))}" for a, b in zip(xs, ys, strict=True)]
    return f"M{' L'.join(points)}"


def area(xs: np.ndarray, low: np.ndarray, high: np.ndarray, *, x: Scale, y: Scale) -> str:
    """An SVG path around what lies between two curves."""
    there = [f"{x.place(float(a))},{y.place(float(b))}" for a, b in zip(xs, high, strict=True)]
    back = [f"{x.place(float(a))},{y.place(float(b))}" for a, b in zip(xs[::-1], low[::-1], strict=True)]
    return f"M{' L'.join(there + back)}Z"
