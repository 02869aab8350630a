"""The control table: the pointer and the policy, read by serving and changed by conditional write, with an audit."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.attempts import Attempts
from slidr.audit import AuditEntry, in_order
from slidr.errors import ReleaseConflict, ServingStateUnavailable
from slidr.pointer import POINTER_ITEM, Pointer
from slidr.policy import POLICY_ITEM, Policy

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

DocumentT = TypeVar("DocumentT", Pointer, Policy)
_AUDIT: Final = "audit#"
"""How the name of an audit item begins; then what was changed and the generation that came of it."""
CONTENDED: Final = Attempts(deadline_s=20.0, first_wait_s=0.01, longest_wait_s=0.5)
"""How long a change of the pointer or the policy is tried while others change it too."""


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

    def __init__(self, client: DynamoDBClient, table: str, *, attempts: Attempts = CONTENDED) -> None:
        self._table = _ControlTable(client, table)
        self._attempts = attempts

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
        return self._table.write(POINTER_ITEM, before=before, after=after, change=change)

    def apply(self, step: Callable[[Pointer], Pointer], change: Change) -> Pointer:
        """Change the pointer by `step`, audited; where somebody else was first, `step` decides anew on theirs.

        Returns what was written; or, with nothing written, the pointer in force where `step` leaves it as it is.

        Raises:
            SlidrError: whatever `step` raises where its intention makes no sense (any more).
            ReleaseConflict: somebody else was first until the attempts ended.
            ServingStateUnavailable: the table cannot be read or did not take the write.
        """
        return _applied(self.read, self.change, step, change, self._attempts)


class PolicyStore:
    """Reads and changes the policy."""

    def __init__(self, client: DynamoDBClient, table: str, *, attempts: Attempts = CONTENDED) -> None:
        self._table = _ControlTable(client, table)
        self._attempts = attempts

    def read(self) -> Policy:
        """The policy, read consistently.

        Raises:
            ServingStateUnavailable: it cannot be read.
        """
        return self._table.read().policy

    def change(self, before: Policy, after: Policy, change: Change) -> Policy:
        """Replace `before` by `after`, audited; returns what was written, one generation on.

        Raises:
            ReleaseConflict: the policy is no longer `before`.
            ServingStateUnavailable: the table did not take the write.
        """
        return self._table.write(POLICY_ITEM, before=before, after=after, change=change)

    def apply(self, step: Callable[[Policy], Policy], change: Change) -> Policy:
        """Change the policy by `step`, as `PointerStore.apply` changes the pointer."""
        return _applied(self.read, self.change, step, change, self._attempts)


def _applied(
    read: Callable[[], DocumentT],
    write: Callable[[DocumentT, DocumentT, Change], DocumentT],
    step: Callable[[DocumentT], DocumentT],
    change: Change,
    attempts: Attempts,
) -> DocumentT:
    for _ in attempts:
        before = read()
        after = step(before)
        if after == before:
            return before
        try:
            return write(before, after, change)
        except ReleaseConflict as failure:
            conflict = failure
    raise conflict


class AuditLog:
    """Reads what was changed in the control table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def entries(self) -> list[AuditEntry]:
        """Every change since the table was made, in order.

        Raises:
            ServingStateUnavailable: it cannot be read.
        """
        try:
            pages = self._client.get_paginator("scan").paginate(
                TableName=self._table,
                ConsistentRead=True,
                FilterExpression="begins_with(#name, :audit)",
                ExpressionAttributeNames={"#name": "name"},  # a reserved word
                ExpressionAttributeValues={":audit": {"S": _AUDIT}},
            )
            return in_order(_entry(item) for page in pages for item in page["Items"])
        except (ClientError, BotoCoreError, msgspec.DecodeError, KeyError, ValueError) as failure:
            raise ServingStateUnavailable(f"the audit must be readable, however: {failure}") from failure


class _ControlTable:
    """Items `{"name": ..., "document": <JSON>, "generation": n}`, and an audit item a generation of each."""

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

    def write(self, name: str, *, before: DocumentT, after: DocumentT, change: Change) -> DocumentT:
        """Write the item if it still is of `before`'s generation, and the one audit item of `after`'s: both or none."""
        after = msgspec.structs.replace(after, generation=before.generation + 1)
        generation = {"N": str(after.generation)}
        item = {"name": {"S": name}, "document": {"S": _encode(after)}, "generation": generation}
        condition = "generation = :before"
        if before.generation == 0:
            condition = f"attribute_not_exists(generation) OR {condition}"
        audit = {
            "name": {"S": f"{_AUDIT}{name}#{after.generation:010d}"},
            "at": {"S": change.at.astimezone(dt.UTC).isoformat(timespec="microseconds")},
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
                            "ExpressionAttributeValues": {":before": {"N": str(before.generation)}},
                        }
                    },
                    {
                        "Put": {
                            "TableName": self._table,
                            "Item": audit,
                            "ConditionExpression": "attribute_not_exists(#name)",
                            "ExpressionAttributeNames": {"#name": "name"},
                        }
                    },
                ]
            )
        except self._client.exceptions.TransactionCanceledException as failure:
            reasons = [reason.get("Code") for reason in failure.response.get("CancellationReasons", [])]
            if reasons == ["None", "ConditionalCheckFailed"]:
                raise ServingStateUnavailable(
                    f"the {name} must be as old as its audit, however {audit['name']['S']} is there already: the item "
                    "was set back by hand or by a restore. Put back the newest audit item's `after`."
                ) from failure
            if "ConditionalCheckFailed" in reasons or "TransactionConflict" in reasons:
                raise ReleaseConflict(
                    f"the {name} must still be as it was read, however somebody changed it. Read it and decide again."
                ) from failure
            raise ServingStateUnavailable(f"the {name} must be written, however: {reasons}") from failure
        except (ClientError, BotoCoreError) as failure:
            raise ServingStateUnavailable(f"the {name} must be written, however: {failure}") from failure
        return after


def _encode(document: Pointer | Policy) -> str:
    return msgspec.json.encode(document, order="sorted").decode()


def _entry(item: Mapping[str, Any]) -> AuditEntry:
    kind: type[Pointer | Policy] = Pointer if item["name"]["S"].startswith(f"{_AUDIT}{POINTER_ITEM}#") else Policy
    return AuditEntry(
        at=dt.datetime.fromisoformat(item["at"]["S"]),
        who=item["who"]["S"],
        why=item["why"]["S"],
        before=msgspec.json.decode(item["before"]["S"], type=kind),
        after=msgspec.json.decode(item["after"]["S"], type=kind),
    )


def _decode(item: Mapping[str, Any] | None, kind: type[DocumentT]) -> DocumentT:
    return kind() if item is None else msgspec.json.decode(item["document"]["S"], type=kind)
