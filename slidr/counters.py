"""What the counters mean: windows, bounds and the layout of the raw counts, shared by both implementations.

Online, a server-side function of Redis/Valkey keeps one compact value an entity (functions/adapters/counters.lua).
Offline, a compiled kernel walks a log (training/counters_kernel/). Both follow this page to the integer.

**State of one entity value** (a user, a session, an IP, a device fingerprint), given the clicks applied to it so far.
A click is the pair (at_ms, id), `id` the 64-bit digest of its click_id read as an unsigned big-endian integer; pairs
are ordered by time, then id.

- *Recent*: the newest applied clicks: at most `RECENT_CAP + 1` of them; of those, the ones with
  at > newest - KEEP_MS, and in any case the newest `GAPS + 1` that lie within a day of the newest
  (at > newest - DAY_MS).
- *Buckets*: how many clicks were applied, by five minutes (`at_ms // FINE_MS`) and by hour (`at_ms // COARSE_MS`);
  kept are the newest `FINE_BUCKETS + 2` five-minute and `COARSE_BUCKETS + 1` hour indexes, counted back from the
  newest click's own (so that a click on time still finds its whole windows).
- *Members* (sessions of an IP, ...): for each member set of the entity, member digest -> newest `at` with that member,
  at most cap + 1 members, those with the greatest (at, member), digests compared as unsigned big-endian integers, and
  at > newest - (longest window + LATENESS_MS).

**Applying a click** c: it is *late* if at <= newest - LATENESS_MS, or Recent is full (RECENT_CAP + 1 entries) and
(at, id) is below its lowest entry. A late click changes nothing and is flagged. A click found in Recent is a
redelivery: it changes nothing either. Any other click is added to Recent, Buckets and Members; then all are trimmed as
above. State therefore does not depend on the order in which clicks came, as long as none was late.

**Reading** (after applying):

- n_10s, n_1m, n_10m: entries of Recent with at - W < at' and (at', id') < (at, id). If Recent is full and its
  lowest entry lies inside the window (at' > at - W), the count is RECENT_CAP.
- n_1h, n_24h: sum over the click's own bucket and the FINE_BUCKETS - 1 (COARSE_BUCKETS - 1) before it, less one for
  the click itself where it is in Recent. Quantised windows: 55 to 60 minutes, 23 to 24 hours.
- gap_1 .. gap_8: milliseconds between neighbours going back from the click: at - p1, p1 - p2, ..., over the entries of
  Recent before it in order and with p > at - DAY_MS; -1 where there is none.
- member counts: members with newest at' > at - W, the click's own included where it was applied; the cap where the
  set is full (cap + 1 members) and its lowest member lies inside the window. A missing member (no user) is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

EXACT_WINDOWS_MS: Final = (10 * SECOND_MS, MINUTE_MS, 10 * MINUTE_MS)
FINE_MS: Final = 5 * MINUTE_MS
FINE_BUCKETS: Final = 12
COARSE_MS: Final = HOUR_MS
COARSE_BUCKETS: Final = 24

LATENESS_MS: Final = 10 * MINUTE_MS
"""A click this much older than the newest of its key (event time) no longer changes the key's state."""
KEEP_MS: Final = EXACT_WINDOWS_MS[-1] + LATENESS_MS
RECENT_CAP: Final = 256
GAPS: Final = 8
TTL_MS: Final = DAY_MS + KEEP_MS
"""Least time to live of a key by arrival clock: older state cannot reach any window.
Adapters add a spread of up to 10%."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSet:
    """Distinct `member`s seen with an entity, counted over `windows_ms` (ascending), exact up to `cap`."""

    member: str
    windows_ms: tuple[int, ...]
    cap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The most that one key keeps: `recent` clicks, and of each member set the lesser of its cap and `members`.

    Production uses `CAPS`; tests pass smaller ones, so that short histories overflow.
    """

    recent: int = RECENT_CAP
    members: int = 512

    def of(self, member_set: MemberSet) -> int:
        """The cap of one member set."""
        return min(member_set.cap, self.members)


CAPS: Final = Caps()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One kind of counter key and the member sets kept with it."""

    name: str
    members: tuple[MemberSet, ...] = ()
    columns: tuple[str, ...] = field(init=False)
    """Names of this entity's raw counts, in reply order."""

    def __post_init__(self) -> None:
        counts = [*(f"n_{window}" for window in ("10s", "1m", "10m", "1h", "24h"))]
        gaps = [f"gap_{i}_ms" for i in range(1, GAPS + 1)]
        members = [f"{m.member}s_{_label(window)}" for m in self.members for window in m.windows_ms]
        object.__setattr__(self, "columns", ("present", "late", *counts, *gaps, *members))


def _label(window_ms: int) -> str:
    return {10 * MINUTE_MS: "10m", HOUR_MS: "1h", DAY_MS: "24h"}[window_ms]


_SHORT_TO_DAY: Final = (10 * MINUTE_MS, HOUR_MS, DAY_MS)

USER: Final = Entity(
    name="user",
    members=(
        MemberSet(member="ip", windows_ms=(DAY_MS,), cap=128),
        MemberSet(member="ad", windows_ms=(HOUR_MS,), cap=128),
        MemberSet(member="advertiser", windows_ms=(HOUR_MS,), cap=128),
    ),
)
SESSION: Final = Entity(
    name="session",
    members=(
        MemberSet(member="ad", windows_ms=(HOUR_MS,), cap=128),
        MemberSet(member="advertiser", windows_ms=(HOUR_MS,), cap=128),
    ),
)
IP: Final = Entity(
    name="ip",
    members=(
        MemberSet(member="session", windows_ms=_SHORT_TO_DAY, cap=512),
        MemberSet(member="user", windows_ms=_SHORT_TO_DAY, cap=512),
        MemberSet(member="user_agent", windows_ms=_SHORT_TO_DAY, cap=512),
    ),
)
DEVICE_FP: Final = Entity(name="device_fp")
"""Device fingerprint: the pair of IP and user agent; present where either is."""

ENTITIES: Final = (USER, SESSION, IP, DEVICE_FP)

RAW_COLUMNS: Final[tuple[str, ...]] = tuple(
    f"{entity.name}.{column}" for entity in ENTITIES for column in entity.columns
)
"""Columns of the raw count matrix, int32, shape (clicks, len(RAW_COLUMNS)).
An absent entity has zeros and gaps of -1."""


def entity_slice(entity: Entity) -> slice:
    """Where `entity`'s columns lie in the raw count matrix.

    >>> RAW_COLUMNS[entity_slice(DEVICE_FP)][:2]
    ('device_fp.present', 'device_fp.late')
    """
    start = RAW_COLUMNS.index(f"{entity.name}.present")
    return slice(start, start + len(entity.columns))
