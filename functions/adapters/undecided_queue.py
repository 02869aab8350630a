"""The queue of UNDECIDED clicks, which replay decides later."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.attempts import Attempts
from slidr.errors import PublishFailed
from slidr.verdict import Reason

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

BATCH: Final = 10
"""The service's limit of one SendMessageBatch call."""
_THREADS: Final = 8


class UndecidedClick(msgspec.Struct, frozen=True, kw_only=True):
    """What replay needs to find the click again; it holds no person."""

    click_id: str
    at: dt.datetime
    arrived_at: dt.datetime
    stream: str
    shard: str
    sequence: str
    reasons: tuple[Reason, ...]


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
