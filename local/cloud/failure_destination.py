"""On-failure destinations of event source mappings: what SQS, SNS, and S3 (with the payload) get of a failed batch.

Source: Lambda developer guide, "Retain discarded batch records for a Kinesis Data Streams event source".
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from local.cloud.gateway import client


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """Records that the service gives up, and why; `records` are (sequence number, arrival in epoch seconds)."""

    mapping: str
    function_arn: str
    stream_arn: str
    shard: str
    condition: str
    attempts: int
    invoked: bool
    records: tuple[tuple[str, float], ...]
    event: dict[str, Any]


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def invocation_record(failed: FailedBatch, *, now: datetime, request_id: str) -> dict[str, Any]:
    """Return the document that AWS sends to every kind of destination (without the payload)."""
    first, last = failed.records[0], failed.records[-1]
    record: dict[str, Any] = {
        "requestContext": {
            "requestId": request_id,
            "functionArn": failed.function_arn,
            "condition": failed.condition,
            "approximateInvokeCount": failed.attempts,
        },
        "version": "1.0",
        "timestamp": _instant(now),
        "KinesisBatchInfo": {
            "shardId": failed.shard,
            "startSequenceNumber": first[0],
            "endSequenceNumber": last[0],
            "approximateArrivalOfFirstRecord": _instant(datetime.fromtimestamp(first[1], UTC)),
            "approximateArrivalOfLastRecord": _instant(datetime.fromtimestamp(last[1], UTC)),
            "batchSize": len(failed.records),
            "streamArn": failed.stream_arn,
        },
    }
    if failed.invoked:
        record["responseContext"] = {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    return record


def object_key(failed: FailedBatch, *, now: datetime, unique: str) -> str:
    """Return the S3 key: aws/lambda/<mapping>/<shard>/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-<unique>."""
    return f"aws/lambda/{failed.mapping}/{failed.shard}/{now:%Y/%m/%d}/{now:%Y-%m-%dT%H.%M.%S}-{unique}"


def send_failed_batch(destination: str, failed: FailedBatch) -> None:
    """Send the record to the destination's ARN; to S3 with the whole event as `payload` (a JSON string)."""
    now = datetime.now(UTC)
    record = invocation_record(failed, now=now, request_id=str(uuid.uuid4()))
    service, name = destination.split(":")[2], destination.rpartition(":")[2]
    if service == "s3":
        record["payload"] = json.dumps(failed.event)
        client("s3").put_object(
            Bucket=name, Key=object_key(failed, now=now, unique=str(uuid.uuid4())), Body=json.dumps(record).encode()
        )
    elif service == "sqs":
        queue = client("sqs").get_queue_url(QueueName=name)["QueueUrl"]
        client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(record))
    else:
        client("sns").publish(TopicArn=destination, Message=json.dumps(record))
