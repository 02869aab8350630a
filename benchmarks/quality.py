"""Network, LightGBM, logistic regression and a rule at equal FPR; slices and one threshold: five simulated worlds."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import torch

from benchmarks.harness import Measured
from benchmarks.quality_slices import GLOBAL, SLICES, Dialled, dialled
from local.console import console
from slidr.metrics import Rate
from training.baselines import BASELINES
from training.calibration.curve import Scores
from training.curves import ALL, ROBOTIC, ROBOTS, AtFpr, at_fpr, judged_clicks
from training.dataset import build_dataset, feature_matrix
from training.evaluate import LaterDays, later_days
from training.hyperparameters import Hyperparameters
from training.intervals import SEED, Floats, percentile_interval
from training.scoring import open_scorer
from training.simulator import Events, Traffic
from training.simulator.families import FAMILIES
from training.simulator.log import simulated_log
from training.train import fit, sample_weights, split_by_time

WORLDS: Final = (1, 2, 3, 4, 5)
"""Seeds on which nothing was ever tuned (training/LOG.md tells of others)."""
MONDAY: Final = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
CLICKS_PER_DAY: Final = 20_000
TRAINING_DAYS, LATER_DAYS = 10, 4
EVENTS: Final = Events(varying_purchases=True, sale_days=(5, 12), marketplace_opens=11)
RATES: Final = (0.001, 0.005, 0.01, 0.02)
REPLICATES: Final = 400

NETWORK: Final = "network"
SCORERS: Final = (NETWORK, *BASELINES)
PEOPLE: Final = "people"

FIGURES: Final = {
    **{f"ivr_{rate * 1000:g}": f"IVR of the network at FPR {rate:.1%}, mean of the worlds" for rate in RATES},
    **{
        f"{name.lower().replace(' ', '_')}_behind_{rate * 1000:g}": f"the network's IVR less that of {name}, {rate:.1%}"
        for name in BASELINES
        for rate in RATES
    },
    **{f"slices_gain_{rate * 1000:g}": f"IVR by slice less IVR by one threshold at FPR {rate:.1%}" for rate in RATES},
    **{
        f"slices_worst_{rate * 1000:g}": f"the worst slice's coverage by slice less by one threshold, {rate:.1%}"
        for rate in RATES
    },
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """What came of one world; by scorer, or by how thresholds were chosen."""

    at: Mapping[str, AtFpr]
    dialled: Mapping[str, Dialled]
    rows: int
    """That trained."""


def measure() -> Measured:
    """Worlds one after another; differences are between scorers on the same clicks and people."""
    worlds = []
    for seed in WORLDS:
        worlds.append(_world(seed))
        network = worlds[-1].at[NETWORK].values(ALL)
        console.print(f"  world {seed}: IVR of the network {', '.join(f'{share:.1%}' for share in network)}")
    figures: dict[str, float] = {}
    spread: dict[str, tuple[float, float]] = {}
    missed: list[str] = []
    for i, rate in enumerate(RATES):
        own = [world.at[NETWORK].values(ALL)[i] for world in worlds]
        figures[f"ivr_{rate * 1000:g}"], spread[f"ivr_{rate * 1000:g}"] = float(np.mean(own)), (min(own), max(own))
    gaps = {
        **{f"{name.lower().replace(' ', '_')}_behind": [_gap(w.at[NETWORK], w.at[name]) for w in worlds]
           for name in BASELINES},
        "slices_gain": [_dialled_gap(w, "ivr") for w in worlds],
        "slices_worst": [_dialled_gap(w, "worst") for w in worlds],
    }  # fmt: skip
    for name, of_worlds in gaps.items():
        mean = np.mean([value for value, _ in of_worlds], axis=0)  # (rates,)
        low, high = percentile_interval(np.mean([replicates for _, replicates in of_worlds], axis=0))
        for i, rate in enumerate(RATES):
            figure = f"{name}_{rate * 1000:g}"
            figures[figure], spread[figure] = float(mean[i]), (float(low[i]), float(high[i]))
            if name == "lightgbm_behind" and high[i] < 0:
                missed.append(f"the network at or above LightGBM at FPR {rate:.1%}: {mean[i]:+.2%}")
            if name != "lightgbm_behind" and mean[i] <= 0:
                missed.append(f"{name.replace('_', ' ')} above 0 at FPR {rate:.1%}: {mean[i]:+.2%}")
    return Measured(
        figures={name: figures[name] for name in FIGURES},
        spread=spread,
        rows=[row for i in range(len(RATES)) for row in _rows(worlds, i)],
        notes=_notes(worlds),
        missed=missed,
    )


def _notes(worlds: Sequence[World]) -> list[str]:
    trained = sum(world.rows for world in worlds) / len(worlds)
    size = f"worlds {WORLDS[0]} to {WORLDS[-1]}, {CLICKS_PER_DAY:,} clicks a day: days 0 to {TRAINING_DAYS - 1} train,"
    return [
        f"{size} stop and calibrate ({trained:,.0f} rows train), {LATER_DAYS} later days judge",
        "purchases vary, sales on days 5 (training) and 12 (later), a new marketplace from day 11",
        "scorers: thresholds on the later clicks, at the stated FPR on purchasing clicks; listed clicks left out",
        "slices, one threshold: chosen on calibration rows, budgets dialled until the later FPR is the stated one",
        "brackets, lowest and highest of differences: 95% by a bootstrap over people of the mean over worlds",
        "brackets of precision: Wilson; lowest and highest of the network's IVR: worlds",
    ]


def _world(seed: int) -> World:
    torch.set_num_threads(1)
    chosen = Hyperparameters()
    traffic = Traffic(seed=seed, start=MONDAY, clicks_per_day=CLICKS_PER_DAY, events=EVENTS)
    log = simulated_log(traffic, days=TRAINING_DAYS)
    split = split_by_time(build_dataset(log.clicks, log.purchases, until=log.until), chosen)
    later = later_days(traffic, first=TRAINING_DAYS, days=LATER_DAYS)
    weights = sample_weights(split.train, chosen)
    network = open_scorer(fit(split, weights, chosen), "cpu")
    features = feature_matrix(later.rows)
    scores = {NETWORK: network.score(features)}
    for name, fitted in BASELINES.items():
        scores[name] = fitted(split.train, weights, split.validation).score(features)
    calibration = split.later.filter(split.calibrates)
    return World(
        at={name: _judged(later, given, seed=seed) for name, given in scores.items()},
        dialled=dialled(
            calibration,
            network.score(feature_matrix(calibration)),
            later.rows,
            scores[NETWORK],
            rates=RATES,
            columns=chosen.slices.columns,
            replicates=REPLICATES,
            seed=SEED + seed,
        ),
        rows=len(split.train),
    )


def _judged(later: LaterDays, scores: Scores, *, seed: int) -> AtFpr:
    robot, family = later.truth["robot"].to_numpy(), later.truth["family"].cast(pl.String)
    groups = {ROBOTS: robot, PEOPLE: ~robot} | {each.name: (family == each.name).to_numpy() for each in FAMILIES}
    return at_fpr(judged_clicks(later.rows, scores, groups=groups), RATES, replicates=REPLICATES, seed=SEED + seed)


def _gap(network: AtFpr, other: AtFpr) -> tuple[Floats, Floats]:
    """IVR of the network less the other's, shape (rates,), and in each replicate."""
    return network.values(ALL) - other.values(ALL), network.replicates[ALL] - other.replicates[ALL]


def _dialled_gap(world: World, of: str) -> tuple[Floats, Floats]:
    slices, one = world.dialled[SLICES].shown[of], world.dialled[GLOBAL].shown[of]
    return slices.value - one.value, slices.replicates - one.replicates


def _rows(worlds: Sequence[World], i: int) -> list[dict[str, Any]]:
    """The table at one rate: a row a measure, a column a contender."""
    measures = {
        "IVR": ALL,
        "robotic coverage": ROBOTIC,
        "recall": ROBOTS,
        **{f"recall, {family.name}": family.name for family in FAMILIES if family.robot},
        "people invalidated": PEOPLE,
        **{f"invalidated, {family.name}": family.name for family in FAMILIES if not family.robot},
    }
    rows = []
    for title, group in measures.items():
        cells = {name: _share([world.at[name] for world in worlds], group, i) for name in SCORERS}
        if any(cells.values()):
            rows.append(_row(title, i, cells | _dialled_cells(worlds, {ALL: "ivr", ROBOTIC: "coverage"}.get(group), i)))
    rows.insert(2, _row("the worst slice's robotic coverage", i, _dialled_cells(worlds, "worst", i)))
    rows.insert(4, _row("precision", i, {name: _precision([w.at[name] for w in worlds], i) for name in SCORERS}))
    return rows


def _row(title: str, i: int, cells: Mapping[str, str]) -> dict[str, Any]:
    return {"FPR": f"{RATES[i]:.1%}", "measure": title} | {
        name: cells.get(name, "") for name in (*SCORERS, SLICES, GLOBAL)
    }


def _share(at: Sequence[AtFpr], group: str, i: int) -> str:
    values = [one.values(group)[i] for one in at]
    if any(math.isnan(value) for value in values):  # a list names all of them
        return ""
    low, high = percentile_interval(np.mean([one.replicates[group][:, i] for one in at], axis=0))
    return _cell(float(np.mean(values)), float(low), float(high))


def _precision(at: Sequence[AtFpr], i: int) -> str:
    found = Rate(count=sum(one.share[ROBOTS][i].count for one in at), total=sum(one.share[ALL][i].count for one in at))
    return _cell(found.value, *found.interval)


def _dialled_cells(worlds: Sequence[World], of: str | None, i: int) -> dict[str, str]:
    if of is None:
        return {}
    cells = {}
    for name in (SLICES, GLOBAL):
        shown = [world.dialled[name].shown[of] for world in worlds]
        low, high = percentile_interval(np.mean([each.replicates[:, i] for each in shown], axis=0))
        cells[name] = _cell(float(np.mean([each.value[i] for each in shown])), float(low), float(high))
    return cells


def _cell(value: float, low: float, high: float) -> str:
    return f"{value:.1%} [{low:.1%}, {high:.1%}]"
