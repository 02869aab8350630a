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
from slidr.counters import CAPS, ENTITIES, GAPS, IP, Caps
from slidr.errors import FeatureMismatch
from slidr.features import (
    DEVICES,
    FEATURE_COUNT,
    FEATURE_INDEX,
    PROFILE_COLUMNS,
    ClickContext,
    Floats,
    fill_context,
    fill_profiles,
)
from training.counters_kernel import (
    NOTHING_LATER,
    ROWS_A_PART,
    ROWS_A_PIECE,
    EntityCounts,
    LogCounters,
    pieces,
)
from training.counters_kernel.prefetch import prefetch

Counts = NDArray[np.int32]
Columns = NDArray[np.int64]

ROWS_A_BLOCK: Final = 65_536
"""20 MB of features, which fit a shared cache. For larger ones the system gives fresh memory each time."""
_ROWS_AT_ONCE: Final = 8_192


class LogFeatures:
    """The features of a log that comes in pieces, each as if the whole log came in one."""

    def __init__(self, *, rows_a_piece: int = ROWS_A_PIECE, caps: Caps = CAPS, threads: int | None = None) -> None:
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
        blocks = self.blocks(piece, context, profiles, rows_a_block=max(1, piece.clicks), later_from_ms=later_from_ms)
        return next((features for _, features in blocks), np.empty((0, FEATURE_COUNT), dtype=np.float32))

    def blocks(
        self,
        piece: CounterBatch,
        context: ClickContext,
        profiles: Floats | None = None,
        *,
        rows_a_block: int = ROWS_A_BLOCK,
        later_from_ms: int = NOTHING_LATER,
    ) -> Iterator[tuple[slice, Floats]]:
        """The same, block after block: its rows of the piece, and its features. To be taken before the next piece.

        Args:
            piece: see `of`.
            context: see `of`.
            profiles: see `of`.
            rows_a_block: how many clicks a block has.
            later_from_ms: see `of`.

        Raises:
            FeatureMismatch: as `of`.
        """
        _check(piece, context, profiles)
        counted = self._counters.apply(piece, later_from_ms=later_from_ms)
        with ThreadPoolExecutor(self._threads) as pool:
            for start in range(0, piece.clicks, rows_a_block):
                block = slice(start, min(start + rows_a_block, piece.clicks))
                matrix = np.empty((block.stop - start, FEATURE_COUNT), dtype=np.float32)
                some = [
                    slice(row, min(row + _ROWS_AT_ONCE, block.stop)) for row in range(start, block.stop, _ROWS_AT_ONCE)
                ]
                fills = [
                    pool.submit(_fill, matrix[rows.start - start : rows.stop - start], rows, counted, context, profiles)
                    for rows in some
                ]
                for fill in fills:
                    fill.result()
                yield block, matrix


def feature_blocks(
    log: CounterBatch,
    context: ClickContext,
    profiles: Floats | None = None,
    *,
    rows_a_piece: int = ROWS_A_PIECE,
    rows_a_block: int = ROWS_A_BLOCK,
    caps: Caps = CAPS,
    threads: int | None = None,
) -> Iterator[tuple[slice, Floats]]:
    """The feature matrix of a log, block after block: its rows, and its features, shape (rows, FEATURE_COUNT).

    Beside the log, memory holds one block, the counts of one piece and the state of the keys that can still be seen.

    Args:
        log: clicks in arrival order; redelivered and late ones may be among them.
        context: of the same clicks.
        profiles: shape (clicks, len(PROFILE_COLUMNS)); by default no key is known.
        rows_a_piece: how many clicks are counted at once.
        rows_a_block: how many clicks a block has at most.
        caps: smaller in tests only.
        threads: how many to use; as many as there are processors if None.

    Raises:
        FeatureMismatch: shapes or dtypes do not fit.
    """
    features = LogFeatures(rows_a_piece=min(rows_a_piece, log.clicks), caps=caps, threads=threads)
    for piece, later_from_ms in pieces(log, rows_a_piece):
        known = None if profiles is None else profiles[piece]
        blocks = features.blocks(
            log.rows(piece), _rows_of(context, piece), known, rows_a_block=rows_a_block, later_from_ms=later_from_ms
        )
        for rows, block in blocks:
            yield slice(piece.start + rows.start, piece.start + rows.stop), block


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


def _columns(names: list[str]) -> NDArray[np.int64]:
    return np.array([FEATURE_INDEX[name] for name in names], dtype=np.int64)


_FIRSTS: Final = _columns([f"{entity.name}.present" for entity in ENTITIES])
_MEMBERS: Final = _columns(
    [f"{entity.name}.{next(iter(entity.columns[7 + GAPS :]), 'present')}" for entity in ENTITIES]
)
_RATIOS: Final = _columns(["ip.clicks_per_user_24h", "ip.clicks_per_session_24h"])
_DIVISORS: Final = np.array([IP.columns.index(name) for name in ("users_24h", "sessions_24h")], dtype=np.int64)
_CONTEXT: Final = _columns(["time.hour_sin", "click.logged_in", f"device.{DEVICES[0]}"])


def _clock() -> Floats:
    """The features of every minute of the week as the online assembly writes them, shape (10080, 4)."""
    minutes = np.arange(10_080, dtype=np.int32)
    matrix = np.zeros((len(minutes), FEATURE_COUNT), dtype=np.float32)
    nobody = ClickContext(
        minute_of_week=minutes, logged_in=np.zeros(len(minutes), np.bool_), device=np.zeros(len(minutes), np.int8)
    )
    fill_context(matrix, nobody)
    start = FEATURE_INDEX["time.hour_sin"]
    return np.ascontiguousarray(matrix[:, start : start + 4])


_CLOCK: Final = _clock()


def _fill(
    matrix: Floats, rows: slice, counted: list[EntityCounts], context: ClickContext, profiles: Floats | None
) -> None:
    """Write the features of some rows of a piece."""
    its = _rows_of(context, rows)
    user, session, ip, device_fp = ((of.places[rows], of.counts) for of in counted)
    _write(
        matrix, its.minute_of_week, its.logged_in, its.device, *user, *session, *ip, *device_fp,
        _CLOCK, _FIRSTS, _MEMBERS, _RATIOS, _DIVISORS, _CONTEXT,
    )  # fmt: skip
    if profiles is not None:
        fill_profiles(matrix, profiles[rows])


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _write(
    matrix: Floats,
    minute_of_week: Counts,
    logged_in: NDArray[np.bool_],
    device: NDArray[np.int8],
    user_places: Counts,
    user_counts: Counts,
    session_places: Counts,
    session_counts: Counts,
    ip_places: Counts,
    ip_counts: Counts,
    device_fp_places: Counts,
    device_fp_counts: Counts,
    clock: Floats,
    firsts: Columns,
    members: Columns,
    ratios: Columns,
    divisors: Columns,
    of_context: Columns,
) -> None:
    """All features but the profiles': `slidr.features.assemble`, operation for operation, each row in one go."""
    gaps_s, squares = np.empty(GAPS), np.empty(GAPS)
    users_at, user_bytes = np.intp(user_counts.ctypes.data), user_counts.shape[1] * 4
    sessions_at, session_bytes = np.intp(session_counts.ctypes.data), session_counts.shape[1] * 4
    ips_at, ip_bytes = np.intp(ip_counts.ctypes.data), ip_counts.shape[1] * 4
    device_fps_at, device_fp_bytes = np.intp(device_fp_counts.ctypes.data), device_fp_counts.shape[1] * 4
    for row in range(len(matrix)):
        if row + 8 < len(matrix):
            prefetch(users_at + user_places[row + 8] * user_bytes)
            prefetch(sessions_at + session_places[row + 8] * session_bytes)
            prefetch(ips_at + ip_places[row + 8] * ip_bytes)
            prefetch(ips_at + ip_places[row + 8] * ip_bytes + 64)
            prefetch(device_fps_at + device_fp_places[row + 8] * device_fp_bytes)
        for column in range(matrix.shape[1]):
            matrix[row, column] = 0.0
        _write_entity(matrix, row, user_counts, user_places[row], firsts[0], members[0], gaps_s, squares)
        _write_entity(matrix, row, session_counts, session_places[row], firsts[1], members[1], gaps_s, squares)
        _write_entity(matrix, row, ip_counts, ip_places[row], firsts[2], members[2], gaps_s, squares)
        _write_entity(matrix, row, device_fp_counts, device_fp_places[row], firsts[3], members[3], gaps_s, squares)
        click = ip_places[row]
        for ratio in range(len(ratios)):
            matrix[row, ratios[ratio]] = (ip_counts[click, 6] + ip_counts[click, 0]) / max(
                ip_counts[click, divisors[ratio]], 1
            )
        for wave in range(4):
            matrix[row, of_context[0] + wave] = clock[minute_of_week[row], wave]
        matrix[row, of_context[1]] = logged_in[row]
        matrix[row, of_context[2] + device[row]] = 1.0


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _write_entity(
    matrix: Floats, row: int, counts: Counts, click: int, first: int, first_member: int, gaps_s: Any, squares: Any
) -> None:
    """One entity's features but ratios."""
    matrix[row, first] = counts[click, 0]
    for window in range(5):
        matrix[row, first + 1 + window] = counts[click, 2 + window]
    for member in range(counts.shape[1] - 7 - GAPS):
        matrix[row, first_member + member] = counts[click, 7 + GAPS + member]
    known = 0
    for gap in range(GAPS):
        gap_ms = counts[click, 7 + gap]
        known += gap_ms >= 0
        gaps_s[gap] = max(gap_ms, 0) / 1000.0
    divisor = max(known, 1)
    mean = _sum_of_eight(gaps_s) / divisor
    for gap in range(GAPS):
        deviation = gaps_s[gap] - mean if gap < known else 0.0
        squares[gap] = deviation * deviation
    spread = np.sqrt(_sum_of_eight(squares) / divisor)
    matrix[row, first + 6] = known > 0
    matrix[row, first + 7] = gaps_s[0]
    matrix[row, first + 8] = mean
    matrix[row, first + 9] = spread / mean if known >= 2 and mean > 0 else 0.0


@njit(nogil=True, cache=True, error_model="numpy", forceinline=True)  # type: ignore[untyped-decorator]
def _sum_of_eight(values: Any) -> Any:
    return ((values[0] + values[1]) + (values[2] + values[3])) + ((values[4] + values[5]) + (values[6] + values[7]))
