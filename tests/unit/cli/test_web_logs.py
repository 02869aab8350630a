from __future__ import annotations

import gzip
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.sources.combined import CombinedLog
from local.sources.event import Event, Kind, LogUnreadable
from local.sources.formats import format_of
from slidr.click import Click, Device, parse_click
from slidr.errors import InvalidClick
from slidr.givt import packaged_crawlers

FAR_MS = 4_000_000_000_000
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:26.0) Gecko/20100101 Firefox/26.0"
LINE = f'192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET /a?b=1 HTTP/1.1" 200 2326 "http://A.example:80/x" "{FIREFOX}"'
REAL_LOG = Path(__file__).parents[4] / "shared" / "data" / "apache_semicomplete_201505.log.gz"


def events(tmp_path: Path, *lines: str | bytes) -> list[Event]:
    path = tmp_path / "access.log"
    path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in (LINE, *lines)))
    log_format = format_of(path)
    assert isinstance(log_format, CombinedLog)
    return [event for chunk in log_format.read(path, kind=Kind.CLICK) for event in chunk][1:]


def clicks(tmp_path: Path, *lines: str | bytes) -> list[Click]:
    return [parse_click(event.payload, arrived_ms=FAR_MS) for event in events(tmp_path, *lines)]


def test_reads_a_request_as_a_click(tmp_path: Path) -> None:
    [click] = clicks(tmp_path, LINE)
    assert click.at == datetime(2015, 5, 17, 10, 5, 3, tzinfo=UTC)
    assert (click.ip, click.user_agent, click.device) == ("192.0.2.1", FIREFOX, Device.DESKTOP)
    assert (click.ad, click.placement, click.advertiser, click.marketplace) == ("/a", "a.example", "site", "web")
    assert (click.user, click.logged_in) == (None, False)


@pytest.mark.parametrize(
    ("before", "after", "field", "value"),
    [
        ("+0000", "-0330", "at", datetime(2015, 5, 17, 13, 35, 3, tzinfo=UTC)),
        ("192.0.2.1", "2001:DB8::1", "ip", "2001:db8::1"),
        ("192.0.2.1", "crawl-1.example.com", "ip", None),
        ("192.0.2.1 -", "shop.example:443 192.0.2.9 -", "advertiser", "shop.example"),
        ("192.0.2.1 -", "shop.example:443 192.0.2.9 -", "ip", "192.0.2.9"),
        ("- - [", "- Jane Doe [", "user", "Jane Doe"),
        ("- - [", "- jane [", "logged_in", True),
        (FIREFOX, "-", "user_agent", None),
        (FIREFOX, r"say \"hi\" \\ \xc3\xa9", "user_agent", 'say "hi" \\ é'),
        (FIREFOX, "x" * 3_000, "user_agent", "x" * 2_048),
        (FIREFOX, "Mozilla/5.0 (iPhone; CPU iPhone OS 5_1_1) Mobile/9B206", "device", Device.MOBILE),
        ("http://A.example:80/x", "-", "placement", None),
        ("http://A.example:80/x", "https://u:p@[2001:db8::1]:8/", "placement", "[2001:db8::1]"),
        ("GET /a?b=1 HTTP/1.1", "-", "ad", None),
        ("GET /a?b=1 HTTP/1.1", r"\x16\x03\x01", "ad", None),
        ("GET /a?b=1 HTTP/1.1", "", "ad", None),
        ("GET /a?b=1 HTTP/1.1", "GET /old", "ad", "/old"),
        ("GET /a?b=1 HTTP/1.1", "GET /with space HTTP/1.1", "ad", "/with space"),
        ("GET /a?b=1 HTTP/1.1", "GET http://b.example?x HTTP/1.1", "ad", "/"),
        ("GET /a?b=1 HTTP/1.1", r"GET /\"q\" HTTP/1.1", "ad", '/"q"'),
        (" 2326 ", " - ", "ad", "/a"),
    ],
)
def test_reads_what_servers_write_where_something_is_odd(
    tmp_path: Path, before: str, after: str, field: str, value: object
) -> None:
    assert before in LINE
    [click] = clicks(tmp_path, LINE.replace(before, after))
    assert getattr(click, field) == value


def test_keeps_long_paths_that_begin_alike_apart(tmp_path: Path) -> None:
    long = LINE.replace("/a?b=1", "/" + "a" * 200)
    first, second = clicks(tmp_path, long, long.replace("a HTTP", "b HTTP"))
    assert first.ad is not None
    assert first.ad != second.ad
    assert len(first.ad) == 128


def test_gives_equal_lines_different_ids_and_the_same_ones_every_time(tmp_path: Path) -> None:
    ids = [event.key for event in events(tmp_path, LINE, LINE)]
    assert len(set(ids)) == 2
    assert ids == [event.key for event in events(tmp_path, LINE, LINE)]


@pytest.mark.parametrize(
    "bad",
    [
        LINE[:-5],
        LINE.replace("May", "Mai"),
        LINE.replace("17/May", "31/Feb"),
        LINE.replace("+0000", "+9900"),
        LINE.replace(" 200 ", " "),
        "server restarted",
        b"\xff\xfe\x00",
    ],
)
def test_passes_lines_of_another_form_on_for_the_system_to_reject(tmp_path: Path, bad: str | bytes) -> None:
    malformed, good = events(tmp_path, bad, LINE)
    assert malformed.payload == (bad if isinstance(bad, bytes) else bad.encode())
    assert (malformed.key, malformed.at_ms) == ("line-2", good.at_ms)
    with pytest.raises(InvalidClick):
        parse_click(malformed.payload, arrived_ms=FAR_MS)


@given(st.lists(st.binary(min_size=1, max_size=40).filter(lambda agent: b"\n" not in agent), max_size=5))
def test_takes_any_bytes_of_a_client_and_loses_no_line(agents: list[bytes]) -> None:
    lines = [LINE.encode().replace(FIREFOX.encode(), agent) for agent in [b"first", *agents]]
    with tempfile.TemporaryDirectory() as folder:
        read = events(Path(folder), *lines)
    assert len(read) == len(lines)
    for event, line in zip(read, lines, strict=True):
        if event.key.startswith("line-"):
            assert event.payload == line
        else:
            assert parse_click(event.payload, arrived_ms=FAR_MS).click_id == event.key


def test_asks_for_purchases_in_a_format_that_has_some(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text(LINE)
    with pytest.raises(LogUnreadable, match="give it as PATH"):
        format_of(path).read(path, kind=Kind.PURCHASE)


@pytest.mark.skipif(not REAL_LOG.exists(), reason=f"needs the Apache sample, {REAL_LOG.name}")
def test_finds_the_known_share_of_crawlers_in_a_real_log() -> None:
    with gzip.open(REAL_LOG) as file:
        lines = sum(1 for _ in file)
    read = [event for chunk in format_of(REAL_LOG).read(REAL_LOG, kind=Kind.CLICK) for event in chunk]
    malformed = [event for event in read if event.key.startswith("line-")]
    found = [parse_click(event.payload, arrived_ms=FAR_MS) for event in read if event not in malformed]

    assert len(read) == lines == len({event.key for event in read}) == 10_000
    assert [event.key for event in malformed] == ["line-8899"]  # cut short in the file
    assert all(click.ip is not None for click in found)
    share = sum(packaged_crawlers().names(click.user_agent) for click in found) / len(found)
    assert abs(share - 0.196) < 0.01
