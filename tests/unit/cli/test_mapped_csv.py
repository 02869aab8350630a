from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.sources.event import Event, Kind, LogUnreadable
from local.sources.formats import format_of
from local.sources.mapped_csv import (
    CsvMapping,
    MappingUnusable,
    Source,
    mapping_beside,
    read_mapping,
    record_maker,
    time_reader,
)
from local.sources.mapping_proposal import as_toml
from slidr.click import Device, parse_click
from slidr.errors import InvalidClick
from slidr.purchase import parse_purchase

FAR_MS = 4_000_000_000_000
MAPPING = """
kind = "click"
delimiter = ";"
encoding = "latin-1"
absent = ["", "-"]

[fields]
at = { column = "when", format = "%d.%m.%Y %H:%M:%S", zone = "Europe/Berlin" }
ip = { column = "address" }
device = { column = "type", words = { phone = "mobile" }, otherwise = "other" }
logged_in = { column = "member", words = { ja = true, nein = false } }
cost_micros = { column = "cpc", scale = 1_000_000, decimal = "," }
advertiser = { column = "who" }
marketplace = { constant = "de" }
"""
HEADER = "when;address;type;member;cpc;who"
ROW = "23.11.2026 13:00:00;192.0.2.1;Phone;Ja;0,45;Käse"


def written(tmp_path: Path, *rows: str, mapping: str = MAPPING, header: str = HEADER) -> Path:
    log = tmp_path / "clicks.csv"
    log.write_text("\n".join([header, *rows, ""]), encoding="latin-1")
    mapping_beside(log).write_text(mapping)
    return log


def read(log: Path, kind: Kind = Kind.CLICK) -> list[Event]:
    return [event for chunk in format_of(log).read(log, kind=kind) for event in chunk]


def reject_reason(event: Event) -> str:
    with pytest.raises(InvalidClick) as failure:
        parse_click(event.payload, arrived_ms=FAR_MS)
    return failure.value.reason


def test_reads_a_row_by_the_mapping_beside_the_log(tmp_path: Path) -> None:
    [event] = read(written(tmp_path, ROW))
    click = parse_click(event.payload, arrived_ms=FAR_MS)
    assert click.at == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert (click.ip, click.device, click.logged_in, click.cost_micros) == ("192.0.2.1", Device.MOBILE, True, 450_000)
    assert (click.advertiser, click.marketplace, event.key) == ("Käse", "de", click.click_id)


def test_a_mapping_that_is_named_goes_before_the_one_beside_the_log(tmp_path: Path) -> None:
    log = written(tmp_path, ROW)
    other = tmp_path / "other.toml"
    other.write_text(MAPPING.replace('"de"', '"at"'))
    [chunk] = format_of(log, mapping=other).read(log, kind=Kind.CLICK)
    assert parse_click(chunk[0].payload, arrived_ms=FAR_MS).marketplace == "at"


def test_takes_cells_that_say_so_as_absent_and_words_that_are_unknown_as_otherwise(tmp_path: Path) -> None:
    [event] = read(written(tmp_path, "23.11.2026 13:00:00;-;Fridge;;;x"))
    click = parse_click(event.payload, arrived_ms=FAR_MS)
    assert (click.ip, click.device, click.logged_in, click.cost_micros) == (None, Device.OTHER, False, 0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW.replace("23.11.2026", "yesterday"), "wrong_value"),
        (ROW.replace("23.11.2026", "31.11.2026"), "wrong_value"),
        (ROW.replace("192.0.2.1", "unknown"), "bad_ip"),
        (ROW.replace("Ja", "vielleicht"), "wrong_value"),
        (ROW.replace("0,45", "1.234,50"), "wrong_value"),
        (ROW.replace("0,45", "-1"), "wrong_value"),
        (ROW.replace("0,45", "1e999999"), "wrong_value"),
        (ROW.replace("0,45", "NaN"), "wrong_value"),
        (ROW.replace("Käse", ""), "missing_field"),
        (ROW + ";more", "wrong_value"),
        ("23.11.2026 13:00:00", "wrong_value"),
    ],
)
def test_passes_a_row_that_cannot_be_mapped_on_for_the_system_to_reject(tmp_path: Path, row: str, reason: str) -> None:
    good, bad, after = read(written(tmp_path, ROW, row, ROW))
    assert reject_reason(bad) == reason
    assert bad.at_ms == good.at_ms
    assert parse_click(after.payload, arrived_ms=FAR_MS).click_id == after.key


def test_keeps_every_cell_of_a_row_with_too_many_of_them(tmp_path: Path) -> None:
    [event] = read(written(tmp_path, ROW + ";more"))
    assert json.loads(event.payload) == [*ROW.split(";"), "more"]


def test_gives_equal_rows_without_an_id_different_ids_and_the_same_ones_every_time(tmp_path: Path) -> None:
    log = written(tmp_path, ROW, ROW)
    ids = [event.key for event in read(log)]
    assert len(set(ids)) == 2
    assert ids == [event.key for event in read(log)]


def test_takes_ids_from_their_column_and_keys_that_kinesis_takes(tmp_path: Path) -> None:
    mapping = MAPPING.replace("[fields]", '[fields]\nclick_id = { column = "address" }')
    first, second = read(written(tmp_path, ROW, ROW.replace("192.0.2.1", "x" * 300), mapping=mapping))
    assert (first.key, second.key) == ("192.0.2.1", "row-2")
    assert reject_reason(second) == "wrong_value"


def test_reads_purchases_by_a_mapping_of_their_kind(tmp_path: Path) -> None:
    mapping = """
        kind = "purchase"
        [fields]
        order_id = { column = "id" }
        at = { column = "ts", format = "epoch_ms" }
        user = { column = "customer" }
        amount_micros = { column = "cents", scale = 10_000 }
        currency = { constant = "EUR" }
    """
    log = written(tmp_path, "o-1,1795435200005,u,1999", mapping=mapping, header="id,ts,customer,cents")
    [event] = read(log, Kind.PURCHASE)
    purchase = parse_purchase(event.payload, arrived_ms=FAR_MS)
    assert (event.kind, event.key, event.at_ms) == (Kind.PURCHASE, "o-1", 1_795_435_200_005)
    assert (purchase.user, purchase.amount_micros, purchase.currency) == ("u", 19_990_000, "EUR")
    with pytest.raises(MappingUnusable, match=r"kind 'click' is required.*came 'purchase'"):
        read(log)


@pytest.mark.parametrize(
    ("text", "pattern", "zone", "at"),
    [
        ("1795435200", "epoch_s", "UTC", datetime(2026, 11, 23, 12, tzinfo=UTC)),
        ("1795435200.25", "epoch_s", "UTC", datetime(2026, 11, 23, 12, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-11-23T13:00:00+01:00", "rfc3339", "America/New_York", datetime(2026, 11, 23, 12, tzinfo=UTC)),
        ("2026-11-23 07:00:00", "rfc3339", "America/New_York", datetime(2026, 11, 23, 12, tzinfo=UTC)),
        ("23/Nov/2026:12:00:00 +0000", "%d/%b/%Y:%H:%M:%S %z", "Asia/Tokyo", datetime(2026, 11, 23, 12, tzinfo=UTC)),
        ("2026-10-25 02:30:00", "rfc3339", "Europe/Berlin", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
)
def test_reads_times_of_every_format_in_their_zone(text: str, pattern: str, zone: str, at: datetime) -> None:
    assert time_reader(pattern, zone)(text) == at


@given(st.text(max_size=30), st.sampled_from(["epoch_s", "epoch_ms", "rfc3339", "%Y-%m-%d %H:%M:%S", "%d/%m/%y"]))
def test_any_text_is_a_time_or_stays_as_it_is(text: str, pattern: str) -> None:
    mapping = CsvMapping(fields={"at": Source(column="t", format=pattern, zone="Asia/Tokyo")})
    made = record_maker(mapping, ["t"], name="x")([text])
    assert "at" not in made or made["at"] == text.strip() or made["at"].utcoffset().total_seconds() == 0


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("[fields]", "[fields]\ncolour = { column = 'who' }", "a field of a click is required"),
        ("[fields]", "[fields]\nclick_id = { constant = 'c' }", "click_id requires a column"),
        ('{ constant = "de" }', "{ }", "either a column or a constant"),
        ('{ constant = "de" }', '{ constant = "de", column = "who" }', "either a column or a constant"),
        ("Europe/Berlin", "Berlin", "an IANA time zone, came 'Berlin'"),
        ('marketplace = { constant = "de" }', "", "a click requires marketplace"),
        ('delimiter = ";"', 'delimiter = ";;"', "one character is required as delimiter"),
        ('decimal = ","', 'decimal = ""', "one character as decimal"),
        ("latin-1", "klingon", "an encoding that Python knows"),
        ("zone =", "zoen =", "unknown field `zoen`"),
        ('kind = "click"', 'kind = "view"', "Invalid enum value 'view'"),
        ("[fields]", "[fields", "a mapping is required"),
        ('"who"', '"whom"', "the column 'whom' is required by the mapping, came when, address"),
    ],
)
def test_says_what_is_wrong_with_a_mapping(tmp_path: Path, before: str, after: str, told: str) -> None:
    assert before in MAPPING
    log = written(tmp_path, ROW, mapping=MAPPING.replace(before, after))
    with pytest.raises(MappingUnusable) as failure:
        read(log)
    assert told in str(failure.value)


def test_says_so_when_a_mapping_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MappingUnusable, match="slidr map LOG writes one"):
        format_of(written(tmp_path, ROW), mapping=tmp_path / "none.toml")


def test_names_the_encoding_that_a_file_is_not_in(tmp_path: Path) -> None:
    with pytest.raises(LogUnreadable, match="CSV in utf-8-sig is required"):
        read(written(tmp_path, ROW, mapping=MAPPING.replace("latin-1", "utf-8-sig")))


words = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.booleans(), max_size=2)
sources = st.builds(
    Source, column=st.text(max_size=9), format=st.sampled_from(["rfc3339", "%d\\%m"]), words=words,
    scale=st.sampled_from([Decimal(1), Decimal(10_000), Decimal("0.5")]), otherwise=st.none() | st.text(max_size=3),
)  # fmt: skip


@given(st.fixed_dictionaries({"at": sources, "advertiser": sources, "marketplace": sources}), st.text(max_size=20))
def test_what_is_written_is_read_again(tmp_path_factory: Any, fields: dict[str, Source], comment: str) -> None:
    mapping = CsvMapping(delimiter="\t", absent=("", "\\N"), fields=fields)
    path = tmp_path_factory.mktemp("map") / "x.map.toml"
    path.write_text(as_toml(mapping, {"at": comment}, log="x"), encoding="utf-8")
    assert read_mapping(path) == mapping
