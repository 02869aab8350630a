"""The stream of verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.attempts import Attempts
from slidr.errors import PublishFailed
from slidr.verdict import Verdict

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

MAX_RECORDS: Final = 500
MAX_BYTES: Final = 5 * 1024 * 1024
"""The service's limits of one PutRecords call; bytes count data and partition keys."""


class VerdictStream:
    """Publishes verdicts to Kinesis, partition key click_id."""

    def __init__(self, client: KinesisClient, stream: str, *, attempts: Attempts) -> None:
        self._client = client
        self._stream = stream
        self._attempts = attempts
        self._encode = msgspec.json.Encoder().encode

    def publish(self, verdicts: Sequence[Verdict]) -> None:
        """Put every verdict on the stream; what the stream refuses in part is sent again until the deadline.

        Raises:
            PublishFailed: `first_failed` is the index of the first verdict that is not on the stream.
        """
        entries = [(verdict.click_id, self._encode(verdict)) for verdict in verdicts]
        pending: list[int] = list(range(len(entries)))
        cause: Exception | None = None
        error = ""
        for _ in self._attempts:
            refused: list[int] = []
            for sent, chunk in enumerate(chunks := list(_chunks(entries, pending))):
                records = [{"PartitionKey": entries[index][0], "Data": entries[index][1]} for index in chunk]
                try:
                    answer = self._client.put_records(StreamName=self._stream, Records=records)  # type: ignore[arg-type]
                except (ClientError, BotoCoreError) as failure:
                    # The rest would only wait as long for the same answer.
                    refused += (index for unsent in chunks[sent:] for index in unsent)
                    cause, error = failure, str(failure)
                    break
                for index, result in zip(chunk, answer["Records"], strict=True):
                    if result.get("ErrorCode"):
                        refused.append(index)
                        error = result["ErrorCode"]
            pending = refused
            if not pending:
                return
        raise PublishFailed(
            f"all {len(verdicts)} verdicts must reach the stream, however {len(pending)} did not: {error}. "
            "The batch is retried from the first of them.",
            first_failed=min(pending),
        ) from cause


def _chunks(entries: Sequence[tuple[str, bytes]], indexes: Sequence[int]) -> Iterator[list[int]]:
    """Runs of `indexes` that fit one call each, in order."""
    chunk: list[int] = []
    used = 0
    for index in indexes:
        partition_key, data = entries[index]
        size = len(data) + len(partition_key.encode())
        if chunk and (len(chunk) == MAX_RECORDS or used + size > MAX_BYTES):
            yield chunk
            chunk, used = [], 0
        chunk.append(index)
        used += size
    if chunk:
        yield chunk
