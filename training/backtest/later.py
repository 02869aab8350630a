"""The later days, scored and decided by thresholds that never saw them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from slidr.metrics import Rate, rate
from training.backtest.plan import BacktestSettings
from training.backtest.results import Knee, SliceOutcome, Verdicts
from training.calibration.curve import Flags, Scores
from training.calibration.thresholds import SliceRates
from training.curves import (
    ALL,
    ROBOTIC,
    AtFpr,
    JudgedClicks,
    Share,
    at_fpr,
    in_curves,
    judged_clicks,
    kneed_knee,
    shares,
)
from training.dataset import feature_matrix
from training.labels import LabelRule
from training.mlp_weights import Floats
from training.release_thresholds import ChosenThresholds
from training.scoring import Scorer
from training.slice_names import slice_names

GRID: Final = np.linspace(0.0, 1.0, 41) ** 2
"""False-positive rates of the plotted curves: dense where budgets are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Later:
    """Every later click with its verdict; arrays have one entry a click, shape (clicks,)."""

    rows: pl.DataFrame
    """Of the dataset, and `person`."""
    clicks: pl.DataFrame
    """The same clicks in the lake's form."""
    features: Floats
    scores: Scores
    thresholds: Scores
    names: pl.Series
    """The slice of each."""
    mature: Flags
    """Mature and named by no list: what rates are measured on."""
    listed: Flags
    """Named by the crawler list."""
    behaviour: Flags
    """Named by no list, and invalid by the network."""

    @property
    def judged(self) -> JudgedClicks:
        """The mature ones, with the people that the bootstrap draws."""
        return judged_clicks(self.rows, self.scores, person=self.rows["person"])


def decide_later(
    rows: pl.DataFrame, clicks: pl.DataFrame, scorer: Scorer, chosen: ChosenThresholds, settings: BacktestSettings
) -> Later:
    """Score the later clicks as serving does, and decide them.

    Args:
        rows: of the dataset, and `person`.
        clicks: the same clicks, in the same order, in the lake's form.
        scorer: the network.
        chosen: its thresholds.
        settings: see BacktestSettings.
    """
    features = feature_matrix(rows)
    scores = scorer.score(features)
    names = slice_names(rows, settings.hyperparameters.slices.columns)
    thresholds = chosen.thresholds.of(names.to_list())
    listed = clicks["givt"].to_numpy()
    return Later(
        rows=rows,
        clicks=clicks,
        features=features,
        scores=scores,
        thresholds=thresholds,
        names=names,
        mature=in_curves(rows),
        listed=listed,
        behaviour=(scores >= thresholds) & ~listed,
    )


def outcomes(
    later: Later, chosen: ChosenThresholds, one: ChosenThresholds, settings: BacktestSettings
) -> tuple[SliceOutcome, tuple[SliceOutcome, ...], Verdicts]:
    """All traffic; each slice, the largest first; and all traffic by one global threshold.

    Args:
        later: the later days.
        chosen: thresholds by slice.
        one: one for all traffic, chosen on the same rows.
        settings: see BacktestSettings.
    """
    clicks, names = later.judged, later.names.filter(later.mature)
    invalid = later.behaviour[later.mature]
    human = later.rows["label"].to_numpy()[later.mature] == 0
    bought = {name: rates.fpr.total for name, rates in chosen.chosen_on.items()}
    expected = chosen.predicted or chosen.chosen_on  # where nobody was held back

    def outcome(name: str, within: Flags, threshold: float, source: str, predicted: SliceRates | None) -> SliceOutcome:
        mine = clicks.within(within)
        curve, knee = _curve(mine, settings)
        return SliceOutcome(
            name=name,
            threshold=threshold,
            source=source,
            chosen_on=bought.get(name, 0) if name else sum(bought.values()),
            predicted=predicted,
            realised=_verdicts(invalid[within], mine, settings),
            curve=curve,
            knee=knee,
            human_share=float(human[within].mean()),
        )

    everything = np.ones(len(invalid), dtype=np.bool_)
    overall = outcome("", everything, chosen.thresholds.default, "", _together(expected))
    largest_first = names.value_counts(sort=True, name="clicks").get_column(names.name).to_list()
    slices = tuple(
        outcome(
            name,
            (names == name).to_numpy(),
            float(chosen.thresholds.of([name])[0]),
            chosen.calibration.source.get(name, ""),
            expected.get(name),
        )
        for name in largest_first
    )
    return overall, slices, _verdicts(clicks.scores >= np.float32(one.thresholds.default), clicks, settings)


def _together(slices: Mapping[str, SliceRates]) -> SliceRates:
    """All slices' rates as one, without what lists name."""

    def added(rates: list[Rate]) -> Rate:
        return Rate(count=sum(one.count for one in rates), total=sum(one.total for one in rates))

    each = list(slices.values())
    return SliceRates(
        ivr=added([one.ivr for one in each]),
        fpr=added([one.fpr for one in each]),
        coverage=added([one.coverage for one in each]),
    )


def _verdicts(invalid: Flags, clicks: JudgedClicks, settings: BacktestSettings) -> Verdicts:
    fpr, groups = shares(invalid, clicks, replicates=settings.replicates)
    return Verdicts(fpr=fpr, ivr=groups[ALL], coverage=groups[ROBOTIC])


def _curve(clicks: JudgedClicks, settings: BacktestSettings) -> tuple[AtFpr | None, Knee | None]:
    if not clicks.purchased.any():
        return None, None
    curve = clicks.curve()
    at = kneed_knee(curve)
    drawn = replace(clicks, groups={ALL: clicks.groups[ALL]})
    return (
        at_fpr(drawn, GRID, replicates=settings.replicates),
        Knee(fpr=float(curve.fpr[at]), ivr=float(curve.ivr[at])),
    )


def _mature_listed(later: Later) -> Flags:
    return np.asarray(later.listed & (later.rows["rule"].cast(pl.String) != LabelRule.IMMATURE.value).to_numpy())


def listed_rates(later: Later) -> tuple[Rate, Rate]:
    """The listed share of the later clicks, and of the purchasing ones among those old enough to tell."""
    old_enough = later.mature | _mature_listed(later)
    return rate(later.listed), rate(later.listed, old_enough & later.rows["purchased"].to_numpy())


def families_of(later: Later, truth: pl.DataFrame, settings: BacktestSettings) -> Mapping[str, tuple[bool, Share]]:
    """Of a simulation: by family, robots first, whether it is a robot's and how much of it is invalid, lists included.

    Args:
        later: the later days.
        truth: click_id, family, robot.
        settings: see BacktestSettings.
    """
    known = later.rows.select("click_id").join(truth, on="click_id", how="left", maintain_order="left")
    flags = {
        (not robot, str(family)): (known["family"] == family).to_numpy()
        for family, robot in known.select("family", "robot").unique().iter_rows()
    }
    clicks = JudgedClicks(
        scores=later.scores,
        purchased=later.rows["purchased"].to_numpy(),
        person=(later.rows["person"].rank("dense").cast(pl.Int64) - 1).to_numpy(),
        groups={family: mine for (_, family), mine in sorted(flags.items())},
    )
    _, found = shares(later.behaviour | later.listed, clicks, replicates=settings.replicates)
    robots = {family for human, family in flags if not human}
    return {family: (family in robots, share) for family, share in found.items()}
