"""The backtest itself: train on the first days, choose thresholds on their last, judge them on what came later."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Final

import polars as pl
import torch

from training.backtest.contenders import Stage, contenders_of, stated_rates
from training.backtest.drift import drift_of
from training.backtest.evidence import evidence_of
from training.backtest.later import Later, decide_later, families_of, listed_rates, outcomes
from training.backtest.plan import DAY, BacktestImpossible, BacktestSettings, Plan, in_words, plan_of, times_of
from training.backtest.results import Backtest, Part, Reasons
from training.backtest.tallies import bills_of, coverage_of, density_of
from training.curves import in_curves
from training.dataset import build_dataset, feature_matrix
from training.judgement import area_under_roc
from training.labels import attribute
from training.release_thresholds import ChosenThresholds, choose_thresholds
from training.scoring import Scorer, open_scorer
from training.train import Split, fit, sample_weights, split_by_time, with_shuffled_labels
from training.weights import effective_sample_size

TRAINING: Final = "train the network"
"""The stage that shows a progress bar of its own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Log:
    """Somebody's log, in the lake's form: clicks by (at, click_id), each once."""

    clicks: pl.DataFrame
    purchases: pl.DataFrame
    truth: pl.DataFrame | None = None
    """click_id, family, robot: of a simulation."""


def backtest(log: Log, settings: BacktestSettings, *, stage: Stage = lambda _title: nullcontext()) -> Backtest:
    """What a release of the first days would have done on the later ones.

    Args:
        log: clicks and purchases.
        settings: see BacktestSettings.
        stage: told of each stage's title; the stage lies inside the context that it gives.

    Raises:
        BacktestImpossible: the log does not hold what it takes; the message says what to do.
        UnusableTrainingData: one label only where both are needed.
    """
    plan = plan_of(log.clicks, log.purchases, settings)
    attributed = _attributed(log, plan)
    with stage("count features, label clicks"):
        past, whole = _rows(log, plan)
    split = split_by_time(past, settings.hyperparameters)
    if settings.hyperparameters.shuffle_labels:
        split = with_shuffled_labels(split, seed=settings.hyperparameters.seed)
    since = pl.col("at") >= plan.split
    later_rows, later_clicks = whole.filter(since), log.clicks.filter(since)
    parts = _parts(split, later_rows, plan)
    with stage(TRAINING):
        torch.set_num_threads(settings.hyperparameters.threads)
        weights = sample_weights(split.train, settings.hyperparameters)
        scorer = open_scorer(fit(split, weights, settings.hyperparameters), "cpu")
    with stage("choose thresholds, judge the later days"):
        chosen, one = _thresholds(split, scorer, settings)
        later = decide_later(later_rows, later_clicks, scorer, chosen, settings)
        overall, slices, one_threshold = outcomes(later, chosen, one, settings)
        reasons = _reasons(later, scorer)
    contenders, skipped = contenders_of(split, weights, later, settings, stage=stage)
    listed, listed_purchasing = listed_rates(later)
    labels = later.rows["label"].to_numpy()[later.mature]
    return Backtest(
        plan=plan,
        settings=settings,
        parts=parts,
        coverage=coverage_of(log.clicks, purchases=len(log.purchases), attributed=attributed),
        overall=overall,
        slices=slices,
        one_threshold=one_threshold,
        listed=listed,
        listed_purchasing=listed_purchasing,
        certificate=chosen.certificate,
        enough_purchases=chosen.enough,
        auc_labels=area_under_roc(later.scores[later.mature], labels == 1),
        effective_sample_size=effective_sample_size(weights),
        contenders=contenders,
        stated=stated_rates(settings.hyperparameters.fpr_budget),
        bills=bills_of(later),
        reasons=reasons,
        density=density_of(whole),
        drift=_drift(split, whole, later),
        families={} if log.truth is None else families_of(later, log.truth, settings),
        skipped=skipped,
    )


def _attributed(log: Log, plan: Plan) -> int:
    """How many purchases a click led to; none is no log to learn from."""
    attributed = int((attribute(log.clicks, log.purchases, window=plan.window) >= 0).sum())
    if not attributed:
        raise BacktestImpossible(
            f"purchases that clicks led to are required, but none of {len(log.purchases):,} leads back to one of "
            f"{len(log.clicks):,} clicks. A purchase belongs to the click that it names (click_id), else to the last "
            "one of the same user, else session, for the same advertiser or item, in the "
            f"{in_words(plan.window)} before. Check that both name people and goods alike, and their time zones."
        )
    return attributed


def _rows(log: Log, plan: Plan) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that train, made as at the split; and all rows, made as at the end of the log. Both with `person`.

    A person is the click's user, else its session, else its IP, else nobody else's click.
    """
    kinds = (("user", "user_token"), ("session", "session_token"), ("ip", "ip_token"), ("click", "click_id"))
    whose = pl.coalesce(pl.format(f"{kind} {{}}", pl.col(column)) for kind, column in kinds).alias("person")
    before = log.clicks.filter(pl.col("at") < plan.split)
    past = build_dataset(before, log.purchases, until=plan.split, window=plan.window)
    whole = build_dataset(log.clicks, log.purchases, until=plan.until, window=plan.window, restart_every=None)
    return past.with_columns(before.select(whose)), whole.with_columns(log.clicks.select(whose))


def _parts(split: Split, later: pl.DataFrame, plan: Plan) -> tuple[Part, ...]:
    """What each stretch of the log is used for. Each needs purchases: all of them measure or learn by these."""
    judged = later.filter(in_curves(later))
    named = {"train": split.train, "stop": split.validation, "choose": split.calibration, "judge": judged}
    bought = {name: int(rows["purchased"].sum()) for name, rows in named.items()}
    if not all(bought.values()):
        counted = ", ".join(f"{name}: {len(rows):,} with {bought[name]:,}" for name, rows in named.items())
        raise BacktestImpossible(
            "clicks that led to a purchase are required in every part of the log, came (mature clicks with purchasing "
            f"ones) {counted}. Take more days or more purchases, move --train-days (now "
            f"{(plan.split - plan.first) / DAY:.2f}), or shorten --window-hours (now "
            f"{in_words(plan.window)}): clicks younger than that have no label yet."
        )
    times = {name: times_of(rows) for name, rows in named.items()}
    return tuple(
        Part(
            name=name,
            first=times[name][0],
            last=times[name][1],
            clicks=len(rows),
            purchasing=bought[name],
        )
        for name, rows in named.items()
    )


def _thresholds(split: Split, scorer: Scorer, settings: BacktestSettings) -> tuple[ChosenThresholds, ChosenThresholds]:
    """As a release would have them, and one for all traffic by the same rule."""
    rows = split.later.filter(split.calibrates)
    scores = scorer.score(feature_matrix(rows))
    return (
        choose_thresholds(rows, scores, settings.hyperparameters),
        choose_thresholds(rows, scores, replace(settings.hyperparameters, calibration="global")),
    )


def _reasons(later: Later, scorer: Scorer) -> Reasons:
    groups, features = evidence_of(
        later.features,
        later.thresholds,
        scorer,
        invalid=later.behaviour,
        valid=~later.behaviour & ~later.listed,
    )
    return Reasons(
        listed=int(later.listed.sum()), behaviour=int(later.behaviour.sum()), groups=groups, features=features
    )


def _drift(split: Split, whole: pl.DataFrame, later: Later) -> dict[str, float]:
    """Between the clicks that chose thresholds and the later ones, both counted by counters that kept their past."""
    chose = whole.filter(pl.col("click_id").is_in(split.calibration["click_id"].implode()))
    return drift_of(feature_matrix(chose), later.features[later.mature])
