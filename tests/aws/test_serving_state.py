"""The control table: pointer and policy in one read, conditional writes, an audit item a change."""

from __future__ import annotations

import datetime as dt
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ConnectTimeoutError

from functions.adapters.serving_state import Change, PointerStore, PolicyStore, ServingStateReader
from slidr.errors import ReleaseConflict, ServingStateUnavailable
from slidr.pointer import Pointer, promoted
from slidr.policy import Policy
from slidr.verdict import Mode

pytestmark = pytest.mark.aws
CHANGE = Change(who="ops@example.com", why="first release", at=dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC))


def audits(client: Any) -> list[dict[str, Any]]:
    items = client.scan(TableName="control")["Items"]
    return [item for item in items if item["name"]["S"].startswith("audit#")]


class Flaky:
    """A client that counts its reads and fails while told to."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.down = False
        self.reads = 0

    def batch_get_item(self, **request: Any) -> Any:
        self.reads += 1
        if self.down:
            raise ConnectTimeoutError(endpoint_url="https://dynamodb")
        return self._client.batch_get_item(**request)


def reader(client: Any, now: list[float]) -> ServingStateReader:
    return ServingStateReader(client, "control", keep_s=3, max_age_s=900, clock=lambda: now[0])


def test_empty_table_means_no_release_and_observe_mode(control: Any) -> None:
    state = reader(control, [0.0]).current()

    assert (state.pointer, state.policy) == (Pointer(), Policy())


def test_changed_pointer_can_be_read(control: Any) -> None:
    pointers = PointerStore(control, "control")

    written = pointers.change(pointers.read(), promoted(Pointer(), "r-1"), CHANGE)

    assert written == Pointer(champion="r-1", generation=1)
    assert pointers.read() == written
    assert reader(control, [0.0]).current().pointer == written


def test_change_of_a_stale_pointer_conflicts_and_changes_nothing(control: Any) -> None:
    pointers = PointerStore(control, "control")
    stale = pointers.read()
    first = pointers.change(stale, promoted(stale, "r-1"), CHANGE)

    with pytest.raises(ReleaseConflict, match="somebody changed it"):
        pointers.change(stale, promoted(stale, "r-2"), CHANGE)

    assert pointers.read() == first
    assert len(audits(control)) == 1
    assert pointers.change(first, promoted(first, "r-2"), CHANGE).generation == 2


def test_change_is_audited_with_who_why_before_and_after(control: Any) -> None:
    PointerStore(control, "control").change(Pointer(), promoted(Pointer(), "r-1"), CHANGE)

    (audit,) = audits(control)

    assert audit["name"]["S"] == "audit#pointer#0000000001"
    assert (audit["at"]["S"], audit["who"]["S"], audit["why"]["S"]) == (
        "2026-11-23T12:00:00.000000+00:00",
        "ops@example.com",
        "first release",
    )
    assert '"champion":null' in audit["before"]["S"]
    assert '"champion":"r-1"' in audit["after"]["S"]


def test_changed_policy_can_be_read_and_a_stale_change_conflicts(control: Any) -> None:
    policies = PolicyStore(control, "control")
    enforced = Policy(modes={"de": Mode.ENFORCE})

    written = policies.change(Policy(), enforced, CHANGE)

    assert policies.read() == written == Policy(modes={"de": Mode.ENFORCE}, generation=1)
    with pytest.raises(ReleaseConflict):
        policies.change(Policy(), Policy(kill_switch=True), CHANGE)
    policies.change(written, Policy(kill_switch=True), CHANGE)
    assert policies.read().kill_switch


def test_state_is_read_again_only_after_a_few_seconds(control: Any) -> None:
    client, now = Flaky(control), [0.0]
    states = reader(client, now)

    states.current()
    PointerStore(control, "control").change(Pointer(), promoted(Pointer(), "r-1"), CHANGE)
    now[0] = 2.9
    kept = states.current()
    now[0] = 3.0
    fresh = states.current()

    assert (kept.pointer.champion, fresh.pointer.champion) == (None, "r-1")
    assert client.reads == 2


def test_last_known_pointer_serves_up_to_its_age_while_the_table_is_unreadable(control: Any) -> None:
    PointerStore(control, "control").change(Pointer(), promoted(Pointer(), "r-1"), CHANGE)
    client, now = Flaky(control), [0.0]
    states = reader(client, now)
    states.current()

    client.down = True
    now[0] = 900.0
    assert states.current().pointer.champion == "r-1"
    assert states.error
    now[0] = 903.1
    with pytest.raises(ServingStateUnavailable, match="within 900 s"):
        states.current()

    client.down = False
    now[0] = 907.0
    assert states.current().pointer.champion == "r-1"
    assert not states.error


def test_unreadable_table_is_not_asked_at_every_batch(control: Any) -> None:
    client, now = Flaky(control), [0.0]
    client.down = True
    states = reader(client, now)

    for _ in range(5):
        with pytest.raises(ServingStateUnavailable):
            states.current()

    assert client.reads == 1


def test_throttled_table_is_unreadable_rather_than_empty() -> None:
    class Throttled:
        def batch_get_item(self, **request: Any) -> Any:
            return {"Responses": {"control": []}, "UnprocessedKeys": request["RequestItems"]}

    with pytest.raises(ServingStateUnavailable, match="throttled"):
        reader(Throttled(), [0.0]).current()


def test_malformed_pointer_is_unreadable_rather_than_absent(control: Any) -> None:
    control.put_item(TableName="control", Item={"name": {"S": "pointer"}, "document": {"S": '{"canary_share": 7}'}})

    with pytest.raises(ServingStateUnavailable, match="canary_share"):
        reader(control, [0.0]).current()


def test_write_to_a_missing_table_is_unavailable(control: Any) -> None:
    with pytest.raises(ServingStateUnavailable, match="pointer must be written"):
        PointerStore(control, "absent").change(Pointer(), Pointer(), CHANGE)


def test_write_that_is_cancelled_for_another_reason_is_no_conflict(
    control: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": [{"Code": "ThrottlingError"}]}
    cancelled = control.exceptions.TransactionCanceledException(answer, "TransactWriteItems")
    monkeypatch.setattr(control, "transact_write_items", Mock(side_effect=cancelled))

    with pytest.raises(ServingStateUnavailable, match="ThrottlingError"):
        PointerStore(control, "control").change(Pointer(), Pointer(), CHANGE)
