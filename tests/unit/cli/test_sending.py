from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from local.demonstration import _MARKER, _split_at, _until_marker
from local.sending import clicks_in, ending_at, play
from local.sources.event import Chunk, Event, Kind
from local.sources.ordering import Playlist
from local.stream_writer import Sent
from slidr.contract import from_epoch_ms


class FakeWriter:
    def __init__(self) -> None:
        self.put_events: list[Event] = []
        self.sent = Sent()

    def put(self, events: list[Event]) -> None:
        self.put_events += events


def any_click(index: int) -> Event:
    at = from_epoch_ms(index * 1000).isoformat()
    return Event(index * 1000, Kind.CLICK, f"c{index}", json.dumps({"at": at}).encode())


def any_playlist(clicks: int, *, chunk: int = 4) -> Playlist:
    events = [any_click(index) for index in range(clicks)]
    purchase = Event(clicks * 1000, Kind.PURCHASE, "o", b"{}")
    chunks = [events[i : i + chunk] for i in range(0, clicks, chunk)] + [[purchase]]
    return Playlist(chunks=iter(chunks), first_ms=0, last_ms=clicks * 1000, clicks=clicks)


def played(playlist: Playlist, **options: Any) -> tuple[FakeWriter, list[float], list[int]]:
    writer, now, waits, counted = FakeWriter(), [0.0], list[float](), list[int]()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    play(
        playlist,
        writer,  # type: ignore[arg-type]
        clock=lambda: now[0],
        sleep=sleep,
        on_put=lambda chunk: counted.append(clicks_in(chunk)),
        **options,
    )
    return writer, waits, counted


def test_plays_everything_without_waiting_when_no_rate_is_asked() -> None:
    writer, waits, counted = played(any_playlist(10))
    assert [event.key for event in writer.put_events] == [*(f"c{i}" for i in range(10)), "o"]
    assert (waits, sum(counted)) == ([], 10)


def test_holds_the_rate() -> None:
    _, waits, _ = played(any_playlist(40), rate=10.0)
    assert sum(waits) == pytest.approx(4.0, abs=0.2)


@pytest.mark.parametrize("limit", [1, 4, 5, 9])
def test_stops_after_the_limit(limit: int) -> None:
    writer, _, counted = played(any_playlist(10), limit=limit)
    assert sum(counted) == limit
    assert writer.put_events[-1].key == f"c{limit - 1}"


def test_a_limit_leaves_out_no_purchase_before_the_next_click() -> None:
    writer, _, _ = played(any_playlist(10), limit=10)
    assert [event.key for event in writer.put_events][-2:] == ["c9", "o"]


def test_sends_all_when_the_limit_is_beyond_the_end() -> None:
    writer, _, _ = played(any_playlist(3), limit=100)
    assert len(writer.put_events) == 4


def test_moves_a_log_so_that_it_ends_now() -> None:
    now = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
    moved = ending_at(any_playlist(2), now)
    [[first, second], [purchase]] = list(moved.chunks)
    assert purchase.at_ms == moved.last_ms
    assert from_epoch_ms(moved.last_ms) == now
    assert dt.datetime.fromisoformat(json.loads(first.payload)["at"]) == now - dt.timedelta(seconds=2)
    assert second.at_ms - first.at_ms == 1000


@pytest.mark.parametrize("clicks", [0, 1, 4, 7, 10])
def test_cuts_a_log_after_so_many_clicks_and_loses_nothing(clicks: int) -> None:
    chunks = _split_at(any_playlist(10).chunks, clicks)
    before: list[Chunk] = list(_until_marker(chunks))
    after = [chunk for chunk in chunks if chunk is not _MARKER]
    assert sum(map(clicks_in, before)) == clicks
    keys = [event.key for chunk in before + after for event in chunk]
    assert keys == [*(f"c{i}" for i in range(10)), "o"]
