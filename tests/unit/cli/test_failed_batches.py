from __future__ import annotations

import io
import json
from typing import Any

import pytest

from local.failed_batches import FailedBatchUnreadable, Record, decide_again, read_failed_batch


def any_record(sequence: str, *, arrived_at: float = 1795435200.25) -> Record:
    return {
        "eventID": f"shardId-0:{sequence}",
        "kinesis": {"sequenceNumber": sequence, "data": "e30=", "approximateArrivalTimestamp": arrived_at},
    }


def any_object(*sequences: str, payload: object = None) -> bytes:
    """What the service writes. Source: Lambda developer guide, "Retain discarded batch records"."""
    event = {"Records": [any_record(sequence) for sequence in sequences]}
    return json.dumps({
        "requestContext": {"requestId": "r", "functionArn": "arn:aws:lambda:r:1:function:score",
                           "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 4},
        "version": "1.0",
        "timestamp": "2026-11-23T12:00:00.000Z",
        "KinesisBatchInfo": {"shardId": "shardId-0", "batchSize": len(sequences),
                             "streamArn": "arn:aws:kinesis:r:1:stream/clicks"},
        "payload": json.dumps(event) if payload is None else payload,
    }).encode()  # fmt: skip


class FakeLambda:
    """Answers by script: a function error, or the sequence number to fail from (None: all well). Poison raises."""

    def __init__(self, *script: str | None, poison: str | None = None) -> None:
        self.script = list(script)
        self.poison = poison
        self.invoked: list[list[str]] = []
        self.records: list[Record] = []

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        records = json.loads(Payload)["Records"]
        sequences = [record["kinesis"]["sequenceNumber"] for record in records]
        self.invoked.append(sequences)
        self.records += records
        if self.poison in sequences:
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b"{}")}
        failed = self.script.pop(0) if self.script else None
        failures = [] if failed is None else [{"itemIdentifier": failed}]
        return {"Payload": io.BytesIO(json.dumps({"batchItemFailures": failures}).encode())}


def decided(client: FakeLambda, *sequences: str) -> list[str]:
    batch = read_failed_batch("k", any_object(*sequences))
    left = decide_again(batch, client, function="score", sleep=lambda _s: None)  # type: ignore[arg-type]
    return [record["kinesis"]["sequenceNumber"] for record in left]


def test_reads_what_the_service_writes() -> None:
    batch = read_failed_batch("aws/lambda/x", any_object("1", "2"))
    assert (batch.stream, batch.shard, batch.condition) == ("clicks", "shardId-0", "RetryAttemptsExhausted")
    assert len(batch.records) == 2


def test_hands_the_records_over_as_they_were_with_their_arrival_times() -> None:
    client = FakeLambda()
    assert decided(client, "1", "2") == []
    assert client.records == [any_record("1"), any_record("2")]


def test_goes_on_from_the_record_that_the_function_names() -> None:
    client = FakeLambda("2", None)
    assert decided(client, "1", "2", "3") == []
    assert client.invoked == [["1", "2", "3"], ["2", "3"]]


def test_leaves_what_keeps_failing() -> None:
    client = FakeLambda("2", "2", "2")
    assert decided(client, "1", "2", "3") == ["2", "3"]


def test_takes_an_unknown_identifier_for_the_whole_batch() -> None:
    client = FakeLambda("", "", "")
    assert decided(client, "1", "2") == ["1", "2"]


def test_finds_the_poison_and_decides_the_others() -> None:
    client = FakeLambda(poison="3")
    assert decided(client, "1", "2", "3", "4", "5") == ["3"]


@pytest.mark.parametrize("body", [b"", b"{}", any_object("1", payload="no JSON"), any_object("1", payload=5)])
def test_says_so_when_an_object_is_no_failed_batch(body: bytes) -> None:
    with pytest.raises(FailedBatchUnreadable, match="must be an on-failure record with its payload"):
        read_failed_batch("k", body)
