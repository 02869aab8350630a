"""The ledger's records of an hour, from the lake's Parquet files and from the corrections that replays published."""

from __future__ import annotations

import datetime as dt
import gzip
import io
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from slidr.features import FEATURE_COUNT
from slidr.verdict import Verdict
from training.lake_dataset import CLICK_COLUMNS
from training.mlp_weights import Floats
from training.replay.decide import HourRecords

_LEFT_OUT: Final = ("features", "shadow_scores", "version")
COLUMNS: Final = tuple(name for name in Verdict.__struct_fields__ if name not in _LEFT_OUT)
ARCHIVED: Final = (*CLICK_COLUMNS, "campaign", "cost_micros", "currency")
"""What of an archived click a replay needs."""
_INSTANT: Final = pl.Datetime("us", "UTC")
_TYPES: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "click_id": pl.String, "kind": pl.String, "at": _INSTANT, "arrived_at": _INSTANT, "decided_at": _INSTANT,
    "decision": pl.String, "mode": pl.String, "billable": pl.Boolean, "reasons": pl.List(pl.String),
    "score": pl.Float64, "threshold": pl.Float64, "slice": pl.String, "release_id": pl.String, "givt": pl.Boolean,
    "late": pl.Boolean, "marketplace": pl.String, "advertiser": pl.String, "campaign": pl.String,
    "cost_micros": pl.Int64, "currency": pl.String, "feature_spec": pl.String,
}  # fmt: skip


def hour_records(files: Iterable[bytes], published: Iterable[bytes] = ()) -> HourRecords:
    """All records of an hour.

    Args:
        files: objects of the lake's verdicts, Parquet.
        published: JSON lines, gzipped, of corrections that were published; the lake may hold them or not yet.
    """
    parts = [_from_parquet(file) for file in files]
    lines = [line for body in published for line in gzip.decompress(body).splitlines() if line]
    if lines:
        parts.append(_from_verdicts([msgspec.json.decode(line, type=Verdict) for line in lines]))
    if not parts:
        parts.append(_from_verdicts([]))
    records = pl.concat([frame for frame, _ in parts]).with_row_index("row")
    return HourRecords(records=records, features=np.concatenate([matrix for _, matrix in parts]))


def verdicts_of(hour: HourRecords, click_id: str) -> list[Verdict]:
    """The different records of one click, in the order in which they were decided; shadow scores are left out."""
    rows = hour.records.filter(pl.col("click_id") == click_id).sort("decided_at", "kind")
    found: list[Verdict] = []
    for row in rows.iter_rows(named=True):
        features = hour.features[row["row"]].tolist() if row["has_features"] else None
        fields = {name: row[name] for name in COLUMNS}
        verdict = msgspec.convert({**fields, "shadow_scores": {}, "features": features}, Verdict)
        if verdict not in found:
            found.append(verdict)
    return found


def archived_clicks(files: Iterable[bytes]) -> pl.DataFrame:
    """The archived clicks, each once, the first that arrived; by (at, click_id)."""
    tables = [pl.from_arrow(pq.read_table(io.BytesIO(file), columns=["arrived_at", *ARCHIVED])) for file in files]
    if not tables:
        return pl.DataFrame(schema={name: _TYPES.get(name, pl.String) for name in ("arrived_at", *ARCHIVED)})
    clicks = pl.concat([_instants(frame) for frame in tables if isinstance(frame, pl.DataFrame)])
    once = clicks.sort("arrived_at", "at", "click_id").unique("click_id", keep="first", maintain_order=True)
    return once.sort("at", "click_id")


def _instants(frame: pl.DataFrame) -> pl.DataFrame:
    """Times as the counters want them: whole milliseconds, UTC."""
    return frame.with_columns(pl.col("at", "arrived_at").cast(pl.Datetime("ms", "UTC")))


def _from_parquet(file: bytes) -> tuple[pl.DataFrame, Floats]:
    table = pq.read_table(io.BytesIO(file), columns=[*COLUMNS, "features"])
    features = table.column("features").combine_chunks()
    known = features.is_valid()
    matrix = np.zeros((len(table), FEATURE_COUNT), dtype=np.float32)
    flat = features.flatten()
    rows = known.to_numpy(zero_copy_only=False)
    widths = pa.compute.list_value_length(features).fill_null(0).to_numpy(zero_copy_only=False)
    rows &= widths == FEATURE_COUNT  # of another spec: its feature_spec says so too
    if len(flat) == int(rows.sum()) * FEATURE_COUNT:
        matrix[rows] = flat.to_numpy(zero_copy_only=False).reshape(-1, FEATURE_COUNT)
    else:
        for row in np.flatnonzero(rows):
            matrix[row] = features[int(row)].values.to_numpy(zero_copy_only=False)
    frame: Any = pl.from_arrow(table.select(list(COLUMNS)))
    return _typed(frame).with_columns(pl.Series("has_features", rows)), matrix


def _from_verdicts(verdicts: list[Verdict]) -> tuple[pl.DataFrame, Floats]:
    rows = [{**msgspec.to_builtins(verdict, builtin_types=(dt.datetime,))} for verdict in verdicts]
    frame = pl.DataFrame(
        {name: pl.Series([row[name] for row in rows], dtype=_TYPES[name], strict=False) for name in COLUMNS}
    )
    matrix = np.zeros((len(verdicts), FEATURE_COUNT), dtype=np.float32)
    has = np.array([verdict.features is not None for verdict in verdicts], dtype=np.bool_)
    for row in np.flatnonzero(has):
        matrix[row] = verdicts[row].features
    return frame.with_columns(pl.Series("has_features", has)), matrix


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    """The lake's times carry no zone: they are UTC."""
    times = [
        (pl.col(name).dt.replace_time_zone("UTC") if frame.schema[name].time_zone is None else pl.col(name))  # type: ignore[attr-defined]
        for name in ("at", "arrived_at", "decided_at")
    ]
    typed = frame.with_columns(times).with_columns(pl.col(name).cast(kind) for name, kind in _TYPES.items())
    return typed.with_columns(pl.col("reasons").fill_null(pl.lit([], dtype=pl.List(pl.String))))  # as Hive writes none
