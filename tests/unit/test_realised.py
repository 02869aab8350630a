"""What a release's thresholds did later: counted as serving decides, kept beside the prediction."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
import polars as pl

from slidr.features import SPEC_HASH
from slidr.release import Release
from slidr.slices import SliceMap, Thresholds
from training.labels import LabelRule
from training.realised import beside_prediction, keep_realised, realised

MOBILE, DESKTOP = "device=mobile|logged_in=true", "device=desktop|logged_in=true"
RELEASE = Release(
    weights_sha256="0",
    feature_spec=SPEC_HASH,
    slices=SliceMap(),
    thresholds=Thresholds(default=0.9, by_slice={MOBILE: 0.5}),
    lists={},
    expected_ivr=(0.1,) * 168,
)
AT = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
RULES = [LabelRule.PURCHASE, LabelRule.NO_EVIDENCE, LabelRule.NO_EVIDENCE, LabelRule.GIVT, LabelRule.IMMATURE]
ROWS = pl.DataFrame(
    {
        "at": [AT + dt.timedelta(hours=hour) for hour in range(5)],
        "device": ["mobile", "mobile", "desktop", "desktop", "desktop"],
        "logged_in": [True] * 5,
        "rule": [rule.value for rule in RULES],
        "purchased": [True, False, False, False, True],
        "session_clicks_1h": [1, 20, 20, 20, 20],
    }
)
SCORES = np.array([0.6, 0.4, 0.8, 0.1, 1.0], dtype=np.float32)


def test_counts_by_each_slices_own_threshold_without_lists_and_clicks_too_young() -> None:
    told = realised(RELEASE, ROWS, SCORES)

    counts = {name: {k: (r["count"], r["total"]) for k, r in rates.items()} for name, rates in told["slices"].items()}
    assert counts == {
        MOBILE: {"ivr": (1, 2), "fpr": (1, 1), "coverage": (0, 1)},
        DESKTOP: {"ivr": (0, 1), "fpr": (0, 0), "coverage": (0, 1)},
    }
    assert told["window"] == ["2026-11-02T00:00:00.000000+00:00", "2026-11-02T03:00:00.000000+00:00"]


def test_lists_count_in_the_whole() -> None:
    overall = realised(RELEASE, ROWS, SCORES)["overall"]

    assert (overall["ivr"]["count"], overall["ivr"]["total"]) == (2, 4)


def test_stands_beside_what_was_predicted(tmp_path: Path) -> None:
    folder = tmp_path / "releases" / "r-1"
    folder.mkdir(parents=True)
    rate = {"value": 0.25, "count": 1, "total": 4}
    rates = {"ivr": rate, "fpr": rate, "coverage": {"value": None, "count": 0, "total": 0}}
    evidence = {"calibration": {"slices": {MOBILE: {"threshold": 0.5, "predicted": rates}}, "predicted": rates}}
    (folder / "evidence.json").write_text(json.dumps(evidence))

    keep_realised(tmp_path, "r-1", realised(RELEASE, ROWS, SCORES))

    lines = {line.split("  ")[0]: line for line in beside_prediction(tmp_path, "r-1").splitlines()}
    assert "25.00% -> 50.00% of 2" in lines[MOBILE]
    assert "- -> 0.00% of 1" in lines[DESKTOP]  # a slice that nobody had seen
    assert "25.00% -> 50.00% of 4" in lines["all traffic"]
