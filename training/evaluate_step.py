"""The processing step `evaluate`: a candidate against champion and baselines on the day that no training saw.

Layout, below SageMaker's /opt/ml/processing: input/candidate holds the training job's model.tar.gz, input/dataset and
input/later the rows (training/day_step.py), input/compare the plan and releases/<id>/ of the champion and of a former
champion whose interval has matured. output/evaluation takes:

    guardrails-model.json    results of the model guardrails
    guardrails-stable.json   results for the former champion; an empty list where there is none to judge
    realised.json            what its thresholds did to the matured clicks of its interval
    evaluation.json          rates, thresholds before and after, churn, baselines, numbers for the registry
    curves.html              the IVR-FPR curves, a fragment that needs nothing else
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from slidr.artifact import RELEASES_DIR
from slidr.errors import ReleaseInvalid
from slidr.guardrails import Result, encode_results, stopped_by
from slidr.markup import Markup, tag, together
from training.artifact import load_releases, unpack
from training.baselines import BASELINES
from training.curves import ALL, ROBOTIC, AtFpr, JudgedClicks, at_fpr, in_curves, judged_clicks
from training.dataset import feature_matrix, read_dataset
from training.day_step import DayPlan, read_plan
from training.guardrails.model import model_guardrails
from training.guardrails.model_summary import Entrant, ModelSummary, read_entrant, summarise_models
from training.guardrails.stable import ServedInterval, stable_guardrails
from training.hyperparameters import Hyperparameters
from training.mlp_weights import Floats
from training.realised import realised
from training.report.plots import Line, Mark, curve_plot, key
from training.scoring import open_scorer
from training.train import sample_weights, split_by_time

log = logging.getLogger("slidr.evaluate")

MODEL_RESULTS: Final = "guardrails-model.json"
STABLE_RESULTS: Final = "guardrails-stable.json"
EVALUATION_FILE: Final = "evaluation.json"
CURVES_FILE: Final = "curves.html"
BASELINE_ROWS: Final = 400_000
"""The newest rows that baselines are fitted and stopped on: what they are compared for, more would not change."""
_FITTED: Final = ("logistic regression", "velocity rule")
_ONE_THRESHOLD: Final = "one threshold"
_STYLES: Final = {
    "candidate": "network",
    "champion": "trees",
    "logistic regression": "logistic",
    "velocity rule": "rule",
}
_GRID: Final = np.linspace(0.0, 0.16, 65)


def process_evaluate(processing: Path) -> None:
    """Run the step.

    Raises:
        ReleaseInvalid: a release is missing, changed or not whole.
        EvidenceInvalid: a release's evidence lacks what guardrails must see, or there is no later row.
        UnusableTrainingData: the plan or the rows are missing.
    """
    given, out = processing / "input", processing / "output" / "evaluation"
    out.mkdir(parents=True, exist_ok=True)
    plan = read_plan(given / "compare")
    candidate = _candidate(given / "candidate")
    champion = _entrant(given / "compare", plan.champion) if plan.champion else None
    later = read_dataset(given / "later")
    dataset = read_dataset(given / "dataset")

    summary = summarise_models(candidate, champion, later)
    results = model_guardrails(summary)
    (out / MODEL_RESULTS).write_bytes(encode_results(results))
    matured: tuple[Result, ...] = ()
    if plan.former and plan.former_interval is not None:
        matured, told = _matured(plan, _entrant(given / "compare", plan.former), pl.concat([dataset, later]))
        (out / "realised.json").write_bytes(msgspec.json.format(msgspec.json.encode(told, order="sorted")))
    (out / STABLE_RESULTS).write_bytes(encode_results(matured))

    entrants = {"candidate": candidate} | ({"champion": champion} if champion else {})
    features = feature_matrix(later)
    scores = {name: open_scorer(one.loaded.weights, "cpu").score(features) for name, one in entrants.items()}
    rates = {name: realised(one.loaded.release, later, scores[name]) for name, one in entrants.items()}
    came = rates["candidate"]["overall"]["fpr"]
    judged = judged_clicks(later, scores["candidate"])
    baselines, lines = _baselines(dataset, later, judged, features, at=came["value"] if came["total"] else None)
    if champion and lines:
        lines.append(_line("champion", judged.scored_by(scores["champion"][in_curves(later)])))
    evaluation = {
        "release_id": candidate.loaded.id,
        "champion": champion.loaded.id if champion else None,
        "day": f"{plan.day}",
        "rates": {"candidate": rates["candidate"], "champion": rates.get("champion")},
        "auc": {"candidate": summary.candidate.auc, "champion": summary.champion.auc if summary.champion else None},
        "thresholds": _thresholds(summary),
        "churn": _churn(summary),
        "baselines": baselines,
        "certificate": _certificate(given / "candidate"),
        "metrics": _metrics(summary, rates["candidate"]),
    }
    (out / EVALUATION_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(evaluation, order="sorted")))
    (out / CURVES_FILE).write_text(_curves(lines, judged, rates), encoding="utf-8")
    log.info(
        "candidate_evaluated",
        extra={"fields": {"release": candidate.loaded.id, "stopped": [one.says for one in stopped_by(results)]}},
    )


def _candidate(folder: Path) -> Entrant:
    """The release that the training job made, unpacked beside its archive."""
    archive = next(folder.rglob("model.tar.gz"), None)
    if archive is None:
        raise ReleaseInvalid(f"a training job's model.tar.gz is required in {folder}, there is none. Train again.")
    unpack(archive, folder / "model")
    champion = load_releases(folder / "model").champion
    if champion is None:
        raise ReleaseInvalid(f"{archive} must hold a release, it is empty. Train again.")
    return read_entrant(folder / "model" / RELEASES_DIR / champion)


def _entrant(compare: Path, identity: str) -> Entrant:
    return read_entrant(compare / RELEASES_DIR / identity)


def _matured(plan: DayPlan, former: Entrant, rows: pl.DataFrame) -> tuple[tuple[Result, ...], Mapping[str, Any]]:
    """How the former champion's thresholds stand on the matured clicks of the interval in which it served."""
    start, end = plan.former_interval or (plan.start, plan.start)
    served = rows.filter(pl.col("at").is_between(start, end, closed="left"))
    counts = {name: {"count": 0, "total": 0} for name in ("ivr", "fpr")}
    told: dict[str, Any] = {"window": [start.isoformat(), end.isoformat()], "overall": counts, "slices": {}}
    if len(served):
        told = realised(
            former.loaded.release, served, open_scorer(former.loaded.weights, "cpu").score(feature_matrix(served))
        )
    ivr, fpr = told["overall"]["ivr"], told["overall"]["fpr"]
    results = stable_guardrails(
        ServedInterval(
            clicks=ivr["total"],
            invalid=ivr["count"],
            purchasing=fpr["total"],
            wrong=fpr["count"],
            budget=plan.budget,
        )
    )
    return results, told


def _baselines(
    dataset: pl.DataFrame, later: pl.DataFrame, judged: JudgedClicks, features: Floats, *, at: float | None
) -> tuple[dict[str, dict[str, Any]], list[Line]]:
    """What the baselines invalidate at the candidate's own FPR, each threshold chosen on the later day for all alike.

    Nothing where the later day has no purchasing click: there is no false-positive rate to be equal at.
    """
    if at is None:
        return {}, []
    chosen = Hyperparameters()
    split = split_by_time(dataset.tail(BASELINE_ROWS), chosen)
    weights = sample_weights(split.train, chosen)
    found = {_ONE_THRESHOLD: _at(judged, at)}
    lines = []
    mature = in_curves(later)
    for name in _FITTED:
        scores = BASELINES[name](split.train, weights, split.validation).score(features[mature])
        found[name] = _at(judged.scored_by(scores), at)
        lines.append(_line(name, judged.scored_by(scores)))
    return found, lines


def _at(clicks: JudgedClicks, fpr: float) -> dict[str, Any]:
    found = at_fpr(clicks, [fpr], replicates=0)
    return {
        "at_fpr": fpr,
        "fpr": found.fpr[0].value,
        "ivr": found.share[ALL][0].value,
        "coverage": found.share[ROBOTIC][0].value if found.share[ROBOTIC][0].total else None,
    }


def _line(name: str, clicks: JudgedClicks) -> Line:
    curve: AtFpr = at_fpr(clicks, _GRID, replicates=0)
    return Line(name=name, style=_STYLES[name], curve=curve)


def _thresholds(summary: ModelSummary) -> dict[str, dict[str, float | None]]:
    before = summary.champion.thresholds if summary.champion else {}
    return {name: {"before": before.get(name), "after": after} for name, after in summary.candidate.thresholds.items()}


def _churn(summary: ModelSummary) -> dict[str, dict[str, int]]:
    return {
        name: {"clicks": tally.clicks, "flipped": summary.flipped.get(name, 0)}
        for name, tally in summary.candidate.by_slice.items()
        if summary.champion
    }


def _certificate(folder: Path) -> str:
    evidence = next((folder / "model").rglob("evidence.json"), None)
    told = json.loads(evidence.read_bytes()) if evidence else {}
    return str(told.get("calibration", {}).get("certificate", {}).get("says", ""))


def _metrics(summary: ModelSummary, rates: Mapping[str, Any]) -> dict[str, float]:
    """Flat numbers, those that there are."""
    clicks = summary.candidate.overall.clicks
    values = {
        "auc": summary.candidate.auc,
        **{name: rates["overall"][name]["value"] for name in ("ivr", "fpr", "coverage")},
        "churn": sum(summary.flipped.values()) / clicks if summary.champion and clicks else None,
    }
    return {name: float(value) for name, value in values.items() if value is not None and value == value}  # noqa: PLR0124


def _curves(lines: list[Line], judged: JudgedClicks, rates: Mapping[str, Any]) -> Markup:
    if not lines:
        return tag("p", "No purchasing click on the day: there is no false-positive rate to draw.")
    drawn = [*lines, _line("candidate", judged)]
    marks = [
        Mark(name=name, style="chosen", fpr=one["overall"]["fpr"]["value"], ivr=one["overall"]["ivr"]["value"])
        for name, one in rates.items()
    ]
    return curves_fragment(drawn, marks)


def curves_fragment(lines: Sequence[Line], marks: Sequence[Mark]) -> Markup:
    """Curves of the judged day with their looks: HTML for a page that knows nothing of them."""
    plot = curve_plot(lines, marks, title="IVR over FPR on the judged day", fpr_top=float(_GRID[-1]))
    css = files("training.report").joinpath("report.css").read_text(encoding="utf-8")
    named = [(line.style, line.name) for line in reversed(lines)]
    return together(tag("style", Markup(css)), tag("figure", plot, key(named), class_="wide"))
