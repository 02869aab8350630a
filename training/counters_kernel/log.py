"""Counting a log that comes whole or in pieces, shared out over threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from slidr.counter_batch import IDENTIFIERS, CounterBatch
from slidr.counters import (
    CAPS,
    COARSE_BUCKETS,
    COARSE_MS,
    DAY_MS,
    ENTITIES,
    EXACT_WINDOWS_MS,
    FINE_BUCKETS,
    FINE_MS,
    GAPS,
    KEEP_MS,
    LATENESS_MS,
    RAW_COLUMNS,
    TTL_MS,
    Caps,
    Entity,
    entity_slice,
)
from slidr.errors import FeatureMismatch
from training.counters_kernel.sharing import RECORD, share_out
from training.counters_kernel.walk import walk

Counts = NDArray[np.int32]
Times = NDArray[np.int64]
Ids = NDArray[np.uint64]
Places = NDArray[np.int32]
Words = NDArray[np.uint32]

ROWS_A_PART: Final = 16_384
ROWS_A_PIECE: Final = 524_288
"""With smaller pieces the state of silent keys is carried from piece to piece more often."""
NOTHING_LATER: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class EntityCounts:
    """The counts of one entity over a piece: those of its click are counts[places[click]]."""

    entity: Entity
    places: Places
    """Shape (clicks,); 0 where the click has no such entity."""
    counts: Counts
    """Shape (1 + clicks with the entity, its columns), in no order that matters; the first: an absent entity's."""


@dataclass(slots=True)
class _State:
    """What one part's keys hold, in arrays that may be longer."""

    keys: Ids
    """Ascending."""
    places: Times
    """Where each key's words begin, and the end of the last."""
    words: Words
    kept: int = 0
    """How many keys there are."""

    @property
    def used(self) -> int:
        """How many words there are."""
        return int(self.places[self.kept])


class LogCounters:
    """All counters of a log that comes in pieces, each counted as if the whole log came in one.

    Between pieces it holds what the cache would: about 100 bytes a key that any later click can still see. Its arrays
    are used again for the next piece: to get fresh memory from the system took a third of the time.
    """

    def __init__(self, *, parts: int, caps: Caps = CAPS, threads: int | None = None) -> None:
        """Counters that have seen nothing.

        Args:
            parts: how many to share the keys out to; best is one for every ROWS_A_PART clicks of a piece.
            caps: smaller in tests only.
            threads: how many to use; as many as there are processors if None.
        """
        self._parts = max(1, parts)
        self._threads = threads or os.cpu_count()
        self._plans = {entity: plan_of(entity, caps) for entity in ENTITIES}
        self._states = {entity: [_room(0, 0) for _ in range(self._parts)] for entity in ENTITIES}
        self._rooms: dict[Entity, list[_State]] = {entity: [] for entity in ENTITIES}
        self._piece = {entity: _piece_room(entity, 0) for entity in ENTITIES}
        self._later_from_ms = np.iinfo(np.int64).min

    def apply(self, piece: CounterBatch, *, later_from_ms: int) -> list[EntityCounts]:
        """The counts of the next piece, of each entity; they are good until the next call.

        Args:
            piece: clicks in arrival order; redelivered and late ones may be among them.
            later_from_ms: no click of a later piece has an earlier time: what only such a click could see is forgotten.
                NOTHING_LATER where this piece is the last.

        Raises:
            FeatureMismatch: the piece breaks what was promised with the one before.
        """
        if piece.clicks and piece.at_ms.min() < self._later_from_ms:
            raise FeatureMismatch(
                f"no click before {self._later_from_ms} ms was to come any more, however: {piece.at_ms.min()} came. "
                "Cut the log into pieces by event time, or promise less."
            )
        self._later_from_ms = max(self._later_from_ms, later_from_ms)
        for entity, (places, _, _) in self._piece.items():
            if len(places) < piece.clicks:
                self._piece[entity] = _piece_room(entity, piece.clicks)

        with ThreadPoolExecutor(self._threads) as pool:
            shares = [pool.submit(self._share_out, entity, piece) for entity in ENTITIES]
            walks = [
                pool.submit(self._walk, entity, part, slice(start, stop), later_from_ms - TTL_MS)
                for entity, share in zip(ENTITIES, shares, strict=True)
                for part, (start, stop) in enumerate(pairwise(share.result().tolist()))
            ]
            for task in walks:
                task.result()
        return [
            EntityCounts(entity, places[: piece.clicks], counts) for entity, (places, _, counts) in self._piece.items()
        ]

    def _share_out(self, entity: Entity, piece: CounterBatch) -> Times:
        places, records, _ = self._piece[entity]
        members = np.array([IDENTIFIERS.index(s.member) for s in entity.members], dtype=np.int64)
        key = IDENTIFIERS.index(entity.name)
        bounds: Times = share_out(
            piece.at_ms, piece.click_id, piece.ids, piece.present, key, members, self._parts, records, places
        )
        return bounds

    def _walk(self, entity: Entity, part: int, rows: slice, forget_ms: int) -> None:
        _, records, counts = self._piece[entity]
        before = self._states[entity][part]
        after = self._room_after(entity, before, rows.stop - rows.start)
        after.kept = walk(
            records[rows], counts[1:][rows], *self._plans[entity],
            before.keys, before.places, before.words, before.kept, after.keys, after.places, after.words, forget_ms,
        )  # fmt: skip
        self._states[entity][part] = after
        self._rooms[entity].append(before)

    def _room_after(self, entity: Entity, before: _State, clicks: int) -> _State:
        """Room for the state of a part after so many clicks: each may bring a new key, and an entry to every list."""
        lists = 3 + len(entity.members)
        keys, words = before.kept + clicks, before.used + clicks * (2 + lists + 3 * lists)
        try:
            room = self._rooms[entity].pop()
        except IndexError:
            return _room(keys, words)
        if len(room.keys) < keys or len(room.words) < words:
            return _room(keys + keys // 4, words + words // 4)
        return room


def pieces(log: CounterBatch, rows: int) -> Iterator[tuple[slice, int]]:
    """The log in pieces of so many rows, and from when on (epoch milliseconds) later pieces have clicks.

    >>> log = CounterBatch(at_ms=np.array([9, 5, 7]), click_id=np.array([1, 2, 3], dtype=np.uint64),
    ...                    ids=np.zeros((3, 7), dtype=np.uint64), present=np.zeros((3, 7), dtype=np.bool_))
    >>> [(rows.start, later_from_ms) for rows, later_from_ms in pieces(log, 1)][:2]
    [(0, 5), (1, 7)]
    """
    starts = range(0, log.clicks, rows)
    earliest = [int(log.at_ms[start : start + rows].min()) for start in starts]
    later_from = [*np.minimum.accumulate(earliest[:0:-1])[::-1].tolist(), NOTHING_LATER]
    for start, later_from_ms in zip(starts, later_from, strict=False):
        yield slice(start, min(start + rows, log.clicks)), later_from_ms


def count(log: CounterBatch, *, caps: Caps = CAPS, out: Counts | None = None, threads: int | None = None) -> Counts:
    """The raw counts that serving would have read, had the clicks come in this order.

    Args:
        log: clicks in arrival order; redelivered and late ones may be among them.
        caps: smaller in tests only.
        out: where to write, int32, shape (clicks, len(RAW_COLUMNS)); may be a memory map. Made if None.
        threads: how many to use; as many as there are processors if None.

    Returns:
        `out`: int32, shape (clicks, len(RAW_COLUMNS)).

    Raises:
        FeatureMismatch: `out` has another shape or dtype.
    """
    shape = (log.clicks, len(RAW_COLUMNS))
    if out is None:
        out = np.empty(shape, dtype=np.int32)
    elif out.shape != shape or out.dtype != np.int32:
        raise FeatureMismatch(
            f"out must be int32 of shape {shape}, however: out.dtype={out.dtype}, out.shape={out.shape}. "
            "Allocate it for this log."
        )
    counters = LogCounters(parts=min(log.clicks, ROWS_A_PIECE) // ROWS_A_PART, caps=caps, threads=threads)
    for rows, later_from_ms in pieces(log, ROWS_A_PIECE):
        for counted in counters.apply(log.rows(rows), later_from_ms=later_from_ms):
            columns = entity_slice(counted.entity)
            _spread(counted.places, counted.counts, out[rows, columns])
    return out


def event_order(log: CounterBatch) -> NDArray[np.intp]:
    """The rows of `log` by (at, id), duplicates dropped: counted so, nothing is late, and knowledge is full.

    >>> log = CounterBatch(at_ms=np.array([9, 5, 9]), click_id=np.array([1, 2, 1], dtype=np.uint64),
    ...                    ids=np.zeros((3, 7), dtype=np.uint64), present=np.zeros((3, 7), dtype=np.bool_))
    >>> event_order(log).tolist()
    [1, 0]
    """
    order = np.lexsort((log.click_id, log.at_ms))
    at_ms, click_id = log.at_ms[order], log.click_id[order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (at_ms[1:] != at_ms[:-1]) | (click_id[1:] != click_id[:-1])
    return order[first]


def plan_of(entity: Entity, caps: Caps) -> tuple[NDArray[np.int64], ...]:
    """Windows and bounds as arrays: arguments, since the compiled code's cache would not see a constant change."""
    sets = entity.members
    most_windows = max((len(s.windows_ms) for s in sets), default=0)
    windows = np.zeros((len(sets), most_windows), dtype=np.int64)
    for i, member_set in enumerate(sets):
        windows[i, : len(member_set.windows_ms)] = member_set.windows_ms
    settings = (caps.recent, GAPS, KEEP_MS, DAY_MS, LATENESS_MS, FINE_MS, FINE_BUCKETS, COARSE_MS, COARSE_BUCKETS)
    return (
        np.array(settings, dtype=np.int64),
        np.array(EXACT_WINDOWS_MS, dtype=np.int64),
        np.array([caps.of(s) for s in sets], dtype=np.int64),
        np.array([s.windows_ms[-1] + LATENESS_MS for s in sets], dtype=np.int64),
        np.array([len(s.windows_ms) for s in sets], dtype=np.int64),
        windows,
    )


def _room(keys: int, words: int) -> _State:
    return _State(np.empty(keys, dtype=np.uint64), np.zeros(keys + 1, dtype=np.int64), np.empty(words, dtype=np.uint32))


def _piece_room(entity: Entity, clicks: int) -> tuple[Places, Ids, Counts]:
    """Room for the places, records and counts of a piece; the first counts are an absent entity's."""
    counts = np.empty((1 + clicks, len(entity.columns)), dtype=np.int32)
    counts[0] = [-1 if column.startswith("gap_") else 0 for column in entity.columns]
    return np.empty(clicks, dtype=np.int32), np.empty((clicks, RECORD + len(entity.members)), dtype=np.uint64), counts


@njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _spread(places: Places, counts: Counts, out: Counts) -> None:
    """Write each click's counts to its row of `out`."""
    for click in range(len(places)):
        for column in range(counts.shape[1]):
            out[click, column] = counts[places[click], column]
