"""Judge releases on simulated days that come after their training data, where the truth is known.

    python -m training.evaluate build/model --first-day 10 --days 2
    python -m training.evaluate build/model build/shuffled --first-day 10 --days 2

What each release's thresholds did to every slice is kept beside it (realised.json) and shown beside what its evidence
predicted. Counting starts a day before the first judged day, so that the counters are warm; `--cold` starts it with
that day.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from slidr.errors import ReleaseInvalid
from slidr.metrics import Rate
from training.artifact import LoadedRelease, load_releases
from training.dataset import build_dataset, feature_matrix
from training.judgement import Judgement, area_under_roc, judge
from training.labels import LabelRule
from training.realised import beside_prediction, keep_realised, realised
from training.release_thresholds import invalidated
from training.scoring import open_scorer
from training.simulator.families import FAMILIES
from training.simulator.log import add_simulation_arguments, simulated_log, simulation_of
from training.simulator.traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One release on later days."""

    release_id: str
    judgement: Judgement
    auc_truth: float
    """AUC against the truth, without what the crawler list names."""
    auc_labels: float
    """AUC against the weak labels, which is what training sees."""
    realised: Mapping[str, Any]
    """See `training.realised.realised`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaterDays:
    """Rows to judge on, with their truth."""

    rows: pl.DataFrame
    truth: pl.DataFrame


def later_days(traffic: Traffic, *, first: int, days: int, cold: bool = False) -> LaterDays:
    """The dataset of simulated days `first` to `first + days - 1`.

    Args:
        traffic: the world, the same as the training days' (or another seed, to see how far a release carries).
        first: first day to judge.
        days: how many.
        cold: whether counting starts with the first judged day instead of a day earlier.
    """
    warm_up = 0 if cold or first == 0 else 1
    log = simulated_log(traffic, days=days + warm_up, first=first - warm_up)
    rows = build_dataset(log.clicks, log.purchases, until=log.until, restart_every=None)
    judged = (rows["at"] >= traffic.start + dt.timedelta(days=first)).to_numpy()
    return LaterDays(rows=rows.filter(judged), truth=log.truth.filter(judged))


def evaluate(loaded: LoadedRelease, later: LaterDays) -> Evaluation:
    """Score the rows as serving does and judge the verdicts."""
    rows, truth = later.rows, later.truth
    scores = open_scorer(loaded.weights, "cpu").score(feature_matrix(rows))
    release = loaded.release
    givt = (rows["rule"] == LabelRule.GIVT.value).to_numpy()
    robot = truth["robot"].to_numpy()
    judgement = judge(
        invalidated(rows, scores, release.thresholds, release.slices.columns),
        givt=givt,
        purchased=rows["purchased"].to_numpy(),
        session_clicks_1h=rows["session_clicks_1h"].to_numpy(),
        family=truth["family"],
        robot=robot,
    )
    return Evaluation(
        release_id=loaded.id,
        judgement=judgement,
        auc_truth=area_under_roc(scores[~givt], robot[~givt]),
        auc_labels=area_under_roc(scores[~givt], (rows["label"].to_numpy() == 1)[~givt]),
        realised=realised(release, rows, scores),
    )


def table(evaluations: Mapping[str, Evaluation]) -> str:
    """The evaluations side by side, as plain text, one column each."""
    columns = list(evaluations.values())
    lines = [["", *evaluations], ["release", *(e.release_id for e in columns)]]
    for title, name in (
        ("IVR", "ivr"), ("FPR, purchasing clicks", "fpr"), ("FPR, all human clicks (truth)", "true_fpr"),
        ("robotic coverage", "coverage"), ("recall, robots not on a list", "recall"), ("precision, same", "precision"),
    ):  # fmt: skip
        lines.append([title, *(_with_interval(getattr(e.judgement, name)) for e in columns)])
    lines.append(["AUC against the truth", *(f"{e.auc_truth:.3f}" for e in columns)])
    lines.append(["AUC against the labels", *(f"{e.auc_labels:.3f}" for e in columns)])
    for kind, robot in (("robots: invalidated", True), ("people: invalidated", False)):
        lines.append([kind, *("" for _ in columns)])
        for family in FAMILIES:
            rates = [e.judgement.families.get(family.name, Rate(count=0, total=0)) for e in columns]
            if family.robot == robot and rates[0].total:
                lines.append([f"  {family.name} ({rates[0].total})", *(_with_interval(r) for r in rates)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _with_interval(measured: Rate) -> str:
    low, high = measured.interval
    return f"{measured.value:7.2%} [{low:.2%}, {high:.2%}]"


def champion_of(model_dir: Path) -> LoadedRelease:
    """The champion of a model directory.

    Raises:
        ReleaseInvalid: there is none.
    """
    loaded = load_releases(model_dir)
    if loaded.champion is None:
        raise ReleaseInvalid(f"{model_dir} must hold a release, it is empty. Train one with python -m training.train.")
    return loaded.by_id[loaded.champion]


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge the champions of model directories on later simulated days and print the table."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description="Judge releases on later days.")
    parser.add_argument("models", type=Path, nargs="+", help="model directories; their champions are judged")
    add_simulation_arguments(parser, days=2, first_day=10)
    parser.add_argument("--cold", action="store_true", help="start counting with the first judged day")
    chosen = parser.parse_args(arguments)
    releases = {str(path): champion_of(path) for path in chosen.models}
    later = later_days(simulation_of(chosen), first=chosen.first_day, days=chosen.days, cold=chosen.cold)
    evaluations = {name: evaluate(loaded, later) for name, loaded in releases.items()}
    sys.stdout.write(table(evaluations) + "\n")
    for name, judged in evaluations.items():
        keep_realised(Path(name), judged.release_id, judged.realised)
        sys.stdout.write(f"\n{name}\n{beside_prediction(Path(name), judged.release_id)}\n")


if __name__ == "__main__":
    main()
