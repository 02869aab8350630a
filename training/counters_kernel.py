"""The counters over a log, compiled: the offline twin of functions/adapters/counters.lua, equal to the integer.

The page that both follow is the docstring of slidr/counters.py. Each key's clicks are walked in log order with the
state that the cache would hold; keys are shared out over threads in parts that fit the processor's caches. A log may
come in pieces: between two of them the state of each key is packed, as the cache packs it.

The compiled functions take arrays and numbers one by one: with the state in named tuples the same walk took 1.5 times
as long (a reference count an access) and three times as long to compile. For the same reason the small ones call no
other, hold no slice and leave no loop halfway: else each call counts references to every array it is given.
"""

# ruff: noqa: PLR0917, PLR0912, PLR0915

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final

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

Counts = NDArray[np.int32]
Times = NDArray[np.int64]
Ids = NDArray[np.uint64]
Places = NDArray[np.int32]
Words = NDArray[np.uint32]
Flags = NDArray[np.bool_]

State = tuple[Ids, Times, Words]
"""What one part's keys hold: keys, ascending; where each one's words begin, and the end of the last; the words."""
Use = Callable[[Entity, Times, Counts], None]
"""What becomes of the counts of one entity: takes it, rows of the piece, and their counts, shape (rows, its columns);
called from several threads, never for the same row and entity twice."""

ROWS_A_PART: Final = 8_192
NOTHING_LATER: Final = np.iinfo(np.int64).max


def _compiled(function: Callable[..., Any]) -> Any:
    """Compiled at the first call, kept on disk for the next process; runs beside other threads."""
    return njit(nogil=True, cache=True, error_model="numpy")(function)


class LogCounters:
    """All counters of a log that comes in pieces, each counted as if the whole log came in one.

    Between pieces it holds what the cache would: about 100 bytes a key that any later click can still see.
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
        self._plans = {entity: _plan(entity, caps) for entity in ENTITIES}
        self._states = {entity: [_nothing() for _ in range(self._parts)] for entity in ENTITIES}
        self._later_from_ms = np.iinfo(np.int64).min

    def apply(self, piece: CounterBatch, use: Use, *, later_from_ms: int) -> None:
        """Count the next piece and hand its counts to `use`; for absent entities it is not called.

        Args:
            piece: clicks in arrival order; redelivered and late ones may be among them.
            use: see `Use`.
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
        forget_ms = later_from_ms - TTL_MS

        def walk(entity: Entity, part: int, rows: Times) -> None:
            key = IDENTIFIERS.index(entity.name)
            before = self._states[entity][part]
            after = _room_for(before, entity, len(rows))
            counts, kept = _walk(
                rows, piece.at_ms, piece.click_id, piece.ids, piece.present, key, *self._plans[entity],
                *before, *after, forget_ms,
            )  # fmt: skip
            keys, places, words = after
            for array, length in ((words, places[kept]), (places, kept + 1), (keys, kept)):
                array.resize(length, refcheck=False)  # in place: a copy would cost as much as the walk's own writing
            self._states[entity][part] = after
            use(entity, rows, counts)

        with ThreadPoolExecutor(self._threads) as pool:
            tasks = []
            for entity in ENTITIES:
                key = IDENTIFIERS.index(entity.name)
                rows, bounds = _share_out(piece.ids[:, key], piece.present[:, key], self._parts)
                tasks += [
                    pool.submit(walk, entity, part, rows[start:stop])
                    for part, (start, stop) in enumerate(pairwise(bounds.tolist()))
                ]
            for task in tasks:
                task.result()


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
    for entity in ENTITIES:
        absent = ~log.present[:, IDENTIFIERS.index(entity.name)]
        out[absent, entity_slice(entity)] = [-1 if column.startswith("gap_") else 0 for column in entity.columns]
    counters = LogCounters(parts=log.clicks // ROWS_A_PART, caps=caps, threads=threads)
    counters.apply(
        log, lambda entity, rows, counts: _spread(rows, counts, out, entity_slice(entity).start),
        later_from_ms=NOTHING_LATER,
    )  # fmt: skip
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


def _plan(entity: Entity, caps: Caps) -> tuple[NDArray[np.int64], ...]:
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
        np.array([IDENTIFIERS.index(s.member) for s in sets], dtype=np.int64),
        np.array([caps.of(s) for s in sets], dtype=np.int64),
        np.array([s.windows_ms[-1] + LATENESS_MS for s in sets], dtype=np.int64),
        np.array([len(s.windows_ms) for s in sets], dtype=np.int64),
        windows,
    )


def _nothing() -> State:
    return np.empty(0, dtype=np.uint64), np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.uint32)


def _room_for(before: State, entity: Entity, clicks: int) -> State:
    """What the keys of a part can come to hold at most: each click may bring a new key, and an entry to every list."""
    keys, places, words = before
    lists = 3 + len(entity.members)
    most_words = len(words) + clicks * (2 + lists + 3 * lists)
    return (
        np.empty(len(keys) + clicks, dtype=np.uint64),
        np.zeros(len(places) + clicks, dtype=np.int64),
        np.empty(most_words, dtype=np.uint32),
    )


@_compiled
def _share_out(keys: Ids, present: Flags, parts: int) -> tuple[Times, Times]:
    """The rows with the key, in parts by a hash of it, each in log order; part p is rows[bounds[p]:bounds[p + 1]]."""
    bounds = np.zeros(parts + 1, dtype=np.int64)
    for row in range(len(keys)):
        if present[row]:
            bounds[1 + _part(keys[row], parts)] += 1
    for part in range(parts):
        bounds[part + 1] += bounds[part]
    rows = np.empty(bounds[parts], dtype=np.int64)
    places = bounds[:-1].copy()
    for row in range(len(keys)):
        if present[row]:
            part = _part(keys[row], parts)
            rows[places[part]] = row
            places[part] += 1
    return rows, bounds


@_compiled
def _part(key: Any, parts: int) -> Any:
    return np.int64((_mixed(key) >> np.uint64(16)) % np.uint64(parts))


@_compiled
def _mixed(key: Any) -> Any:
    """Another name for the key, its upper bits spread evenly whatever the keys are."""
    key = (key ^ (key >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return (key ^ (key >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)


@_compiled
def _ascending(keys: Ids) -> Places:
    """The stable order of mixed keys: by their upper bits first, which leaves next to nothing to the insertions."""
    bits = 1
    while 1 << bits < len(keys):
        bits += 1
    shift = np.uint64(64 - bits)
    bounds = np.zeros((1 << bits) + 1, dtype=np.int32)
    for key in keys:
        bounds[1 + np.int64(key >> shift)] += 1
    for bucket in range(1 << bits):
        bounds[bucket + 1] += bounds[bucket]
    order = np.empty(len(keys), dtype=np.int32)
    for click in range(len(keys)):
        its = np.int64(keys[click] >> shift)
        order[bounds[its]] = click
        bounds[its] += 1
    for last in range(1, len(keys)):
        click, place = order[last], last
        while place > 0 and keys[order[place - 1]] > keys[click]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = click
    return order


# In what follows, times[list, start:end] and ids[list, start:end] hold pairs (time, id), ascending. List 0 is Recent,
# list 1 + s the members of set s.


@_compiled
def _place_of(times: Times, ids: Ids, which: int, start: int, end: int, at: Any, own: Any) -> int:
    """The first place whose pair is not below (at, own)."""
    if start == end or times[which, end - 1] < at or (times[which, end - 1] == at and ids[which, end - 1] < own):
        return end
    low, high = start, end
    while low < high:
        middle = (low + high) // 2
        if times[which, middle] < at or (times[which, middle] == at and ids[which, middle] < own):
            low = middle + 1
        else:
            high = middle
    return low


@_compiled
def _first_after(times: Times, which: int, start: int, end: int, edge: Any) -> int:
    """The first place whose time is after `edge`."""
    if start == end or times[which, start] > edge:
        return start
    # times[start] is up to the edge; halving without a branch, since no processor can guess this one.
    count = end - start
    while count > 1:
        half = count >> 1
        start = start + half if times[which, start + half] <= edge else start
        count -= half
    return start + 1


@_compiled
def _put(times: Times, ids: Ids, which: int, place: int, end: int, at: Any, own: Any) -> None:
    for i in range(end, place, -1):
        times[which, i], ids[which, i] = times[which, i - 1], ids[which, i - 1]
    times[which, place], ids[which, place] = at, own


@_compiled
def _to_front(times: Times, ids: Ids, which: int, start: int, end: int) -> None:
    for i in range(start, end):
        times[which, i - start], ids[which, i - start] = times[which, i], ids[which, i]


@_compiled
def _last_of(ids: Ids, which: int, start: int, end: int, own: Any) -> int:
    """The place of `own`, sought from the newest: who came lately comes again. Below `start` if it is not there."""
    place = end - 1
    while place >= start and ids[which, place] != own:
        place -= 1
    return place


@_compiled
def _take_out(times: Times, ids: Ids, which: int, place: int, end: int) -> None:
    for i in range(place + 1, end):
        times[which, i - 1], ids[which, i - 1] = times[which, i], ids[which, i]


@_compiled
def _add_to_buckets(buckets: Times, which: int, start: int, end: int, index: Any, oldest: Any) -> tuple[int, int]:
    """One more click in bucket `index`; those up to `oldest` go. The list's new start and end.

    buckets[which, start:end] holds (index, clicks), ascending.
    """
    if end == buckets.shape[1]:
        for i in range(start, end):
            buckets[which, i - start, 0], buckets[which, i - start, 1] = buckets[which, i, 0], buckets[which, i, 1]
        start, end = 0, end - start
    place = end
    while place > start and buckets[which, place - 1, 0] > index:
        place -= 1
    if place > start and buckets[which, place - 1, 0] == index:
        buckets[which, place - 1, 1] += 1
    else:
        for i in range(end, place, -1):
            buckets[which, i, 0], buckets[which, i, 1] = buckets[which, i - 1, 0], buckets[which, i - 1, 1]
        buckets[which, place, 0], buckets[which, place, 1] = index, 1
        end += 1
    while buckets[which, start, 0] <= oldest:
        start += 1
    return start, end


@_compiled
def _sum_buckets(buckets: Times, which: int, start: int, end: int, last: Any, width: Any) -> int:
    """Clicks in the kept ones of the `width` buckets up to and with `last`."""
    total = 0
    for i in range(start, end):
        if last - width < buckets[which, i, 0] <= last:
            total += buckets[which, i, 1]
    return total


# Between pieces a key's state is words: the lengths of its lists (Recent, the members, the two of buckets); the time of
# its newest click; then list after list its entries: how far before the newest, and the id or the number of clicks.


@_compiled
def _pack(
    words: Words,
    end: Any,
    times: Times,
    ids: Ids,
    buckets: Times,
    starts: Times,
    ends: Times,
    newest: Any,
    newest_fine: Any,
    newest_coarse: Any,
) -> Any:
    """The end of `words` after the state was appended to them."""
    lists = len(starts)
    for i in range(lists):
        words[end + i] = ends[i] - starts[i]
    words[end + lists], words[end + lists + 1] = newest, newest >> 32
    end += lists + 2
    for i in range(lists - 2):
        for place in range(starts[i], ends[i]):
            own = ids[i, place]
            words[end], words[end + 1], words[end + 2] = newest - times[i, place], own, own >> np.uint64(32)
            end += 3
    for place in range(starts[lists - 2], ends[lists - 2]):
        words[end], words[end + 1] = newest_fine - buckets[0, place, 0], buckets[0, place, 1]
        end += 2
    for place in range(starts[lists - 1], ends[lists - 1]):
        words[end], words[end + 1] = newest_coarse - buckets[1, place, 0], buckets[1, place, 1]
        end += 2
    return end


@_compiled
def _unpack(
    words: Words,
    begin: Any,
    times: Times,
    ids: Ids,
    buckets: Times,
    starts: Times,
    ends: Times,
    newest: Any,
    newest_fine: Any,
    newest_coarse: Any,
) -> None:
    """Lay out the state that begins at `begin`."""
    lists = len(starts)
    word = begin + lists + 2
    for i in range(lists):
        starts[i], ends[i] = 0, words[begin + i]
    for i in range(lists - 2):
        for place in range(ends[i]):
            times[i, place] = newest - words[word]
            ids[i, place] = np.uint64(words[word + 1]) | (np.uint64(words[word + 2]) << np.uint64(32))
            word += 3
    for place in range(ends[lists - 2]):
        buckets[0, place, 0], buckets[0, place, 1] = newest_fine - words[word], words[word + 1]
        word += 2
    for place in range(ends[lists - 1]):
        buckets[1, place, 0], buckets[1, place, 1] = newest_coarse - words[word], words[word + 1]
        word += 2


@_compiled
def _newest_of(words: Words, begin: Any, lists: int) -> Any:
    """The time of the newest click of the state that begins at `begin`."""
    return np.int64(words[begin + lists]) | (np.int64(words[begin + lists + 1]) << 32)


@_compiled
def _carry(
    old_keys: Ids,
    old_places: Times,
    old_words: Words,
    old: int,
    new_keys: Ids,
    new_places: Times,
    words: Words,
    new: int,
    lists: int,
    forget_ms: int,
) -> int:
    """Take over the state of a key that does not click in this piece, unless nothing later can see it."""
    begin, used = old_places[old], new_places[new]
    newest = np.int64(old_words[begin + lists]) | (np.int64(old_words[begin + lists + 1]) << 32)
    kept = 1 if newest > forget_ms else 0
    length = kept * (old_places[old + 1] - begin)
    for word in range(length):
        words[used + word] = old_words[begin + word]
    new_keys[new], new_places[new + 1] = old_keys[old], used + length
    return new + kept


@_compiled
def _walk(
    rows: Times,
    at_ms: Times,
    click_id: Ids,
    all_ids: Ids,
    present: Flags,
    key_column: int,
    settings: Times,
    exact_windows: Times,
    member_columns: Times,
    member_caps: Times,
    member_keeps: Times,
    window_counts: Times,
    member_windows: Times,
    old_keys: Ids,
    old_places: Times,
    old_words: Words,
    new_keys: Ids,
    new_places: Times,
    words: Words,
    forget_ms: int,
) -> tuple[Counts, int]:
    """The counts of `rows`, walked key by key in log order from the old state to the new; how many keys that holds."""
    cap, gaps, keep_ms, day_ms, lateness_ms = settings[0], settings[1], settings[2], settings[3], settings[4]
    fine_ms, fine_buckets, coarse_ms, coarse_buckets = settings[5], settings[6], settings[7], settings[8]
    clicks, sets = len(rows), len(member_columns)
    lists = 3 + sets
    most = max(cap, member_caps.max() if sets else 0)
    times = np.empty((1 + sets, 2 * (most + 2)), dtype=np.int64)
    ids = np.empty((1 + sets, 2 * (most + 2)), dtype=np.uint64)
    buckets = np.empty((2, 2 * (max(fine_buckets, coarse_buckets) + 3), 2), dtype=np.int64)
    starts, ends = np.zeros(lists, dtype=np.int64), np.zeros(lists, dtype=np.int64)

    old, new = 0, 0

    # What the walk needs is fetched in row order, which goes through memory forwards;
    # the walk itself, key by key, jumps about in what fits the processor's caches.
    keys, owns = np.empty(clicks, dtype=np.uint64), np.empty(clicks, dtype=np.uint64)
    ats = np.empty(clicks, dtype=np.int64)
    members = np.empty((clicks, sets), dtype=np.uint64)
    has_member = np.empty((clicks, sets), dtype=np.bool_)
    for click in range(clicks):
        row = rows[click]
        keys[click] = _mixed(all_ids[row, key_column])
        ats[click], owns[click] = at_ms[row], click_id[row]
        for s in range(sets):
            members[click, s] = all_ids[row, member_columns[s]]
            has_member[click, s] = present[row, member_columns[s]]
    order = _ascending(keys)
    counts = np.empty((clicks, 4 + len(exact_windows) + gaps + window_counts.sum()), dtype=np.int32)

    start, end, fine_start, fine_end, coarse_start, coarse_end = 0, 0, 0, 0, 0, 0
    newest_fine, newest_coarse = 0, 0
    for i in range(clicks):
        click = order[i]
        key, at, own = keys[click], ats[click], owns[click]
        fine, coarse = at // fine_ms, at // coarse_ms
        if i == 0 or key != keys[order[i - 1]]:
            while old < len(old_keys) and old_keys[old] < key:
                new = _carry(old_keys, old_places, old_words, old, new_keys, new_places, words, new, lists, forget_ms)
                old += 1
            if old < len(old_keys) and old_keys[old] == key:
                newest = _newest_of(old_words, old_places[old], lists)
                newest_fine, newest_coarse = newest // fine_ms, newest // coarse_ms
                _unpack(
                    old_words, old_places[old], times, ids, buckets, starts, ends, newest, newest_fine, newest_coarse
                )
                old += 1
            else:
                for which in range(lists):
                    starts[which], ends[which] = 0, 0
                newest_fine, newest_coarse = fine, coarse
            start, fine_start, coarse_start = 0, 0, 0
            end, fine_end, coarse_end = ends[0], ends[lists - 2], ends[lists - 1]
        elif end == times.shape[1]:
            _to_front(times, ids, 0, start, end)
            start, end = 0, end - start

        newest = times[0, end - 1] if end > start else at
        place = _place_of(times, ids, 0, start, end, at, own)
        found = place < end and times[0, place] == at and ids[0, place] == own
        late = at <= newest - lateness_ms or (end - start > cap and place == start and not found)
        if not late and not found:
            newest, newest_fine, newest_coarse = max(newest, at), max(newest_fine, fine), max(newest_coarse, coarse)
            _put(times, ids, 0, place, end, at, own)
            end += 1
            while end - start > cap + 1 or (
                times[0, start] <= newest - keep_ms and (end - start > gaps + 1 or times[0, start] <= newest - day_ms)
            ):
                start += 1
            fine_start, fine_end = _add_to_buckets(
                buckets, 0, fine_start, fine_end, fine, newest_fine - fine_buckets - 2
            )
            coarse_start, coarse_end = _add_to_buckets(
                buckets, 1, coarse_start, coarse_end, coarse, newest_coarse - coarse_buckets - 1
            )
            for s in range(sets):
                first, last = starts[1 + s], ends[1 + s]
                if has_member[click, s]:
                    member = members[click, s]
                    known = _last_of(ids, 1 + s, first, last, member)
                    if known < first or times[1 + s, known] < at:
                        if known >= first:
                            _take_out(times, ids, 1 + s, known, last)
                            last -= 1
                        elif last == times.shape[1]:
                            _to_front(times, ids, 1 + s, first, last)
                            first, last = 0, last - first
                        where = _place_of(times, ids, 1 + s, first, last, at, member)
                        _put(times, ids, 1 + s, where, last, at, member)
                        last += 1
                while first < last and (
                    last - first > member_caps[s] + 1 or times[1 + s, first] <= newest - member_keeps[s]
                ):
                    first += 1
                starts[1 + s], ends[1 + s] = first, last
            found = True

        counts[click, 0] = 1
        counts[click, 1] = 1 if late else 0
        column = 2
        full = end - start > cap
        for w in range(len(exact_windows)):
            edge = at - exact_windows[w]
            if full and times[0, start] > edge:
                counts[click, column] = cap
            else:
                counts[click, column] = place - _first_after(times, 0, start, place, edge)
            column += 1
        itself = 1 if found else 0
        counts[click, column] = _sum_buckets(buckets, 0, fine_start, fine_end, fine, fine_buckets) - itself
        counts[click, column + 1] = _sum_buckets(buckets, 1, coarse_start, coarse_end, coarse, coarse_buckets) - itself
        column += 2
        later = at
        for g in range(1, gaps + 1):
            if place - g >= start and times[0, place - g] > at - day_ms:
                counts[click, column] = later - times[0, place - g]
                later = times[0, place - g]
            else:
                counts[click, column] = -1
            column += 1
        for s in range(sets):
            first, last = starts[1 + s], ends[1 + s]
            for w in range(window_counts[s]):
                inside = last - _first_after(times, 1 + s, first, last, at - member_windows[s, w])
                counts[click, column] = min(inside, member_caps[s])
                column += 1

        if i + 1 == clicks or keys[order[i + 1]] != key:
            starts[0], starts[lists - 2], starts[lists - 1] = start, fine_start, coarse_start
            ends[0], ends[lists - 2], ends[lists - 1] = end, fine_end, coarse_end
            if newest > forget_ms:
                new_keys[new] = key
                new_places[new + 1] = _pack(
                    words, new_places[new], times, ids, buckets, starts, ends, newest, newest_fine, newest_coarse
                )
                new += 1

    while old < len(old_keys):
        new = _carry(old_keys, old_places, old_words, old, new_keys, new_places, words, new, lists, forget_ms)
        old += 1
    return counts, new


@_compiled
def _spread(rows: Times, counts: Counts, out: Counts, first_column: int) -> None:
    """Write the counts to their rows of `out`."""
    for click in range(len(rows)):
        for column in range(counts.shape[1]):
            out[rows[click], first_column + column] = counts[click, column]
