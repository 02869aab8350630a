"""What an event source mapping does with a batch that failed: pure rules over records and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One Kinesis record; `data` is base64, `arrived_at` epoch seconds."""

    sequence: str
    partition_key: str
    data: str
    arrived_at: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in order, and how often an invocation that began with the first of them has failed."""

    records: tuple[Record, ...]
    failures: int = 0


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to do after a failure: batches to try again in order, records to give away, and whether to wait first."""

    again: tuple[Batch, ...] = ()
    given_up: Batch | None = None
    wait: bool = False


def record_event(record: Record, shard: str, stream_arn: str, account: str, region: str) -> dict[str, Any]:
    """Return the record as the function receives it.

    Source: Lambda developer guide, "Using Lambda with Kinesis Data Streams".
    """
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record.partition_key,
            "sequenceNumber": record.sequence,
            "data": record.data,
            "approximateArrivalTimestamp": record.arrived_at,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard}:{record.sequence}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": f"arn:aws:iam::{account}:role/local",
        "awsRegion": region,
        "eventSourceARN": stream_arn,
    }


def failed_from(batch: Batch, answer: dict[str, Any], *, partial: bool) -> int | None:
    """Return the index of the first record that failed, or None when the batch succeeded.

    `answer` is {"body": ..., "error": bool}. With partial responses, the lowest reported sequence number is the first
    failed one; a malformed response, or one that names an unknown record, fails the whole batch, as on AWS.
    """
    if answer.get("error"):
        return 0
    body = answer.get("body")
    if not partial or body is None or body == "":
        return None
    if not isinstance(body, dict):
        return 0
    failures = body.get("batchItemFailures")
    if not failures:
        return None
    position = {record.sequence: index for index, record in enumerate(batch.records)}
    try:
        return min(position[failure["itemIdentifier"]] for failure in failures)
    except (KeyError, TypeError):
        return 0


def settle(batch: Batch, first_failed: int, *, bisect: bool, max_retries: int, counted: bool = True) -> NextStep:
    """Decide about `batch` after an invocation that failed from `first_failed` on.

    `bisect` splits the batch at the failed record, and in the middle when that is its first one; splitting costs no
    retry. A batch that is not split is retried from the failed record up to `max_retries` times (-1: for ever), then
    given up. An invocation that is not `counted` (a throttle) costs no retry either.
    """
    if not counted:
        return NextStep(again=(batch,), wait=True)
    rest = batch.records[first_failed:]
    if bisect and first_failed:
        return NextStep(again=(Batch(rest),))
    if bisect and len(rest) > 1:
        middle = len(rest) // 2
        return NextStep(again=(Batch(rest[:middle], batch.failures), Batch(rest[middle:], batch.failures)))
    failures = 1 if first_failed else batch.failures + 1
    if 0 <= max_retries < failures:
        return NextStep(given_up=Batch(rest, failures))
    return NextStep(again=(Batch(rest, failures),), wait=True)
