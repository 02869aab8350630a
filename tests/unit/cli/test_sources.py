from __future__ import annotations

import gzip
import ipaddress
import json
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.sources.event import Chunk, Event, Kind, LogUnreadable
from local.sources.formats import FORMATS, format_of
from local.sources.ordering import in_event_order
from local.sources.rebase import rebased
from local.sources.talkingdata import HEADER, address_of
from slidr.click import Click, Device, parse_click
from slidr.contract import canonical_ip, epoch_ms
from slidr.givt import packaged_crawlers
from slidr.purchase import parse_purchase

FAR_MS = 4_000_000_000_000
AT = "2026-11-23T12:00:00Z"
CLICK = {"click_id": "c-1", "at": AT, "advertiser": "acme", "marketplace": "de"}


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path: Path, kind: Kind = Kind.CLICK) -> list[Event]:
    return [event for chunk in format_of(path).read(path, kind=kind) for event in chunk]


def talkingdata(tmp_path: Path, *rows: str, name: str = "t.csv.gz") -> Path:
    return written(tmp_path / name, "\n".join([",".join(HEADER), *rows, ""]).encode())


def test_reads_talkingdata_as_clicks_of_the_contract(tmp_path: Path) -> None:
    [event] = read(talkingdata(tmp_path, "87540,12,1,13,497,2017-11-07 09:30:38,,0"))
    click = parse_click(event.payload, arrived_ms=FAR_MS)
    assert click.at == datetime(2017, 11, 7, 9, 30, 38, tzinfo=UTC)
    assert (click.advertiser, click.placement, click.device) == ("app-12", "channel-497", Device.MOBILE)
    assert (click.marketplace, click.time_zone, click.user, click.session) == ("cn", "Asia/Shanghai", None, None)
    assert (event.key, event.at_ms) == (click.click_id, epoch_ms(click.at))
    assert not packaged_crawlers().names(click.user_agent)


def test_turns_an_install_into_a_purchase_of_its_click(tmp_path: Path) -> None:
    click, install = read(talkingdata(tmp_path, "1,19,0,29,213,2017-11-08 02:22:13,2017-11-08 02:22:38,1"))
    purchase = parse_purchase(install.payload, arrived_ms=FAR_MS)
    assert install.kind is Kind.PURCHASE
    assert (purchase.click_id, purchase.advertiser) == (click.key, "app-19")
    assert purchase.at == datetime(2017, 11, 8, 2, 22, 38, tzinfo=UTC)


def test_gives_equal_rows_of_talkingdata_different_ids_and_the_same_ones_every_time(tmp_path: Path) -> None:
    path = talkingdata(tmp_path, *["1,2,3,4,5,2017-11-08 02:22:13,,0"] * 3)
    ids = [event.key for event in read(path)]
    assert len(set(ids)) == 3
    assert ids == [event.key for event in read(path)]


@given(st.lists(st.integers(0, 2**20 - 2), unique=True, max_size=20))
def test_maps_ip_codes_one_to_one_each_into_a_network_of_its_own(codes: list[int]) -> None:
    addresses = [address_of(code) for code in codes]
    networks = {ipaddress.ip_network(f"{address}/24", strict=False) for address in addresses}
    assert len(networks) == len(codes)
    assert all(ipaddress.ip_address(address).is_reserved for address in addresses)
    assert all(canonical_ip(address) == address for address in addresses)


@pytest.mark.parametrize(
    "row",
    [
        "x,12,1,13,497,2017-11-07 09:30:38,,0",
        "1,12,1,13,497,yesterday,,0",
        "1,12,1,13,497,2017-11-07 09:30:38,,1",
        "1,12,1",
        "99999999,12,1,13,497,2017-11-07 09:30:38,,0",
    ],
)
def test_names_the_row_of_talkingdata_that_breaks_the_format(tmp_path: Path, row: str) -> None:
    with pytest.raises(LogUnreadable, match=r"data row 2.*are required, came"):
        read(talkingdata(tmp_path, "1,2,3,4,5,2017-11-08 02:22:13,,0", row))


@pytest.mark.parametrize("name", ["clicks.jsonl", "clicks.jsonl.gz", "renamed.txt"])
def test_passes_json_lines_on_byte_by_byte(tmp_path: Path, name: str) -> None:
    line = json.dumps(CLICK, indent=None).encode()
    path = written(tmp_path / name, line + b"\n\n" + line.replace(b"c-1", b"c-2"))
    first, second = read(path)
    assert first == Event(epoch_ms(datetime(2026, 11, 23, 12, tzinfo=UTC)), Kind.CLICK, "c-1", line)
    assert second.key == "c-2"


@pytest.mark.parametrize(
    "bad", [b"{", b"\xff\xfe", b'{"click_id": 5}', b'{"at": "2026-11-23T12:00:00Z"}', b"[" * 2000, b'"text"']
)
def test_passes_malformed_lines_on_for_the_system_to_reject(tmp_path: Path, bad: bytes) -> None:
    path = written(tmp_path / "c.jsonl", json.dumps(CLICK).encode() + b"\n" + bad + b"\n")
    good, malformed = read(path)
    assert malformed.payload == bad
    assert malformed.at_ms >= good.at_ms
    assert 1 <= len(malformed.key) <= 256


def test_keeps_a_key_that_kinesis_takes_for_an_id_that_is_too_long(tmp_path: Path) -> None:
    path = written(tmp_path / "c.jsonl", json.dumps(CLICK | {"click_id": "x" * 300}).encode())
    assert read(path)[0].key == "line-1"


def test_reads_purchases_by_their_order_id(tmp_path: Path) -> None:
    order = {"order_id": "o-1", "at": AT, "user": "u"}
    [event] = read(written(tmp_path / "o.jsonl", json.dumps(order).encode()), Kind.PURCHASE)
    assert (event.kind, event.key) == (Kind.PURCHASE, "o-1")


def test_reads_parquet_with_absent_values_left_out(tmp_path: Path) -> None:
    at = [datetime(2026, 11, 23, 12), datetime(2026, 11, 23, 13)]  # noqa: DTZ001 - the file's own
    frame = pl.DataFrame({"click_id": ["a", "b"], "at": at, "advertiser": "acme", "marketplace": "de",
                          "user": ["u", None], "logged_in": [True, False]})  # fmt: skip
    frame.write_parquet(tmp_path / "c.parquet")
    first, second = read(tmp_path / "c.parquet")
    assert parse_click(first.payload, arrived_ms=FAR_MS).user == "u"
    assert parse_click(second.payload, arrived_ms=FAR_MS).at == at[1].replace(tzinfo=UTC)
    assert b"user" not in second.payload


def test_asks_parquet_for_the_columns_of_the_contract(tmp_path: Path) -> None:
    pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "c.parquet")
    with pytest.raises(LogUnreadable, match="'click_id' and 'at' are required, came id"):
        read(tmp_path / "c.parquet")


def test_asks_parquet_for_usable_times(tmp_path: Path) -> None:
    pl.DataFrame({"click_id": ["a"], "at": ["noon"]}).write_parquet(tmp_path / "c.parquet")
    with pytest.raises(LogUnreadable, match="row 1: an RFC 3339 time"):
        read(tmp_path / "c.parquet")


def test_says_what_every_format_expects_when_none_recognises_a_file(tmp_path: Path) -> None:
    path = written(tmp_path / "c.csv", b"when,who\n1,2\n")
    with pytest.raises(LogUnreadable) as told:
        format_of(path)
    assert "'when,who'" in str(told.value)
    assert all(log_format.expects in str(told.value) for log_format in FORMATS)


@pytest.mark.parametrize("content", [b"", b"\n  \n"])
def test_asks_for_records_when_a_file_is_empty(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(LogUnreadable, match="empty file"):
        format_of(written(tmp_path / "c.jsonl", content))


def test_says_so_when_gzip_data_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(CLICK).encode() * 100)[:40])
    with pytest.raises(LogUnreadable, match="copy or download it again"):
        format_of(path)


def test_says_so_when_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(LogUnreadable, match="Check the path"):
        format_of(tmp_path / "nothing.csv")


def any_events(times: list[int]) -> list[Event]:
    return [
        Event(at_ms, Kind.PURCHASE if index % 5 == 0 else Kind.CLICK, str(index), b"{}")
        for index, at_ms in enumerate(times)
    ]


def flat(chunks: list[Chunk]) -> list[Event]:
    return [event for chunk in chunks for event in chunk]


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 70))
def test_orders_by_event_time_whatever_fits_in_memory(times: list[int], run_events: int) -> None:
    events = any_events(times)
    halves = [iter([events[:7], events[7:]] if events[7:] else [events] if events else []), iter([])]
    with ExitStack() as stack:
        playlist = in_event_order(halves, stack=stack, run_events=run_events)
        ordered = flat(list(playlist.chunks))
    assert ordered == sorted(events, key=lambda event: (event.at_ms, event.kind))
    assert playlist.clicks == sum(event.kind is Kind.CLICK for event in events)
    if times:
        assert (playlist.first_ms, playlist.last_ms) == (min(times), max(times))


def test_moves_every_time_by_the_same_and_leaves_malformed_records_alone() -> None:
    payload = json.dumps(CLICK | {"at": "2026-11-23T13:00:00.5+01:00", "unknown": [1]}).encode()
    chunk = [Event(1000, Kind.CLICK, "c-1", payload), Event(1000, Kind.CLICK, "line-2", b"{")]
    [[moved, malformed]] = rebased(iter([chunk]), shift_ms=-500)
    record = json.loads(moved.payload)
    assert datetime.fromisoformat(record["at"]) == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert record["unknown"] == [1]
    assert (moved.at_ms, malformed.payload, malformed.at_ms) == (500, b"{", 500)


def test_reads_what_the_contract_writes(tmp_path: Path) -> None:
    click = Click(click_id="c", at=datetime(2026, 1, 1, tzinfo=UTC), advertiser="a", marketplace="m", ip="192.0.2.1")
    path = written(tmp_path / "c.jsonl", msgspec.json.encode(click))
    assert parse_click(read(path)[0].payload, arrived_ms=FAR_MS) == click
