from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from slidr.artifact import RELEASES_DIR
from slidr.features import FEATURE_INDEX, FEATURE_NAMES, SPEC_HASH
from slidr.release import EVIDENCE_FILE, Release
from slidr.shadow import EndpointSummary
from slidr.slices import SliceMap, Thresholds
from training.artifact import weights_sha256, write_release
from training.guardrails import ModelSummary, endpoint_guardrails, model_guardrails, stopped_by, summarise_models
from training.guardrails.model import MODEL
from training.guardrails.model_summary import (
    Counted,
    Evidence,
    EvidenceInvalid,
    Standing,
    Tally,
    ToldCalibration,
    ToldCertificate,
    ToldThreshold,
    read_entrant,
)
from training.mlp_weights import save_weights
from training.model import Mlp

START = dt.datetime(2026, 11, 12, tzinfo=dt.UTC)
DESKTOP, MOBILE = "device=desktop|logged_in=false", "device=mobile|logged_in=true"
EVIDENCE = Evidence(
    rows={"train": 50_000},
    windows={"calibration": (START - dt.timedelta(days=3), START - dt.timedelta(seconds=1))},
    calibration=ToldCalibration(
        slices={DESKTOP: ToldThreshold(0.9), MOBILE: ToldThreshold(0.8)},
        enough_purchases=True,
        certificate=ToldCertificate(certified=True, budget=0.01),
    ),
    calibration_fpr=Counted(3, 1_000),
)
TALLY = Tally(clicks=4_000, invalid=500, purchasing=300, wrong=2, robotic=900, covered=400)
BOTH = Tally(clicks=8_000, invalid=1_000, purchasing=600, wrong=4, robotic=1_800, covered=800)
STANDING = Standing(
    release_id="r-1",
    evidence=EVIDENCE,
    thresholds={DESKTOP: 0.9, MOBILE: 0.8},
    thresholds_untold=0,
    expected_ivr=0.12,
    came_ivr=0.13,
    auc=0.75,
    scores_not_finite=0,
    overall=BOTH,
    by_slice={DESKTOP: TALLY, MOBILE: TALLY},
)
CLEAN = ModelSummary(first_at=START, candidate=STANDING, champion=STANDING, flipped={DESKTOP: 200, MOBILE: 100})


def candidate(**changes: object) -> ModelSummary:
    return msgspec.structs.replace(CLEAN, candidate=msgspec.structs.replace(STANDING, **changes))


def counted(**changes: int) -> ModelSummary:
    return candidate(overall=msgspec.structs.replace(BOTH, **changes))


def in_desktop(**changes: int) -> ModelSummary:
    return candidate(by_slice={DESKTOP: msgspec.structs.replace(TALLY, **changes), MOBILE: TALLY})


def told(**changes: object) -> ModelSummary:
    return candidate(evidence=msgspec.structs.replace(EVIDENCE, **changes))


STOPPING: dict[str, ModelSummary] = {
    "scores_not_finite": candidate(scores_not_finite=1),
    "hours_after_training": msgspec.structs.replace(CLEAN, first_at=START - dt.timedelta(days=1)),
    "training_rows": told(rows={"train": 20_000}),
    "thresholds_untold": candidate(thresholds_untold=1),
    "calibration_fpr": told(calibration_fpr=Counted(60, 1_000)),
    "auc": candidate(auc=0.97),
    "auc_behind_champion": candidate(auc=0.62),
    "fpr": counted(wrong=40),
    "fpr_in_slice": in_desktop(wrong=40),
    "ivr": counted(invalid=20),
    "ivr_in_slice": in_desktop(invalid=3_500),
    "ivr_against_champion": counted(invalid=200),
    "coverage_against_champion": counted(covered=100),
    "churn": msgspec.structs.replace(CLEAN, flipped={DESKTOP: 1_900}),
    "churn_in_slice": msgspec.structs.replace(CLEAN, flipped={MOBILE: 2_100}),
    "threshold": candidate(thresholds={DESKTOP: 0.9, MOBILE: 0.0}),
    "threshold_jump": candidate(thresholds={DESKTOP: 0.35, MOBILE: 0.8}),
    "expected_ivr": candidate(expected_ivr=0.5),
}
WARNING: dict[str, ModelSummary] = {
    "enough_purchases": told(calibration=msgspec.structs.replace(EVIDENCE.calibration, enough_purchases=False)),
    "certified": told(
        calibration=msgspec.structs.replace(EVIDENCE.calibration, certificate=ToldCertificate(False, 0.01))
    ),
    "fpr_against_champion": counted(wrong=11),
    "ivr_in_slice_against_champion": in_desktop(invalid=50),
}


def test_lets_a_candidate_pass_that_does_as_the_champion() -> None:
    results = model_guardrails(CLEAN)

    assert [result.says for result in results if not result.passed] == []
    assert {result.name for result in results} == {guardrail.name for guardrail in MODEL}


def test_every_model_guardrail_has_its_anomaly() -> None:
    assert {*STOPPING, *WARNING} == {guardrail.name for guardrail in MODEL}


@pytest.mark.parametrize("name", sorted(STOPPING))
def test_stops_the_anomaly(name: str) -> None:
    assert name in {result.name for result in stopped_by(model_guardrails(STOPPING[name]))}


@pytest.mark.parametrize("name", sorted(WARNING))
def test_only_warns(name: str) -> None:
    results = model_guardrails(WARNING[name])

    assert name in {result.name for result in results if not result.passed}
    assert stopped_by(results) == ()


def test_stops_a_candidate_without_an_auc() -> None:
    stopping = stopped_by(model_guardrails(candidate(auc=None)))

    assert [(result.name, result.value) for result in stopping] == [("auc", None), ("auc_behind_champion", None)]


def test_compares_the_first_release_with_nothing() -> None:
    first = msgspec.structs.replace(CLEAN, champion=None, flipped={})

    names = {result.name for result in model_guardrails(first)}

    assert "fpr" in names
    assert not {"churn", "training_rows", "threshold_jump", "ivr_against_champion"} & names


ENDPOINT = EndpointSummary(invocations=5_000, failed=1, p99_ms=20.0)


def test_lets_a_fast_endpoint_pass() -> None:
    assert all(result.passed for result in endpoint_guardrails(ENDPOINT))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("invocations", {"invocations": 0, "failed": 0}),
        ("failed_invocations", {"failed": 50}),
        ("latency_p99_ms", {"p99_ms": 1_500.0}),
        ("latency_p99_ms", {"p99_ms": None}),
    ],
)
def test_stops_an_endpoint_that_is_slow_or_silent(name: str, changes: dict[str, float | None]) -> None:
    results = endpoint_guardrails(msgspec.structs.replace(ENDPOINT, **changes))

    assert [result.name for result in stopped_by(results)] == [name]


def written_release(folder: Path, thresholds: Thresholds) -> Path:
    """A network that ranks by the clicks of the IP alone."""
    features = len(FEATURE_NAMES)
    net = Mlp(np.zeros(features, np.float32), np.ones(features, np.float32), seed=1, hidden=(2, 2))
    for parameter in net.parameters():
        parameter.data.zero_()
    net.first.weight.data[0, FEATURE_INDEX["ip.n_1h"]] = 1.0
    net.second.weight.data[0, 0] = net.head.weight.data[0, 0] = 1.0
    weights = save_weights(net.to_weights())
    release = Release(
        weights_sha256=weights_sha256(weights),
        feature_spec=SPEC_HASH,
        slices=SliceMap(),
        thresholds=thresholds,
        lists={},
        expected_ivr=(0.5,) * 168,
    )
    identity = write_release(folder, release=release, weights=weights, evidence=msgspec.to_builtins(EVIDENCE))
    return folder / RELEASES_DIR / identity


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written_release(tmp_path, Thresholds(default=0.9, by_slice={MOBILE: 0.8}))


def later_rows() -> pl.DataFrame:
    """Four clicks of a desktop and four of a mobile; the last of each is a crawler's, the others have 0, 2 and 20."""
    n = 8
    features = {name: pl.Series(np.zeros(n), dtype=pl.Float32) for name in FEATURE_NAMES}
    features["ip.n_1h"] = pl.Series([0, 3, 20, 20] * 2, dtype=pl.Float32)
    return pl.DataFrame({
        "at": pl.Series([START] * n, dtype=pl.Datetime("ms", "UTC")),
        "label": pl.Series([0, 1, 1, 1] * 2, dtype=pl.Int8),
        "rule": pl.Series(["purchase", "no_evidence", "no_evidence", "givt"] * 2, dtype=pl.Categorical),
        "purchased": [True, False, False, False] * 2,
        "device": ["desktop"] * 4 + ["mobile"] * 4,
        "logged_in": [False] * 4 + [True] * 4,
        "hour_of_week": pl.Series([5] * n, dtype=pl.Int32),
        "session_clicks_1h": [1, 1, 30, 30] * 2,
        **features,
    })  # fmt: skip


def test_counts_verdicts_by_slice_and_those_that_the_champion_gave_otherwise(tmp_path: Path, folder: Path) -> None:
    champion = read_entrant(written_release(tmp_path / "champion", Thresholds(default=0.9, by_slice={MOBILE: 0.99})))

    summary = summarise_models(read_entrant(folder), champion, later_rows())

    # sigmoid(log(1 + n)) = (1 + n) / (2 + n): 0.5, 0.8, 0.95
    cell = Tally(clicks=3, invalid=1, purchasing=1, wrong=0, robotic=1, covered=1)
    assert summary.candidate.by_slice[DESKTOP] == cell
    assert summary.candidate.by_slice[MOBILE].invalid in (1, 2)  # 0.8 is the threshold, to the last bit
    assert summary.champion is not None
    assert summary.champion.by_slice[MOBILE] == msgspec.structs.replace(cell, invalid=0, covered=0)
    assert summary.flipped == {DESKTOP: 0, MOBILE: summary.candidate.by_slice[MOBILE].invalid}
    assert summary.candidate.auc == 1.0
    assert summary.candidate.expected_ivr == pytest.approx(0.5)
    assert summary.candidate.thresholds_untold == 0
    assert msgspec.json.decode(msgspec.json.encode(summary), type=ModelSummary) == summary


def test_counts_thresholds_that_the_evidence_does_not_tell(tmp_path: Path) -> None:
    entrant = read_entrant(written_release(tmp_path, Thresholds(default=0.9, by_slice={MOBILE: 0.1})))

    assert summarise_models(entrant, None, later_rows()).candidate.thresholds_untold == 1


def test_judges_no_release_on_no_rows(folder: Path) -> None:
    with pytest.raises(EvidenceInvalid, match="came none"):
        summarise_models(read_entrant(folder), None, later_rows().clear())


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:20]),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"calibration"', b'"was"')),
        lambda path: path.write_bytes(msgspec.json.encode(msgspec.structs.replace(EVIDENCE, windows={}))),
    ],
    ids=["missing", "cut off", "without calibration", "without windows"],
)
def test_reads_no_release_whose_evidence_lacks_something(folder: Path, damage: Callable[[Path], object]) -> None:
    damage(folder / EVIDENCE_FILE)

    with pytest.raises(EvidenceInvalid, match="Train it again"):
        read_entrant(folder)
