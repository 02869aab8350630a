"""The control table: the pointer and the policy, read by serving and changed by conditional write, with an audit."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from slidr.errors import ReleaseConflict, ServingStateUnavailable
from slidr.pointer import POINTER_ITEM, Pointer
from slidr.policy import POLICY_ITEM, Policy

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DocumentT = TypeVar("DocumentT", Pointer, Policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingState:
    """What serving goes by: which releases, and who is billed."""

    pointer: Pointer
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Who changes the control table, why and when; kept as an audit item."""

    who: str
    why: str
    at: dt.datetime


class ServingStateReader:
    """The serving state, read again every few seconds; the last known one serves for a while when it cannot be."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        *,
        keep_s: float,
        max_age_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = _ControlTable(client, table)
        self._keep_s = keep_s
        self._max_age_s = max_age_s
        self._clock = clock
        self._known: ServingState | None = None
        self._read_at = 0.0
        self._next_read_at = 0.0
        self.error = ""
        """Why the last read failed; empty after one that did not."""

    def current(self) -> ServingState:
        """Pointer and policy in force; the defaults where the table has none yet.

        Raises:
            ServingStateUnavailable: unreadable, and the last known one is older than `max_age_s` (rule 6).
        """
        now = self._clock()
        if now >= self._next_read_at:
            self._next_read_at = now + self._keep_s
            try:
                self._known = self._table.read()
            except ServingStateUnavailable as failure:
                self.error = str(failure)
            else:
                self._read_at, self.error = now, ""
        if self._known is None or now - self._read_at > self._max_age_s:
            raise ServingStateUnavailable(
                f"pointer and policy must have been read within {self._max_age_s:.0f} s, however: {self.error}"
            )
        return self._known


class PointerStore:
    """Reads and changes the pointer."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._table = _ControlTable(client, table)

    def read(self) -> Pointer:
        """The pointer, read consistently.

        Raises:
            ServingStateUnavailable: it cannot be read.
        """
        return self._table.read().pointer

    def change(self, before: Pointer, after: Pointer, change: Change) -> Pointer:
        """Replace `before` by `after`, audited; returns what was written, one generation on.

        Raises:
            ReleaseConflict: the pointer is no longer `before`.
            ServingStateUnavailable: the table did not take the write.
        """
        after = msgspec.structs.replace(after, generation=before.generation + 1)
        condition = "generation = :before"
        if before.generation == 0:
            condition = f"attribute_not_exists(generation) OR {condition}"
        self._table.write(
            POINTER_ITEM,
            before=before,
            after=after,
            change=change,
            condition=condition,
            values={":before": {"N": str(before.generation)}},
            attributes={"generation": {"N": str(after.generation)}},
        )
        return after


class PolicyStore:
    """Reads and changes the policy."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._table = _ControlTable(client, table)

    def read(self) -> Policy:
        """The policy, read consistently.

        Raises:
            ServingStateUnavailable: it cannot be read.
        """
        return self._table.read().policy

    def change(self, before: Policy, after: Policy, change: Change) -> None:
        """Replace `before` by `after`, audited.

        Raises:
            ReleaseConflict: the policy is no longer `before`.
            ServingStateUnavailable: the table did not take the write.
        """
        condition = "document = :before"
        if before == Policy():
            condition = f"attribute_not_exists(document) OR {condition}"
        self._table.write(
            POLICY_ITEM,
            before=before,
            after=after,
            change=change,
            condition=condition,
            values={":before": {"S": _encode(before)}},
            attributes={},
        )


class _ControlTable:
    """Items `{"name": ..., "document": <JSON>}`; the document is the struct."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read(self) -> ServingState:
        keys = [{"name": {"S": name}} for name in (POINTER_ITEM, POLICY_ITEM)]
        try:
            answer = self._client.batch_get_item(RequestItems={self._table: {"Keys": keys, "ConsistentRead": True}})
            if answer.get("UnprocessedKeys"):
                raise ServingStateUnavailable("the control table is throttled")
            items = {item["name"]["S"]: item for item in answer["Responses"].get(self._table, [])}
            return ServingState(
                pointer=_decode(items.get(POINTER_ITEM), Pointer), policy=_decode(items.get(POLICY_ITEM), Policy)
            )
        except (ClientError, BotoCoreError, msgspec.DecodeError, KeyError) as failure:
            raise ServingStateUnavailable(f"the control table must be readable, however: {failure}") from failure

    def write(
        self,
        name: str,
        *,
        before: Pointer | Policy,
        after: Pointer | Policy,
        change: Change,
        condition: str,
        values: Mapping[str, Any],
        attributes: Mapping[str, Any],
    ) -> None:
        """Write the item if `condition` holds, and its audit item, both or none."""
        item = {"name": {"S": name}, "document": {"S": _encode(after)}, **attributes}
        audit = {
            "name": {"S": f"audit#{change.at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%fZ}#{uuid.uuid4().hex[:8]}"},
            "changed": {"S": name},
            "who": {"S": change.who},
            "why": {"S": change.why},
            "before": {"S": _encode(before)},
            "after": {"S": _encode(after)},
        }
        try:
            self._client.transact_write_items(
                TransactItems=[
                    {
                        "Put": {
                            "TableName": self._table,
                            "Item": item,
                            "ConditionExpression": condition,
                            "ExpressionAttributeValues": values,
                        }
                    },
                    {"Put": {"TableName": self._table, "Item": audit}},
                ]
            )
        except self._client.exceptions.TransactionCanceledException as failure:
            reasons = [reason.get("Code") for reason in failure.response.get("CancellationReasons", [])]
            if "ConditionalCheckFailed" in reasons or "TransactionConflict" in reasons:
                raise ReleaseConflict(
                    f"the {name} must still be as it was read, however somebody changed it. Read it and decide again."
                ) from failure
            raise ServingStateUnavailable(f"the {name} must be written, however: {reasons}") from failure
        except (ClientError, BotoCoreError) as failure:
            raise ServingStateUnavailable(f"the {name} must be written, however: {failure}") from failure


def _encode(document: Pointer | Policy) -> str:
    return msgspec.json.encode(document, order="sorted").decode()


def _decode(item: Mapping[str, Any] | None, kind: type[DocumentT]) -> DocumentT:
    return kind() if item is None else msgspec.json.decode(item["document"]["S"], type=kind)
