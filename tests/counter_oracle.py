"""The counters by brute force, straight from the page in slidr/counters.py: slow, plain, independent of both twins.

Nothing is kept but the list of clicks applied to each key; every state is worked out afresh from that list.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
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
    Caps,
    Entity,
    MemberSet,
)


@dataclass(frozen=True, order=True)
class Seen:
    at: int
    id: int
    members: tuple[int | None, ...] = ()


class Oracle:
    """Feed it batch after batch; it answers with the raw counts of each."""

    def __init__(self, caps: Caps = CAPS) -> None:
        self.caps = caps
        self.applied: defaultdict[tuple[str, int], list[Seen]] = defaultdict(list)

    def apply(self, batch: CounterBatch) -> NDArray[np.int32]:
        return np.array([self._row(batch, i) for i in range(batch.clicks)], dtype=np.int32).reshape(
            batch.clicks, len(RAW_COLUMNS)
        )

    def _row(self, batch: CounterBatch, i: int) -> list[int]:
        ids = {
            name: int(value) if known else None
            for name, value, known in zip(IDENTIFIERS, batch.ids[i], batch.present[i], strict=True)
        }
        row: list[int] = []
        for entity in ENTITIES:
            key = ids[entity.name]
            if key is None:
                row += [-1 if column.startswith("gap_") else 0 for column in entity.columns]
            else:
                click = Seen(int(batch.at_ms[i]), int(batch.click_id[i]), tuple(ids[m.member] for m in entity.members))
                row += self._count(entity, self.applied[entity.name, key], click)
        return row

    def _count(self, entity: Entity, applied: list[Seen], click: Seen) -> list[int]:
        at, order = click.at, (click.at, click.id)
        recent = self._recent(applied)
        full = len(recent) == self.caps.recent + 1
        late = bool(recent) and (at <= recent[-1][0] - LATENESS_MS or (full and order < recent[0]))
        if not late and order not in recent:
            applied.append(click)
            recent = self._recent(applied)
            full = len(recent) == self.caps.recent + 1
        row = [1, int(late)]
        for window in EXACT_WINDOWS_MS:
            if full and recent[0][0] > at - window:
                row.append(self.caps.recent)
            else:
                row.append(sum(1 for other in recent if at - window < other[0] and other < order))
        itself = int(order in recent)
        newest = recent[-1][0]
        for width, buckets, kept in (
            (FINE_MS, FINE_BUCKETS, FINE_BUCKETS + 2),
            (COARSE_MS, COARSE_BUCKETS, COARSE_BUCKETS + 1),
        ):
            counted = Counter(other.at // width for other in applied)
            kept_indexes = range(newest // width - kept + 1, newest // width + 1)
            window_indexes = range(at // width - buckets + 1, at // width + 1)
            row.append(
                sum(n for index, n in counted.items() if index in kept_indexes and index in window_indexes) - itself
            )
        before = [other[0] for other in reversed(recent) if other < order and other[0] > at - DAY_MS][:GAPS]
        gaps = [later - earlier for later, earlier in zip([at, *before], before, strict=False)]
        row += gaps + [-1] * (GAPS - len(gaps))
        for place, member_set in enumerate(entity.members):
            row += self._members(member_set, place, applied, at, newest)
        return row

    def _recent(self, applied: list[Seen]) -> list[tuple[int, int]]:
        ordered = sorted((click.at, click.id) for click in applied)[-(self.caps.recent + 1) :]
        if not ordered:
            return []
        newest = ordered[-1][0]
        last = ordered[-(GAPS + 1) :]
        return [c for c in ordered if c[0] > newest - KEEP_MS or (c in last and c[0] > newest - DAY_MS)]

    def _members(self, member_set: MemberSet, place: int, applied: list[Seen], at: int, newest: int) -> list[int]:
        cap = self.caps.of(member_set)
        last_seen: dict[int, int] = {}
        for click in applied:
            member = click.members[place]
            if member is not None:
                last_seen[member] = max(click.at, last_seen.get(member, click.at))
        kept = sorted((seen, member) for member, seen in last_seen.items())[-(cap + 1) :]
        kept = [m for m in kept if m[0] > newest - (member_set.windows_ms[-1] + LATENESS_MS)]
        counts = []
        for window in member_set.windows_ms:
            if len(kept) == cap + 1 and kept[0][0] > at - window:
                counts.append(cap)
            else:
                counts.append(sum(1 for seen, _ in kept if seen > at - window))
        return counts
