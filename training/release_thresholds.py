"""A release's thresholds from later rows: chosen on one fold of people, certified on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import polars as pl

from slidr.metrics import ROBOTIC_SESSION_CLICKS, Rate
from slidr.slices import Thresholds
from training.calibration.certificate import Certificate, certify, upper_bound
from training.calibration.curve import Flags, Scores
from training.calibration.folds import certifies, person_of
from training.calibration.parents import levels_of
from training.calibration.thresholds import (
    Calibration,
    CalibrationRows,
    CalibrationSettings,
    SliceRates,
    calibrate,
    overall_rates,
    rates_by_slice,
)
from training.hyperparameters import Hyperparameters
from training.labels import LabelRule, UnusableTrainingData
from training.slice_names import slice_names


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenThresholds:
    """The thresholds of a release, and what is known of them."""

    calibration: Calibration
    """On the fold that chose them: what it shows flatters."""
    enough: bool
    """Whether that fold had purchasing clicks enough for the bound that was asked for, were none of them invalid."""
    certificate: Certificate
    """On the fold that did not."""
    predicted: Mapping[str, SliceRates]
    """On the fold that did not, by slice: what to expect of later traffic, if it stays as it is."""
    overall: SliceRates
    """The same of all traffic, listed clicks included in IVR and FPR."""
    chosen_on: Mapping[str, SliceRates]
    """On the fold that chose them, by slice."""

    @property
    def thresholds(self) -> Thresholds:
        """For the release."""
        return self.calibration.thresholds


def choose_thresholds(rows: pl.DataFrame, scores: Scores, chosen: Hyperparameters) -> ChosenThresholds:
    """Thresholds within the false-positive budget, with their certificate.

    Args:
        rows: mature rows of a dataset, later than those that trained, clicks that a list names included.
        scores: of the rows by the scorer that serves, float32, shape (rows,).
        chosen: hyperparameters, see there.

    Raises:
        UnusableTrainingData: no purchasing click to choose by.
        CalibrationInfeasible: lists or coverage floors cost more than the budget.
        CalibrationInexact: the paper form was asked for and its solver did not reach an optimum.
    """
    person, columns = person_of(rows), chosen.slices.columns
    certifying = certifies(person, share=chosen.certify_share)
    choosing = calibration_rows(rows, scores, ~certifying, columns)
    if not choosing.purchases:
        raise UnusableTrainingData(
            "purchasing clicks are required to bound the false-positive rate, came none among "
            f"{int((~certifying).sum())} calibration rows. Take more or later days, or check that purchases arrive."
        )
    budget, enough = affordable(chosen.fpr_budget, choosing.purchases, bound=chosen.fpr_bound, delta=chosen.delta)
    calibration = calibrate(
        choosing if chosen.calibration == "slices" else replace(choosing, levels=choosing.levels[:1]),
        CalibrationSettings(
            budget=budget,
            form=chosen.calibration_form,
            n_min=chosen.min_slice_purchases,
            min_coverage=chosen.min_coverage,
            cap_factor=chosen.cap_factor * chosen.fpr_budget / budget,
        ),
    )
    held_back = calibration_rows(rows, scores, certifying, columns)
    bought = certifying & rows["purchased"].to_numpy()
    wrong = invalidated(rows, scores, calibration.thresholds, columns)
    certificate = certify(
        wrong[bought],
        buyer=person.filter(pl.Series(bought)).to_list(),
        click_id=rows["click_id"].filter(pl.Series(bought)).to_list(),
        budget=chosen.fpr_budget,
        delta=chosen.delta,
    )
    return ChosenThresholds(
        calibration=calibration,
        enough=enough,
        certificate=certificate,
        predicted=rates_by_slice(held_back, calibration.thresholds),
        overall=overall_rates(held_back, calibration.thresholds),
        chosen_on=rates_by_slice(choosing, calibration.thresholds),
    )


def calibration_rows(rows: pl.DataFrame, scores: Scores, within: Flags, columns: Sequence[str]) -> CalibrationRows:
    """The rows of a fold: those that no list names, and how many one does.

    Args:
        rows: as for `choose_thresholds`.
        scores: of the rows.
        within: which of the rows are in the fold, shape (rows,).
        columns: of the slice map.
    """
    listed = _listed(rows)
    ours = within & ~listed
    kept = rows.filter(ours)
    return CalibrationRows(
        levels=levels_of(kept, columns),
        scores=scores[ours],
        purchased=kept["purchased"].to_numpy(),
        robotic=(kept["session_clicks_1h"] > ROBOTIC_SESSION_CLICKS).to_numpy(),
        listed_clicks=int((within & listed).sum()),
        listed_purchases=int((within & listed & rows["purchased"].to_numpy()).sum()),
    )


def invalidated(rows: pl.DataFrame, scores: Scores, thresholds: Thresholds, columns: Sequence[str]) -> Flags:
    """Which rows are invalid: named by a list, or with a score that reaches the threshold of their slice.

    Args:
        rows: of a dataset.
        scores: of the rows.
        thresholds: by slice.
        columns: of the slice map.
    """
    return _listed(rows) | (scores >= thresholds.of(slice_names(rows, columns).to_list()))


def affordable(budget: float, purchases: int, *, bound: str, delta: float) -> tuple[float, bool]:
    """The FPR that thresholds may have in expectation on so many purchasing clicks, and whether those are enough.

    A threshold just above the (k + 1)-th of n buyers' scores invalidates k of these n, and k + 1 in n + 1 others are to
    be expected (training.calibration.curve charges it that). "point" takes the budget for that expectation. "upper"
    asks for later buyers to stay within it with confidence 1 - delta: the most that the one-sided Clopper-Pearson
    bound allows, and never less than 1, a threshold that no buyer here reaches.

    >>> affordable(0.01, 1150, bound="point", delta=0.05)
    (0.01, True)
    >>> [round(1150 * share, 6) for share in affordable(0.01, 1150, bound="upper", delta=0.05)[:1]]
    [6.0]
    >>> affordable(0.01, 200, bound="upper", delta=0.05)
    (0.005, False)
    """
    if bound == "point":
        return budget, budget * purchases >= 1.0
    allowed = 0
    while upper_bound(allowed, purchases, delta=delta) <= budget:
        allowed += 1
    return min(max(allowed, 1) / purchases, budget), allowed > 0


def told(chosen: ChosenThresholds) -> dict[str, Any]:
    """What the evidence of a release says of its thresholds."""
    calibration, certificate = chosen.calibration, chosen.certificate
    thresholds = calibration.thresholds
    by_slice = {
        name: {
            "threshold": thresholds.by_slice.get(name, thresholds.default),
            "threshold_of": calibration.source.get(name, ""),
            "clicks": on_choosing.ivr.total,
            "purchases": on_choosing.fpr.total,
            "chosen_on": told_rates(on_choosing),
            "predicted": told_rates(chosen.predicted[name]) if name in chosen.predicted else None,
        }
        for name, on_choosing in chosen.chosen_on.items()
    }
    forms = {name: form and asdict(form) for name, form in (("exact", calibration.exact), ("paper", calibration.paper))}
    return {
        "slices": by_slice,
        "predicted": told_rates(chosen.overall),
        "allowance": calibration.allowance,
        "enough_purchases": chosen.enough,
        "forms": forms | {"exact_beyond_paper_clicks": calibration.gap, "paper_failed": calibration.paper_failed},
        "knee": asdict(calibration.knee),
        "certificate": {
            "says": certificate.says,
            "certified": certificate.certified,
            "bound": certificate.bound,
            "confidence": 1.0 - certificate.delta,
            "budget": certificate.budget,
            "buyers_wrong": certificate.counted.count,
            "has": certificate.counted.total,
            "needs": certificate.needed,
        },
    }


def told_rate(measured: Rate) -> dict[str, object]:
    """A rate for the evidence: value, counts, 95% interval."""
    return {
        "value": measured.value,
        "count": measured.count,
        "total": measured.total,
        "wilson_95": list(measured.interval),
    }


def told_rates(rates: SliceRates) -> dict[str, object]:
    """The rates of a slice, or of all traffic, for the evidence."""
    return {name: told_rate(getattr(rates, name)) for name in ("ivr", "fpr", "coverage")}


def _listed(rows: pl.DataFrame) -> Flags:
    return (rows["rule"] == LabelRule.GIVT.value).to_numpy()
