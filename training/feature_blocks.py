"""The feature matrix of a long log, block by block: counted and assembled compiled, in memory that a block fits.

Equal to `count` and `slidr.features.assemble` over the whole log, bit for bit, whatever the order of the clicks.
"""

# ruff: noqa: PLR0917

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from slidr.counter_batch import CounterBatch
from slidr.counters import CAPS, ENTITIES, GAPS, IP, Caps, Entity
from slidr.errors import FeatureMismatch
from slidr.features import (
    FEATURE_COUNT,
    FEATURE_INDEX,
    PROFILE_COLUMNS,
    ClickContext,
    Floats,
    fill_context,
    fill_profiles,
)
from training.counters_kernel import NOTHING_LATER, ROWS_A_PART, LogCounters

Counts = NDArray[np.int32]
Rows = NDArray[np.int64]

ROWS_A_BLOCK: Final = 1_048_576
"""320 MB of features. With smaller blocks the state of silent keys is carried from block to block more often."""

_FIRST_MEMBER: Final = 7 + GAPS
_RATIO_MEMBERS: Final = ("user", "session")


class LogFeatures:
    """The features of a log that comes in pieces, each as if the whole log came in one."""

    def __init__(self, *, rows_a_piece: int = ROWS_A_BLOCK, caps: Caps = CAPS, threads: int | None = None) -> None:
        """Counting starts empty.

        Args:
            rows_a_piece: about how many clicks a piece will have; a matter of speed only.
            caps: smaller in tests only.
            threads: how many to use; as many as there are processors if None.
        """
        self._counters = LogCounters(parts=rows_a_piece // ROWS_A_PART, caps=caps, threads=threads)
        self._threads = threads or os.cpu_count()

    def of(
        self,
        piece: CounterBatch,
        context: ClickContext,
        profiles: Floats | None = None,
        *,
        later_from_ms: int = NOTHING_LATER,
    ) -> Floats:
        """The features of the next piece, float32, shape (clicks, FEATURE_COUNT), columns as in FEATURES.

        Args:
            piece: clicks in arrival order; redelivered and late ones may be among them.
            context: of the same clicks.
            profiles: shape (clicks, len(PROFILE_COLUMNS)); by default no key is known.
            later_from_ms: no click of a later piece is older; by default none will come. See `LogCounters.apply`.

        Raises:
            FeatureMismatch: shapes or dtypes do not fit, or the piece breaks what was promised with the one before.
        """
        _check(piece, context, profiles)
        matrix = np.zeros((piece.clicks, FEATURE_COUNT), dtype=np.float32)

        def fill(start: int) -> None:
            rows = slice(start, start + ROWS_A_PART)
            fill_context(matrix[rows], _rows_of(context, rows))
            if profiles is not None:
                fill_profiles(matrix[rows], profiles[rows])

        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(fill, range(0, piece.clicks, ROWS_A_PART)))
        self._counters.apply(
            piece,
            lambda entity, rows, counts: _write(rows, counts, matrix, *_LAYOUTS[entity.name]),
            later_from_ms=later_from_ms,
        )
        return matrix


def feature_blocks(
    log: CounterBatch,
    context: ClickContext,
    profiles: Floats | None = None,
    *,
    rows_a_block: int = ROWS_A_BLOCK,
    caps: Caps = CAPS,
    threads: int | None = None,
) -> Iterator[tuple[slice, Floats]]:
    """The feature matrix of a log, block after block: its rows, and its features, shape (rows, FEATURE_COUNT).

    Beside the log, memory holds one block and the state of the keys that can still be seen.

    Args:
        log: clicks in arrival order; redelivered and late ones may be among them.
        context: of the same clicks.
        profiles: shape (clicks, len(PROFILE_COLUMNS)); by default no key is known.
        rows_a_block: how many clicks a block has.
        caps: smaller in tests only.
        threads: how many to use; as many as there are processors if None.

    Raises:
        FeatureMismatch: shapes or dtypes do not fit.
    """
    features = LogFeatures(rows_a_piece=min(rows_a_block, log.clicks), caps=caps, threads=threads)
    starts = range(0, log.clicks, rows_a_block)
    earliest = [int(log.at_ms[start : start + rows_a_block].min()) for start in starts]
    later_from = [*np.minimum.accumulate(earliest[:0:-1])[::-1].tolist(), NOTHING_LATER]
    for start, later_from_ms in zip(starts, later_from, strict=False):
        rows = slice(start, min(start + rows_a_block, log.clicks))
        known = None if profiles is None else profiles[rows]
        yield rows, features.of(log.rows(rows), _rows_of(context, rows), known, later_from_ms=later_from_ms)


def _rows_of(context: ClickContext, rows: slice) -> ClickContext:
    return ClickContext(
        minute_of_week=context.minute_of_week[rows], logged_in=context.logged_in[rows], device=context.device[rows]
    )


def _check(piece: CounterBatch, context: ClickContext, profiles: Floats | None) -> None:
    if len(context.minute_of_week) != piece.clicks:
        raise FeatureMismatch(
            f"a context of {piece.clicks} clicks is required, however: {len(context.minute_of_week)} came. "
            "Build it from the same clicks."
        )
    shape = (piece.clicks, len(PROFILE_COLUMNS))
    if profiles is not None and (profiles.dtype != np.float32 or profiles.shape != shape):
        raise FeatureMismatch(
            f"profiles must be float32 of shape {shape}, "
            f"however: profiles.dtype={profiles.dtype}, profiles.shape={profiles.shape}. Build them for this log."
        )


def _layout(entity: Entity) -> tuple[int, int, NDArray[np.int64], int]:
    """Where an entity's features lie: its first, its first member count, what its ratios divide by, its first ratio."""
    members = entity.columns[_FIRST_MEMBER:]
    first_member = FEATURE_INDEX[f"{entity.name}.{members[0]}"] if members else 0
    divisors = [IP.columns.index(f"{member}s_24h") for member in _RATIO_MEMBERS] if entity == IP else []
    first_ratio = FEATURE_INDEX[f"ip.clicks_per_{_RATIO_MEMBERS[0]}_24h"]
    return FEATURE_INDEX[f"{entity.name}.present"], first_member, np.array(divisors, dtype=np.int64), first_ratio


_LAYOUTS: Final = {entity.name: _layout(entity) for entity in ENTITIES}


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _write(
    rows: Rows,
    counts: Counts,
    matrix: Floats,
    first: int,
    first_member: int,
    divisors: Rows,
    first_ratio: int,
) -> None:
    """One entity's features from its counts: that part of `slidr.features.assemble`, operation for operation."""
    gaps_s, squares = np.empty(GAPS), np.empty(GAPS)
    for click in range(len(rows)):
        row = rows[click]
        matrix[row, first] = counts[click, 0]
        for window in range(5):
            matrix[row, first + 1 + window] = counts[click, 2 + window]
        if counts[click, 7] >= 0:  # where there is no first gap there is none at all, and all four features are 0
            known = 0
            for gap in range(GAPS):
                gap_ms = counts[click, 7 + gap]
                known += gap_ms >= 0
                gaps_s[gap] = max(gap_ms, 0) / 1000.0
            mean = _sum_of_eight(gaps_s) / known
            matrix[row, first + 6] = 1.0
            matrix[row, first + 7] = gaps_s[0]
            matrix[row, first + 8] = mean
            if known >= 2 and mean > 0:
                for gap in range(GAPS):
                    deviation = gaps_s[gap] - mean if gap < known else 0.0
                    squares[gap] = deviation * deviation
                matrix[row, first + 9] = np.sqrt(_sum_of_eight(squares) / known) / mean
        for member in range(counts.shape[1] - 7 - GAPS):
            matrix[row, first_member + member] = counts[click, 7 + GAPS + member]
        for ratio in range(len(divisors)):
            matrix[row, first_ratio + ratio] = (counts[click, 6] + counts[click, 0]) / max(
                counts[click, divisors[ratio]], 1
            )


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _sum_of_eight(values: Any) -> Any:
    return ((values[0] + values[1]) + (values[2] + values[3])) + ((values[4] + values[5]) + (values[6] + values[7]))
