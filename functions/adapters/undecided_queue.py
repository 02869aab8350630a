"""The queue of UNDECIDED clicks, which replay decides later."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.attempts import Attempts
from slidr.errors import DependencyUnavailable, PublishFailed
from slidr.verdict import Reason

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

BATCH: Final = 10
"""The service's limit of one SendMessageBatch call."""
_THREADS: Final = 8


class QueueUnavailable(DependencyUnavailable):
    """The queue of undecided clicks does not answer."""


class UndecidedClick(msgspec.Struct, frozen=True, kw_only=True):
    """What replay needs to find the click again; it holds no person."""

    click_id: str
    at: dt.datetime
    arrived_at: dt.datetime
    stream: str
    shard: str
    sequence: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that were received together."""

    clicks: list[UndecidedClick]
    receipts: list[str]


class UndecidedReader:
    """Takes undecided clicks off the queue. What is not deleted comes back after the queue's visibility timeout."""

    def __init__(self, client: SQSClient, queue_url: str, *, batch: int = 1_000, most: int = 100_000) -> None:
        """A reader.

        Args:
            client: of SQS.
            queue_url: of the queue.
            batch: how many messages are handed out together.
            most: how many are received in all; the others wait for the next reader.
        """
        self._client = client
        self._queue_url = queue_url
        self._batch = batch
        self._most = most

    def batches(self) -> Iterator[Batch]:
        """What the queue holds now, to be deleted batch by batch.

        Raises:
            QueueUnavailable: the queue cannot be read.
        """
        taken, batch = 0, Batch([], [])
        while taken < self._most:
            messages = self._receive()
            for message in messages:
                batch.clicks.append(msgspec.json.decode(message["Body"], type=UndecidedClick))
                batch.receipts.append(message["ReceiptHandle"])
            taken += len(messages)
            if batch.clicks and (not messages or len(batch.clicks) >= self._batch):
                yield batch
                batch = Batch([], [])
            if not messages:
                return
        if batch.clicks:
            yield batch

    def delete(self, batch: Batch) -> None:
        """Delete the messages of a batch; one that stays is only received again.

        Raises:
            QueueUnavailable: the queue does not answer.
        """
        for start in range(0, len(batch.receipts), BATCH):
            entries: Any = [
                {"Id": str(number), "ReceiptHandle": receipt}
                for number, receipt in enumerate(batch.receipts[start : start + BATCH])
            ]
            try:
                self._client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
            except (ClientError, BotoCoreError) as failure:
                raise QueueUnavailable(f"the undecided queue must be readable, however: {failure}") from failure

    def _receive(self) -> list[Any]:
        try:
            answer = self._client.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=BATCH)
        except (ClientError, BotoCoreError) as failure:
            raise QueueUnavailable(f"the undecided queue must be readable, however: {failure}") from failure
        return list(answer.get("Messages", []))


class UndecidedQueue:
    """Sends undecided clicks to SQS, ten a call, several calls at a time."""

    def __init__(self, client: SQSClient, queue_url: str, *, attempts: Attempts) -> None:
        self._client = client
        self._queue_url = queue_url
        self._attempts = attempts

    def send(self, clicks: Sequence[UndecidedClick]) -> None:
        """Queue every click; what the queue refuses in part is sent again until the deadline.

        Raises:
            PublishFailed: `first_failed` is the index of the first click that is not queued.
        """
        bodies = [_body(click) for click in clicks]
        pending = list(range(len(bodies)))
        failure: Exception | None = None
        for _ in self._attempts:
            refused, cause = self._send(bodies, pending)
            pending, failure = refused, cause or failure
            if not pending:
                return
        raise PublishFailed(
            f"all {len(clicks)} undecided clicks must be queued, however {len(pending)} were not: {failure}. "
            "The batch is retried from the first of them.",
            first_failed=min(pending),
        ) from failure

    def _send(self, bodies: Sequence[str], pending: Sequence[int]) -> tuple[list[int], Exception | None]:
        """One attempt: the indexes that were refused, and an error where one was raised; after it no call is begun."""
        raised: list[Exception] = []

        def send(batch: Sequence[int]) -> list[int]:
            if raised:
                return list(batch)
            try:
                return self._send_batch(bodies, batch)
            except (ClientError, BotoCoreError) as failure:
                raised.append(failure)
                return list(batch)

        batches = [pending[start : start + BATCH] for start in range(0, len(pending), BATCH)]
        if len(batches) <= 1:
            answers = [send(batch) for batch in batches]
        else:
            with ThreadPoolExecutor(max_workers=min(_THREADS, len(batches))) as pool:
                answers = list(pool.map(send, batches))
        return [index for refused in answers for index in refused], raised[0] if raised else None

    def _send_batch(self, bodies: Sequence[str], batch: Sequence[int]) -> list[int]:
        """One call: the indexes that the queue refused."""
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(index), "MessageBody": bodies[index]} for index in batch
        ]
        answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
        return [int(entry["Id"]) for entry in answer.get("Failed", [])]


def _body(click: UndecidedClick) -> str:
    """JSON in ASCII: SQS refuses some characters that a click_id may hold, and one refusal would block the shard."""
    fields: dict[str, Any] = msgspec.to_builtins(click)
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":"))
