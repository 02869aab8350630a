"""A verdict: one append-only ledger record a click (rule 8); it holds no person, and carries the feature vector."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from slidr.contract import Identifier, Instant, Micros, Version


class Decision(StrEnum):
    """What was decided of a click. UNDECIDED is billed as valid and decided later (rule 6)."""

    VALID = "VALID"
    INVALID = "INVALID"
    UNDECIDED = "UNDECIDED"


class Mode(StrEnum):
    """Whether an INVALID verdict counts for billing (`enforce`) or is only recorded (`observe`)."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class Reason(StrEnum):
    """Why: reason codes that are safe to show to an advertiser."""

    ROBOTIC_BEHAVIOUR = "robotic_behaviour"
    """The score reached the threshold of the click's slice."""
    KNOWN_CRAWLER = "known_crawler"
    """The user agent is on the packaged crawler list (GIVT)."""
    ALLOW_LISTED = "allow_listed"
    """The advertiser or the network is on an allow-list: VALID, whatever the score."""
    COUNTERS_UNAVAILABLE = "counters_unavailable"
    """The counter cache did not answer in time."""
    PROFILES_UNAVAILABLE = "profiles_unavailable"
    """A profile that the click needs could not be read."""
    SCORING_UNAVAILABLE = "scoring_unavailable"
    """The endpoint gave no score."""
    NO_RELEASE = "no_release"
    """No release is in force, or its bundle could not be read."""
    BACKFILLED = "backfilled"
    """Taken over from a log: nobody decided it here; a replay can. `decided_at` is its own time."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """One decision about one click. The first original of a click wins; a correction supersedes it."""

    version: Version = 1
    click_id: Identifier
    kind: Literal["original", "correction"] = "original"
    at: Instant
    """Event time of the click."""
    arrived_at: Instant
    """When its record reached the stream."""
    decided_at: Instant
    decision: Decision
    mode: Mode
    billable: bool
    """False only where the decision is INVALID and the mode is `enforce`."""
    reasons: tuple[Reason, ...]
    score: float | None
    """In [0, 1], robotic upwards; null where nothing scored. A float32 value, exactly."""
    threshold: float | None
    slice: str
    release_id: str | None
    """The release that scored; its thresholds decided (rule 5)."""
    shadow_scores: dict[str, float] = {}
    """Scores of releases that did not decide, by release id: of a challenger in shadow; of the champion, where a
    canary's challenger decided."""
    givt: bool
    late: bool
    """Whether the click came too late to count in at least one of its counters."""
    marketplace: Identifier
    advertiser: Identifier
    campaign: Identifier | None
    cost_micros: Micros
    currency: str
    feature_spec: str
    """Hash of the feature spec that `features` follows."""
    features: tuple[float, ...] | None
    """The raw feature vector that was scored, float32 values exactly; null where counters or profiles failed, and in a
    correction that was decided by what the original logged."""


def is_billable(decision: Decision, mode: Mode) -> bool:
    """Whether the advertiser pays for the click.

    >>> is_billable(Decision.INVALID, Mode.OBSERVE), is_billable(Decision.INVALID, Mode.ENFORCE)
    (True, False)
    """
    return not (decision is Decision.INVALID and mode is Mode.ENFORCE)
