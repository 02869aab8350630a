from __future__ import annotations

import pytest
from botocore.exceptions import EndpointConnectionError

from local.sources.event import Event, Kind
from local.stream_writer import MAX_RECORD_BYTES, MAX_RECORDS, SendFailed, StreamWriter
from tests.unit.cli.fake_kinesis import FakeKinesis, client_error

STREAMS = {Kind.CLICK: "clicks", Kind.PURCHASE: "purchases"}


def writer_to(kinesis: FakeKinesis, *, attempts: int = 4) -> tuple[StreamWriter, list[float]]:
    waits: list[float] = []
    return StreamWriter(kinesis, STREAMS, attempts=attempts, sleep=waits.append), waits  # type: ignore[arg-type]


def clicks(count: int, *, size: int = 10) -> list[Event]:
    return [Event(0, Kind.CLICK, f"c{index}", b"x" * size) for index in range(count)]


def test_sends_each_record_to_its_stream_in_order() -> None:
    kinesis = FakeKinesis()
    writer, _ = writer_to(kinesis)
    purchase = Event(0, Kind.PURCHASE, "o1", b"{}")
    writer.put([*clicks(2), purchase])
    assert kinesis.stored == [("clicks", "c0"), ("clicks", "c1"), ("purchases", "o1")]
    assert writer.sent.records == {Kind.CLICK: 2, Kind.PURCHASE: 1}
    assert writer.sent.bytes == 22


def test_fills_requests_to_what_kinesis_takes() -> None:
    kinesis = FakeKinesis()
    writer, _ = writer_to(kinesis)
    writer.put(clicks(MAX_RECORDS + 1))
    assert [len(request) for request in kinesis.requests] == [MAX_RECORDS, 1]


def test_splits_requests_by_their_bytes() -> None:
    kinesis = FakeKinesis()
    writer, _ = writer_to(kinesis)
    writer.put(clicks(12, size=1_000_000))
    assert [len(request) for request in kinesis.requests] == [5, 5, 2]


def test_sends_only_what_was_refused_again_and_waits_longer_each_time() -> None:
    kinesis = FakeKinesis({"c1", "c3"}, {"c3"}, set())
    writer, waits = writer_to(kinesis)
    writer.put(clicks(4))
    assert kinesis.requests == [["c0", "c1", "c2", "c3"], ["c1", "c3"], ["c3"]]
    assert sorted(key for _, key in kinesis.stored) == ["c0", "c1", "c2", "c3"]
    assert writer.sent.retried == 3
    assert not writer.sent.failed
    assert len(waits) == 2
    assert 0 < waits[0] <= 0.1 < waits[1] * 2


def test_counts_what_is_refused_to_the_end_with_the_reason() -> None:
    kinesis = FakeKinesis(*[{"c1"}] * 4)
    writer, _ = writer_to(kinesis)
    writer.put(clicks(2))
    assert writer.sent.failed == [("c1", "ProvisionedThroughputExceededException")]
    assert writer.sent.records[Kind.CLICK] == 1


def test_tries_a_request_that_was_throttled_as_a_whole_again() -> None:
    kinesis = FakeKinesis(client_error("ProvisionedThroughputExceededException"))
    writer, _ = writer_to(kinesis)
    writer.put(clicks(2))
    assert writer.sent.records[Kind.CLICK] == 2


@pytest.mark.parametrize(
    "failure", [client_error("AccessDeniedException"), EndpointConnectionError(endpoint_url="http://127.0.0.1:1")]
)
def test_stops_with_what_to_do_when_the_stream_cannot_be_written(failure: Exception) -> None:
    writer, _ = writer_to(FakeKinesis(failure))
    with pytest.raises(SendFailed, match="slidr status"):
        writer.put(clicks(1))


def test_leaves_out_a_record_that_no_stream_takes() -> None:
    kinesis = FakeKinesis()
    writer, _ = writer_to(kinesis)
    writer.put([*clicks(1), Event(0, Kind.CLICK, "huge", b"x" * MAX_RECORD_BYTES)])
    assert kinesis.requests == [["c0"]]
    assert [key for key, _ in writer.sent.failed] == ["huge"]
