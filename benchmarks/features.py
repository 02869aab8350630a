"""The whole feature matrix of a log of up to ten million clicks: speed, memory, growth; beside Polars at equal results.

    make bench BENCH=features

The log is simulated (five days of two million clicks, heavy-tailed keys), its times moved apart by milliseconds so that
no two clicks are at the same one: Polars' windows count ties both ways, ours do not. The clock starts at the log as
arrays of digests and ends when the last block of the float32 matrix is there; each block is then summed and dropped
(not timed). Every run is a process of its own, and its peak holds the log, the interpreter and the libraries.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.harness import Measured
from slidr.counter_batch import IDENTIFIERS, CounterBatch
from slidr.counters import CAPS, DAY_MS, ENTITIES, HOUR_MS, MINUTE_MS, RECENT_CAP
from slidr.errors import SlidrError
from slidr.features import FEATURE_COUNT, FEATURE_INDEX, ClickContext
from slidr.givt import packaged_crawlers
from slidr.pseudonym import Pseudonymiser
from training.counter_log import click_context, counter_log
from training.feature_blocks import feature_blocks
from training.lake_form import archived_clicks
from training.simulator.traffic import Traffic

DAYS, CLICKS_A_DAY = 5, 2_050_000
SIZES = (1_000_000, 3_000_000, 10_000_000)
ROUNDS = 3
"""Of ours and of Polars' counts in turn; its distinct counts run once a size."""

FIGURES = {
    "clicks_per_s": "clicks a second, ten million, all 76 features",
    "ratio_vs_polars": "Polars' time for the 26 columns in which it equals ours / ours for all 76, ten million",
    "ratio_counts_alone": "the same with only 12 of those taken from Polars, its rolling_sum_by",
    "peak_gb": "most memory of our process, ten million, with the log (0.85 GB)",
    "clicks_per_s_1m": "clicks a second, one million",
    "ratio_vs_polars_1m": "as ratio_vs_polars, one million",
    "lake_clicks_per_s": "from a table in the lake's form (tokens, ids as text) to the features, one million",
}

COUNTS = tuple(f"{entity.name}.n_{window}" for entity in ENTITIES for window in ("10s", "1m", "10m"))
DISTINCT = tuple(
    (entity.name, member_set.member, window_ms, CAPS.of(member_set))
    for entity in ENTITIES
    for member_set in entity.members
    for window_ms in member_set.windows_ms
)
LABELS = {10 * MINUTE_MS: "10m", HOUR_MS: "1h", DAY_MS: "24h"}


class ResultsDiffer(SlidrError):
    """Two ways to compute the same columns do not agree: their times do not compare."""


def measure() -> Measured:
    with tempfile.TemporaryDirectory(prefix="slidr-bench-") as name:
        return measured_in(Path(name))


def measured_in(folder: Path, sizes: Sequence[int] = SIZES) -> Measured:
    """Measure on the log in `folder`, made where there is none."""
    if not (folder / "ids.npy").exists():
        _run("write_log", folder, max(sizes))
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for size in sizes:
        for _ in range(ROUNDS):
            kinds = ("ours", "polars_counts", "polars_distinct") if size != sizes[1] else ("ours",)
            for kind in kinds:
                if kind != "polars_distinct" or (kind, size) not in runs:  # minutes, and far from a bound
                    runs.setdefault((kind, size), []).append(_run(kind, folder, size))
    lake = [_run("lake", folder, sizes[0]) for _ in range(ROUNDS)]
    for size in (sizes[0], sizes[-1]):
        _check_equal(runs, size)

    def seconds(kind: str, size: int) -> float:
        return median(run["seconds"] for run in runs[kind, size])

    def rates(size: int) -> tuple[float, float]:
        each = [size / run["seconds"] for run in runs["ours", size]]
        return min(each), max(each)

    def ratios(size: int, *peers: str) -> tuple[float, float]:
        peer = sum(seconds(kind, size) for kind in peers)
        each = [peer / run["seconds"] for run in runs["ours", size]]
        return min(each), max(each)

    most, least = sizes[-1], sizes[0]
    counts, both = ("polars_counts",), ("polars_counts", "polars_distinct")
    ratio = sum(seconds(kind, most) for kind in both) / seconds("ours", most)
    return Measured(
        figures={
            "clicks_per_s": most / seconds("ours", most),
            "ratio_vs_polars": ratio,
            "ratio_counts_alone": seconds("polars_counts", most) / seconds("ours", most),
            "peak_gb": max(run["peak_gb"] for run in runs["ours", most]),
            "clicks_per_s_1m": least / seconds("ours", least),
            "ratio_vs_polars_1m": sum(seconds(kind, least) for kind in both) / seconds("ours", least),
            "lake_clicks_per_s": least / median(run["seconds"] for run in lake),
        },
        spread={
            "clicks_per_s": rates(most),
            "ratio_vs_polars": ratios(most, *both),
            "ratio_counts_alone": ratios(most, *counts),
            "clicks_per_s_1m": rates(least),
            "ratio_vs_polars_1m": ratios(least, *both),
            "lake_clicks_per_s": _range([least / run["seconds"] for run in lake]),
        },
        floors={
            "Polars, 12 counts, seconds": seconds("polars_counts", most),
            "Polars, 14 distinct counts, seconds": seconds("polars_distinct", most),
        },
        rows=[
            {
                "clicks": size,
                "ours, s": round(seconds("ours", size), 2),
                "processor, s": round(median(run["processor_s"] for run in runs["ours", size]), 2),
                "clicks/s": round(size / seconds("ours", size)),
                "peak, GB": round(max(run["peak_gb"] for run in runs["ours", size]), 2),
                **{
                    f"{title}, {unit}": round(runs[kind, size][0][key], 2) if (kind, size) in runs else ""
                    for kind, title in (("polars_counts", "Polars 12 counts"), ("polars_distinct", "14 distinct"))
                    for key, unit in (("seconds", "s"), ("peak_gb", "GB"))
                },
            }
            for size in sizes
        ],
        notes=(
            "Smaller logs are the beginning of the largest. Ours on two threads, Polars on all it finds.",
            "Polars: 12 counts of clicks (rolling_sum_by over a key), 14 distinct counts (rolling by key, n_unique).",
            "Capped as ours are, all 26 columns are the same for every click; ours gives 50 more in its time.",
            "Polars has no rolling_*_by for distinct values: those 14 columns take its rolling.",
            "From the lake's form: digests of tokens and ids, local clocks, then the matrix; no files are read.",
        ),
        missed=_missed(most, seconds("ours", most), runs["ours", most], ratio),
    )


def _missed(clicks: int, seconds: float, runs: list[dict[str, Any]], ratio: float) -> list[str]:
    missed = []
    if max(run["peak_gb"] for run in runs) >= 3:
        missed.append(f"less than 3 GB for {clicks:,} clicks")
    if clicks / seconds < 1e6:
        missed.append(f"1,000,000 clicks/s, came {clicks / seconds:,.0f}")
    if ratio < 5:
        missed.append(f"5 times Polars at equal results, came {ratio:.1f}")
    return missed


def _range(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def _check_equal(runs: dict[tuple[str, int], list[dict[str, Any]]], size: int) -> None:
    ours = runs["ours", size][0]["sums"]
    theirs = {**runs["polars_counts", size][0]["sums"], **runs["polars_distinct", size][0]["sums"]}
    different = [name for name, value in theirs.items() if value != ours[name]]
    if different or len(theirs) != len(COUNTS) + len(DISTINCT):
        raise ResultsDiffer(
            f"{len(COUNTS) + len(DISTINCT)} columns must agree at {size:,} clicks, "
            f"{len(theirs)} came and {different} do not: find out which is wrong first"
        )


def _run(kind: str, folder: Path, clicks: int) -> dict[str, Any]:
    """One run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.features", kind, str(folder), str(clicks)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


# What follows runs in those processes.


def write_log(folder: Path, clicks: int) -> dict[str, Any]:
    parts, written = [], 0
    for day in _traffic(CLICKS_A_DAY).days(-(-clicks // CLICKS_A_DAY) + 1):
        table = day.clicks.with_columns(pl.col("user_agent").cast(pl.String)).head(clicks - written)
        written += len(table)
        parts.append((_hashed(table), click_context(table)))
        if written == clicks:
            break
    batches, contexts = zip(*parts, strict=True)
    at_ms = np.concatenate([batch.at_ms for batch in batches])
    number = np.arange(clicks)
    np.save(folder / "at_ms.npy", np.maximum.accumulate(at_ms - number) + number)
    for name in ("click_id", "ids", "present"):
        np.save(folder / f"{name}.npy", np.concatenate([getattr(batch, name) for batch in batches]))
    for name in ("minute_of_week", "logged_in", "device"):
        np.save(folder / f"{name}.npy", np.concatenate([getattr(context, name) for context in contexts]))
    return {"clicks": clicks}


def ours(folder: Path, clicks: int) -> dict[str, Any]:
    log, context = _log(folder, clicks), _context(folder, clicks)
    few = slice(0, 10_000)
    for _ in feature_blocks(log.rows(few), _rows(context, few), rows_a_piece=6_000):
        pass  # compiled code is read from disk here
    names = [*COUNTS, *(_distinct_name(*distinct[:3]) for distinct in DISTINCT)]
    columns = [FEATURE_INDEX[name] for name in names]
    sums, seconds, processor_s = np.zeros(len(columns), dtype=np.int64), 0.0, 0.0
    blocks = feature_blocks(log, context)
    while True:
        began, processor_began = time.perf_counter(), time.process_time()
        block = next(blocks, None)
        seconds += time.perf_counter() - began
        processor_s += time.process_time() - processor_began
        if block is None:
            break
        rows, features = block
        assert features.shape[1] == FEATURE_COUNT
        for place, column in enumerate(columns):
            sums[place] += _sum_by_place(features[:, column].astype(np.int64), rows.start)
    return {
        "seconds": seconds,
        "processor_s": processor_s,
        "sums": dict(zip(names, sums.tolist(), strict=True)),
    }


def polars_counts(folder: Path, clicks: int) -> dict[str, Any]:
    table, sums, seconds = _table(folder, clicks), {}, 0.0
    for entity in ENTITIES:
        known = table.filter(pl.col(entity.name).is_not_null())
        windows = {f"{entity.name}.n_{window}": window for window in ("10s", "1m", "10m")}
        began = time.perf_counter()
        counts = (
            known.lazy()
            .select(
                (pl.col("one").rolling_sum_by("at", window_size=window).over(entity.name) - 1)
                .clip(0, RECENT_CAP)
                .alias(n)
                for n, window in windows.items()
            )
            .collect(engine="streaming")
        )  # a third faster here than the in-memory engine, or than group_by and explode
        seconds += time.perf_counter() - began
        for name in windows:
            sums[name] = _sum_by_place(counts[name].to_numpy().astype(np.int64), known["row"].to_numpy())
    return {"seconds": seconds, "sums": sums}


def polars_distinct(folder: Path, clicks: int) -> dict[str, Any]:
    table, sums, seconds = _table(folder, clicks), {}, 0.0
    for entity, window_ms in dict.fromkeys((entity, window_ms) for entity, _, window_ms, _ in DISTINCT):
        known = table.filter(pl.col(entity).is_not_null())
        members = {member: cap for e, member, w, cap in DISTINCT if (e, w) == (entity, window_ms)}
        began = time.perf_counter()
        counts = known.rolling("at", period=LABELS[window_ms], group_by=entity).agg(
            pl.col("row").last(), *(pl.col(m).drop_nulls().n_unique().clip(0, cap) for m, cap in members.items())
        )
        seconds += time.perf_counter() - began
        for member in members:
            name = _distinct_name(entity, member, window_ms)
            sums[name] = _sum_by_place(counts[member].to_numpy().astype(np.int64), counts["row"].to_numpy())
    return {"seconds": seconds, "sums": sums}


def lake(_: Path, clicks: int) -> dict[str, Any]:
    day = _traffic(clicks).day(0).clicks.head(clicks)
    table = archived_clicks(day, pseudonymiser=Pseudonymiser(bytes(32), version=1), crawlers=packaged_crawlers())
    del day
    few = table.head(10_000)
    list(feature_blocks(counter_log(few), click_context(few)))
    began = time.perf_counter()
    for _rows_of_block, _features in feature_blocks(counter_log(table), click_context(table)):
        pass
    return {"seconds": (time.perf_counter() - began) * clicks / len(table)}


def _traffic(clicks_a_day: int) -> Traffic:
    return Traffic(seed=7, start=dt.datetime(2026, 11, 2, tzinfo=dt.UTC), clicks_per_day=clicks_a_day)


def _hashed(clicks: pl.DataFrame) -> CounterBatch:
    """The simulated clicks, each identifier a 64-bit hash: which they are does not matter, only which are equal."""
    both = pl.struct("ip", "user_agent")
    ids = [(both if name == "device_fp" else pl.col(name)).hash(i).alias(name) for i, name in enumerate(IDENTIFIERS)]
    known = clicks.with_columns(device_fp=pl.lit(value=True)).select(pl.col(IDENTIFIERS).is_not_null())
    return CounterBatch(
        at_ms=clicks["at"].dt.epoch("ms").to_numpy(),
        click_id=clicks["click_id"].hash(100).to_numpy(),
        ids=np.ascontiguousarray(clicks.select(ids).to_numpy()),
        present=np.ascontiguousarray(known.to_numpy()),
    )


def _log(folder: Path, clicks: int) -> CounterBatch:
    return CounterBatch(**{name: _array(folder, name, clicks) for name in ("at_ms", "click_id", "ids", "present")})


def _context(folder: Path, clicks: int) -> ClickContext:
    return ClickContext(**{name: _array(folder, name, clicks) for name in ("minute_of_week", "logged_in", "device")})


def _array(folder: Path, name: str, clicks: int) -> NDArray[Any]:
    return np.array(np.load(folder / f"{name}.npy", mmap_mode="r")[:clicks])


def _rows(context: ClickContext, rows: slice) -> ClickContext:
    return ClickContext(
        minute_of_week=context.minute_of_week[rows], logged_in=context.logged_in[rows], device=context.device[rows]
    )


def _table(folder: Path, clicks: int) -> pl.DataFrame:
    log = _log(folder, clicks)
    identifiers = {
        name: pl.select(pl.when(pl.Series(log.present[:, i])).then(pl.Series(log.ids[:, i]))).to_series()
        for i, name in enumerate(IDENTIFIERS)
    }
    return pl.DataFrame({"at": log.at_ms, **identifiers}).with_columns(
        pl.col("at").cast(pl.Datetime("ms")), one=pl.lit(1, dtype=pl.Int32), row=pl.int_range(pl.len())
    )


def _distinct_name(entity: str, member: str, window_ms: int) -> str:
    return f"{entity}.{member}s_{LABELS[window_ms]}"


def _sum_by_place(values: NDArray[np.int64], rows: int | NDArray[np.int64]) -> int:
    """A sum that no exchange of two unlike rows leaves as it is; rows of the log, or the first of consecutive ones."""
    places = rows + np.arange(len(values)) if isinstance(rows, int) else rows
    return int((values * (1 + places % 1_000_003)).sum())


def _peak_gb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


RUNS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    run.__name__: run for run in (write_log, ours, polars_counts, polars_distinct, lake)
}

if __name__ == "__main__":
    answer = RUNS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.write(json.dumps({**answer, "peak_gb": _peak_gb()}) + "\n")
