"""What a release's thresholds did to later clicks, kept beside what its evidence predicted of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from slidr.artifact import RELEASES_DIR
from slidr.release import EVIDENCE_FILE, REALISED_FILE, Release
from training.calibration.curve import Scores
from training.calibration.thresholds import overall_rates, rates_by_slice
from training.labels import LabelRule
from training.release_thresholds import calibration_rows, told_rates


def realised(release: Release, rows: pl.DataFrame, scores: Scores) -> dict[str, Any]:
    """IVR, FPR and robotic coverage of mature later rows, by slice and overall, each with counts and interval.

    Args:
        release: whose thresholds decide.
        rows: of a dataset, in time order, clicks that a list names included; those too young for a label are left out.
        scores: of the rows by the release's network, float32, shape (rows,).
    """
    mature = (rows["rule"] != LabelRule.IMMATURE.value).to_numpy()
    judged = calibration_rows(rows, scores, mature, release.slices.columns)
    at = rows.filter(mature).select(pl.col("at").dt.to_string("iso:strict")).to_series()
    return {
        "window": [at.first(), at.last()],
        "overall": told_rates(overall_rates(judged, release.thresholds)),
        "slices": {name: told_rates(rates) for name, rates in rates_by_slice(judged, release.thresholds).items()},
    }


def keep_realised(model_dir: Path, release_id: str, told: Mapping[str, Any]) -> None:
    """Write `releases/<id>/realised.json`; what stood there before is replaced."""
    path = model_dir / RELEASES_DIR / release_id / REALISED_FILE
    path.write_bytes(msgspec.json.format(msgspec.json.encode(told, order="sorted")))


def beside_prediction(model_dir: Path, release_id: str) -> str:
    """Predicted and realised rates of each slice, as plain text: one line a slice, the whole last.

    Raises:
        OSError: the release has no evidence, or nothing was realised yet.
    """
    folder = model_dir / RELEASES_DIR / release_id
    predicted = msgspec.json.decode((folder / EVIDENCE_FILE).read_bytes())["calibration"]
    later = msgspec.json.decode((folder / REALISED_FILE).read_bytes())
    lines = [["slice", "threshold", *(f"{name} predicted -> later" for name in ("IVR", "FPR", "coverage"))]]
    for name, rates in sorted(later["slices"].items()):
        foreseen = predicted["slices"].get(name, {})
        threshold = foreseen.get("threshold", np.nan)
        lines.append([name, f"{threshold:.4f}", *_pairs(foreseen.get("predicted"), rates)])
    lines.append(["all traffic", "", *_pairs(predicted["predicted"], later["overall"])])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _pairs(foreseen: Mapping[str, Any] | None, later: Mapping[str, Any]) -> list[str]:
    names = ("ivr", "fpr", "coverage")
    return [
        f"{_share((foreseen or {}).get(name))} -> {_share(later[name])} of {later[name]['total']}" for name in names
    ]


def _share(told: Mapping[str, Any] | None) -> str:
    return "-" if told is None or told["value"] is None else f"{told['value']:.2%}"
