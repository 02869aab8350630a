"""The loop's steps in the container: a day's rows, checks and profiles; a candidate's evaluation."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from slidr.errors import ReleaseInvalid
from slidr.guardrails import decode_results, stopped_by
from training.artifact import RELEASE_FILE
from training.container.entrypoint import CommandInvalid, run
from training.dataset import read_dataset
from training.day_step import process_day, read_plan
from training.evaluate_step import process_evaluate
from training.guardrails.model_summary import EvidenceInvalid
from training.guardrails.stable import ServedInterval, stable_guardrails
from training.labels import UnusableTrainingData
from training.simulator import Traffic
from training.simulator.log import SimulatedLog, simulated_log
from training.train import main

MONDAY = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
ONE = dt.timedelta(days=1)
JUDGED, TRAINING_DAYS = 5, 4
PLAN = {
    "run": "day-1",
    "day": f"{(MONDAY + JUDGED * ONE).date()}",
    "training_days": TRAINING_DAYS,
    "profile_days": 28,
    "budget": 0.02,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A processing folder whose steps ran: day, training, evaluation without a champion."""

    processing: Path
    release: str
    released: Path

    @property
    def output(self) -> Path:
        return self.processing / "output"


def lay_out(processing: Path, log: SimulatedLog, **plan: Any) -> Path:
    arrived = (pl.col("at") + dt.timedelta(seconds=1)).alias("arrived_at")
    for name, frame in (("clicks", log.clicks), ("purchases", log.purchases)):
        path = processing / "input" / name / "part.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.with_columns(arrived).write_parquet(path)
    compare = processing / "input" / "compare"
    compare.mkdir(parents=True, exist_ok=True)
    (compare / "plan.json").write_text(json.dumps({**PLAN, **plan}))
    return processing


def hand_over(processing: Path, model: Path) -> None:
    """What the machine hands from the day and the training to the evaluation."""
    candidate = processing / "input" / "candidate"
    candidate.mkdir(exist_ok=True)
    with tarfile.open(candidate / "model.tar.gz", "w:gz") as tar:
        tar.add(model, arcname=".")
    for name in ("dataset", "later"):
        shutil.copytree(processing / "output" / name, processing / "input" / name, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def log() -> SimulatedLog:
    return simulated_log(Traffic(seed=7, start=MONDAY, clicks_per_day=3_000), days=JUDGED + 2)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, log: SimulatedLog) -> Loop:
    folder = tmp_path_factory.mktemp("loop")
    processing = lay_out(folder / "processing", log)
    process_day(processing)
    release = main({"training": processing / "output" / "dataset"}, folder / "model",
                   {"epochs": "2", "fpr_bound": "point", "fpr_budget": "0.05"})  # fmt: skip
    hand_over(processing, folder / "model")
    process_evaluate(processing)
    return Loop(processing=processing, release=release, released=folder / "model" / "releases" / release)


@pytest.fixture
def copied(loop: Loop, tmp_path: Path) -> Callable[..., Path]:
    """A processing folder of one's own, with another plan."""

    def make(**plan: Any) -> Path:
        shutil.copytree(loop.processing / "input", tmp_path / "input")
        (tmp_path / "input" / "compare" / "plan.json").write_text(json.dumps({**PLAN, **plan}))
        return tmp_path

    return make


def told(loop: Loop, path: str) -> Any:
    return json.loads((loop.output / path).read_bytes())


def test_trains_on_the_days_before_and_judges_on_the_day(loop: Loop) -> None:
    training, later = read_dataset(loop.output / "dataset"), read_dataset(loop.output / "later")
    assert training["at"].min() >= MONDAY + (JUDGED - TRAINING_DAYS) * ONE
    assert training["at"].max() < MONDAY + JUDGED * ONE <= later["at"].min()
    assert later["at"].max() < MONDAY + (JUDGED + 1) * ONE
    assert not (later["rule"] == "immature").any()


def test_says_what_it_made_and_summarises_every_day(loop: Loop) -> None:
    assert told(loop, "checks/dataset.json")["clicks"] == len(read_dataset(loop.output / "dataset"))
    days = [day["day"] for day in told(loop, "checks/days.json")]
    assert days == [f"{(MONDAY + number * ONE).date()}" for number in range(JUDGED - TRAINING_DAYS, JUDGED + 1)]
    results = decode_results((loop.output / "checks" / "guardrails-data.json").read_bytes())
    assert {"clicks_in_day", "late_clicks", "drift"} <= {result.name for result in results}


def test_a_guardrail_that_stops_is_a_value_and_no_failure(log: SimulatedLog, tmp_path: Path) -> None:
    today = pl.col("at") >= MONDAY + JUDGED * ONE
    lost = SimulatedLog(clicks=log.clicks, purchases=log.purchases.filter(~today), truth=log.truth, until=log.until)
    process_day(lay_out(tmp_path, lost))
    results = decode_results((tmp_path / "output" / "checks" / "guardrails-data.json").read_bytes())
    assert "purchases_in_day" in {result.name for result in stopped_by(results)}


def test_an_hour_that_was_delivered_twice_is_seen_though_it_counts_once(
    loop: Loop, log: SimulatedLog, tmp_path: Path
) -> None:
    lay_out(tmp_path, log)
    path = tmp_path / "input" / "clicks" / "part.parquet"
    clicks = pl.read_parquet(path)
    start = MONDAY + JUDGED * ONE + dt.timedelta(hours=12)
    hour = clicks.filter(pl.col("at").is_between(start, start + dt.timedelta(hours=1), closed="left"))
    hour.write_parquet(path.with_name("again.parquet"))
    process_day(tmp_path)
    assert read_dataset(tmp_path / "output" / "later").equals(read_dataset(loop.output / "later"))
    results = decode_results((tmp_path / "output" / "checks" / "guardrails-data.json").read_bytes())
    assert ("repeated_clicks", "12:00") in {(result.name, result.scope) for result in stopped_by(results)}


def test_writes_profiles_for_serving(loop: Loop) -> None:
    lines = gzip.decompress((loop.output / "profiles" / "part-00000.jsonl.gz").read_bytes()).splitlines()
    assert len(lines) == told(loop, "checks/dataset.json")["profiles"]
    assert {json.loads(line)["key"].partition("#")[0] for line in lines} == {"ip", "ua", "user"}


@pytest.mark.parametrize("plan", [None, b"{}", b"no json"])
def test_a_plan_that_is_missing_or_malformed_is_told(tmp_path: Path, plan: bytes | None) -> None:
    if plan is not None:
        (tmp_path / "plan.json").write_bytes(plan)
    with pytest.raises(UnusableTrainingData, match=r"plan\.json"):
        read_plan(tmp_path)


def test_a_day_without_clicks_cannot_judge(log: SimulatedLog, tmp_path: Path) -> None:
    lay_out(tmp_path, log, day="2026-07-20")
    with pytest.raises(UnusableTrainingData, match="clicks of 2026-07-16 to 2026-07-20"):
        process_day(tmp_path)


def test_steps_take_no_options() -> None:
    with pytest.raises(CommandInvalid, match="takes no options"):
        run(["process", "day", "--fast"], {})


def test_a_first_release_is_judged_without_a_champion(loop: Loop) -> None:
    evaluation = told(loop, "evaluation/evaluation.json")
    assert (evaluation["release_id"], evaluation["champion"]) == (loop.release, None)
    assert evaluation["rates"]["champion"] is None
    assert set(evaluation["baselines"]) == {"one threshold", "logistic regression", "velocity rule"}
    assert evaluation["churn"] == {}
    assert {"auc", "ivr", "fpr"} <= set(evaluation["metrics"])
    assert told(loop, "evaluation/guardrails-stable.json") == []
    assert "<svg" in (loop.output / "evaluation" / "curves.html").read_text()


def test_against_itself_a_champion_is_decided_alike_and_its_interval_is_realised(
    loop: Loop, copied: Callable[..., Path]
) -> None:
    interval = [f"{MONDAY + (JUDGED - 1) * ONE:%Y-%m-%dT%H:%M:%SZ}", f"{MONDAY + JUDGED * ONE:%Y-%m-%dT%H:%M:%SZ}"]
    processing = copied(champion=loop.release, former=loop.release, former_interval=interval)
    shutil.copytree(loop.released, processing / "input" / "compare" / "releases" / loop.release)
    process_evaluate(processing)
    out = processing / "output" / "evaluation"
    evaluation = json.loads((out / "evaluation.json").read_bytes())
    assert evaluation["metrics"]["churn"] == 0
    assert evaluation["rates"]["champion"] == evaluation["rates"]["candidate"]
    assert all(one["before"] == one["after"] for one in evaluation["thresholds"].values())
    results = {one.name: one for one in decode_results((out / "guardrails-stable.json").read_bytes())}
    served = read_dataset(loop.output / "dataset").filter(pl.col("at") >= MONDAY + (JUDGED - 1) * ONE)
    assert results["served_clicks"].value == len(served)
    assert json.loads((out / "realised.json").read_bytes())["overall"]["ivr"]["total"] > 0


def test_a_champion_that_is_missing_is_told(copied: Callable[..., Path]) -> None:
    with pytest.raises(ReleaseInvalid):
        process_evaluate(copied(champion="r-0000000000000000"))


def test_a_champion_without_evidence_cannot_be_compared_with(loop: Loop, copied: Callable[..., Path]) -> None:
    processing = copied(champion=loop.release)
    target = processing / "input" / "compare" / "releases" / loop.release
    shutil.copytree(loop.released, target)
    (target / "evidence.json").unlink()
    with pytest.raises(EvidenceInvalid):
        process_evaluate(processing)


def test_an_archive_without_a_release_is_told(copied: Callable[..., Path]) -> None:
    processing = copied()
    (processing / "input" / "candidate" / "model.tar.gz").unlink()
    shutil.rmtree(processing / "input" / "candidate" / "model", ignore_errors=True)
    with pytest.raises(ReleaseInvalid, match=r"model\.tar\.gz is required"):
        process_evaluate(processing)
    assert not (processing / "output" / "evaluation" / RELEASE_FILE).exists()


def interval(**changes: Any) -> ServedInterval:
    return ServedInterval(**{"clicks": 9_000, "invalid": 900, "purchasing": 300, "wrong": 2, "budget": 0.01, **changes})


def test_a_former_champion_within_its_bounds_may_become_stable() -> None:
    assert all(result.passed for result in stable_guardrails(interval()))


@pytest.mark.parametrize(
    ("changes", "by"),
    [
        ({"wrong": 60}, "served_fpr"),
        ({"invalid": 8_000}, "served_ivr"),
        ({"invalid": 0}, "served_ivr"),
        ({"clicks": 10, "invalid": 1}, "served_clicks"),
        ({"clicks": 0, "invalid": 0, "purchasing": 0, "wrong": 0}, "served_clicks"),
    ],
)
def test_a_former_champion_out_of_its_bounds_may_not(changes: dict[str, int], by: str) -> None:
    assert by in {result.name for result in stopped_by(stable_guardrails(interval(**changes)))}
