"""The guardrails of a former champion whose served interval has matured: whether it may become stable."""

from __future__ import annotations

from typing import Final

import msgspec

from slidr.guardrails import ALL, Bound, Guardrail, Result, check
from training.guardrails.chance import share_at_least


class ServedInterval(msgspec.Struct, frozen=True, kw_only=True):
    """What a release's thresholds do to the matured clicks of the interval in which it was champion."""

    clicks: int
    """Those that a list names too: they are invalid."""
    invalid: int
    purchasing: int
    wrong: int
    """Purchasing clicks that are invalid."""
    budget: float
    """FPR budget of the stage."""


STABLE: Final[tuple[Guardrail[ServedInterval], ...]] = (
    Guardrail(
        name="served_clicks",
        measures="matured clicks of the interval in which the release was champion",
        bound=Bound(low=1_000),
        why="what served next to nothing has shown nothing",
        values=lambda served: {ALL: float(served.clicks)},
    ),
    Guardrail(
        name="served_purchasing",
        measures="purchasing clicks among them",
        bound=Bound(low=100),
        severity="warn",
        why="fewer say little of an FPR of a few in a thousand",
        values=lambda served: {ALL: float(served.purchasing)},
    ),
    Guardrail(
        name="served_fpr",
        measures="least FPR / budget",
        bound=Bound(high=2.0),
        why="as for a candidate: twice the budget beyond doubt",
        values=lambda served: {ALL: share_at_least(served.wrong, served.purchasing) / served.budget},
    ),
    Guardrail(
        name="served_ivr",
        measures="share of the clicks that are invalid, listed ones included",
        bound=Bound(low=0.01, high=0.4),
        why="as for a candidate",
        values=lambda served: {ALL: served.invalid / served.clicks} if served.clicks else {},
    ),
)


def stable_guardrails(served: ServedInterval) -> tuple[Result, ...]:
    """The results; where none stops, the release may become stable."""
    return check(STABLE, served)
