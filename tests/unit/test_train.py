from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from slidr.errors import CalibrationInfeasible
from slidr.features import SPEC_HASH
from slidr.givt import packaged_crawlers
from training import train
from training.artifact import LoadedRelease, load_releases
from training.calibration.folds import certifies, person_of
from training.dataset import build_dataset, feature_matrix, write_dataset
from training.evaluate import champion_of, evaluate, later_days, table
from training.hyperparameters import HyperparameterInvalid, Hyperparameters
from training.labels import LabelRule, UnusableTrainingData
from training.scoring import open_scorer
from training.simulator import Traffic
from training.simulator.log import simulated_log
from training.slice_names import slice_names
from training.train import fit, sample_weights, split_by_time

MONDAY = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
TRAFFIC = Traffic(seed=7, start=MONDAY, clicks_per_day=4_000)
QUICK = {"epochs": "3", "batch_rows": "512", "fpr_budget": "0.05"}


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    log = simulated_log(TRAFFIC, days=3)
    return build_dataset(log.clicks, log.purchases, until=log.until)


@pytest.fixture(scope="module")
def channel(rows: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    write_dataset(rows, folder / "part.parquet")
    return folder


@pytest.fixture(scope="module")
def model_dir(channel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    train.main({"training": channel}, folder, QUICK)
    return folder


@pytest.fixture(scope="module")
def champion(model_dir: Path) -> LoadedRelease:
    return champion_of(model_dir)


def evidence_of(model_dir: Path) -> Any:
    path = model_dir / "releases" / champion_of(model_dir).id / "evidence.json"
    return json.loads(path.read_bytes())


def test_the_same_run_twice_gives_the_same_bytes(model_dir: Path, channel: Path, tmp_path: Path) -> None:
    again = train.main({"training": channel}, tmp_path, QUICK)
    folders = [folder / "releases" / again for folder in (model_dir, tmp_path)]
    for name in ("weights.safetensors", "release.json", "evidence.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    assert load_releases(tmp_path).champion == load_releases(model_dir).champion


def test_mixed_precision_trains_and_twice_to_the_same_bits(rows: pl.DataFrame) -> None:
    chosen = Hyperparameters(epochs=1, batch_rows=512, precision="mixed")
    split = split_by_time(rows, chosen)
    few = replace(split, train=split.train[:2_000], validation=split.validation[:500])
    weights = sample_weights(few.train, chosen)

    one, other = fit(few, weights, chosen), fit(few, weights, chosen)
    assert one.first_weight.dtype == np.float32
    assert one.first_weight.tobytes() == other.first_weight.tobytes()
    exact = fit(few, weights, replace(chosen, precision="f32"))
    assert exact.first_weight.tobytes() != one.first_weight.tobytes()
    np.testing.assert_allclose(one.first_weight, exact.first_weight, atol=0.05)


def test_another_seed_gives_other_weights(champion: LoadedRelease, channel: Path, tmp_path: Path) -> None:
    assert train.main({"training": channel}, tmp_path, QUICK | {"seed": "8"}) != champion.id


def test_the_clock_moves_no_score_unless_it_was_asked_for(
    champion: LoadedRelease, rows: pl.DataFrame, channel: Path, tmp_path: Path
) -> None:
    noon, midnight = (
        feature_matrix(rows.head(200).with_columns(pl.lit(cos, dtype=pl.Float32).alias("time.hour_cos")))
        for cos in (-1.0, 1.0)
    )

    def moved(loaded: LoadedRelease) -> bool:
        scorer = open_scorer(loaded.weights, "cpu")
        return bool((scorer.score(noon) != scorer.score(midnight)).any())

    train.main({"training": channel}, tmp_path, QUICK | {"clock": "true"})
    assert (moved(champion), moved(champion_of(tmp_path))) == (False, True)


def test_the_release_names_its_features_lists_and_threshold(champion: LoadedRelease) -> None:
    release = champion.release
    assert release.feature_spec == SPEC_HASH
    assert release.lists == {"crawlers": packaged_crawlers().sha256}
    assert 0 < release.thresholds.default <= 1
    assert set(release.thresholds.by_slice) >= {"device=mobile|logged_in=true", "device=desktop|logged_in=false"}
    assert all(0 < rate < 1 for rate in release.expected_ivr)


def test_the_stated_fpr_is_that_of_people_who_chose_no_threshold(
    champion: LoadedRelease, rows: pl.DataFrame, model_dir: Path
) -> None:
    split = split_by_time(rows, Hyperparameters())
    later = split.later.filter(split.calibrates)
    kept_back = later.filter(certifies(person_of(later), share=Hyperparameters().certify_share))
    scores = open_scorer(champion.weights, "cpu").score(feature_matrix(kept_back))
    thresholds = champion.release.thresholds.of(slice_names(kept_back).to_list())
    invalid = (scores >= thresholds) | (kept_back["rule"] == LabelRule.GIVT.value).to_numpy()
    bought = kept_back["purchased"].to_numpy()

    stated = evidence_of(model_dir)["calibration_fpr"]
    assert (int(invalid[bought].sum()), int(bought.sum())) == (stated["count"], stated["total"])


def test_the_evidence_says_of_every_slice_what_to_expect(champion: LoadedRelease, model_dir: Path) -> None:
    told = evidence_of(model_dir)["calibration"]
    assert set(told["slices"]) == set(champion.release.thresholds.by_slice)
    for name, entry in told["slices"].items():
        assert entry["threshold"] == champion.release.thresholds.by_slice[name]
        assert entry["threshold_of"] in {"own", "", name.partition("|")[0]}
        assert entry["chosen_on"]["fpr"]["total"] == entry["purchases"]
    wrong = sum(entry["chosen_on"]["fpr"]["count"] for entry in told["slices"].values())
    assert wrong <= told["allowance"]
    assert told["certificate"]["needs"] == 59
    assert 0.0 < told["certificate"]["bound"] <= 1.0
    assert told["forms"]["exact"] is None or told["forms"]["paper"]["solver"] == "clarabel"


def test_one_threshold_for_all_traffic_stays_a_choice(channel: Path, tmp_path: Path) -> None:
    train.main({"training": channel}, tmp_path, QUICK | {"epochs": "1", "calibration": "global"})
    thresholds, told = champion_of(tmp_path).release.thresholds, evidence_of(tmp_path)["calibration"]
    assert thresholds.by_slice == {}
    assert {entry["threshold"] for entry in told["slices"].values()} == {thresholds.default}


def test_the_evidence_tells_where_the_release_came_from(model_dir: Path, rows: pl.DataFrame) -> None:
    evidence = evidence_of(model_dir)
    assert evidence["rows"]["all"] == len(rows)
    assert set(evidence["windows"]) == {"train", "validation", "calibration"}
    assert sum(evidence["label_rules"].values()) == len(rows)
    assert evidence["hyperparameters"]["seed"] == 7
    assert 0 < evidence["effective_sample_size"] <= len(rows)


def test_no_part_is_older_than_the_one_before_it(rows: pl.DataFrame) -> None:
    split = split_by_time(rows, Hyperparameters())
    assert split.train["at"].max() <= split.validation["at"].min()
    assert split.validation["at"].max() <= split.calibration["at"].min()
    ids = pl.concat([split.train["click_id"], split.validation["click_id"], split.calibration["click_id"]])
    assert ids.is_unique().all()


def test_crawlers_and_immature_clicks_train_nothing(rows: pl.DataFrame) -> None:
    young = rows.with_row_index().with_columns(
        rule=pl.when(pl.col("index") >= len(rows) - 500)
        .then(pl.lit(LabelRule.IMMATURE.value))
        .otherwise(pl.col("rule").cast(pl.String))
    )
    split = split_by_time(young, Hyperparameters())
    used = pl.concat([split.train, split.validation, split.calibration])
    assert not set(used["rule"]) & {LabelRule.GIVT.value, LabelRule.IMMATURE.value}
    assert (used["rule"].len(), split.later["rule"].is_in([LabelRule.GIVT.value]).any()) == (
        (~young["rule"].is_in([LabelRule.GIVT.value, LabelRule.IMMATURE.value])).sum(), True,
    )  # fmt: skip


def test_refuses_rows_of_one_class(rows: pl.DataFrame, tmp_path: Path) -> None:
    write_dataset(rows.with_columns(label=pl.lit(1, dtype=pl.Int8)), tmp_path / "data" / "part.parquet")
    with pytest.raises(UnusableTrainingData, match="both labels"):
        train.main({"training": tmp_path / "data"}, tmp_path / "model", QUICK)


def test_refuses_rows_without_a_later_purchase(rows: pl.DataFrame, tmp_path: Path) -> None:
    write_dataset(rows.with_columns(purchased=pl.lit(value=False)), tmp_path / "data" / "part.parquet")
    with pytest.raises(UnusableTrainingData, match="purchasing clicks"):
        train.main({"training": tmp_path / "data"}, tmp_path / "model", QUICK)


def test_lists_that_cost_more_than_the_budget_are_an_error(rows: pl.DataFrame, tmp_path: Path) -> None:
    buying_crawlers = pl.when(pl.col("rule") == LabelRule.GIVT.value).then(True).otherwise(pl.col("purchased"))
    write_dataset(rows.with_columns(purchased=buying_crawlers), tmp_path / "data" / "part.parquet")
    with pytest.raises(CalibrationInfeasible, match=r"an overall FPR budget of at least .* is required"):
        train.main({"training": tmp_path / "data"}, tmp_path / "model", QUICK | {"epochs": "1"})


def test_refuses_too_few_rows(rows: pl.DataFrame) -> None:
    with pytest.raises(UnusableTrainingData, match="mature rows"):
        split_by_time(rows[:2], Hyperparameters())


def test_refuses_a_job_without_its_channel(tmp_path: Path) -> None:
    with pytest.raises(UnusableTrainingData, match="channel named 'training'"):
        train.main({"other": tmp_path}, tmp_path, {})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("epoch", "3"), ("epochs", "three"), ("shuffle_labels", "yes"), ("calibration", "slice"),
        ("calibration_form", "best"), ("fpr_bound", "lower"), ("fpr_budget", "0"), ("certify_share", "1"),
        ("precision", "f16"),
    ],
)  # fmt: skip
def test_refuses_a_hyperparameter_it_cannot_read(name: str, text: str) -> None:
    with pytest.raises(HyperparameterInvalid, match=name):
        Hyperparameters.from_strings({name: text})


def test_a_trained_release_beats_one_trained_on_shuffled_labels(
    champion: LoadedRelease, channel: Path, tmp_path: Path
) -> None:
    train.main({"training": channel}, tmp_path, QUICK | {"shuffle_labels": "true"})
    later = later_days(TRAFFIC, first=3, days=1)
    trained, shuffled = evaluate(champion, later), evaluate(champion_of(tmp_path), later)
    assert trained.auc_truth > shuffled.auc_truth + 0.15
    assert trained.judgement.recall.interval[0] > shuffled.judgement.recall.interval[1]
    text = table({"trained": trained, "shuffled": shuffled})
    assert "fast_single_ip" in text
    assert champion.id in text
