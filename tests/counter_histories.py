"""Histories of clicks that go where counters break: ties, redeliveries, late events, silence, overflow, absent keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from slidr.counter_batch import IDENTIFIERS, CounterBatch
from slidr.counters import DAY_MS, FINE_MS, HOUR_MS, LATENESS_MS, MINUTE_MS, Caps

NOON_MS = 1_795_435_200_000
"""Monday 2026-11-23 12:00 UTC, in milliseconds."""

TIGHT_CAPS = (Caps(), Caps(recent=12, members=4), Caps(recent=3, members=2), Caps(recent=9, members=1))
"""The real bounds, and some that short histories overflow."""

DIGESTS = (
    0x1111_1111_1111_1111,
    0,
    2**64 - 1,
    0x7B61_617D_0000_0000,  # "{aa}": in a cluster, a hash tag
    2**63,
    2**32,
    2**32 - 1,
    2**31,
    0x7D7D_7B7B_7B7B_7D7D,
    0x0D0A_0D0A_2431_0D0A,  # line ends of the wire protocol
    0xC3A4_C3A4_E9E9_00FF,
    1,
)

_STEPS_MS = (
    *(0, 0, 1, 100, 1_000, 9_999, 10_000, 10_001, 59_999, 60_000, 60_001, FINE_MS - 1, FINE_MS),
    *(599_999, 600_000, 600_001, HOUR_MS, 5 * HOUR_MS, DAY_MS - 1, DAY_MS, DAY_MS + 1, 25 * HOUR_MS),
)
_BACK_MS = (
    *(0, 0, 0, 0, 0, 1, 5_000, MINUTE_MS, FINE_MS, LATENESS_MS - 1, LATENESS_MS, LATENESS_MS + 1),
    *(20 * MINUTE_MS, HOUR_MS, DAY_MS, DAY_MS + HOUR_MS),
)


@dataclass(frozen=True)
class Event:
    step_ms: int
    back_ms: int
    click_id: int
    ids: tuple[int | None, ...]
    again: int | None
    """Deliver the click of so many events ago once more, instead of this one."""


def batch_of(at_ms: list[int], click_id: list[int], ids: list[tuple[int | None, ...]]) -> CounterBatch:
    """A batch from plain lists; `ids` in the order of IDENTIFIERS."""
    shape = (len(ids), len(IDENTIFIERS))
    return CounterBatch(
        at_ms=np.array(at_ms, dtype=np.int64),
        click_id=np.array(click_id, dtype=np.uint64),
        ids=np.array([[i or 0 for i in row] for row in ids], dtype=np.uint64).reshape(shape),
        present=np.array([[i is not None for i in row] for row in ids], dtype=np.bool_).reshape(shape),
    )


def one_key(at_ms: list[int], click_id: list[int] | None = None, *, session: list[int] | None = None) -> CounterBatch:
    """Clicks of one user, one IP and one agent; each its own session unless told."""
    n = len(at_ms)
    sessions = session if session is not None else list(range(n))
    return batch_of(
        at_ms,
        click_id if click_id is not None else list(range(1, n + 1)),
        [(7, sessions[i], 8, 9, 10, 11, 12) for i in range(n)],
    )


def _event(most_ids: int) -> st.SearchStrategy[Event]:
    identifier = st.none() | st.sampled_from(DIGESTS[:most_ids])
    member = st.none() | st.sampled_from(DIGESTS)
    return st.builds(
        Event,
        step_ms=st.sampled_from(_STEPS_MS) | st.integers(0, 20_000),
        back_ms=st.sampled_from(_BACK_MS),
        click_id=st.sampled_from(DIGESTS) | st.integers(0, 2**64 - 1),
        ids=st.tuples(identifier, identifier, identifier, identifier, member, member, member),
        again=st.none() | st.none() | st.integers(1, 20),
    )


@st.composite
def histories(draw: st.DrawFn, *, most_clicks: int = 40) -> list[CounterBatch]:
    """Batches in arrival order; clicks and whole batches may come again."""
    events = draw(st.lists(_event(draw(st.integers(1, 4))), min_size=1, max_size=most_clicks))
    at_ms, click_id, ids = [], [], []
    now = NOON_MS
    for event in events:
        now += event.step_ms
        if event.again is not None and event.again <= len(at_ms):
            at_ms.append(at_ms[-event.again])
            click_id.append(click_id[-event.again])
            ids.append(ids[-event.again])
        else:
            at_ms.append(now - event.back_ms)
            click_id.append(event.click_id)
            ids.append(event.ids)
    log = batch_of(at_ms, click_id, ids)
    batches, start = [], 0
    while start < log.clicks:
        size = draw(st.integers(1, log.clicks))
        batch = log.rows(slice(start, start + size))
        batches += [batch] * draw(st.sampled_from((1, 1, 1, 2)))
        start += size
    return batches


def joined(batches: list[CounterBatch]) -> CounterBatch:
    """One log of all batches in order."""
    return CounterBatch(
        at_ms=np.concatenate([b.at_ms for b in batches]),
        click_id=np.concatenate([b.click_id for b in batches]),
        ids=np.concatenate([b.ids for b in batches]),
        present=np.concatenate([b.present for b in batches]),
    )


def hot_key(clicks: int, *, seed: int) -> CounterBatch:
    """A gateway gone mad: more clicks and members in minutes than a key keeps, a little out of order."""
    rng = np.random.default_rng(seed)
    at_ms = NOON_MS + np.sort(rng.integers(0, 8 * MINUTE_MS, clicks)) - rng.integers(0, 2_000, clicks)
    ids = rng.integers(0, 2**63, (clicks, len(IDENTIFIERS))).astype(np.uint64)
    ids[:, : IDENTIFIERS.index("user_agent")] %= np.uint64(700)
    ids[:, IDENTIFIERS.index("ip")] = 5
    ids[: clicks // 2, IDENTIFIERS.index("user")] = 6
    ids[:, IDENTIFIERS.index("device_fp")] = 7
    return CounterBatch(
        at_ms=at_ms.astype(np.int64),
        click_id=rng.integers(0, 2**63, clicks).astype(np.uint64),
        ids=ids,
        present=np.ones(ids.shape, dtype=np.bool_),
    )
