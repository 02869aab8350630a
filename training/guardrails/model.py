"""The model guardrails: a candidate on a later day, against bounds and against the champion; and the endpoint's."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from slidr.guardrails import ALL, Bound, Guardrail, Result, check
from training.guardrails.chance import nearest_to_one, share_at_least
from training.guardrails.model_summary import ModelSummary, Standing, Tally

Values = Mapping[str, float]

LEAST_CLICKS: Final = 200
"""Later clicks that a slice needs for its share of changed verdicts to be judged."""
_HOUR: Final = dt.timedelta(hours=1)


def model_guardrails(summary: ModelSummary) -> tuple[Result, ...]:
    """Every model guardrail's results; see `stopped_by`. Those that compare with a champion give none without one."""
    return check(MODEL, summary)


def _of(value: Callable[[Standing], float]) -> Callable[[ModelSummary], Values]:
    return lambda summary: {ALL: value(summary.candidate)}


def _against(value: Callable[[Standing, Standing], float]) -> Callable[[ModelSummary], Values]:
    def values(summary: ModelSummary) -> Values:
        return {ALL: value(summary.candidate, summary.champion)} if summary.champion else {}

    return values


def _budget(standing: Standing) -> float:
    return standing.evidence.calibration.certificate.budget


def _cost(standing: Standing, tally: Tally) -> float:
    """Least FPR that the tally still speaks for, in budgets."""
    return share_at_least(tally.wrong, tally.purchasing) / _budget(standing)


def _told_cost(standing: Standing) -> float:
    told = standing.evidence.calibration_fpr
    return share_at_least(told.count, told.total) / _budget(standing)


def _cost_of_slices(summary: ModelSummary) -> Values:
    new = summary.candidate
    return {name: _cost(new, tally) for name, tally in new.by_slice.items()}


def _invalid_share(tally: Tally) -> float:
    return tally.invalid / tally.clicks if tally.clicks else math.nan


def _invalid_of_slices(summary: ModelSummary) -> Values:
    return {name: share_at_least(own.invalid, own.clicks) for name, own in summary.candidate.by_slice.items()}


def _invalid_against_champion(summary: ModelSummary) -> Values:
    return {name: nearest_to_one(own.invalid, theirs.invalid) for name, own, theirs in _slices(summary)}


def _churn(summary: ModelSummary) -> Values:
    if summary.champion is None:
        return {}
    return {ALL: sum(summary.flipped.values()) / max(summary.candidate.overall.clicks, 1)}


def _churn_of_slices(summary: ModelSummary) -> Values:
    return {
        name: summary.flipped.get(name, 0) / own.clicks
        for name, own, _ in _slices(summary)
        if own.clicks >= LEAST_CLICKS
    }


def _jumps(summary: ModelSummary) -> Values:
    new, old = summary.candidate, summary.champion
    return {name: abs(new.thresholds[name] - old.thresholds[name]) for name in new.thresholds} if old else {}


def _slices(summary: ModelSummary) -> Iterator[tuple[str, Tally, Tally]]:
    """Slice, the candidate's and the champion's tally."""
    if summary.champion is not None:
        for name, own in summary.candidate.by_slice.items():
            yield name, own, summary.champion.by_slice[name]


MODEL: Final[tuple[Guardrail[ModelSummary], ...]] = (
    Guardrail(
        name="scores_not_finite",
        measures="later clicks whose score is no finite number",
        bound=Bound(high=0),
        why="weights that are not finite are no release (ReleaseInvalid); nor are such scores",
        values=_of(lambda new: float(new.scores_not_finite)),
    ),
    Guardrail(
        name="hours_after_training",
        measures="hours from the newest row that made the release to the oldest that judges it",
        bound=Bound(low=0.0, high=72.0),
        why="rates are measured on later time, never on rows that trained; three days behind is no daily release",
        values=lambda summary: {ALL: (summary.first_at - summary.candidate.evidence.ends) / _HOUR},
    ),
    Guardrail(
        name="training_rows",
        measures="rows that trained / those of the champion",
        bound=Bound(low=0.5),
        why="half the rows are not a training set of the same days; clean: 0.98 and more",
        values=_against(lambda new, old: new.evidence.rows["train"] / old.evidence.rows["train"]),
    ),
    Guardrail(
        name="thresholds_untold",
        measures="slices whose threshold is not the one that the evidence calibrated",
        bound=Bound(high=0),
        why="evidence and thresholds come from one calibration",
        values=_of(lambda new: float(new.thresholds_untold)),
    ),
    Guardrail(
        name="calibration_fpr",
        measures="least FPR of the fold that chose no threshold / budget",
        bound=Bound(high=1.0),
        why="thresholds are chosen to keep the budget",
        values=_of(_told_cost),
    ),
    Guardrail(
        name="enough_purchases",
        measures="1 where purchases sufficed for the bound on the FPR that was asked for",
        bound=Bound(low=1),
        why="else the expected FPR was bounded instead",
        severity="warn",
        values=_of(lambda new: float(new.evidence.calibration.enough_purchases)),
    ),
    Guardrail(
        name="certified",
        measures="1 where the certificate's bound is within the budget",
        bound=Bound(low=1),
        why="thresholds well within the budget are often not certified for want of buyers (docs/calibration.md)",
        severity="warn",
        values=_of(lambda new: float(new.evidence.calibration.certificate.certified)),
    ),
    Guardrail(
        name="auc",
        measures="AUC against the weak labels",
        bound=Bound(low=0.6, high=0.95),
        why="nine in ten people buy nothing, so weak labels cannot be told so well; clean: 0.70 to 0.80",
        values=_of(lambda new: math.nan if new.auc is None else new.auc),
    ),
    Guardrail(
        name="auc_behind_champion",
        measures="AUC less the champion's",
        bound=Bound(low=-0.1),
        why="clean: -0.06 and more",
        values=_against(lambda new, old: (new.auc or math.nan) - (old.auc or math.nan)),
    ),
    Guardrail(
        name="fpr",
        measures="least FPR / budget",
        bound=Bound(high=2.0),
        why="twice the budget beyond doubt; a day has few purchases. Clean: at most 0.56",
        values=_of(lambda new: _cost(new, new.overall)),
    ),
    Guardrail(
        name="fpr_in_slice",
        measures="least FPR of the slice / budget",
        bound=Bound(high=3.0),
        scope="slice",
        why="no slice's own threshold may cost more than three budgets; clean: at most 1.47",
        values=_cost_of_slices,
    ),
    Guardrail(
        name="fpr_against_champion",
        measures="FPR less the champion's",
        bound=Bound(high=0.01),
        why="a point on the same clicks: worth a look, but few purchases say little of it",
        severity="warn",
        values=_against(lambda new, old: (new.overall.wrong - old.overall.wrong) / max(new.overall.purchasing, 1)),
    ),
    Guardrail(
        name="ivr",
        measures="share of the clicks that no list names which are invalid",
        bound=Bound(low=0.01, high=0.4),
        why="robots are 15% to 25% of a day, lists apart; clean: 0.05 to 0.22",
        values=_of(lambda new: _invalid_share(new.overall)),
    ),
    Guardrail(
        name="ivr_in_slice",
        measures="least share of the slice's clicks that is invalid",
        bound=Bound(high=0.6),
        scope="slice",
        why="small slices hold single robots; clean: at most 0.35",
        values=_invalid_of_slices,
    ),
    Guardrail(
        name="ivr_against_champion",
        measures="invalid clicks / those of the champion",
        bound=Bound(low=1 / 3, high=3.0),
        why="clean: 0.94 to 1.53",
        values=_against(lambda new, old: nearest_to_one(new.overall.invalid, old.overall.invalid)),
    ),
    Guardrail(
        name="ivr_in_slice_against_champion",
        measures="invalid clicks of the slice / those of the champion",
        bound=Bound(low=0.2, high=5.0),
        severity="warn",
        scope="slice",
        why="a slice may move between its own threshold and its parent's; clean: 0.24 to 5.4",
        values=_invalid_against_champion,
    ),
    Guardrail(
        name="coverage_against_champion",
        measures="invalid clicks in robotic sessions / those of the champion",
        bound=Bound(low=0.25),
        why="robotic sessions are few and long; clean: 0.28 and more",
        values=_against(lambda new, old: nearest_to_one(new.overall.covered, old.overall.covered)),
    ),
    Guardrail(
        name="churn",
        measures="share of the clicks on which candidate and champion differ",
        bound=Bound(high=0.2),
        why="as much as robots are; clean: at most 0.09",
        values=_churn,
    ),
    Guardrail(
        name="churn_in_slice",
        measures="the same in the slice",
        bound=Bound(high=0.5),
        scope="slice",
        why="clean: at most 0.23",
        values=_churn_of_slices,
    ),
    Guardrail(
        name="threshold",
        measures="the slice's threshold, at most 1",
        bound=Bound(low=0.3),
        scope="slice",
        why="weak labels put most clicks above 0.5; clean: 0.69 and more",
        values=lambda summary: summary.candidate.thresholds,
    ),
    Guardrail(
        name="threshold_jump",
        measures="how far the slice's threshold is from the champion's",
        bound=Bound(high=0.5),
        scope="slice",
        why="scores of two trainings are not on one scale; clean: at most 0.35",
        values=_jumps,
    ),
    Guardrail(
        name="expected_ivr",
        measures="IVR less what the release expects in these hours, crawlers included",
        bound=Bound(low=-0.2, high=0.2),
        why="alarms go by it; clean: within 0.07",
        values=_of(lambda new: new.came_ivr - new.expected_ivr),
    ),
)
