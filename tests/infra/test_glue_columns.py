from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
import pytest

from infra.glue_columns import ColumnUnsupported, glue_columns
from slidr.archive import ArchivedClick, ArchivedPurchase
from slidr.verdict import Verdict


class Colour(StrEnum):
    RED = "red"


class Inner(msgspec.Struct):
    count: int


class Everything(msgspec.Struct, rename="camel"):
    text_value: Annotated[str, msgspec.Meta(min_length=1)]
    at: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    day: dt.date
    colour: Colour
    version: Literal[1]
    maybe: int | None
    ratio: float
    flag: bool
    numbers: tuple[float, ...]
    names: list[str]
    scores: dict[str, float]
    inner: Inner | None


def test_maps_every_kind_of_field_under_its_wire_name() -> None:
    assert glue_columns(Everything) == (
        ("textValue", "string"),
        ("at", "timestamp"),
        ("day", "date"),
        ("colour", "string"),
        ("version", "bigint"),
        ("maybe", "bigint"),
        ("ratio", "double"),
        ("flag", "boolean"),
        ("numbers", "array<double>"),
        ("names", "array<string>"),
        ("scores", "map<string,double>"),
        ("inner", "struct<count:bigint>"),
    )


def test_refuses_a_field_with_two_meanings() -> None:
    class Ambiguous(msgspec.Struct):
        value: int | str

    with pytest.raises(ColumnUnsupported, match="value: a type with one Hive equivalent is required"):
        glue_columns(Ambiguous)


@pytest.mark.parametrize("record", [ArchivedClick, ArchivedPurchase, Verdict])
def test_every_lake_record_has_a_schema_without_the_partition_names(record: type[msgspec.Struct]) -> None:
    names = [name for name, _ in glue_columns(record)]
    assert "at" in names
    assert not {"date", "hour"} & set(names)
    assert all(name == name.lower() for name in names), "Glue keeps lower-case names only"
