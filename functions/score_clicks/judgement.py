"""From features to verdicts: the endpoint scores, the thresholds of the release that scored decide (rule 5)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from functions.adapters.endpoint import Scores
from functions.adapters.serving_state import ServingState
from functions.score_clicks.enrichment import Enriched
from functions.score_clicks.roles import RoleTally, decided_tallies, role_of, shadow_role_tallies
from functions.score_clicks.services import Services
from functions.score_clicks.sides import (
    Side,
    clicks_taken,
    deciders,
    merged,
    shadow_tallies,
    side_of,
)
from slidr.click import Click
from slidr.contract import from_epoch_ms
from slidr.decision import Evidence, decide, doubt
from slidr.errors import DependencyUnavailable, ReleaseInvalid, ScoringUnavailable, ServingStateUnavailable
from slidr.features import SPEC_HASH, Floats
from slidr.pointer import Pointer
from slidr.policy import Policy
from slidr.release import Release
from slidr.shadow import ShadowTally
from slidr.telemetry import Role
from slidr.verdict import Mode, Reason, Verdict, is_billable


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdicts of a batch, one a click, and which releases were asked and answered."""

    verdicts: list[Verdict]
    release_id: str | None
    asked_release_id: str | None
    problems: tuple[str, ...]
    shadow: Mapping[str, ShadowTally]
    """By slice: what the challenger would have decided otherwise; empty where there is none in shadow."""
    roles: tuple[RoleTally, ...]
    """What each role did, by slice."""


def judge(enriched: Enriched, *, arrived_ms: Sequence[int], decided_at: dt.datetime, services: Services) -> Judged:
    """Score and decide every click; where something fails, the clicks that need it are UNDECIDED (rule 6)."""
    problems: list[str] = []
    state = _serving_state(services, problems)
    answer, scores = _scores(enriched, state.pointer, services, problems)
    release = _release(answer.release_id, services, problems) if answer else None
    champion = side_of(answer.release_id if answer else "", release, scores, enriched)
    challenger = _challenger(answer, state.pointer, enriched, services, problems)
    taken = clicks_taken(challenger, state.pointer, enriched, services)
    side = champion if taken is None or challenger is None else merged(champion, challenger, taken)
    doubts = enriched.doubts if state.pointer.champion else enriched.doubts | np.uint8(doubt(Reason.NO_RELEASE))
    allowed = _allowed(enriched.clicks, state.policy)
    decided = decide(
        Evidence(
            scores=side.scores,
            thresholds=side.thresholds,
            doubts=doubts,
            crawlers=enriched.crawlers,
            allowed=allowed,
        )
    )
    theirs = np.zeros(len(scores), dtype=np.bool_) if taken is None else taken
    answered = answer is not None
    role = role_of(champion.release_id or state.pointer.champion or "", state.pointer)
    roles = decided_tallies(champion, role, ~theirs, decided.decisions, enriched, answered=answered)
    if challenger is not None:
        roles += decided_tallies(challenger, Role.CHALLENGER, theirs, decided.decisions, enriched, answered=answered)
        roles += shadow_role_tallies(challenger, allowed, ~theirs, enriched)
    columns = zip(
        enriched.clicks,
        arrived_ms,
        decided.decisions,
        _modes(enriched.clicks, state.policy),
        decided.reasons,
        _numbers(side.scores),
        _numbers(side.thresholds),
        side.slices,
        deciders(champion, challenger, taken, len(scores)),
        _shadow_scores(answer, enriched, champion, taken),
        enriched.crawlers.tolist(),
        enriched.late.tolist(),
        (enriched.doubts == 0).tolist(),
        enriched.features.tolist(),
        strict=True,
    )
    verdicts = [
        Verdict(
            click_id=click.click_id,
            at=click.at,
            arrived_at=from_epoch_ms(arrived),
            decided_at=decided_at,
            decision=decision,
            mode=mode,
            billable=is_billable(decision, mode),
            reasons=reasons,
            score=score,
            threshold=threshold,
            slice=slice_name,
            release_id=decider if score is not None else None,
            shadow_scores=shadows,
            givt=givt,
            late=late,
            marketplace=click.marketplace,
            advertiser=click.advertiser,
            campaign=click.campaign,
            cost_micros=click.cost_micros,
            currency=click.currency,
            feature_spec=SPEC_HASH,
            features=tuple(features) if known else None,
        )
        for (
            click, arrived, decision, mode, reasons, score, threshold, slice_name, decider, shadows, givt, late, known,
            features
        ) in columns
    ]  # fmt: skip
    return Judged(
        verdicts=verdicts,
        release_id=answer.release_id if answer else None,
        asked_release_id=state.pointer.champion,
        problems=tuple(problems),
        shadow=shadow_tallies(champion, challenger, enriched.crawlers | allowed) if challenger else {},
        roles=tuple(roles),
    )


def _challenger(
    answer: Scores | None, pointer: Pointer, enriched: Enriched, services: Services, problems: list[str]
) -> Side | None:
    """The challenger on this batch, where the endpoint scored it and its release can be read."""
    name = pointer.challenger
    if answer is None or name is None or name not in answer.shadows:
        if pointer.canary_share and answer is not None:
            problems.append(f"canary_unavailable: the endpoint must score {name}, it does not; the champion decides")
        return None
    release = _release(name, services, problems)
    if release is None:
        return None
    scores = np.full(len(enriched.clicks), np.nan, dtype=np.float32)
    scores[enriched.doubts == 0] = answer.shadows[name]
    return side_of(name, release, scores, enriched)


def _serving_state(services: Services, problems: list[str]) -> ServingState:
    """Pointer and policy; where there are none, no release and observe mode."""
    try:
        state = services.serving_state.current()
    except ServingStateUnavailable as failure:
        problems.append(f"serving_state_unavailable: {failure}")
        return ServingState(pointer=Pointer(), policy=Policy())
    if services.serving_state.error:
        problems.append(f"serving_state_stale: {services.serving_state.error}; the last known one serves")
    return state


def _scores(
    enriched: Enriched, pointer: Pointer, services: Services, problems: list[str]
) -> tuple[Scores | None, Floats]:
    """What the endpoint said of the clicks without a doubt, and the scores of all, NaN where there is none."""
    scores = np.full(len(enriched.clicks), np.nan, dtype=np.float32)
    sound = enriched.doubts == 0
    if pointer.champion is None:
        problems.append(f"{Reason.NO_RELEASE.value}: the pointer names no champion; deploy a release")
        return None, scores
    if not sound.any():
        return None, scores
    try:
        answer = services.endpoint.score(enriched.features[sound], release_id=pointer.champion, shadows=pointer.shadows)
    except ScoringUnavailable as failure:
        problems.append(f"{Reason.SCORING_UNAVAILABLE.value}: {failure}")
        return None, scores
    scores[sound] = answer.scores
    bad = int(np.isnan(answer.scores).sum())
    if bad:
        problems.append(f"{Reason.SCORING_UNAVAILABLE.value}: {bad} values of the answer are no scores in [0, 1]")
    return answer, scores


def _release(release_id: str, services: Services, problems: list[str]) -> Release | None:
    """The release that scored, or None where its bundle cannot be used."""
    try:
        release = services.releases.release(release_id)
    except (DependencyUnavailable, ReleaseInvalid) as failure:
        problems.append(f"{Reason.NO_RELEASE.value}: {failure}")
        return None
    if release.feature_spec != SPEC_HASH:
        problems.append(
            f"{Reason.NO_RELEASE.value}: release {release_id} must be of feature spec {SPEC_HASH}, "
            f"came {release.feature_spec}; deploy a release that was trained with this version"
        )
        return None
    return release


def _numbers(values: Floats) -> list[float | None]:
    """Float32 values, exactly; None for NaN."""
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124 - NaN differs from itself


def _shadow_scores(
    answer: Scores | None, enriched: Enriched, champion: Side, taken: NDArray[np.bool_] | None
) -> list[dict[str, float]]:
    """Scores in shadow of each click, by release id; where the challenger decides, the champion's is one."""
    if answer is None or not answer.shadows:
        return [{} for _ in enriched.clicks]
    columns: dict[str, list[float]] = {}
    for name, values in answer.shadows.items():
        column = np.full(len(enriched.clicks), np.nan, dtype=np.float32)
        column[enriched.doubts == 0] = values
        columns[name] = column.tolist()
    shadows = [
        {name: values[row] for name, values in columns.items() if values[row] == values[row]}
        for row in range(len(enriched.clicks))
    ]
    if taken is not None:
        for row in np.flatnonzero(taken & ~np.isnan(champion.scores)).tolist():
            shadows[row] = {champion.release_id: float(champion.scores[row])}
    return shadows


def _allowed(clicks: Sequence[Click], policy: Policy) -> NDArray[np.bool_]:
    if not policy.allowed_networks and not policy.allowed_advertisers:
        return np.zeros(len(clicks), dtype=np.bool_)
    allowed = (policy.allows(ip=click.ip, advertiser=click.advertiser) for click in clicks)
    return np.fromiter(allowed, dtype=np.bool_, count=len(clicks))


def _modes(clicks: Sequence[Click], policy: Policy) -> list[Mode]:
    known: Mapping[tuple[str, str], Mode] = {
        key: policy.mode_of(*key) for key in {(click.marketplace, click.advertiser) for click in clicks}
    }
    return [known[click.marketplace, click.advertiser] for click in clicks]
