"""The walk over one part: each key's clicks in log order, with the state that the cache would hold.

All compiled functions of the walk stand in this one file: code kept on disk is made anew when its own file changes, not
when one does that it calls. They take arrays and numbers one by one: with the state in named tuples the same walk took
1.5 times as long (a reference count an access) and three times as long to compile. For the same reason those that are
called for every click hold no slice and leave no loop halfway, and are put into the walk itself (`_inlined`): as calls
they would pass a dozen words by memory for each array.
"""

# ruff: noqa: PLR0917, PLR0912, PLR0915

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from training.counters_kernel.prefetch import prefetch

Counts = NDArray[np.int32]
Times = NDArray[np.int64]
Ids = NDArray[np.uint64]
Places = NDArray[np.int32]
Words = NDArray[np.uint32]


def _compiled(function: Callable[..., Any]) -> Any:
    """Compiled at the first call, kept on disk for the next process; runs beside other threads."""
    return njit(nogil=True, cache=True, error_model="numpy")(function)


def _inlined(function: Callable[..., Any]) -> Any:
    """Compiled into its caller."""
    return njit(nogil=True, cache=True, error_model="numpy", forceinline=True)(function)


@_compiled
def _ascending(records: Ids) -> Places:
    """The stable order of the mixed keys: by their upper bits first, which leaves next to nothing to the insertions."""
    bits = 1
    while 1 << bits < len(records):
        bits += 1
    shift = np.uint64(64 - bits)
    bounds = np.zeros((1 << bits) + 1, dtype=np.int32)
    for click in range(len(records)):
        bounds[1 + np.int64(records[click, 0] >> shift)] += 1
    for bucket in range(1 << bits):
        bounds[bucket + 1] += bounds[bucket]
    order = np.empty(len(records), dtype=np.int32)
    for click in range(len(records)):
        its = np.int64(records[click, 0] >> shift)
        order[bounds[its]] = click
        bounds[its] += 1
    for last in range(1, len(records)):
        click, place = order[last], last
        while place > 0 and records[order[place - 1], 0] > records[click, 0]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = click
    return order


# In what follows, times[which, start:end] and ids[which, start:end] hold pairs (time, id), ascending: Recent, and the
# members of each set.


@_inlined
def _place_of(times: Times, ids: Ids, which: int, start: int, end: int, at: Any, own: Any) -> int:
    """The first place whose pair is not below (at, own)."""
    low, high = start, end
    if start < end and (times[which, end - 1] < at or (times[which, end - 1] == at and ids[which, end - 1] < own)):
        low = end
    while low < high:
        middle = (low + high) >> 1
        if times[which, middle] < at or (times[which, middle] == at and ids[which, middle] < own):
            low = middle + 1
        else:
            high = middle
    return low


@_inlined
def _first_after(times: Times, which: int, start: int, end: int, edge: Any) -> int:
    """The first place whose time is after `edge`."""
    if start == end or times[which, start] > edge:
        return start
    # times[start] is up to the edge; halving without a branch, since no processor can guess this one: the sign bit of
    # the difference, spread over the word, takes the half or leaves it. A condition would be compiled to a branch.
    count = end - start
    while count > 1:
        half = count >> 1
        start += half & ((times[which, start + half] - edge - 1) >> 63)
        count -= half
    return start + 1


@_inlined
def _put(times: Times, ids: Ids, which: int, place: int, end: int, at: Any, own: Any) -> None:
    for i in range(end, place, -1):
        times[which, i], ids[which, i] = times[which, i - 1], ids[which, i - 1]
    times[which, place], ids[which, place] = at, own


@_compiled
def _to_front(times: Times, ids: Ids, which: int, start: int, end: int) -> None:
    for i in range(start, end):
        times[which, i - start], ids[which, i - start] = times[which, i], ids[which, i]


@_inlined
def _last_of(ids: Ids, which: int, start: int, end: int, own: Any) -> int:
    """The place of `own`, sought from the newest: who came lately comes again. Below `start` if it is not there."""
    place = end - 1
    while place - 7 >= start and not (  # eight at once
        (ids[which, place] == own)
        | (ids[which, place - 1] == own)
        | (ids[which, place - 2] == own)
        | (ids[which, place - 3] == own)
        | (ids[which, place - 4] == own)
        | (ids[which, place - 5] == own)
        | (ids[which, place - 6] == own)
        | (ids[which, place - 7] == own)
    ):
        place -= 8
    while place >= start and ids[which, place] != own:
        place -= 1
    return place


@_inlined
def _take_out(times: Times, ids: Ids, which: int, place: int, end: int) -> None:
    for i in range(place + 1, end):
        times[which, i - 1], ids[which, i - 1] = times[which, i], ids[which, i]


@_inlined
def _add_click(
    buckets: Times, which: int, start: int, end: int, total: int, index: Any, oldest: Any
) -> tuple[int, int, int]:
    """One more click in bucket `index`; those up to `oldest` go. The list's new start and end, and its clicks in all.

    buckets[which, start:end] holds (index, clicks), ascending.
    """
    if end > start and buckets[which, end - 1, 0] == index:
        buckets[which, end - 1, 1] += 1
    else:
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
    total += 1
    while buckets[which, start, 0] <= oldest:
        total -= buckets[which, start, 1]
        start += 1
    return start, end, total


@_inlined
def _clicks_in(buckets: Times, which: int, start: int, end: int, total: int, last: Any, width: Any) -> int:
    """Clicks in the kept ones of the `width` buckets up to and with `last`: all but the few outside."""
    while start < end and buckets[which, start, 0] <= last - width:
        total -= buckets[which, start, 1]
        start += 1
    while start < end and buckets[which, end - 1, 0] > last:
        total -= buckets[which, end - 1, 1]
        end -= 1
    return total


# Between pieces a key's state is words: the lengths of its lists (Recent, the members, the two of buckets); the time of
# its newest click; then list after list its entries: how far before the newest, and the id or the number of clicks.


@_inlined
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


@_inlined
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
) -> tuple[Any, Any]:
    """Lay out the state that begins at `begin`; how many clicks the two lists of buckets hold."""
    lists = len(starts)
    word = begin + lists + 2
    for i in range(lists):
        starts[i], ends[i] = 0, words[begin + i]
    for i in range(lists - 2):
        for place in range(ends[i]):
            times[i, place] = newest - words[word]
            ids[i, place] = np.uint64(words[word + 1]) | (np.uint64(words[word + 2]) << np.uint64(32))
            word += 3
    fine_clicks, coarse_clicks = np.int64(0), np.int64(0)
    for place in range(ends[lists - 2]):
        buckets[0, place, 0], buckets[0, place, 1] = newest_fine - words[word], words[word + 1]
        fine_clicks += np.int64(words[word + 1])
        word += 2
    for place in range(ends[lists - 1]):
        buckets[1, place, 0], buckets[1, place, 1] = newest_coarse - words[word], words[word + 1]
        coarse_clicks += np.int64(words[word + 1])
        word += 2
    return fine_clicks, coarse_clicks


@_inlined
def _newest_of(words: Words, begin: Any, lists: int) -> Any:
    """The time of the newest click of the state that begins at `begin`."""
    return np.int64(words[begin + lists]) | (np.int64(words[begin + lists + 1]) << 32)


@_compiled
def _carry(
    old_keys: Ids,
    old_places: Times,
    old_words: Words,
    first: int,
    last: int,
    new_keys: Ids,
    new_places: Times,
    words: Words,
    new: int,
    lists: int,
    forget_ms: int,
) -> int:
    """Take over the keys first:last, which do not click in this piece, but those that nothing later can see."""
    old = first
    while old < last:
        run = old
        while run < last and _newest_of(old_words, old_places[run], lists) > forget_ms:
            run += 1
        begin, used = np.uint64(old_places[old]), np.uint64(new_places[new])
        for word in range(np.uint64(old_places[run]) - begin):
            words[used + word] = old_words[begin + word]  # unsigned: where a place could be below 0, none is vectorised
        for key in range(old, run):
            new_keys[new] = old_keys[key]
            new_places[new + 1] = new_places[new] + old_places[key + 1] - old_places[key]
            new += 1
        old = run + 1
    return new


@_compiled
def walk(
    records: Ids,
    counts: Counts,
    settings: Times,
    exact_windows: Times,
    member_caps: Times,
    member_keeps: Times,
    window_counts: Times,
    member_windows: Times,
    old_keys: Ids,
    old_places: Times,
    old_words: Words,
    old_count: int,
    new_keys: Ids,
    new_places: Times,
    words: Words,
    forget_ms: int,
) -> Any:
    """The counts of `records`, walked key by key in log order from the old state to the new; how many keys that holds.

    Args:
        records: of the part, see training/counters_kernel/sharing.py.
        counts: written, shape (records, columns of the entity).
        settings: see `plan_of`; so are the five after it.
        exact_windows: see `settings`.
        member_caps: see `settings`.
        member_keeps: see `settings`.
        window_counts: see `settings`.
        member_windows: see `settings`.
        old_keys: ascending, the first old_count of them.
        old_places: where each one's words begin, and the end of the last.
        old_words: see `_pack`.
        old_count: how many keys the old state has.
        new_keys: written; so are new_places and words.
        new_places: see `new_keys`.
        words: see `new_keys`.
        forget_ms: keys whose newest click is not after this are left out of the new state.
    """
    cap, gaps, keep_ms, day_ms, lateness_ms = settings[0], settings[1], settings[2], settings[3], settings[4]
    fine_ms, fine_buckets, coarse_ms, coarse_buckets = settings[5], settings[6], settings[7], settings[8]
    clicks, sets = len(records), len(member_caps)
    lists = 3 + sets
    most = max(cap, member_caps.max() if sets else 0)
    times = np.empty((1 + sets, 2 * (most + 2)), dtype=np.int64)
    ids = np.empty((1 + sets, 2 * (most + 2)), dtype=np.uint64)
    buckets = np.empty((2, 2 * (max(fine_buckets, coarse_buckets) + 3), 2), dtype=np.int64)
    starts, ends = np.zeros(lists, dtype=np.int64), np.zeros(lists, dtype=np.int64)

    order = _ascending(records)
    record_at, record_bytes = np.intp(records.ctypes.data), records.shape[1] * 8
    counts_at, counts_bytes = np.intp(counts.ctypes.data), counts.shape[1] * 4
    old, new = 0, 0
    new_places[0] = 0
    start, end, fine_start, fine_end, coarse_start, coarse_end = 0, 0, 0, 0, 0, 0
    newest_fine, newest_coarse, fine_clicks, coarse_clicks = 0, 0, 0, 0
    for i in range(clicks):
        click = order[i]
        if i + 8 < clicks:  # as far ahead as near memory takes to answer
            soon = np.int64(order[i + 8])
            prefetch(record_at + soon * record_bytes)
            prefetch(counts_at + soon * counts_bytes)
            prefetch(counts_at + soon * counts_bytes + 64)
        key, at, own, has_member = records[click, 0], np.int64(records[click, 1]), records[click, 2], records[click, 3]
        fine, coarse = at // fine_ms, at // coarse_ms
        if i == 0 or key != records[order[i - 1], 0]:
            first = old
            while old < old_count and old_keys[old] < key:
                old += 1
            new = _carry(
                old_keys, old_places, old_words, first, old, new_keys, new_places, words, new, lists, forget_ms
            )
            if old < old_count and old_keys[old] == key:
                newest = _newest_of(old_words, old_places[old], lists)
                newest_fine, newest_coarse = newest // fine_ms, newest // coarse_ms
                fine_clicks, coarse_clicks = _unpack(
                    old_words, old_places[old], times, ids, buckets, starts, ends, newest, newest_fine, newest_coarse
                )
                old += 1
            else:
                for which in range(lists):
                    starts[which], ends[which] = 0, 0
                newest_fine, newest_coarse, fine_clicks, coarse_clicks = fine, coarse, 0, 0
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
            fine_start, fine_end, fine_clicks = _add_click(
                buckets, 0, fine_start, fine_end, fine_clicks, fine, newest_fine - fine_buckets - 2
            )
            coarse_start, coarse_end, coarse_clicks = _add_click(
                buckets, 1, coarse_start, coarse_end, coarse_clicks, coarse, newest_coarse - coarse_buckets - 1
            )
            for s in range(sets):
                first, last = starts[1 + s], ends[1 + s]
                if (has_member >> np.uint64(s)) & np.uint64(1):
                    member = records[click, 4 + s]
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
        after = place
        for w in range(len(exact_windows)):
            edge = at - exact_windows[w]
            after = _first_after(times, 0, start, after, edge)
            counts[click, column] = cap if full and times[0, start] > edge else place - after
            column += 1
        itself = 1 if found else 0
        counts[click, column] = _clicks_in(buckets, 0, fine_start, fine_end, fine_clicks, fine, fine_buckets) - itself
        counts[click, column + 1] = (
            _clicks_in(buckets, 1, coarse_start, coarse_end, coarse_clicks, coarse, coarse_buckets) - itself
        )
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
            after = last
            for w in range(window_counts[s]):
                after = _first_after(times, 1 + s, first, after, at - member_windows[s, w])
                counts[click, column] = min(last - after, member_caps[s])
                column += 1

        if newest > forget_ms and (i + 1 == clicks or records[order[i + 1], 0] != key):
            starts[0], starts[lists - 2], starts[lists - 1] = start, fine_start, coarse_start
            ends[0], ends[lists - 2], ends[lists - 1] = end, fine_end, coarse_end
            new_keys[new] = key
            new_places[new + 1] = _pack(
                words, new_places[new], times, ids, buckets, starts, ends, newest, newest_fine, newest_coarse
            )
            new += 1

    return _carry(old_keys, old_places, old_words, old, old_count, new_keys, new_places, words, new, lists, forget_ms)
