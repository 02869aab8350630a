"""Firehose's data transformation: records through a Lambda, in the documented event and response form.

Source: Data Firehose developer guide, "Transform source data" and "Required parameters for data transformation".
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The service's default buffer before a transform; its base64 stays below Lambda's 6 MB payload.
_CHUNK_BYTES = 1 << 20
Invoke = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record before its transformation; `arrived_at` is epoch seconds; shard and sequence of a Kinesis source."""

    identity: str
    data: bytes
    arrived_at: float
    shard: str | None = None
    sequence: str | None = None
    partition_key: str | None = None


@dataclass(frozen=True, slots=True)
class Transformed:
    """A record to deliver, with the partition keys that the function gave it."""

    source: SourceRecord
    data: bytes
    partition_keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Refused:
    """A record for the error prefix, with Firehose's error code and message."""

    source: SourceRecord
    code: str
    message: str
    attempts: int


def chunks(records: Sequence[SourceRecord]) -> Iterator[Sequence[SourceRecord]]:
    """Yield the records in groups that fit one invocation."""
    begin, size = 0, 0
    for index, record in enumerate(records):
        if index > begin and size + len(record.data) > _CHUNK_BYTES:
            yield records[begin:index]
            begin, size = index, 0
        size += len(record.data)
    if begin < len(records):
        yield records[begin:]


def transformation_event(
    records: Sequence[SourceRecord], *, arn: str, source_arn: str | None, region: str
) -> dict[str, Any]:
    """Return the event that the function receives."""
    event: dict[str, Any] = {"invocationId": str(uuid.uuid4()), "deliveryStreamArn": arn, "region": region}
    if source_arn:
        event["sourceKinesisStreamArn"] = source_arn
    event["records"] = [_event_record(record) for record in records]
    return event


def _event_record(record: SourceRecord) -> dict[str, Any]:
    arrived_ms = int(record.arrived_at * 1000)
    value: dict[str, Any] = {
        "recordId": record.identity,
        "approximateArrivalTimestamp": arrived_ms,
        "data": base64.b64encode(record.data).decode(),
    }
    if record.sequence is not None:
        value["kinesisRecordMetadata"] = {
            "shardId": record.shard,
            "partitionKey": record.partition_key,
            "approximateArrivalTimestamp": arrived_ms,
            "sequenceNumber": record.sequence,
            "subsequenceNumber": 0,
        }
    return value


def transform(
    records: Sequence[SourceRecord], invoke: Invoke, event: dict[str, Any], *, retries: int
) -> Iterator[Transformed | Refused]:
    """Invoke the function, again after a failure up to `retries` times; yield what becomes of each record.

    `Dropped` records are not yielded: dropping is a success.
    """
    answer: dict[str, Any] = {}
    attempts = 0
    while attempts <= retries:
        attempts += 1
        answer = invoke(event)
        if not answer.get("error"):
            break
    if answer.get("error"):
        message = f"The Lambda function was invoked but it returned an error result: {answer.get('body')}"
        yield from (Refused(record, "Lambda.FunctionError", message, attempts) for record in records)
        return
    body = answer.get("body")
    returned = body.get("records") if isinstance(body, dict) else None
    by_identity = {item.get("recordId"): item for item in returned or [] if isinstance(item, dict)}
    for record in records:
        outcome = _outcome(record, by_identity.get(record.identity), attempts)
        if outcome is not None:
            yield outcome


def _outcome(record: SourceRecord, item: dict[str, Any] | None, attempts: int) -> Transformed | Refused | None:
    if item is None:
        return Refused(record, "Lambda.MissingRecordId", "One or more record Ids were not returned.", attempts)
    if item.get("result") == "Dropped":
        return None
    if item.get("result") != "Ok":
        return Refused(record, "Lambda.ProcessingFailedStatus", "ProcessingFailed status set for record", attempts)
    try:
        data = base64.b64decode(item.get("data") or "", validate=True)
    except (binascii.Error, ValueError):
        return Refused(record, "Lambda.InvalidData", "The data that the function returned is not base64.", attempts)
    keys = (item.get("metadata") or {}).get("partitionKeys") or {}
    return Transformed(record, data, {str(key): str(value) for key, value in keys.items()})
