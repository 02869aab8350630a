"""Verdicts on Kinesis: partial failures are sent again, limits are kept, nothing is lost silently."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ConnectionClosedError

from functions.adapters import verdict_stream
from functions.adapters.attempts import Attempts
from functions.adapters.verdict_stream import MAX_BYTES, VerdictStream
from slidr.errors import PublishFailed
from slidr.verdict import Decision, Mode, Verdict

pytestmark = pytest.mark.aws
AT = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


def any_verdict(click_id: str, **changes: Any) -> Verdict:
    values: dict[str, Any] = {
        "click_id": click_id,
        "at": AT,
        "arrived_at": AT,
        "decided_at": AT,
        "decision": Decision.VALID,
        "mode": Mode.OBSERVE,
        "billable": True,
        "reasons": (),
        "score": 0.25,
        "threshold": 0.5,
        "slice": "all",
        "release_id": "r-1",
        "givt": False,
        "late": False,
        "marketplace": "de",
        "advertiser": "acme",
        "campaign": None,
        "cost_micros": 0,
        "currency": "EUR",
        "feature_spec": "f",
        "features": (0.0, 1.0),
    }
    return Verdict(**{**values, **changes})


def patient(waits: list[float], *, deadline_s: float = 10.0) -> Attempts:
    return Attempts(deadline_s=deadline_s, clock=lambda: sum(waits), sleep=waits.append, draw=lambda: 1.0)


class StubbedKinesis:
    """Answers as the service does; `refuse` says which partition keys it refuses in a call."""

    def __init__(self, *refusals: Any) -> None:
        self.calls: list[list[str]] = []
        self.sizes: list[int] = []
        self._refusals = list(refusals)

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.calls.append([record["PartitionKey"] for record in Records])
        self.sizes.append(sum(len(r["Data"]) + len(r["PartitionKey"].encode()) for r in Records))
        refused = self._refusals.pop(0) if self._refusals else ()
        if isinstance(refused, Exception):
            raise refused
        results = [
            {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"}
            if record["PartitionKey"] in refused
            else {"SequenceNumber": "1", "ShardId": "shardId-0"}
            for record in Records
        ]
        return {"FailedRecordCount": len(refused), "Records": results}


def test_verdicts_can_be_read_back_from_the_stream(aws: Any) -> None:
    client = aws.client("kinesis")
    client.create_stream(StreamName="verdicts", ShardCount=1)
    verdicts = [any_verdict(f"c-{i}") for i in range(3)]

    VerdictStream(client, "verdicts", attempts=patient([])).publish(verdicts)

    shard = client.list_shards(StreamName="verdicts")["Shards"][0]["ShardId"]
    start = client.get_shard_iterator(StreamName="verdicts", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    records = client.get_records(ShardIterator=start["ShardIterator"])["Records"]
    assert [msgspec.json.decode(record["Data"], type=Verdict) for record in records] == verdicts
    assert [record["PartitionKey"] for record in records] == ["c-0", "c-1", "c-2"]


def test_stream_that_is_gone_fails_from_the_first_verdict(aws: Any) -> None:
    with pytest.raises(PublishFailed, match="ResourceNotFound") as failure:
        VerdictStream(aws.client("kinesis"), "gone", attempts=patient([], deadline_s=0)).publish([any_verdict("a")])

    assert failure.value.first_failed == 0


def test_sends_again_only_what_was_refused() -> None:
    kinesis, waits = StubbedKinesis({"b", "c"}, {"c"}), list[float]()

    VerdictStream(kinesis, "verdicts", attempts=patient(waits)).publish(  # type: ignore[arg-type]
        [any_verdict(name) for name in "abcd"]
    )

    assert kinesis.calls == [["a", "b", "c", "d"], ["b", "c"], ["c"]]
    assert waits == [0.05, 0.1]


def test_names_the_first_verdict_that_did_not_reach_the_stream() -> None:
    kinesis = StubbedKinesis(*[{"c", "d"}] * 50)

    with pytest.raises(PublishFailed, match="2 did not: ProvisionedThroughputExceededException") as failure:
        VerdictStream(kinesis, "verdicts", attempts=patient([], deadline_s=1.0)).publish(  # type: ignore[arg-type]
            [any_verdict(name) for name in "abcd"]
        )

    assert failure.value.first_failed == 2
    assert len(kinesis.calls) == 5


def test_sends_a_chunk_again_after_a_lost_connection() -> None:
    kinesis = StubbedKinesis(ConnectionClosedError(endpoint_url="https://kinesis"))

    VerdictStream(kinesis, "verdicts", attempts=patient([])).publish([any_verdict("a")])  # type: ignore[arg-type]

    assert kinesis.calls == [["a"], ["a"]]


def test_lost_connection_is_waited_for_once_an_attempt() -> None:
    kinesis = StubbedKinesis((), ConnectionClosedError(endpoint_url="https://kinesis"))

    VerdictStream(kinesis, "verdicts", attempts=patient([])).publish(  # type: ignore[arg-type]
        [any_verdict(str(i)) for i in range(1_501)]
    )

    assert [len(call) for call in kinesis.calls] == [500, 500, 500, 500, 1]
    assert kinesis.calls[2] == kinesis.calls[1]


def test_a_call_holds_at_most_500_records() -> None:
    kinesis = StubbedKinesis()

    VerdictStream(kinesis, "verdicts", attempts=patient([])).publish(  # type: ignore[arg-type]
        [any_verdict(str(i)) for i in range(1001)]
    )

    assert [len(call) for call in kinesis.calls] == [500, 500, 1]


def test_the_limit_of_a_call_counts_partition_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    kinesis, verdicts = StubbedKinesis(), [any_verdict("é" * 100 + str(i)) for i in range(3)]
    monkeypatch.setattr(verdict_stream, "MAX_BYTES", 2 * len(msgspec.json.encode(verdicts[0])) + 300)

    VerdictStream(kinesis, "verdicts", attempts=patient([])).publish(verdicts)  # type: ignore[arg-type]

    assert [len(call) for call in kinesis.calls] == [1, 1, 1]


def test_a_call_holds_at_most_five_mebibytes_and_keeps_the_order() -> None:
    kinesis = StubbedKinesis()
    verdicts = [any_verdict(f"é{i}", slice="x" * 700_000) for i in range(16)]

    VerdictStream(kinesis, "verdicts", attempts=patient([])).publish(verdicts)  # type: ignore[arg-type]

    assert all(size <= MAX_BYTES for size in kinesis.sizes)
    assert [len(call) for call in kinesis.calls] == [7, 7, 2]
    assert [name for call in kinesis.calls for name in call] == [verdict.click_id for verdict in verdicts]
