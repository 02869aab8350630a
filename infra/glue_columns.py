"""Glue columns of a record type: the Parquet schema is the type that the code writes, never typed twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect

from slidr.errors import SlidrError


class ColumnUnsupported(SlidrError):
    """A field's type has no column type here."""


def glue_columns(record: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    """Name and Hive type of every field, in order; optional fields are nullable columns of their inner type.

    Raises:
        ColumnUnsupported: a field's type has no Hive equivalent here.

    >>> class Example(msgspec.Struct):
    ...     click_id: str
    ...     score: float | None
    ...     features: list[float]
    >>> glue_columns(Example)
    (('click_id', 'string'), ('score', 'double'), ('features', 'array<double>'))
    """
    described = inspect.type_info(record)
    if not isinstance(described, inspect.StructType):
        raise ColumnUnsupported(f"a msgspec.Struct class is required, came {record!r}")
    return tuple((item.encode_name, _hive_type(item.type, path=item.encode_name)) for item in described.fields)


_SCALARS: Mapping[type[inspect.Type], str] = {
    inspect.StrType: "string",
    inspect.BytesType: "string",  # base64 text in JSON
    inspect.UUIDType: "string",
    inspect.BoolType: "boolean",
    inspect.IntType: "bigint",
    inspect.FloatType: "double",
    inspect.DateTimeType: "timestamp",
    inspect.DateType: "date",
}


def _hive_type(kind: inspect.Type, *, path: str) -> str:
    hive = _SCALARS.get(type(kind))
    if hive is None:
        match kind:
            case inspect.Metadata():
                hive = _hive_type(kind.type, path=path)
            case inspect.UnionType():
                hive = _optional_type(kind, path=path)
            case inspect.EnumType():
                hive = _literal_type([member.value for member in kind.cls], path=path)
            case inspect.LiteralType():
                hive = _literal_type(kind.values, path=path)
            case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
                hive = f"array<{_hive_type(kind.item_type, path=f'{path}[]')}>"
            case inspect.DictType():
                key = _hive_type(kind.key_type, path=path)
                hive = f"map<{key},{_hive_type(kind.value_type, path=f'{path}.*')}>"
            case inspect.StructType():
                columns = (
                    f"{item.encode_name}:{_hive_type(item.type, path=f'{path}.{item.encode_name}')}"
                    for item in kind.fields
                )
                hive = f"struct<{','.join(columns)}>"
            case _:
                raise _unsupported(path, kind)
    return hive


def _optional_type(kind: inspect.UnionType, *, path: str) -> str:
    inner = [choice for choice in kind.types if not isinstance(choice, inspect.NoneType)]
    if len(inner) != 1:
        raise _unsupported(path, kind)
    return _hive_type(inner[0], path=path)


def _unsupported(path: str, kind: inspect.Type) -> ColumnUnsupported:
    return ColumnUnsupported(
        f"{path}: a type with one Hive equivalent is required, came {type(kind).__name__}; "
        "extend infra/glue_columns.py or simplify the record"
    )


def _literal_type(values: Any, *, path: str) -> str:
    kinds = {type(value) for value in values}
    if kinds == {str}:
        return "string"
    if kinds == {int}:
        return "bigint"
    raise ColumnUnsupported(f"{path}: a literal of only strings or only integers is required, came {kinds}")
