"""The records of a click stream event, as parallel lists."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRecords:
    """A batch of one stream in stream order; the lists have one length."""

    stream: str
    shards: list[str]
    sequences: list[str]
    arrived_ms: list[int]
    """When the stream took the record: a redelivered one keeps it, so it is decided alike."""
    payloads: list[bytes]


def read_records(event: Mapping[str, Any]) -> StreamRecords:
    """The records of a Kinesis event, as the event source sends it and as failure payloads keep it.

    >>> read_records({"Records": [{"eventID": "shardId-0:42", "eventSourceARN": "arn:aws:kinesis:r:1:stream/clicks",
    ...     "kinesis": {"data": "e30=", "sequenceNumber": "42", "approximateArrivalTimestamp": 1795435200.25}}]})
    ... # doctest: +NORMALIZE_WHITESPACE
    StreamRecords(stream='clicks', shards=['shardId-0'], sequences=['42'], arrived_ms=[1795435200250],
                  payloads=[b'{}'])
    """
    records = event["Records"]
    kinesis = [record["kinesis"] for record in records]
    return StreamRecords(
        stream=records[0]["eventSourceARN"].rpartition("/")[2] if records else "",
        shards=[record["eventID"].partition(":")[0] for record in records],
        sequences=[record["sequenceNumber"] for record in kinesis],
        arrived_ms=[round(record["approximateArrivalTimestamp"] * 1000) for record in kinesis],
        payloads=[a2b_base64(record["data"]) for record in kinesis],
    )
