"""Firehose's record format conversion: JSON records to Parquet by the columns of a Glue table."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from slidr.errors import SlidrError

_SIMPLE_TYPES: Mapping[str, Any] = {
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("ms"),
}


_READABLE_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,9})?Z|( \d\d:\d\d:\d\d(\.\d{1,9})?)?)")
"""Times in text that Firehose converts; other offsets than Z it does not.

Source: Amazon Data Firehose developer guide, "Choose the JSON deserializer".
"""


class ConversionFailed(SlidrError):
    """A record does not fit the table; `code` is Firehose's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Column:
    """A Glue column: its name and its Hive type, such as `array<float>`."""

    name: str
    hive_type: str


def _split_top_level(text: str) -> list[str]:
    """Split at the commas that are not inside brackets."""
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part.strip() for part in (*parts, text[start:])]


def arrow_type(hive_type: str) -> Any:
    """Return the Arrow type of a Hive type.

    >>> str(arrow_type("array<struct<id:bigint,score:float>>"))
    'list<element: struct<id: int64, score: float>>'

    Raises:
        ConversionFailed: Firehose does not know the type.
    """
    text = hive_type.strip().lower()
    if text in _SIMPLE_TYPES:
        return _SIMPLE_TYPES[text]
    if text.startswith(("varchar", "char")):
        return pa.string()
    head, _, rest = text.partition("<")
    inner = rest.removesuffix(">")
    if head == "array":
        return pa.list_(pa.field("element", arrow_type(inner)))
    if head == "map":
        key, value = _split_top_level(inner)
        return pa.map_(arrow_type(key), arrow_type(value))
    if head == "struct":
        pairs = [part.partition(":") for part in _split_top_level(inner)]
        return pa.struct([pa.field(name.strip(), arrow_type(kind)) for name, _, kind in pairs])
    if text.startswith("decimal"):
        precision, scale = (int(part) for part in text.removeprefix("decimal(").removesuffix(")").split(","))
        return pa.decimal128(precision, scale)
    raise ConversionFailed(
        "DataFormatConversion.ConversionFailureException", f"the Glue type {hive_type!r} cannot be written as Parquet"
    )


def schema_of(columns: Iterable[Column]) -> Any:
    """Return the Arrow schema of a table's columns."""
    return pa.schema([pa.field(column.name, arrow_type(column.hive_type)) for column in columns])


def read_document(data: bytes, columns: Sequence[Column]) -> dict[str, Any]:
    """Return the record's values by column; keys compare without case, unknown keys are passed over.

    Raises:
        ConversionFailed: not a JSON object.
    """
    try:
        document = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError) as malformed:
        raise ConversionFailed("DataFormatConversion.ParseError", "Encountered malformed JSON.") from malformed
    if not isinstance(document, dict):
        raise ConversionFailed("DataFormatConversion.MalformedData", "Data does not match the schema.")
    by_name = {key.lower(): value for key, value in document.items()}
    return {column.name: by_name.get(column.name.lower()) for column in columns}


def fits(row: Mapping[str, Any], schema: Any) -> bool:
    """Whether a row can be written under `schema`."""
    try:
        pa.Table.from_pylist([_as_arrow(row, schema)], schema=schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, ValueError, TypeError, OverflowError):
        return False
    return True


def to_parquet(rows: Sequence[Mapping[str, Any]], schema: Any, *, compression: str = "snappy") -> bytes:
    """Return one Parquet file with `rows`.

    Raises:
        ConversionFailed: a row does not fit the schema.
    """
    try:
        table = pa.Table.from_pylist([_as_arrow(row, schema) for row in rows], schema=schema)
    except (
        pa.ArrowInvalid,
        pa.ArrowTypeError,
        pa.ArrowNotImplementedError,
        ValueError,
        TypeError,
        OverflowError,
    ) as misfit:
        raise ConversionFailed("DataFormatConversion.MalformedData", "Data does not match the schema.") from misfit
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=compression)
    return buffer.getvalue()


def _as_arrow(row: Mapping[str, Any], schema: Any) -> dict[str, Any]:
    """Turn the texts of timestamp columns into times, as Hive's JSON reader does; all else is Arrow's own reading."""
    return {field.name: _time_or_value(row.get(field.name), field.type) for field in schema}


def _time_or_value(value: Any, kind: Any) -> Any:
    if not isinstance(value, str) or not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return value
    from datetime import datetime  # noqa: PLC0415 - only such columns need it

    if not _READABLE_TIME.fullmatch(value):
        raise ValueError(f"a time as the OpenX SerDe reads it is required (...Z, or without an offset), came {value}")
    moment = datetime.fromisoformat(value).replace(tzinfo=None)
    return moment if pa.types.is_timestamp(kind) else moment.date()
