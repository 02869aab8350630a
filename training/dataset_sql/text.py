"""The dataset as SQL text, for an engine that is not here: Athena (Trino)."""

from __future__ import annotations

import csv
import datetime as dt
import zoneinfo
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import ibis
import ibis.expr.types as ir
import numpy as np
from sqlglot import exp

from training.dataset_sql.rows import cells, dataset, pieces
from training.dataset_sql.tables import (
    CELL_WEIGHTS,
    LAKE_SCHEMAS,
    SMALL_SCHEMAS,
    ZONE_OFFSETS,
    Lake,
    Span,
    zone_offsets,
)
from training.weights import MAX_WEIGHT, Scheme, weights_of_cells

ATHENA_LIMIT: Final = 262_144
"""Bytes of a statement. Source: Amazon Athena user guide, "Service Quotas"."""
CellWeight = tuple[int, bool, int, float]
"""hour_of_week, logged_in, label, weight."""


def cells_statement(span: Span, *, dialect: str, zones: Iterable[str] | None = None) -> str:
    """The first statement: trainable clicks by cell, from which `weights_of` makes weights."""
    lake = Lake.unbound()
    return _text(cells(lake, pieces(lake, span), span), span, dialect=dialect, zones=zones, weights=())


def rows_statement(
    span: Span, *, dialect: str, weights: Sequence[CellWeight], zones: Iterable[str] | None = None
) -> str:
    """The second statement: the training set. Without weights, every row's weight is 0.

    Args:
        span: which clicks, and what is known.
        dialect: of SQL, as sqlglot names it: "trino", "athena", "duckdb".
        weights: see `weights_of`.
        zones: time zones of the clicks; by default all that this machine knows.
    """
    return _text(dataset(Lake.unbound(), span), span, dialect=dialect, zones=zones, weights=weights)


def unload(statement: str, destination: str) -> str:
    """Athena's command that writes a statement's rows as Parquet below an empty S3 prefix."""
    return f"UNLOAD (\n{statement}\n)\nTO '{destination}'\nWITH (format = 'PARQUET', compression = 'SNAPPY')"


def weights_of(counted: Path, *, scheme: Scheme, cap: float = MAX_WEIGHT) -> list[CellWeight]:
    """The weight of each cell, from the CSV file that `cells_statement` gives in Athena."""
    with counted.open(newline="") as file:
        found = [
            (int(row["hour_of_week"]), row["logged_in"].lower() == "true", int(row["label"]), int(row["clicks"]))
            for row in csv.DictReader(file)
        ]
    hours, logged_in, label, clicks = (np.array(column) for column in zip(*found, strict=True))
    weights = weights_of_cells(hours, logged_in, label, clicks, scheme=scheme, cap=cap)
    return [(*cell[:3], float(weight)) for cell, weight in zip(found, weights, strict=True)]


def _text(
    expression: ir.Table, span: Span, *, dialect: str, zones: Iterable[str] | None, weights: Sequence[CellWeight]
) -> str:
    """The statement, our small tables written into it."""
    names = zoneinfo.available_timezones() if zones is None else zones
    offsets = zone_offsets(names, *_whole_hours(span))
    tree = exp.maybe_parse(str(ibis.to_sql(expression, dialect=dialect)), into=exp.Select, dialect=dialect)
    used = {table.name for table in tree.find_all(exp.Table)}
    for table in tree.find_all(exp.Table):
        reading = table.parent_select
        if table.name in LAKE_SCHEMAS and isinstance(reading, exp.Select) and reading.is_star:
            # Ibis takes our schema for all of a table's columns; the lake's tables have more.
            columns_of = LAKE_SCHEMAS[table.name]
            reading.set("expressions", [exp.column(name, table=table.alias, quoted=True) for name in columns_of])
    small: tuple[tuple[str, Sequence[str], Sequence[tuple[object, ...]]], ...] = (
        ("zone_offsets", list(ZONE_OFFSETS), offsets),
        ("cell_weights", list(CELL_WEIGHTS), weights or [(-1, False, -1, 0.0)]),
    )
    for name, columns, rows in small:
        if name in used:
            values = ", ".join(f"({', '.join(_literal(value) for value in row)})" for row in rows)
            source = f"SELECT * FROM (VALUES {values}) AS given ({', '.join(columns)})"  # noqa: S608 - ours
            tree = tree.with_(name, as_=source, dialect=dialect)
    clause = tree.find(exp.With)
    if clause is not None:  # ours first: the others read them
        ours = [cte for cte in tree.ctes if cte.alias in SMALL_SCHEMAS]
        clause.set("expressions", [*ours, *(cte for cte in tree.ctes if cte.alias not in SMALL_SCHEMAS)])
    return tree.sql(dialect=dialect, pretty=True)


def _whole_hours(span: Span) -> tuple[dt.datetime, dt.datetime]:
    return span.start.replace(minute=0, second=0, microsecond=0), span.end


def _literal(value: object) -> str:
    match value:
        case bool():
            return str(value).upper()
        case float():
            return f"{value:.17e}"
        case int():
            return str(value)
        case _:
            return "'" + str(value).replace("'", "''") + "'"
