"""Champion and challenger on the clicks of a batch: who decides which, and what the other would have decided."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from functions.score_clicks.enrichment import Enriched
from functions.score_clicks.services import Services
from slidr.canary import in_canary
from slidr.features import Floats
from slidr.pointer import Pointer
from slidr.release import Release
from slidr.shadow import ShadowTally
from slidr.slices import SliceMap


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One release on the clicks of a batch: its scores, slices and thresholds belong together (rule 5)."""

    release_id: str
    release: Release | None
    scores: Floats
    """Shape (clicks,), NaN where it scored none."""
    slices: list[str]
    thresholds: Floats


def side_of(release_id: str, release: Release | None, scores: Floats, enriched: Enriched) -> Side:
    """A release's side; without its content every threshold is NaN, which decides nothing."""
    slices = (release.slices if release else SliceMap()).names(enriched.clicks)
    return Side(
        release_id=release_id,
        release=release,
        scores=scores,
        slices=slices,
        thresholds=release.thresholds.of(slices) if release else np.full_like(scores, np.nan),
    )


def clicks_taken(
    challenger: Side | None, pointer: Pointer, enriched: Enriched, services: Services
) -> NDArray[np.bool_] | None:
    """Which clicks the challenger decides; None for none at all."""
    if challenger is None or not pointer.canary_share:
        return None
    token = services.pseudonymiser.token
    visitors = [
        token("session", click.session) if click.session
        else token("user", click.user) if click.user
        else token("ip", click.ip) if click.ip
        else click.click_id
        for click in enriched.clicks
    ]  # fmt: skip
    return in_canary(visitors, pointer.canary_share) & ~np.isnan(challenger.scores)


def merged(champion: Side, challenger: Side, taken: NDArray[np.bool_]) -> Side:
    """The champion, but for the clicks that the challenger takes: those have its scores, slices and thresholds."""
    return Side(
        release_id=champion.release_id,
        release=champion.release,
        scores=np.where(taken, challenger.scores, champion.scores),
        slices=[b if own else a for own, a, b in zip(taken.tolist(), champion.slices, challenger.slices, strict=True)],
        thresholds=np.where(taken, challenger.thresholds, champion.thresholds),
    )


def deciders(champion: Side, challenger: Side | None, taken: NDArray[np.bool_] | None, clicks: int) -> list[str | None]:
    """The release that decides each click."""
    if taken is None or challenger is None:
        return [champion.release_id or None] * clicks
    return [challenger.release_id if own else champion.release_id or None for own in taken.tolist()]


def shadow_tallies(champion: Side, challenger: Side, left_out: NDArray[np.bool_]) -> dict[str, ShadowTally]:
    """By the champion's slice: clicks that both scored, and those that the challenger would have decided otherwise.

    What a list or an allow-list decides is left out: no release has a say in it.
    """
    both = ~(np.isnan(champion.scores) | np.isnan(champion.thresholds) | np.isnan(challenger.scores) | left_out)
    with np.errstate(invalid="ignore"):
        flipped = (champion.scores >= champion.thresholds) != (challenger.scores >= challenger.thresholds)
    clicks = Counter(name for name, own in zip(champion.slices, both.tolist(), strict=True) if own)
    flips = Counter(name for name, own in zip(champion.slices, (both & flipped).tolist(), strict=True) if own)
    return {name: ShadowTally(clicks=count, flipped=flips[name]) for name, count in clicks.items()}
