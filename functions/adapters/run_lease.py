"""The lease of the daily loop: one item of the control table, so that two runs never change the endpoint at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from slidr.errors import ServingStateUnavailable, SlidrError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LEASE_ITEM: Final = "daily-loop"


class RunInProgress(SlidrError):
    """Another run of the daily loop holds the lease."""


class RunLease:
    """Taken when a run begins, given back when it ends; it expires by itself where a run died."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def take(self, holder: str, *, now_s: int, lease_s: int) -> None:
        """Take the lease, or keep it where `holder` has it already.

        Args:
            holder: the execution.
            now_s: epoch seconds.
            lease_s: after so many seconds others may take it.

        Raises:
            RunInProgress: another holder's lease has not expired.
            ServingStateUnavailable: the table cannot be written.
        """
        try:
            self._client.put_item(
                TableName=self._table,
                Item={
                    "name": {"S": LEASE_ITEM},
                    "holder": {"S": holder},
                    "expires_at": {"N": str(now_s + lease_s)},
                },
                ConditionExpression="attribute_not_exists(holder) OR holder = :me OR expires_at <= :now",
                ExpressionAttributeValues={":me": {"S": holder}, ":now": {"N": str(now_s)}},
            )
        except self._client.exceptions.ConditionalCheckFailedException as failure:
            raise RunInProgress(
                f"no other run of the daily loop may be under way, however {self._holder()} is. Wait for it, or stop "
                "it; a run that died gives way when its lease expires."
            ) from failure
        except (ClientError, BotoCoreError) as failure:
            raise ServingStateUnavailable(
                f"the lease of the daily loop must be writable, however: {failure}"
            ) from failure

    def give_back(self, holder: str) -> bool:
        """End the lease; False where `holder` does not have it (any more).

        Raises:
            ServingStateUnavailable: the table cannot be written.
        """
        try:
            self._client.delete_item(
                TableName=self._table,
                Key={"name": {"S": LEASE_ITEM}},
                ConditionExpression="holder = :me",
                ExpressionAttributeValues={":me": {"S": holder}},
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        except (ClientError, BotoCoreError) as failure:
            raise ServingStateUnavailable(
                f"the lease of the daily loop must be writable, however: {failure}"
            ) from failure
        return True

    def _holder(self) -> str:
        item = self._client.get_item(TableName=self._table, Key={"name": {"S": LEASE_ITEM}}, ConsistentRead=True)
        return item.get("Item", {}).get("holder", {}).get("S", "another")
