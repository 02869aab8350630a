"""Whether every record that went in came out: records in = distinct verdicts + rejects."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from functions.adapters.reject_store import PREFIX, Reject, read_rejects
from local.sources.event import Event

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SHOWN: Final = 5


class SentRecord(NamedTuple):
    """A click record that was put on the stream."""

    key: str
    """Its partition key: the click id, where it has one."""
    payload: bytes
    """Eight bytes that stand for its payload: a malformed record can only be told by what it holds."""


def sent_record(event: Event) -> SentRecord:
    """What accounting keeps of an event."""
    return SentRecord(event.key, payload_digest(event.payload))


def payload_digest(payload: bytes) -> bytes:
    """Eight bytes that stand for a payload."""
    return hashlib.blake2b(payload, digest_size=8).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """What became of the click records that were sent."""

    records_in: int
    duplicates: int
    """Records whose click id had been sent before: one click, one verdict."""
    verdicts: int
    """Distinct clicks of these with a verdict."""
    rejects: int
    """Records of these in the reject store."""
    missing: tuple[str, ...]
    """Keys of records with neither."""

    @property
    def holds(self) -> bool:
        """Whether nothing is missing and nothing is counted twice."""
        return not self.missing and self.records_in == self.verdicts + self.rejects + self.duplicates

    def __str__(self) -> str:
        """The equation, and what is missing.

        >>> print(Accounting(records_in=3, duplicates=0, verdicts=2, rejects=1, missing=()))
        3 records in = 2 verdicts + 1 rejects
        """
        sign = "=" if self.holds else "does not equal"
        text = f"{self.records_in:,} records in {sign} {self.verdicts:,} verdicts + {self.rejects:,} rejects"
        if self.duplicates:
            text += f" + {self.duplicates:,} records of clicks that had been sent already"
        if self.missing:
            shown = ", ".join(self.missing[:_SHOWN])
            text += f"; {len(self.missing):,} have neither, such as {shown}"
        return text


def account(sent: Iterable[SentRecord], *, decided: Container[str], rejected: Container[bytes]) -> Accounting:
    """Match what was sent with what came out.

    Args:
        sent: every click record, in any order.
        decided: ids of all clicks with a verdict.
        rejected: digests of the payloads of all rejected records.
    """
    seen: set[str] = set()
    records = duplicates = verdicts = rejects = 0
    missing = []
    for record in sent:
        records += 1
        if record.payload in rejected:
            rejects += 1
        elif record.key not in decided:
            missing.append(record.key)
        elif record.key in seen:
            duplicates += 1
        else:
            verdicts += 1
            seen.add(record.key)
    return Accounting(
        records_in=records, duplicates=duplicates, verdicts=verdicts, rejects=rejects, missing=tuple(missing)
    )


def rejects_of(s3: S3Client, bucket: str, *, stream: str, since: dt.datetime) -> list[Reject]:
    """The rejected records of one stream that arrived since a time, each once."""
    found: dict[tuple[str, str], Reject] = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX):
        for item in page.get("Contents", []):
            if item["LastModified"] < since:
                continue
            for reject in read_rejects(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()):
                if reject.stream == stream and reject.arrived_at >= since:
                    found[reject.shard, reject.sequence] = reject
    return list(found.values())
