"""The reject store: records that break their contract, with reason and origin, in the quarantine bucket."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from slidr.errors import PublishFailed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX: Final = "rejects/"


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """One rejected record: a line of a reject object. It may hold personal data, so it stays in quarantine."""

    reason: str
    """A reason code of docs/data-contract.md."""
    detail: str
    stream: str
    shard: str
    sequence: str
    arrived_at: dt.datetime
    payload_base64: bytes
    """The record's bytes as they came (msgspec writes bytes as base64)."""


def reject_key(first: Reject) -> str:
    """Where a batch whose first reject is `first` is stored. A retry from the same record overwrites it.

    >>> reject_key(Reject(reason="not_json", detail="", stream="clicks", shard="shardId-0", sequence="42",
    ...                   arrived_at=dt.datetime(2026, 11, 23, 9, tzinfo=dt.UTC), payload_base64=b""))
    'rejects/date=2026-11-23/hour=09/clicks-shardId-0-42.jsonl'
    """
    hour = first.arrived_at.astimezone(dt.UTC)
    return f"{PREFIX}date={hour:%Y-%m-%d}/hour={hour:%H}/{first.stream}-{first.shard}-{first.sequence}.jsonl"


class RejectStore:
    """Writes one JSON Lines object a batch to S3."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._encoder = msgspec.json.Encoder()

    def store(self, rejects: Sequence[Reject]) -> None:
        """Store the rejects of one batch, in stream order, as one object; nothing for none.

        Raises:
            PublishFailed: none of them is stored.
        """
        if not rejects:
            return
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=reject_key(rejects[0]),
                Body=self._encoder.encode_lines(rejects),
                ContentType="application/jsonl",
            )
        except (ClientError, BotoCoreError) as failure:
            raise PublishFailed(
                f"{len(rejects)} rejects must be stored, however: {failure}. The batch is retried from the first."
            ) from failure


def read_rejects(body: bytes) -> list[Reject]:
    """The rejects of one object."""
    return msgspec.json.Decoder(Reject).decode_lines(body)
