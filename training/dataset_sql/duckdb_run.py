"""Runs the dataset on DuckDB over Parquet files, part by part, in a stated amount of memory."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import ibis
import ibis.expr.types as ir
import numpy as np
from duckdb import DuckDBPyConnection
from numpy.typing import NDArray

from training.dataset_sql.rows import Pieces, cells, labelled, pieces, weighted
from training.dataset_sql.tables import (
    LAKE_SCHEMAS,
    SMALL_SCHEMAS,
    Lake,
    Span,
    within,
    zone_offsets,
)
from training.labels import UnusableTrainingData
from training.weights import MAX_WEIGHT, SCHEME, Scheme, effective_sample_size, weights_of_cells

_PARQUET: Final = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880"
MEMORY: Final = "2GB"
PART: Final = dt.timedelta(days=1)
"""Event time of one part: what a join holds at once is a part, never the log."""
_DUCKDB_TYPES: Final = {
    "string": "VARCHAR", "boolean": "BOOLEAN", "int64": "BIGINT", "array<string>": "VARCHAR[]",
    "float64": "DOUBLE", "array<float64>": "DOUBLE[]",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What came of a dataset."""

    files: tuple[Path, ...]
    clicks: int
    """Rows, those kept out of training included."""
    trainable: int
    """Rows with a weight."""
    purchasing: int
    effective_sample_size: float
    """Of the trainable rows under their weights."""


@contextmanager
def connection(folder: Path | None = None, *, memory: str = MEMORY, threads: int = 2) -> Iterator[DuckDBPyConnection]:
    """A DuckDB that keeps to `memory` and spills to a directory of its own.

    Args:
        folder: where that directory is; by default where the system has temporary files.
        memory: DuckDB's limit, like "2GB".
        threads: each costs memory of its own.
    """
    with tempfile.TemporaryDirectory(prefix="slidr-duckdb-", dir=folder) as spill:
        options: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory,
            "threads": threads,
            "temp_directory": spill,
        }
        with duckdb.connect(str(Path(spill) / "dataset.duckdb"), config=options) as con:
            # The order of rows within a part is free (training sorts), and keeping it costs memory.
            con.execute("SET preserve_insertion_order = false; SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            yield con


def open_lake(con: DuckDBPyConnection, files: Mapping[str, Sequence[Path]]) -> Lake:
    """The lake's tables over Parquet files; a table without files is empty.

    Files below `date=YYYY-MM-DD/` are read only where a query needs that date.

    Args:
        con: see `connection`.
        files: by table: clicks, verdicts, purchases.
    """
    for name, schema in LAKE_SCHEMAS.items():
        con.execute(f"CREATE OR REPLACE VIEW {name} AS {_view(schema, files.get(name, ()))}")
    for name, schema in SMALL_SCHEMAS.items():
        columns = ", ".join(f'"{column}" {_DUCKDB_TYPES[kind]}' for column, kind in schema.items())
        con.execute(f"CREATE OR REPLACE TABLE {name} ({columns})")
    return Lake.unbound()


def _view(schema: Mapping[str, str], files: Sequence[Path]) -> str:
    """A SELECT with the schema's columns over the files, times cut to whole milliseconds."""
    if not files:
        typed = (f'CAST(NULL AS {_DUCKDB_TYPES.get(kind, "TIMESTAMP")}) AS "{name}"' for name, kind in schema.items())
        return f"SELECT {', '.join(typed)} WHERE false"
    partitioned = all(any(part.startswith("date=") for part in file.parts) for file in files)
    columns = []
    for name, kind in schema.items():
        if kind not in _DUCKDB_TYPES:  # with a zone or without, in any unit: not every kind casts to every other
            value = f"date_trunc('millisecond', CAST(CAST(\"{name}\" AS TIMESTAMPTZ) AS TIMESTAMP))"
        elif name == "date" and not partitioned:
            value = "strftime(CAST(CAST(\"at\" AS TIMESTAMPTZ) AS TIMESTAMP), '%Y-%m-%d')"
        else:
            value = f'CAST("{name}" AS {_DUCKDB_TYPES[kind]})'
        columns.append(f'{value} AS "{name}"')
    paths = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
    hive = "hive_partitioning = true, hive_types = {'date': VARCHAR}" if partitioned else "hive_partitioning = false"
    # Paths of our own listing, quoted; DuckDB takes no parameters in a view.
    return f"SELECT {', '.join(columns)} FROM read_parquet([{paths}], union_by_name = true, {hive})"  # noqa: S608


def write_dataset_files(
    con: DuckDBPyConnection,
    lake: Lake,
    span: Span,
    out: Path,
    *,
    scheme: Scheme = SCHEME,
    cap: float = MAX_WEIGHT,
    part: dt.timedelta = PART,
) -> Written:
    """Write the training set of a span as Parquet files below `out`, one a part of it.

    Args:
        con: see `connection`.
        lake: see `open_lake`.
        span: which clicks, and what is known.
        out: a directory; files part-00000.parquet ...
        scheme: of the weights.
        cap: of the weights.
        part: event time of a file.

    Raises:
        UnusableTrainingData: no click has features of the span's spec.
    """
    made = prepared(con, lake, span)
    ess = _weigh(con, cell_counts(con, lake, made, span), scheme=scheme, cap=cap)
    out.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    start = span.start
    while start < span.end:
        end = min(start + part, span.end)
        path = out / f"part-{len(files):05d}.parquet"
        rows = _sql(weighted(lake, labelled(lake, made, span, (start, end))))
        if _number(con, f"COPY ({rows}) TO '{path}' ({_PARQUET})"):
            files.append(path)
        else:
            path.unlink(missing_ok=True)
        start = end
    if not files:
        raise UnusableTrainingData(
            f"verdicts with features of spec {span.feature_spec} and their archived clicks are required between "
            f"{span.start.isoformat()} and {span.end.isoformat()}, there are none. Recompute features from the click "
            "archive (--features recomputed)."
        )
    every = ", ".join(f"'{path}'" for path in files)
    tally = "count(*), count(*) FILTER (weight > 0), count(*) FILTER (purchased)"
    clicks, trainable, purchasing = _row(con, f"SELECT {tally} FROM read_parquet([{every}])")  # noqa: S608 - ours
    return Written(
        files=tuple(files), clicks=clicks, trainable=trainable, purchasing=purchasing, effective_sample_size=ess
    )


def prepared(con: DuckDBPyConnection, lake: Lake, span: Span) -> Pieces:
    """The pieces of a span, each made once and kept as a table; and the zones of its clicks."""

    def keep(name: str, piece: ir.Table) -> ir.Table:
        con.execute(f"CREATE OR REPLACE TABLE {name} AS {_sql(piece)}")
        return ibis.table(piece.schema(), name=name)

    zones = within(lake.clicks, span.start, span.end).select("time_zone").distinct()
    names = [name for (name,) in con.execute(_sql(zones)).fetchall()]
    _fill(con, "zone_offsets", zone_offsets(names, span.start, span.end))
    return pieces(lake, span, keep)


def cell_counts(con: DuckDBPyConnection, lake: Lake, made: Pieces, span: Span) -> dict[str, NDArray[Any]]:
    """Trainable clicks by cell: arrays hour_of_week, logged_in, label, clicks."""
    found = con.execute(f"{_sql(cells(lake, made, span))} ORDER BY ALL").fetchnumpy()
    return {name: np.asarray(values) for name, values in found.items()}


def _weigh(con: DuckDBPyConnection, counted: Mapping[str, NDArray[Any]], *, scheme: Scheme, cap: float) -> float:
    """Fill `cell_weights`; the effective sample size. Nothing where one label is missing: the trainer says so."""
    if len(np.unique(counted["label"])) < 2:
        return 0.0
    hours, logged_in, label, clicks = (counted[name] for name in ("hour_of_week", "logged_in", "label", "clicks"))
    weights = weights_of_cells(hours, logged_in, label, clicks, scheme=scheme, cap=cap)
    cells_of = zip(hours.tolist(), logged_in.tolist(), label.tolist(), weights.tolist(), strict=True)
    _fill(con, "cell_weights", cells_of)
    return effective_sample_size(weights, clicks)


def _fill(con: DuckDBPyConnection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Put the rows into one of our small tables."""
    given = list(rows)
    if given:
        places = ", ".join("?" * len(given[0]))
        con.executemany(f"INSERT INTO {table} VALUES ({places})", given)  # noqa: S608 - a table of ours


def _sql(expression: ir.Table) -> str:
    return str(ibis.to_sql(expression, dialect="duckdb"))


def _row(con: DuckDBPyConnection, statement: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] = con.execute(statement).fetchall()[0]
    return row


def _number(con: DuckDBPyConnection, statement: str) -> int:
    return int(_row(con, statement)[0])
