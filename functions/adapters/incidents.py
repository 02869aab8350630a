"""Which incidents people were told of: an item of the control table each, so that each is told once."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from slidr.errors import ServingStateUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_PREFIX: Final = "incident#"
_KEPT: Final = dt.timedelta(days=90)


class Incidents:
    """Remembers by a name that stands for the incident."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def is_told(self, incident: str) -> bool:
        """Whether people were told of it.

        Raises:
            ServingStateUnavailable: the table cannot be read.
        """
        key = {"name": {"S": f"{_PREFIX}{incident}"}}
        try:
            answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        except (ClientError, BotoCoreError) as failure:
            raise ServingStateUnavailable(f"incidents must be readable, however: {failure}") from failure
        return "Item" in answer

    def remember(self, incident: str, *, subject: str, now: dt.datetime) -> None:
        """Remember that people were told.

        Raises:
            ServingStateUnavailable: the table cannot be written.
        """
        item = {
            "name": {"S": f"{_PREFIX}{incident}"},
            "subject": {"S": subject},
            "at": {"S": now.isoformat(timespec="seconds")},
            "expires_at": {"N": str(int((now + _KEPT).timestamp()))},
        }
        try:
            self._client.put_item(TableName=self._table, Item=item)
        except (ClientError, BotoCoreError) as failure:
            raise ServingStateUnavailable(f"incidents must be writable, however: {failure}") from failure
