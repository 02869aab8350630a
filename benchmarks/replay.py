"""Replay at one and ten million clicks: by logged features and by features counted anew; interrupted and resumed once.

A lake of simulated days on disk, written as the deliveries write it, every click decided by one release; a replay with
another release reads it through the interface that S3 is read through. The peer is scoring alone: the same features,
already in memory, through the same network. Each replay is cut off half-way once and begun again; what it had found is
found again, and what it finds in all is what an uninterrupted one finds.
"""

from __future__ import annotations

import datetime as dt
import gc
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import psutil

from benchmarks.harness import Measured
from local.console import console
from local.lake_partitions import Table, parquet_of, partitions_of
from slidr.features import FEATURE_COUNT
from slidr.release import release_id
from slidr.replay import Difference, merged
from slidr.slices import Thresholds
from slidr.verdict import Decision, Mode, Reason
from tests.scoring_world import any_release
from training.backfill import StretchFeatures, arrived, backfilled_verdicts, stretches
from training.mlp_weights import Floats, standardisation
from training.model import Mlp
from training.replay.decide import Judge
from training.replay.run import Ask, replay
from training.scoring import open_scorer
from training.simulator import Traffic
from training.simulator.log import simulated_log

FIGURES: Final = {
    "logged_clicks_per_s": "clicks decided again a second by logged features, 10 million, from disk to difference",
    "recomputed_clicks_per_s": "the same by features counted anew, the day of warm-up and profiles in the time",
    "logged_1m": "the same at 1 million",
    "recomputed_1m": "the same at 1 million",
    "peak_gb": "most memory of the process while it replays 10 million",
}
MONDAY: Final = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
DAYS: Final = 3
"""The first only warms up; the other two are replayed."""
SIZES: Final = (1_000_000, 10_000_000)
SEED: Final = 7
NOW: Final = MONDAY + dt.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Folder:
    """A lake in a folder."""

    root: Path

    def keys(self, prefix: str) -> list[str]:
        """All keys under a prefix that ends a folder."""
        found = (Path(at) / name for at, _, names in os.walk(self.root / prefix) for name in names)
        return sorted(str(path.relative_to(self.root)) for path in found)

    def read(self, key: str) -> bytes:
        """An object's content."""
        return (self.root / key).read_bytes()

    def find(self, key: str) -> bytes | None:
        """An object's content; None where there is none."""
        path = self.root / key
        return path.read_bytes() if path.exists() else None

    def write(self, key: str, content: bytes, *, content_type: str = "") -> None:
        """Write an object."""
        assert content_type is not None
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def measure() -> Measured:
    figures: dict[str, float] = {}
    floors: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    missed: list[str] = []
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="slidr-replay-") as name:
            lake = Folder(Path(name))
            judge, scoring = written(lake, clicks=size)
            for recompute in (False, True):
                ask = Ask(
                    start=MONDAY + dt.timedelta(days=1), end=MONDAY + dt.timedelta(days=DAYS), judge=judge,
                    recompute=recompute,
                )  # fmt: skip
                row, same = replayed_twice(lake, ask)
                rows.append({"clicks in the lake": size, "features": "recomputed" if recompute else "logged", **row})
                console.print(f"  [dim]{rows[-1]}[/]")
                if not same:
                    missed.append(f"{size:,} {rows[-1]['features']}: a resumed replay finds what one in one go finds")
                kind = "recomputed" if recompute else "logged"
                figures[f"{kind}_1m" if size == SIZES[0] else f"{kind}_clicks_per_s"] = row["clicks/s"]
            floors[f"scoring alone, clicks/s, {size:,}"] = scoring
    figures["peak_gb"] = max(row["peak, GB"] for row in rows)
    return Measured(
        figures=figures,
        floors=floors,
        rows=rows,
        notes=[
            f"{DAYS} days in the lake, the last two replayed, an object an hour; writing what was found is in the time",
            "peak: of this process, which has made the lake before",
        ],
        missed=missed,
    )


def written(lake: Folder, *, clicks: int) -> tuple[Judge, float]:
    """Write a lake whose clicks one release decided; the release that replays it, and how fast it scores."""
    rows = np.random.default_rng(SEED).gamma(0.3, 50.0, size=(2_000, FEATURE_COUNT)).astype(np.float32)
    scorer = open_scorer(Mlp(*standardisation(rows), seed=SEED).to_weights(), "cpu")
    traffic = Traffic(seed=SEED, start=MONDAY, clicks_per_day=clicks // DAYS)
    parts = (arrived(simulated_log(traffic, days=1, first=day).clicks) for day in range(DAYS))
    features, bounds, scoring_s, scored = StretchFeatures(), (0.0, 0.0), 0.0, 0
    for stretch in stretches(parts):
        matrix = features.of(stretch)
        began = time.perf_counter()
        scores = scorer.score(matrix)
        scoring_s, scored = scoring_s + time.perf_counter() - began, scored + len(scores)
        if stretch.number == 0:
            bounds = float(np.quantile(scores, 0.85)), float(np.quantile(scores, 0.83))
        _write_day(lake, stretch.clicks, matrix, scores, bound=bounds[0])
        del matrix, scores
    release = any_release(thresholds=Thresholds(default=bounds[1]))
    return Judge(release_id=release_id(release), release=release, scorer=scorer), scored / scoring_s


def _write_day(lake: Folder, clicks: pl.DataFrame, matrix: Floats, scores: Floats, *, bound: float) -> None:
    invalid = scores >= np.float32(bound)
    decision = np.where(invalid, Decision.INVALID.value, Decision.VALID.value)
    reasons = [[Reason.ROBOTIC_BEHAVIOUR.value] if one else [] for one in invalid.tolist()]
    for of in partitions_of(Table.CLICKS, clicks["at"], source="0" * 12):
        lake.write(of.key, parquet_of(Table.CLICKS, clicks[of.start : of.stop]))
    for of in partitions_of(Table.VERDICTS, clicks["at"], source="0" * 12):
        some = slice(of.start, of.stop)
        verdicts = backfilled_verdicts(clicks[some], matrix[some]).with_columns(
            pl.Series("decision", decision[some]),
            pl.Series("reasons", reasons[some], dtype=pl.List(pl.String)),
            pl.Series("score", scores[some], dtype=pl.Float64),
            pl.lit(bound).alias("threshold"),
            pl.lit("r-before").alias("release_id"),
            pl.lit(Mode.ENFORCE.value).alias("mode"),
            pl.Series("billable", ~invalid[some]),
        )
        lake.write(of.key, parquet_of(Table.VERDICTS, verdicts))


def replayed_twice(lake: Folder, ask: Ask) -> tuple[dict[str, Any], bool]:
    """Replay in one go, timed; then from nothing again, cut off half-way and resumed."""
    gc.collect()
    with peak_watched() as peak:
        began = time.perf_counter()
        whole = merged(outcome.found.difference for outcome in replay(ask, lake, now=NOW))
        seconds = time.perf_counter() - began
    shutil.rmtree(lake.root / "replays")
    interrupted = replay(ask, lake, now=NOW)
    for _ in range(len(ask.hours) // 2):
        next(interrupted)
    interrupted.close()
    began = time.perf_counter()
    outcomes = list(replay(ask, lake, now=NOW))
    resumed_s = time.perf_counter() - began
    resumed: Difference = merged(outcome.found.difference for outcome in outcomes)
    shutil.rmtree(lake.root / "replays")
    row = {
        "clicks": whole.clicks,
        "changed": whole.changed,
        "seconds": seconds,
        "clicks/s": whole.clicks / seconds,
        "hours found again": sum(outcome.reused for outcome in outcomes),
        "resumed, s": resumed_s,
        "peak, GB": peak[0],
    }
    return row, resumed == whole


@contextmanager
def peak_watched() -> Iterator[list[float]]:
    """The most resident memory of this process meanwhile, GB."""
    peak, done, me = [0.0], threading.Event(), psutil.Process()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], me.memory_info().rss / 1e9)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
