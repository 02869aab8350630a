"""Slices and their parents: a parent is the slice map with columns dropped from the right, down to all traffic.

device=tv|logged_in=true  ->  device=tv  ->  "" (all traffic)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from training.calibration.curve import Ints
from training.slice_names import slice_names


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """The traffic cut by the first columns of a slice map."""

    names: tuple[str, ...]
    """Sorted, so that no order of rows can change what is chosen."""
    code: Ints
    """Index into `names` of each click, shape (clicks,)."""
    parent: Ints
    """Index into the names of the level above, shape (names,); empty for all traffic."""


def levels_of(rows: pl.DataFrame, columns: Sequence[str]) -> tuple[Level, ...]:
    """All traffic first, then one column more each, the slices last; length len(columns) + 1.

    >>> rows = pl.DataFrame({"device": ["tv", "pc", "tv"], "logged_in": [True, False, False]})
    >>> [level.names for level in levels_of(rows, ["device", "logged_in"])][1:]
    [('device=pc', 'device=tv'), ('device=pc|logged_in=false', 'device=tv|logged_in=false', 'device=tv|logged_in=true')]
    """
    levels: list[Level] = []
    for depth in range(len(columns) + 1):
        names, some_row, code = np.unique(
            slice_names(rows, columns[:depth]).to_numpy().astype(np.str_), return_index=True, return_inverse=True
        )
        parent = levels[-1].code[some_row] if levels else np.empty(0, dtype=np.int64)
        levels.append(Level(names=tuple(names.tolist()), code=code.astype(np.int64), parent=parent))
    return tuple(levels)
