"""What each role did with the clicks of a batch, by slice: what alarms and the dashboard look at.

The role of a release is why it decided: `stable` where the pointer says so, whether it is champion too (after a
rollback) or stands in for one that the endpoint does not have; else `champion`; `challenger` in shadow or as canary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from functions.score_clicks.enrichment import Enriched
from functions.score_clicks.sides import Side
from slidr.features import FEATURE_INDEX
from slidr.metrics import ROBOTIC_SESSION_CLICKS
from slidr.pointer import Pointer
from slidr.telemetry import Role
from slidr.verdict import Decision

Flags = NDArray[np.bool_]
_SESSION_CLICKS: Final = FEATURE_INDEX["session.n_1h"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTally:
    """Sums over the clicks of one role and slice; of a challenger in shadow, what it would have decided."""

    role: Role
    release_id: str
    slice: str
    clicks: int
    """Decided ones."""
    invalid: int
    expected_invalid: float
    """Sum of the IVR that the release expects of the slice at each decided click's local hour."""
    expected_variance: float
    """Of that sum, were the clicks independent."""
    undecided: int
    """For whatever reason."""
    unusable: int
    """UNDECIDED for the release's own sake: its content cannot be read, or its score is no number."""
    known_crawlers: int
    robotic_clicks: int
    """Decided clicks in sessions with more than ROBOTIC_SESSION_CLICKS clicks in the hour before."""
    robotic_invalid: int

    def counts(self) -> dict[str, float]:
        """The sums by the names of their metrics."""
        return {
            "".join(part.capitalize() for part in name.split("_")): value
            for name, value in asdict(self).items()
            if name not in {"role", "release_id", "slice"}
        }


def role_of(release_id: str, pointer: Pointer) -> Role:
    """The role in which a release decides.

    >>> role_of("b", Pointer(champion="b", stable="a")).value, role_of("a", Pointer(champion="a", stable="a")).value
    ('champion', 'stable')
    """
    return Role.STABLE if release_id == pointer.stable else Role.CHAMPION


def decided_tallies(
    side: Side, role: Role, own: Flags, decisions: Sequence[Decision], enriched: Enriched, *, answered: bool
) -> list[RoleTally]:
    """Of the clicks that the side decided, or should have.

    Args:
        side: see there.
        role: see there.
        own: which clicks are this side's, shape (clicks,).
        decisions: of all clicks.
        enriched: all clicks.
        answered: whether the endpoint answered at all.
    """
    undecided = np.fromiter((one is Decision.UNDECIDED for one in decisions), dtype=np.bool_, count=len(decisions))
    invalid = np.fromiter((one is Decision.INVALID for one in decisions), dtype=np.bool_, count=len(decisions))
    sound = (enriched.doubts == 0) & answered
    unusable = undecided & sound & (np.isnan(side.scores) | np.isnan(side.thresholds))
    return _tallies(side, role, own, ~undecided, invalid, unusable, enriched)


def shadow_role_tallies(side: Side, allowed: Flags, others: Flags, enriched: Enriched) -> list[RoleTally]:
    """Of the clicks that a challenger scored and that another release decided.

    Args:
        side: the challenger's.
        allowed: on an allow-list.
        others: which clicks are another release's to decide.
        enriched: all clicks.
    """
    scored = ~(np.isnan(side.scores) | np.isnan(side.thresholds))
    with np.errstate(invalid="ignore"):
        invalid = (scored & (side.scores >= side.thresholds) | enriched.crawlers) & ~allowed
    decided = scored | enriched.crawlers | allowed
    return _tallies(side, Role.CHALLENGER, others, decided, invalid, np.zeros_like(scored), enriched)


def _tallies(  # noqa: PLR0917 - arrays of one shape
    side: Side, role: Role, own: Flags, decided: Flags, invalid: Flags, unusable: Flags, enriched: Enriched
) -> list[RoleTally]:
    if not own.any():
        return []
    names = list(dict.fromkeys(side.slices))
    place = {name: number for number, name in enumerate(names)}
    cell = np.fromiter(map(place.__getitem__, side.slices), dtype=np.intp, count=len(side.slices))
    rate = _expected_rates(side, names, cell, enriched)
    counted = own & decided
    robotic = counted & (enriched.features[:, _SESSION_CLICKS] > ROBOTIC_SESSION_CLICKS)

    def sums(of: Flags, weights: NDArray[np.float64] | None = None) -> list[float]:
        chosen = cell[of]
        totals = np.bincount(chosen, weights=None if weights is None else weights[of], minlength=len(names))
        return [float(total) for total in totals.tolist()]

    columns = zip(
        names, sums(own), sums(counted), sums(counted & invalid), sums(counted, rate), sums(counted, rate * (1 - rate)),
        sums(own & ~decided), sums(own & unusable), sums(own & enriched.crawlers), sums(robotic),
        sums(robotic & invalid), strict=True,
    )  # fmt: skip
    return [
        RoleTally(
            role=role, release_id=side.release_id, slice=name, clicks=int(clicks), invalid=int(bad),
            expected_invalid=expected, expected_variance=variance, undecided=int(waiting), unusable=int(broken),
            known_crawlers=int(crawlers), robotic_clicks=int(sessions), robotic_invalid=int(caught),
        )
        for name, all_of_it, clicks, bad, expected, variance, waiting, broken, crawlers, sessions, caught in columns
        if all_of_it
    ]  # fmt: skip


def _expected_rates(
    side: Side, names: Sequence[str], cell: NDArray[np.intp], enriched: Enriched
) -> NDArray[np.float64]:
    """The IVR that the release expects of each click's slice at its local hour; 0 without the release."""
    if side.release is None:
        return np.zeros(len(cell))
    by_slice = side.release.expected_ivr_by_slice
    table = np.array([by_slice.get(name, side.release.expected_ivr) for name in names])
    return np.asarray(table[cell, enriched.context.minute_of_week // 60])
