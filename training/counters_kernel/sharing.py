"""The clicks of a piece as what the walk eats: one record a click and key, by a hash of the key in parts.

A part fits the processor's caches, and all clicks of a key are in one. The records are written in the order of the
log: memory is read and written forwards, once.
"""

# ruff: noqa: PLR0917

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Times = NDArray[np.int64]
Ids = NDArray[np.uint64]
Places = NDArray[np.int32]
Flags = NDArray[np.bool_]

RECORD: Final = 4
"""Words of a record before its members: the mixed key, the time, the click's id, which members it has (bits)."""


def _compiled(function: Callable[..., Any]) -> Any:
    """Compiled at the first call, kept on disk for the next process; runs beside other threads."""
    return njit(nogil=True, cache=True, error_model="numpy")(function)


@_compiled
def share_out(
    at_ms: Times,
    click_id: Ids,
    ids: Ids,
    present: Flags,
    key_column: int,
    member_columns: Times,
    parts: int,
    records: Ids,
    places: Places,
) -> Times:
    """Write the records of the clicks that have the key, and which record is whose.

    Args:
        at_ms: shape (clicks,); so is click_id.
        click_id: see `at_ms`.
        ids: shape (clicks, identifiers); so is present.
        present: see `ids`.
        key_column: of ids.
        member_columns: of ids; these are copied to the record.
        parts: how many.
        records: written, shape (at least as many as have the key, RECORD + len(member_columns)).
        places: written, shape (clicks,): one more than the click's record; 0 where it has no key.

    Returns:
        Where the parts lie: part p is records[bounds[p]:bounds[p + 1]], in the order of the log.
    """
    bounds = np.zeros(parts + 1, dtype=np.int64)
    for click in range(len(at_ms)):
        places[click] = 0
        if present[click, key_column]:
            part = 1 + _part(_mixed(ids[click, key_column]), parts)
            places[click] = part
            bounds[part] += 1
    for part in range(parts):
        bounds[part + 1] += bounds[part]
    ends = bounds.copy()
    for click in range(len(at_ms)):
        if places[click] > 0:
            part = places[click] - 1
            place = ends[part]
            ends[part] = place + 1
            places[click] = place + 1
            records[place, 0] = _mixed(ids[click, key_column])
            records[place, 1], records[place, 2] = np.uint64(at_ms[click]), click_id[click]
            has = np.int64(0)
            for member in range(len(member_columns)):
                records[place, RECORD + member] = ids[click, member_columns[member]]
                has |= np.int64(present[click, member_columns[member]]) << member
            records[place, 3] = has
    return bounds


@_compiled
def _part(mixed: Any, parts: int) -> Any:
    # By the high half of a product: a division would cost as much as all the rest.
    return np.int64(((mixed & np.uint64(0xFFFFFFFF)) * np.uint64(parts)) >> np.uint64(32))


@_compiled
def _mixed(key: Any) -> Any:
    """Another name for the key, its bits spread evenly whatever the keys are: part by the lower, order by the upper."""
    key = (key ^ (key >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ (key >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return key ^ (key >> np.uint64(32))
