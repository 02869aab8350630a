"""Slices: named cells of traffic, by default device x logged-in, each with its own threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from slidr.click import Click
from slidr.errors import ReleaseInvalid

SLICE_COLUMNS: Final = ("device", "logged_in", "marketplace", "placement")
"""Attributes of a click that a slice map may use."""
DEFAULT_COLUMNS: Final = ("device", "logged_in")


class SliceMap(msgspec.Struct, frozen=True):
    """Which attributes of a click name its slice, in order."""

    columns: tuple[str, ...] = DEFAULT_COLUMNS

    def __post_init__(self) -> None:
        unknown = set(self.columns) - set(SLICE_COLUMNS)
        if unknown or not self.columns:
            raise ReleaseInvalid(f"slice columns must be of {SLICE_COLUMNS}, came {self.columns}")

    def names(self, clicks: Sequence[Click]) -> list[str]:
        """The slice of each click.

        >>> import datetime as dt
        >>> click = Click(click_id="c", at=dt.datetime.now(dt.UTC), advertiser="a", marketplace="de")
        >>> SliceMap().names([click])
        ['device=other|logged_in=false']
        """
        values = list(zip(*([getattr(click, column) for click in clicks] for column in self.columns), strict=True))
        named = {cell: self.name(tuple(map(_text, cell))) for cell in set(values)}  # few cells, many clicks
        return [named[cell] for cell in values]

    def name(self, values: tuple[str, ...]) -> str:
        """The slice with these values of `columns`."""
        return "|".join(f"{column}={value}" for column, value in zip(self.columns, values, strict=True))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


class Thresholds(msgspec.Struct, frozen=True):
    """Scores at or above its slice's threshold make a click INVALID. A slice not named uses `default`."""

    default: float
    """In (0, 1]; above 1 nothing is invalidated."""
    by_slice: Mapping[str, float] = {}

    def of(self, slices: Sequence[str]) -> NDArray[np.float32]:
        """The threshold of each slice name, float32, shape (clicks,).

        >>> Thresholds(default=0.9, by_slice={"device=mobile": 0.5}).of(["device=mobile", "device=tv"]).tolist()
        [0.5, 0.8999999761581421]
        """
        thresholds = (self.by_slice.get(name, self.default) for name in slices)
        return np.fromiter(thresholds, dtype=np.float32, count=len(slices))
