"""From scores to decisions: one pure function for serving and replay (rules 5 to 7)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidr.verdict import Decision, Reason

Flags = NDArray[np.bool_]
Floats = NDArray[np.float32]

DOUBTS: Final = (
    Reason.COUNTERS_UNAVAILABLE,
    Reason.PROFILES_UNAVAILABLE,
    Reason.SCORING_UNAVAILABLE,
    Reason.NO_RELEASE,
)
"""Reasons to leave a click UNDECIDED; bit i of `Evidence.doubts` stands for the i-th."""

_ROBOTIC: Final = 1 << len(DOUBTS)
_CRAWLER: Final = _ROBOTIC << 1
_ALLOWED: Final = _CRAWLER << 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a batch when it is decided; every array has shape (clicks,)."""

    scores: Floats
    """NaN where nothing scored."""
    thresholds: Floats
    """Of each click's slice, by the release that scored; NaN where there is none."""
    doubts: NDArray[np.uint8]
    """Bits by DOUBTS; 0 where every dependency answered."""
    crawlers: Flags
    """Named by the crawler list."""
    allowed: Flags
    """On an allow-list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """One decision a click, with its reasons."""

    decisions: list[Decision]
    reasons: list[tuple[Reason, ...]]


def doubt(reason: Reason) -> int:
    """The bit of a doubt.

    >>> doubt(Reason.PROFILES_UNAVAILABLE)
    2
    """
    return 1 << DOUBTS.index(reason)


def decide(evidence: Evidence) -> Decisions:
    """Decide a batch. A score at or above its threshold is robotic.

    An allow-list makes a click VALID, else a crawler list makes it INVALID, whatever the score and whether or not
    there is one: a list leaves no doubt. Any other click with a doubt, or without score or threshold, is UNDECIDED.

    >>> decided = decide(Evidence(scores=np.float32([0.5, 0.4, 0.9]), thresholds=np.float32([0.5, 0.5, 0.5]),
    ...                           doubts=np.array([0, 0, doubt(Reason.COUNTERS_UNAVAILABLE)], dtype=np.uint8),
    ...                           crawlers=np.zeros(3, dtype=np.bool_), allowed=np.zeros(3, dtype=np.bool_)))
    >>> [decision.value for decision in decided.decisions], decided.reasons[2][0].value
    (['INVALID', 'VALID', 'UNDECIDED'], 'counters_unavailable')
    """
    with np.errstate(invalid="ignore"):
        robotic = evidence.scores >= evidence.thresholds  # NaN is never robotic
    doubts = evidence.doubts.astype(np.int64)
    doubts |= np.where(np.isnan(evidence.scores) & (doubts == 0), doubt(Reason.SCORING_UNAVAILABLE), 0)
    doubts |= np.where(np.isnan(evidence.thresholds) & (doubts == 0), doubt(Reason.NO_RELEASE), 0)
    codes = doubts + _ROBOTIC * robotic + _CRAWLER * evidence.crawlers + _ALLOWED * evidence.allowed
    outcomes = [_outcome(code) for code in codes.tolist()]
    return Decisions(decisions=[decision for decision, _ in outcomes], reasons=[reasons for _, reasons in outcomes])


@cache
def _outcome(code: int) -> tuple[Decision, tuple[Reason, ...]]:
    if code & _ALLOWED:
        return Decision.VALID, (Reason.ALLOW_LISTED,)
    doubts = tuple(reason for bit, reason in enumerate(DOUBTS) if code >> bit & 1)
    robotic = (Reason.ROBOTIC_BEHAVIOUR,) if code & _ROBOTIC and not doubts else ()
    if code & _CRAWLER:
        return Decision.INVALID, (Reason.KNOWN_CRAWLER, *robotic)
    if doubts:
        return Decision.UNDECIDED, doubts
    return (Decision.INVALID, robotic) if robotic else (Decision.VALID, ())
