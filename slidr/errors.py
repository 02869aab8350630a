"""One tree of errors, named by the state they report. A message says what was required, what came, what to do."""

from __future__ import annotations

import math


class SlidrError(Exception):
    """Any state that SLIDR names. Catch the named children, not this."""


class InvalidRecord(SlidrError):
    """A record breaks its contract; it goes to the reject store and never blocks its shard.

    `reason` is a stable code (see docs/data-contract.md), `detail` says what was required and what came.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class InvalidClick(InvalidRecord):
    """A click record breaks the contract."""


class InvalidPurchase(InvalidRecord):
    """A purchase record breaks the contract."""


class FeatureMismatch(SlidrError):
    """Two parts of the system disagree about the feature spec (names, order, shape or dtype)."""


class DependencyUnavailable(SlidrError):
    """Something that a decision needs did not answer. The clicks become UNDECIDED, never lost (rule 6)."""


class CountersUnavailable(DependencyUnavailable):
    """The counter cache did not answer in time."""


class ScoringUnavailable(DependencyUnavailable):
    """The endpoint did not score in time, or its circuit is open."""


class ServingStateUnavailable(DependencyUnavailable):
    """Neither the pointer nor a recent enough copy of it can be read."""


class PublishFailed(SlidrError):
    """Verdicts, rejects or queue entries could not be written; the batch is retried from `first_failed`.

    `first_failed` is the index, in the batch, of the first record whose outcome is not durable.
    """

    def __init__(self, message: str, *, first_failed: int = 0) -> None:
        super().__init__(message)
        self.first_failed = first_failed


class ReleaseInvalid(SlidrError):
    """A release bundle is incomplete, or its content does not hash to its id."""


class ReleaseConflict(SlidrError):
    """What was to be changed was changed by somebody else since it was read."""


class PromotionFrozen(SlidrError):
    """The pointer is frozen: nothing is promoted until an operator lifts it."""


class PromotionOutdated(SlidrError):
    """What was to be promoted is not the challenger of the champion in force, or no longer."""


class RollbackImpossible(SlidrError):
    """There is nothing to roll back to, or the champion to roll back from serves no more."""


class PolicyInvalid(SlidrError):
    """What was to be said of billing is no mode of a marketplace or advertiser, or no allow-list entry."""


class CalibrationInfeasible(SlidrError):
    """No thresholds keep the coverage floors, the caps and the false-positive budget at once.

    `budget` is the overall FPR that was asked for and `least_budget` the least that would do, `slices` are those whose
    floors bind, the dearest first, `spent` what lists and given thresholds cost in invalidated purchasing clicks.
    """

    def __init__(self, *, budget: float, least_budget: float, slices: tuple[str, ...], spent: float) -> None:
        named = ", ".join(slices[:5]) + (f" and {len(slices) - 5} more" if len(slices) > 5 else "")
        enough = math.ceil(least_budget * 1e6) / 1e6  # rounded to what it shows, and up
        super().__init__(
            f"an overall FPR budget of at least {enough:.4%} is required, came {budget:.4%}: "
            f"lists and given thresholds cost {spent:g} purchasing clicks"
            + (
                f", coverage floors bind in {named}. Lower min_coverage there, or raise fpr_budget."
                if named
                else ". Raise fpr_budget."
            )
        )
        self.budget = budget
        self.least_budget = least_budget
        self.slices = slices
        self.spent = spent


class CalibrationInexact(SlidrError):
    """A solver did not reach an optimum, or thresholds do not keep what was promised for them."""
