"""From clicks to features: lists, counters and profiles; past this step nothing personal is in clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from functions.adapters.profiles import ProfileKeys, ProfileRows
from functions.score_clicks.services import Services
from slidr.click import Click
from slidr.counter_batch import CounterBatch, counter_batch
from slidr.counters import RAW_COLUMNS
from slidr.decision import doubt
from slidr.errors import CountersUnavailable
from slidr.features import ClickContext, Floats, assemble, context_of
from slidr.pseudonym import Pseudonymiser
from slidr.verdict import Reason

_LATE: Final = np.array([index for index, name in enumerate(RAW_COLUMNS) if name.endswith(".late")])


@dataclass(frozen=True, slots=True, kw_only=True)
class Enriched:
    """The clicks of a batch and what the cache and the tables know of them; arrays have one row a click."""

    clicks: Sequence[Click]
    context: ClickContext
    features: Floats
    """float32, shape (clicks, FEATURE_COUNT), finite; meaningless where there is a doubt."""
    doubts: NDArray[np.uint8]
    """Bits by `slidr.decision.DOUBTS`: what could not be read."""
    crawlers: NDArray[np.bool_]
    """Named by the crawler list."""
    late: NDArray[np.bool_]
    """Too late to count in at least one counter."""
    problems: tuple[str, ...]


def enrich(clicks: Sequence[Click], services: Services) -> Enriched:
    """Count the clicks and assemble their features. A dependency that fails is a doubt, not an exception (rule 6)."""
    batch = counter_batch(clicks, services.pseudonymiser)
    doubts = np.zeros(len(clicks), dtype=np.uint8)
    problems: list[str] = []
    known = cache(lambda: _known(clicks, batch, services))
    try:
        counts = services.counters.apply(batch, meanwhile=known)
    except CountersUnavailable as failure:
        counts = np.zeros((len(clicks), len(RAW_COLUMNS)), dtype=np.int32)
        doubts |= doubt(Reason.COUNTERS_UNAVAILABLE)
        problems.append(f"{Reason.COUNTERS_UNAVAILABLE.value}: {failure}")
    profiles, context, crawlers = known()
    if profiles.error:
        problems.append(f"{Reason.PROFILES_UNAVAILABLE.value}: {profiles.error}")
    doubts[profiles.failed] |= doubt(Reason.PROFILES_UNAVAILABLE)
    return Enriched(
        clicks=clicks,
        context=context,
        features=assemble(counts, context, profiles.matrix),
        doubts=doubts,
        crawlers=crawlers,
        late=np.asarray(counts.take(_LATE, axis=1).any(axis=1)),
        problems=tuple(problems),
    )


def _known(
    clicks: Sequence[Click], batch: CounterBatch, services: Services
) -> tuple[ProfileRows, ClickContext, NDArray[np.bool_]]:
    """What there is to know without the counters: profiles, context, and whom the crawler list names."""
    crawlers = (services.crawlers.names(click.user_agent) for click in clicks)
    return (
        services.profiles.read(_profile_keys(clicks, services.pseudonymiser), at_ms=batch.at_ms),
        context_of(
            batch.at_ms.tolist(),
            [click.time_zone for click in clicks],
            [click.logged_in for click in clicks],
            [click.device for click in clicks],
        ),
        np.fromiter(crawlers, dtype=np.bool_, count=len(clicks)),
    )


def _profile_keys(clicks: Sequence[Click], pseudonymiser: Pseudonymiser) -> ProfileKeys:
    token = pseudonymiser.token
    return ProfileKeys(
        ip=[token("ip", click.ip) if click.ip else None for click in clicks],
        user=[token("user", click.user) if click.user else None for click in clicks],
        ua=[token("ua", click.user_agent) if click.user_agent else None for click in clicks],
    )
