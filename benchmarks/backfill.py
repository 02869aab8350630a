"""One million clicks of the past into a deployed lake, and the training set made of them.

The cloud is the local one, with the stacks as deployed; the command is run as anybody runs it, in a process of its own.
Peers of the same run: the bare offline kernel on the same clicks, and `slidr send` of a simulated day (records put, not
decided).
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.deployed import running_cloud
from benchmarks.harness import Measured
from local.demonstration import simulated_traffic
from local.session import Session
from local.sources.event import Kind
from local.sources.simulated import simulated_chunks
from slidr.errors import SlidrError
from slidr.features import assemble, no_profiles
from training.counter_log import click_context, counter_log
from training.counters_kernel import count
from training.feature_blocks import feature_blocks

DAYS, CLICKS_PER_DAY, SEED = 10, 100_000, 7
LOG_DAYS = 1
"""Of these days so many also come as JSON lines, to see what reading records costs."""

FIGURES = {
    "clicks_per_s": "simulated clicks a second from nothing to the lake, the whole command",
    "seconds": "seconds of that command",
    "peak_gb": "most memory that it held",
    "lake_mb": "what it wrote",
    "again_s": "seconds of the same command when all is there already",
    "log_clicks_per_s": "the same for JSON lines, each record checked by its contract",
    "dataset_seconds": "seconds of `process dataset` on these clicks (without fetching them from the lake)",
    "dataset_peak_gb": "most memory that it held",
}


class NotBackfilled(SlidrError):
    """The lake does not hold what went in: no figure would mean anything."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A process that ended well."""

    seconds: float
    peak_gb: float


def measure() -> Measured:
    with running_cloud() as folder:
        session = Session()
        days = ("--simulate", str(DAYS), "--clicks-per-day", str(CLICKS_PER_DAY), "--seed", str(SEED))
        first = _ran("local.cli", "backfill", *days)
        lake_mb = _fetch(session, folder)
        again = _ran("local.cli", "backfill", *days)
        clicks = _checked(folder / "processing" / "input")
        dataset = _ran("training.container.entrypoint", "process", "dataset", SLIDR_OPT_ML=str(folder))
        kernel_s = _kernel_seconds(clicks)
        log, logged = _log(folder)
        read = _ran("local.cli", "backfill", str(log))
        sent = _ran("local.cli", "send", "--simulate", "1")
    return Measured(
        figures={
            "clicks_per_s": len(clicks) / first.seconds,
            "seconds": first.seconds,
            "peak_gb": first.peak_gb,
            "lake_mb": lake_mb,
            "again_s": again.seconds,
            "log_clicks_per_s": logged / read.seconds,
            "dataset_seconds": dataset.seconds,
            "dataset_peak_gb": dataset.peak_gb,
        },
        floors={
            "bare kernel, clicks/s": len(clicks) / kernel_s,
            "slidr send, clicks/s put": len(simulated_traffic(SEED, 20_000).day(DAYS + 1).clicks) / sent.seconds,
        },
        notes=(
            f"{len(clicks):,} clicks of {DAYS} days; {logged:,} of them as JSON lines. The lake held every click once.",
            "The first day's features are to the bit as the online assembly gives them.",
            "Seconds are whole commands, 2 s of start-up and the emulator's share of the two cores with them.",
        ),
    )


def _ran(module: str, *words: str, **environment: str) -> Ran:
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words], env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise NotBackfilled(f"{module} {' '.join(words)} must end with 0, it ended with {process.returncode}")
    return Ran(seconds=time.perf_counter() - began, peak_gb=usage.ru_maxrss / 1e6)


def _fetch(session: Session, folder: Path) -> float:
    """Bring the lake's clicks and purchases to where a processing job finds them; verdicts beside. Megabytes in all."""
    s3, bucket, size = session.client("s3"), session.outputs.lake_bucket, 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", []):
            inside = "verdicts" if item["Key"].startswith("verdicts/") else "processing/input"
            target = folder / inside / item["Key"].removeprefix("verdicts/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
            size += item["Size"]
    return size / 1e6


def _checked(lake: Path) -> pl.DataFrame:
    """The clicks of the lake in event order, compared with the simulator's and with the feature log's first day."""
    clicks = _read(lake / "clicks").sort("at", "click_id")
    traffic = simulated_traffic(SEED, CLICKS_PER_DAY)
    made = sum(len(day.clicks) for day in traffic.days(DAYS))
    if not len(clicks) == clicks["click_id"].n_unique() == made:
        raise NotBackfilled(f"{made} distinct clicks are required in the lake, came {len(clicks)}")
    first_day = f"date={clicks['at'][0]:%Y-%m-%d}"
    logged = _read(lake.parents[1] / "verdicts" / first_day).sort("at", "click_id")
    day = clicks.head(len(logged))
    online = assemble(count(counter_log(day)), click_context(day), no_profiles(len(day)))
    features = np.array(logged["features"].to_list(), dtype=np.float32)
    if logged["click_id"].to_list() != day["click_id"].to_list() or features.tobytes() != online.tobytes():
        raise NotBackfilled(f"the features of {first_day} must be those of the online assembly, they differ")
    return clicks


def _read(folder: Path) -> pl.DataFrame:
    files = sorted(folder.rglob("*.parquet"))
    return pl.concat([pl.read_parquet(io.BytesIO(file.read_bytes())) for file in files])


def _kernel_seconds(clicks: pl.DataFrame) -> float:
    log, context = counter_log(clicks), click_context(clicks)
    began = time.perf_counter()
    for _ in feature_blocks(log, context):
        pass
    return time.perf_counter() - began


def _log(folder: Path) -> tuple[Path, int]:
    """The first simulated days as JSON lines of clicks, and how many those are."""
    path, clicks = folder / "clicks.jsonl", 0
    with path.open("wb") as file:
        for chunk in simulated_chunks(simulated_traffic(SEED, CLICKS_PER_DAY).days(LOG_DAYS)):
            lines = [event.payload for event in chunk if event.kind is Kind.CLICK]
            file.writelines(line + b"\n" for line in lines)
            clicks += len(lines)
    return path, clicks
