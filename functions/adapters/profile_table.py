"""Writes the read-only profiles that serving reads (functions/adapters/profiles.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.attempts import Attempts
from slidr.errors import PublishFailed

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BATCH: Final = 25
"""The service's limit of one BatchWriteItem call."""


class ProfileItem(msgspec.Struct, frozen=True, kw_only=True):
    """A profile as the daily job hands it over."""

    key: str
    """ip#, user# or ua#, then the pseudonym."""
    clicks_per_day: float
    first_seen: float
    """Epoch seconds."""
    expires_at: int
    """Epoch seconds."""
    users_per_day: float | None = None

    def item(self) -> dict[str, Any]:
        """The table's item."""
        numbers = {
            "clicks_per_day": self.clicks_per_day,
            "users_per_day": self.users_per_day,
            "first_seen": self.first_seen,
            "expires_at": self.expires_at,
        }
        told = {name: {"N": repr(value)} for name, value in numbers.items() if value is not None}
        return {"key": {"S": self.key}, **told}


class ProfileTable:
    """Puts profiles, replacing what was there."""

    def __init__(self, client: DynamoDBClient, table: str, *, attempts: Attempts) -> None:
        self._client = client
        self._table = table
        self._attempts = attempts

    def put(self, profiles: Iterable[ProfileItem]) -> int:
        """Put every profile; how many that were. What the table does not take at once is sent again.

        Raises:
            PublishFailed: some were not taken until the attempts ended. Putting them all again is harmless.
        """
        written = 0
        for batch in _batches(profiles):
            self._put(batch)
            written += len(batch)
        return written

    def _put(self, batch: Sequence[ProfileItem]) -> None:
        pending: Any = {self._table: [{"PutRequest": {"Item": one.item()}} for one in batch]}
        for _ in self._attempts:
            try:
                pending = self._client.batch_write_item(RequestItems=pending).get("UnprocessedItems")
            except (ClientError, BotoCoreError) as failure:
                raise PublishFailed(f"profiles must be written, however: {failure}") from failure
            if not pending:
                return
        raise PublishFailed(f"all of {len(batch)} profiles must be written, {len(pending[self._table])} were not taken")


def _batches(profiles: Iterable[ProfileItem]) -> Iterator[list[ProfileItem]]:
    rest = iter(profiles)
    while batch := list(islice(rest, BATCH)):
        yield batch
