"""A candidate in shadow: what the endpoint and the champion's clicks say of it, before it may be promoted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from slidr.guardrails import ALL, Bound, Guardrail, Result, check

LEAST_INVOCATIONS: Final = 1_000
LEAST_CLICKS: Final = 200
"""Clicks in shadow that a slice needs for its churn to be judged."""
CHURN: Final = 0.2
CHURN_OF_SLICE: Final = 0.5
"""As for the churn that a candidate shows on the judged day (training/guardrails/model.py)."""


class EndpointSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoint did while the candidate scored in shadow."""

    invocations: int
    failed: int
    p99_ms: float | None
    """Of an invocation; None where nothing was measured."""


class ShadowTally(msgspec.Struct, frozen=True, kw_only=True):
    """Clicks of a slice that both the champion and the candidate in shadow scored."""

    clicks: int
    flipped: int
    """Of them, those that the candidate would have decided otherwise."""


class ShadowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate's time in shadow."""

    endpoint: EndpointSummary
    churn: Mapping[str, ShadowTally]
    """By slice."""


Values = Mapping[str, float]


def endpoint_guardrails(summary: EndpointSummary, *, least_invocations: int = LEAST_INVOCATIONS) -> tuple[Result, ...]:
    """Every endpoint guardrail's results; see `stopped_by`.

    Args:
        summary: of the candidate's time in shadow.
        least_invocations: 0 where no traffic is required: then an endpoint that nobody asked has nothing to answer for.
    """
    if least_invocations == 0 and summary.invocations == 0:
        return ()
    return check(_endpoint(least_invocations), summary)


def shadow_guardrails(summary: ShadowSummary, *, least_invocations: int = LEAST_INVOCATIONS) -> tuple[Result, ...]:
    """The endpoint's results and those of the churn in shadow."""
    return (
        *endpoint_guardrails(summary.endpoint, least_invocations=least_invocations),
        *check(_CHURN, summary.churn),
    )


def _endpoint(least_invocations: int) -> tuple[Guardrail[EndpointSummary], ...]:
    return (
        Guardrail(
            name="invocations",
            measures="invocations that the other values rest on",
            bound=Bound(low=least_invocations),
            why="a 99th percentile needs ten values above it",
            values=lambda endpoint: {ALL: float(endpoint.invocations)},
        ),
        Guardrail(
            name="failed_invocations",
            measures="share of the invocations that failed",
            bound=Bound(high=0.001),
            why="the clicks of a failed invocation stay UNDECIDED",
            values=lambda endpoint: {ALL: endpoint.failed / max(endpoint.invocations, 1)},
        ),
        Guardrail(
            name="latency_p99_ms",
            measures="99th percentile of an invocation, milliseconds",
            bound=Bound(high=1000.0),
            why="half of the time that the function waits for an answer",
            values=lambda endpoint: {ALL: math.nan if endpoint.p99_ms is None else endpoint.p99_ms},
        ),
    )


def _shares(tallies: Mapping[str, ShadowTally]) -> Values:
    return {name: own.flipped / own.clicks for name, own in tallies.items() if own.clicks >= LEAST_CLICKS}


def _overall(tallies: Mapping[str, ShadowTally]) -> Values:
    clicks = sum(own.clicks for own in tallies.values())
    return {ALL: sum(own.flipped for own in tallies.values()) / clicks} if clicks >= LEAST_CLICKS else {}


_CHURN: Final[tuple[Guardrail[Mapping[str, ShadowTally]], ...]] = (
    Guardrail(
        name="shadow_churn",
        measures="share of the clicks in shadow that the candidate would have decided otherwise",
        bound=Bound(high=CHURN),
        why="as much as robots are; as on the judged day",
        values=_overall,
    ),
    Guardrail(
        name="shadow_churn_in_slice",
        measures="the same in the slice",
        bound=Bound(high=CHURN_OF_SLICE),
        scope="slice",
        why="as on the judged day",
        values=_shares,
    ),
)
