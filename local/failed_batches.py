"""Batches that the event source gave up, and deciding them again.

The failed event is handed to the function once more, as it was: so every record keeps its arrival time and sequence
number (a redrive decides like the first delivery would have), the archives do not see it twice, and a redrive that is
repeated adds nothing to the ledger (the first verdict of a click wins).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from slidr.errors import SlidrError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client

PREFIX: Final = "aws/lambda/"
"""Where the service writes. Source: Lambda developer guide, "Retain discarded batch records for a Kinesis Data
Streams event source"."""
_ATTEMPTS: Final = 3
_WAIT_S: Final = 1.0

Record = dict[str, Any]


class FailedBatchUnreadable(SlidrError):
    """An object of the on-failure destination holds no payload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedBatch:
    """One object of the on-failure destination."""

    key: str
    stream: str
    shard: str
    condition: str
    """Why the service gave up: RetryAttemptsExhausted, MaximumRecordAgeExceeded, ..."""
    failed_at: str
    function: str
    """ARN of the function that the batch was for."""
    records: tuple[Record, ...]
    """The event's records, as the function receives them."""


def failed_batches(s3: S3Client, bucket: str) -> Iterator[FailedBatch]:
    """Every failed batch in the quarantine, oldest first within a shard.

    Raises:
        FailedBatchUnreadable: an object is not one that the service writes.
    """
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX):
        for item in page.get("Contents", []):
            key = item["Key"]
            yield read_failed_batch(key, s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def read_failed_batch(key: str, body: bytes) -> FailedBatch:
    """A failed batch from its object.

    Raises:
        FailedBatchUnreadable: no JSON, or no payload in it.
    """
    try:
        document = json.loads(body)
        payload = document["payload"]
        event = json.loads(payload) if isinstance(payload, str) else payload
        info = document["KinesisBatchInfo"]
        return FailedBatch(
            key=key,
            stream=info["streamArn"].rpartition("/")[2],
            shard=info["shardId"],
            condition=document["requestContext"]["condition"],
            failed_at=document["timestamp"],
            function=document["requestContext"]["functionArn"],
            records=tuple(event["Records"]),
        )
    except (ValueError, KeyError, TypeError) as failure:
        raise FailedBatchUnreadable(
            f"{key} must be an on-failure record with its payload, came {type(failure).__name__}: {failure}. "
            "Look at it in the quarantine bucket; only batches of the click stream belong there."
        ) from failure


def decide_again(
    batch: FailedBatch, client: LambdaClient, *, function: str, sleep: Callable[[float], None] = time.sleep
) -> list[Record]:
    """Hand the batch to `function`; returns the records that it still cannot decide (none: all are durable)."""
    return _decide(list(batch.records), client, function, sleep)


def _decide(records: list[Record], client: LambdaClient, function: str, sleep: Callable[[float], None]) -> list[Record]:
    for attempt in range(_ATTEMPTS):
        if attempt:
            sleep(_WAIT_S * 2**attempt)
        answer = client.invoke(FunctionName=function, Payload=json.dumps({"Records": records}).encode())
        if answer.get("FunctionError"):
            if len(records) > 1:  # one of them is poison: find it, and decide the others
                middle = len(records) // 2
                first, second = records[:middle], records[middle:]
                return [*_decide(first, client, function, sleep), *_decide(second, client, function, sleep)]
            continue
        failures = json.loads(answer["Payload"].read() or b"{}").get("batchItemFailures") or []
        records = _from_first_failure(records, {failure["itemIdentifier"] for failure in failures})
        if not records:
            return []
    return records


def _from_first_failure(records: list[Record], failed: set[str]) -> list[Record]:
    """What a checkpoint at the lowest failed record leaves to do."""
    for index, record in enumerate(records):
        if record["kinesis"]["sequenceNumber"] in failed:
            return records[index:]
    return records if failed else []  # an unknown identifier stands for the whole batch, as for the service
