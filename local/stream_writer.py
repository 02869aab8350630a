"""Putting events on the streams: PutRecords in full requests, what was refused sent again, order kept."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from local.sources.event import Event, Kind
from slidr.errors import SlidrError

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import PutRecordsRequestEntryTypeDef

MAX_RECORDS: Final = 500
MAX_REQUEST_BYTES: Final = 5 * 1024 * 1024 - 65_536
"""Kinesis takes 5 MiB a request, keys included; a little is left for them."""
MAX_RECORD_BYTES: Final = 1024 * 1024
ATTEMPTS: Final = 10
_LAST_WAIT_S: Final = 5.0
_RETRIED: Final = frozenset(
    {"ProvisionedThroughputExceededException", "KMSThrottlingException", "LimitExceededException", "InternalFailure",
     "ServiceUnavailable", "ThrottlingException"}
)  # fmt: skip


class SendFailed(SlidrError):
    """The streams cannot be written to at all."""


@dataclass(slots=True)
class Sent:
    """What came of sending, so far."""

    records: Counter[Kind] = field(default_factory=Counter)
    bytes: int = 0
    retried: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Records that were refused to the end: key and reason."""


class StreamWriter:
    """Writes events to the streams, a request at a time, so that what is retried overtakes next to nothing."""

    def __init__(
        self,
        kinesis: KinesisClient,
        streams: Mapping[Kind, str],
        *,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._kinesis = kinesis
        self._streams = streams
        self._attempts = attempts
        self._sleep = sleep
        self.sent = Sent()

    def put(self, events: Sequence[Event]) -> None:
        """Put `events` on their streams, each stream's in the order given. Returns when every outcome is known.

        Raises:
            SendFailed: a stream is missing, access is denied, or nothing answers.
        """
        for kind in Kind:
            for request in _requests([event for event in events if event.kind is kind]):
                self._put_request(kind, request)

    def _put_request(self, kind: Kind, events: list[Event]) -> None:
        fitting = []
        for event in events:
            if len(event.payload) + len(event.key.encode()) > MAX_RECORD_BYTES:
                self.sent.failed.append((event.key, f"{len(event.payload)} bytes, a stream takes {MAX_RECORD_BYTES}"))
            else:
                fitting.append(event)
        refused: list[tuple[Event, str]] = [(event, "") for event in fitting]
        for attempt in range(self._attempts):
            if not refused:
                return
            if attempt:
                self.sent.retried += len(refused)
                self._sleep(min(_LAST_WAIT_S, 0.05 * 2**attempt) * random.uniform(0.5, 1.0))
            refused = self._try(kind, [event for event, _ in refused])
        self.sent.failed.extend((event.key, reason) for event, reason in refused)

    def _try(self, kind: Kind, events: list[Event]) -> list[tuple[Event, str]]:
        """One request; what the stream refused, with the reason."""
        entries: list[PutRecordsRequestEntryTypeDef] = [
            {"Data": event.payload, "PartitionKey": event.key} for event in events
        ]
        try:
            answer = self._kinesis.put_records(StreamName=self._streams[kind], Records=entries)
        except ClientError as failure:
            code = failure.response.get("Error", {}).get("Code", "")
            if code in _RETRIED:
                return [(event, code) for event in events]
            raise SendFailed(
                f"the stream {self._streams[kind]} must take records, came {code}: {failure}. "
                "Is the stage deployed (slidr status) and are you allowed kinesis:PutRecords on it?"
            ) from failure
        except BotoCoreError as failure:
            raise SendFailed(
                f"the stream {self._streams[kind]} must answer, came: {failure}. See slidr status."
            ) from failure
        refused = []
        for event, result in zip(events, answer["Records"], strict=True):
            reason = result.get("ErrorCode")
            if reason:
                refused.append((event, reason))
            else:
                self.sent.records[kind] += 1
                self.sent.bytes += len(event.payload)
        return refused


def _requests(events: list[Event]) -> list[list[Event]]:
    """`events` cut to what one PutRecords request takes."""
    requests: list[list[Event]] = []
    size = 0
    for event in events:
        grown = size + len(event.payload) + len(event.key.encode())
        if not requests or len(requests[-1]) == MAX_RECORDS or grown > MAX_REQUEST_BYTES:
            requests.append([])
            grown -= size
        requests[-1].append(event)
        size = grown
    return requests
