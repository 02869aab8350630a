"""How fast the training set is built from the feature log, and in how much memory, at one and at ten million rows.

A synthetic lake of ten days is written once (build/dataset-benchmark/) and read by a process of its own for each size,
DuckDB held to 2 GB. The peer is the least that could be done: the same DuckDB reads the same feature log and writes
the same columns, one a feature, with no join, label or weight. Both take turns.

    python -m benchmarks.dataset prepare        writes the lakes only
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from benchmarks.harness import REPOSITORY, Measured
from slidr.features import FEATURE_COUNT, FEATURE_NAMES, SPEC_HASH

FIGURES: Final = {
    "rows_per_s": "rows written a second at ten million rows: joined, labelled, weighted",
    "peak_gb": "most memory of the process at ten million rows, GB (VmHWM), Python and libraries included",
    "rows_per_s_1m": "rows written a second at one million rows",
    "peak_gb_1m": "most memory of the process at one million rows, GB",
}
SIZES: Final = {"1m": 1_000_000, "10m": 10_000_000}
ROUNDS: Final = {"1m": 3, "10m": 2}
MEMORY: Final = "2GB"
DAYS: Final = 10
START: Final = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
LAKES: Final = REPOSITORY / "build" / "dataset-benchmark"
_DAY_MS: Final = 86_400_000
_BLOCK: Final = 100_000
_REDELIVERED: Final = 0.02


def measure() -> Measured:
    """Run both at both sizes, in turns."""
    seconds: dict[tuple[str, str], list[float]] = {}
    peaks: dict[tuple[str, str], list[float]] = {}
    rows: list[dict[str, Any]] = []
    for size, clicks in SIZES.items():
        prepare(size)
        for _ in range(ROUNDS[size]):
            for what in ("peer", "dataset"):
                told = _in_a_process(what, size)
                assert told["rows"] == clicks or what == "peer", told
                seconds.setdefault((what, size), []).append(told["seconds"])
                peaks.setdefault((what, size), []).append(told["peak_gb"])
        for what in ("dataset", "peer"):
            took = seconds[what, size]
            rows.append({"what": what, "rows": clicks, "seconds": statistics.median(took),
                         "rows_per_s": clicks / statistics.median(took),
                         "peak_gb": max(peaks[what, size])})  # fmt: skip
    figures, spread = {}, {}
    for name, size in (("", "10m"), ("_1m", "1m")):
        took, clicks = seconds["dataset", size], SIZES[size]
        figures |= {
            f"rows_per_s{name}": clicks / statistics.median(took),
            f"peak_gb{name}": max(peaks["dataset", size]),
        }
        spread |= {f"rows_per_s{name}": (clicks / max(took), clicks / min(took)),
                   f"peak_gb{name}": (min(peaks["dataset", size]), max(peaks["dataset", size]))}  # fmt: skip
    return Measured(
        figures=figures,
        spread=spread,
        floors={
            f"peer: bare scan and copy, rows/s at {size}": clicks / statistics.median(seconds["peer", size])
            for size, clicks in SIZES.items()
        },
        rows=rows,
        notes=[
            f"{DAYS} days, {FEATURE_COUNT} features, {_REDELIVERED:.0%} of all delivered twice, 1% led to a purchase",
            f"two threads, a part a day; memory_limit {MEMORY} is DuckDB's own, the peak counts the whole process",
        ],
    )


def _in_a_process(what: str, size: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.dataset", what, size]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def run_once(what: str, size: str) -> dict[str, Any]:
    """Build once in this process: seconds, rows, peak_gb."""
    from training.dataset_sql.duckdb_run import connection, open_lake, write_dataset_files  # noqa: PLC0415
    from training.dataset_sql.tables import Span  # noqa: PLC0415

    lake_folder = LAKES / size
    files = {name: sorted((lake_folder / name).rglob("*.parquet")) for name in ("clicks", "verdicts", "purchases")}
    end = START + dt.timedelta(days=DAYS)
    with tempfile.TemporaryDirectory(dir=LAKES) as folder, connection(Path(folder), memory=MEMORY) as con:
        began = time.perf_counter()
        lake = open_lake(con, files)
        out = Path(folder) / "out"
        if what == "dataset":
            span = Span(start=START, end=end, until=end)
            rows = write_dataset_files(con, lake, span, out).clicks
        else:
            columns = ", ".join(f'features[{i + 1}]::FLOAT AS "{name}"' for i, name in enumerate(FEATURE_NAMES))
            statement = f'SELECT click_id, "at" AS "at", {columns} FROM verdicts'  # noqa: S608 - ours
            (rows,) = con.execute(f"COPY ({statement}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)").fetchall()[0]
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "rows": rows, "peak_gb": _peak_gb()}


def _peak_gb() -> float:
    """Of this process since it was started: not of the parent it was forked from, as getrusage would say."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e6


def prepare(size: str) -> None:
    """Write the lake of that size, where it is missing."""
    done = LAKES / size / "written"
    if done.exists():
        return
    shutil.rmtree(LAKES / size, ignore_errors=True)
    clicks = SIZES[size]
    rng = np.random.default_rng(0)
    features = _features(rng)
    for day in range(DAYS):
        _write_day(LAKES / size, day, total=clicks, features=features, rng=rng)
    done.touch()


def _features(rng: np.random.Generator) -> pa.Array:
    """A block of feature vectors as the archive has them: counts, and every fourth column a real number."""
    values = rng.negative_binomial(1, 0.2, (_BLOCK, FEATURE_COUNT)).astype(np.float64)
    values[:, ::4] = rng.gamma(0.5, 30.0, values[:, ::4].shape).astype(np.float32)
    offsets = np.arange(0, _BLOCK * FEATURE_COUNT + 1, FEATURE_COUNT, dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))


def _write_day(lake: Path, day: int, *, total: int, features: pa.Array, rng: np.random.Generator) -> None:
    count = total // DAYS
    date = f"{START + dt.timedelta(days=day):%Y-%m-%d}"
    first = int(START.timestamp() * 1000) + day * _DAY_MS
    for begin in range(0, count, _BLOCK):
        n = min(_BLOCK, count - begin)
        at = np.sort(rng.integers(first + begin * _DAY_MS // count, first + (begin + n) * _DAY_MS // count, n))
        ids = pa.array([f"{day:02}{begin + i:08}-4f7a-9c1e-c0ffee000000" for i in range(n)])
        user = rng.integers(0, total // 20, n)
        known = rng.random(n) < 0.6
        advertiser = _names("advertiser", rng.integers(0, 500, n))
        clicks = {
            "click_id": ids, "at": _times(at), "arrived_at": _times(at + 900),
            "user_token": _names("u", user, known), "session_token": _names("s", rng.integers(0, total // 5, n)),
            "givt": pa.array(rng.random(n) < 0.03), "device": _of(rng, n, ["desktop", "mobile", "tablet"]),
            "logged_in": pa.array(known), "advertiser": advertiser, "ad": _names("ad", rng.integers(0, 5_000, n)),
            "placement": _of(rng, n, ["top", "side"]), "marketplace": _of(rng, n, ["de", "us"]),
            "time_zone": _of(rng, n, ["Europe/Berlin", "America/New_York", "America/Los_Angeles"]),
        }  # fmt: skip
        verdicts = {
            "click_id": ids, "kind": _same("original", n), "at": clicks["at"], "decided_at": _times(at + 1_000),
            "reasons": pa.array([[]] * n, pa.list_(pa.string())), "givt": clicks["givt"],
            "feature_spec": _same(SPEC_HASH, n), "features": features.slice(0, n),
        }  # fmt: skip
        bought = np.flatnonzero(known & (rng.random(n) < 0.017))
        orders = {
            "order_id": pa.array([f"o{day}-{begin}-{i}" for i in bought]),
            "at": _times(at[bought] + rng.integers(0, _DAY_MS, len(bought))),
            "arrived_at": _times(at[bought] + _DAY_MS),
            "user_token": clicks["user_token"].take(pa.array(bought)),
            "session_token": pa.nulls(len(bought), pa.string()),
            "advertiser": advertiser.take(pa.array(bought)), "item": pa.nulls(len(bought), pa.string()),
            "amount_micros": pa.array(rng.integers(1, 200, len(bought)) * 1_000_000),
            "currency": _of(rng, len(bought), ["USD", "EUR"]), "click_id": pa.nulls(len(bought), pa.string()),
        }  # fmt: skip
        again = pa.array(np.flatnonzero(rng.random(n) < _REDELIVERED))
        for name, columns, late in (("clicks", clicks, "arrived_at"), ("verdicts", verdicts, "decided_at")):
            table = pa.table(columns)
            copies = table.take(again)
            moved = pa.array(copies[late].combine_chunks().cast(pa.int64()).to_numpy() + 5_000).cast(pa.timestamp("ms"))
            copies = copies.set_column(copies.column_names.index(late), late, moved)
            _write(pa.concat_tables([table, copies]), lake / name, date, begin)
        _write(pa.table(orders), lake / "purchases", date, begin)


def _write(table: pa.Table, folder: Path, date: str, begin: int) -> None:
    path = folder / f"date={date}" / "hour=00" / f"part-{begin}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="snappy")


def _times(at_ms: np.ndarray) -> pa.Array:
    return pa.array(at_ms).cast(pa.timestamp("ms"))


def _names(kind: str, numbers: np.ndarray, known: np.ndarray | None = None) -> pa.Array:
    """Tokens as long as the real ones."""
    text = pa.array(np.char.add(f"{kind}-0123456789abcdef-", numbers.astype(str)))
    return text if known is None else pa.compute.if_else(pa.array(known), text, pa.scalar(None, pa.string()))


def _of(rng: np.random.Generator, n: int, values: list[str]) -> pa.Array:
    return pa.array(np.array(values)[rng.integers(0, len(values), n)])


def _same(value: str, n: int) -> pa.Array:
    return pa.array(np.full(n, value))


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        for size in SIZES:
            prepare(size)
    else:
        sys.stdout.write(json.dumps(run_once(sys.argv[1], sys.argv[2])))
