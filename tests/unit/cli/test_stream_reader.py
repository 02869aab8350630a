from __future__ import annotations

import datetime as dt

import pytest

from local.stream_reader import Start, StreamReader, StreamUnreadable
from tests.unit.cli.fake_kinesis import FakeShards, client_error


def reader_of(stream: FakeShards, start: Start | None = None) -> StreamReader:
    return StreamReader(stream, "verdicts", start or Start())  # type: ignore[arg-type]


def drain(reader: StreamReader) -> list[bytes]:
    read: list[bytes] = []
    for _ in range(20):
        polled = list(reader.poll())
        read += polled
        if not polled and reader.caught_up:
            return read
    pytest.fail("never caught up")


def test_reads_every_shard_to_its_tip() -> None:
    stream = FakeShards({"a": [b"1", b"2", b"3"], "b": [b"4"]})
    assert sorted(drain(reader_of(stream))) == [b"1", b"2", b"3", b"4"]


def test_reads_a_parent_before_the_children_that_it_was_split_into() -> None:
    stream = FakeShards({"a": [b"1", b"2", b"3"], "b": [b"4"], "c": [b"5"]}, parents={"b": "a", "c": "a"})
    read = drain(reader_of(stream))
    assert read[:3] == [b"1", b"2", b"3"]
    assert sorted(read) == [b"1", b"2", b"3", b"4", b"5"]


def test_goes_on_after_the_position_that_was_kept() -> None:
    stream = FakeShards({"a": [b"1", b"2"], "b": []})
    first = reader_of(stream)
    drain(first)
    stream.shards["a"].append(b"3")
    stream.shards["b"].append(b"4")
    assert sorted(drain(reader_of(stream, Start(sequences=first.position)))) == [b"3", b"4"]


def test_reads_nothing_old_from_the_latest_on() -> None:
    stream = FakeShards({"a": [b"1"], "b": [b"2"]})
    reader = reader_of(stream, Start(latest=True))
    assert drain(reader) == []
    stream.shards["b"].append(b"3")
    assert drain(reader) == [b"3"]


def test_begins_at_a_time() -> None:
    stream = FakeShards({"a": []})
    reader_of(stream, Start(at=dt.datetime(2026, 11, 23, tzinfo=dt.UTC)))
    assert stream.opened == [("a", "AT_TIMESTAMP")]


def test_opens_an_expired_iterator_again_where_it_was() -> None:
    stream = FakeShards({"a": [b"1", b"2", b"3"]})
    reader = reader_of(stream)
    assert list(reader.poll()) == [b"1", b"2"]
    stream.errors.append(client_error("ExpiredIteratorException"))
    assert drain(reader) == [b"3"]
    assert stream.opened[-1] == ("a", "AFTER_SEQUENCE_NUMBER")


def test_waits_when_the_service_asks_to_slow_down() -> None:
    stream = FakeShards({"a": [b"1"]})
    reader = reader_of(stream)
    stream.errors.append(client_error("ProvisionedThroughputExceededException"))
    assert list(reader.poll()) == []
    assert not reader.caught_up
    assert drain(reader) == [b"1"]


def test_says_what_is_wrong_when_the_stream_cannot_be_read() -> None:
    stream = FakeShards({"a": [b"1"]})
    reader = reader_of(stream)
    stream.errors.append(client_error("AccessDeniedException"))
    with pytest.raises(StreamUnreadable, match="AccessDenied"):
        list(reader.poll())
