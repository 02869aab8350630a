"""Profiles from DynamoDB: batched, cached, absent as NaN; what cannot be read fails only its own clicks."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ReadTimeoutError

from functions.adapters.attempts import Attempts
from functions.adapters.profiles import ProfileKeys, Profiles
from slidr.features import PROFILE_COLUMNS

pytestmark = pytest.mark.aws
DAY_S = 86_400
NOW_S = 20_000 * DAY_S


@pytest.fixture
def table(aws: Any) -> Any:
    client = aws.client("dynamodb")
    client.create_table(
        TableName="profiles",
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return client


def put(client: Any, key: str, **numbers: float) -> None:
    item = {name: {"N": str(value)} for name, value in numbers.items()}
    client.put_item(TableName="profiles", Item={"key": {"S": key}, **item})


class Counting:
    """A client that counts its calls and may change an answer, or fail."""

    def __init__(self, client: Any, *, unprocessed: int = 0, fails_for: str = "") -> None:
        self._client = client
        self._unprocessed = unprocessed
        self._fails_for = fails_for
        self.calls: list[list[str]] = []

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> Any:  # noqa: N803
        keys = RequestItems["profiles"]["Keys"]
        self.calls.append([key["key"]["S"] for key in keys])
        if self._fails_for in self.calls[-1]:
            raise ReadTimeoutError(endpoint_url="https://dynamodb")
        left = keys[-self._unprocessed :] if self._unprocessed else []
        self._unprocessed = 0
        answer: dict[str, Any] = {"Responses": {"profiles": []}, "UnprocessedKeys": {}}
        taken = [key for key in keys if key not in left]
        if taken:
            answer["Responses"] = self._client.batch_get_item(RequestItems={"profiles": {"Keys": taken}})["Responses"]
        if left:
            answer["UnprocessedKeys"] = {"profiles": {"Keys": left}}
        return answer


def reader(client: Any, *, now: list[float] | None = None, keep_keys: int = 1000, deadline_s: float = 1.0) -> Profiles:
    waits: list[float] = []
    clock = now or [float(NOW_S)]
    return Profiles(
        client,
        "profiles",
        attempts=Attempts(deadline_s=deadline_s, clock=lambda: sum(waits), sleep=waits.append, draw=lambda: 1.0),
        keep_s=300,
        keep_keys=keep_keys,
        clock=lambda: clock[0],
    )


def ips(*tokens: str | None) -> ProfileKeys:
    nothing = [None] * len(tokens)
    return ProfileKeys(ip=list(tokens), user=nothing, ua=nothing)


def at(count: int, *, day: float = 20_000) -> Any:
    return np.full(count, day * DAY_S * 1000, dtype=np.int64)


def test_matrix_holds_each_keys_profile_and_its_age_at_the_click(table: Any) -> None:
    put(table, "ip#1.a", clicks_per_day=12.5, users_per_day=3, first_seen=19_990 * DAY_S)
    put(table, "user#1.u", clicks_per_day=2, first_seen=19_999 * DAY_S)
    put(table, "ua#1.x", clicks_per_day=900, users_per_day=400, first_seen=19_000 * DAY_S)
    keys = ProfileKeys(ip=["1.a", "1.a", None], user=["1.u", None, "1.none"], ua=["1.x", "1.none", None])

    rows = reader(table).read(keys, at_ms=np.array([20_000, 19_980, 20_000]) * DAY_S * 1000)

    nan = float("nan")
    expected = [[12.5, 3, 10, 2, 1, 900, 400, 1000], [12.5, 3, 0] + [nan] * 5, [nan] * 8]
    assert len(PROFILE_COLUMNS) == 8
    np.testing.assert_array_equal(rows.matrix, np.array(expected, dtype=np.float32))
    assert rows.matrix.dtype == np.float32
    assert not rows.failed.any()


def test_reads_each_key_once_in_calls_of_at_most_100(table: Any) -> None:
    client = Counting(table)
    tokens = [f"1.{i % 250}" for i in range(500)]

    rows = reader(client).read(ips(*tokens), at_ms=at(500))

    assert sorted(len(call) for call in client.calls) == [50, 100, 100]
    assert not rows.failed.any()


def test_unprocessed_keys_are_asked_for_again(table: Any) -> None:
    for name in ("a", "b", "c"):
        put(table, f"ip#1.{name}", clicks_per_day=1, users_per_day=1, first_seen=0)
    client = Counting(table, unprocessed=2)

    rows = reader(client).read(ips("1.a", "1.b", "1.c"), at_ms=at(3))

    assert client.calls == [["ip#1.a", "ip#1.b", "ip#1.c"], ["ip#1.b", "ip#1.c"]]
    assert rows.matrix[:, 0].tolist() == [1, 1, 1]
    assert not rows.failed.any()


def test_keys_that_stay_unprocessed_fail_only_their_clicks(table: Any) -> None:
    rows = reader(Counting(table, unprocessed=1), deadline_s=0.0).read(ips("1.a", "1.b", None), at_ms=at(3))

    assert rows.failed.tolist() == [False, True, False]
    assert "unprocessed" in rows.error


def test_a_failed_call_fails_only_the_clicks_of_its_keys(table: Any) -> None:
    put(table, "ip#1.0", clicks_per_day=1, users_per_day=1, first_seen=0)
    tokens = [f"1.{i}" for i in range(101)]

    rows = reader(Counting(table, fails_for="ip#1.100")).read(ips(*tokens), at_ms=at(101))

    assert rows.failed.tolist() == [False] * 100 + [True]
    assert rows.matrix[0, 0] == 1
    assert "timeout" in rows.error


def test_silent_table_is_waited_for_once_and_not_for_every_call() -> None:
    class Silent:
        calls = 0

        def batch_get_item(self, **request: Any) -> Any:
            self.calls += 1
            time.sleep(0.02)
            raise ReadTimeoutError(endpoint_url="https://dynamodb")

    client = Silent()
    rows = reader(client).read(ips(*(f"1.{i}" for i in range(1_500))), at_ms=at(1_500))

    assert rows.failed.all()
    assert client.calls <= 4  # those that were under way


@pytest.mark.parametrize("absurd", [1e39, -1.0])
def test_absurd_number_fails_only_its_clicks(table: Any, absurd: float) -> None:
    put(table, "ip#1.a", clicks_per_day=absurd, users_per_day=1, first_seen=0)
    put(table, "ip#1.b", clicks_per_day=1, users_per_day=1, first_seen=0)

    rows = reader(table).read(ips("1.a", "1.b"), at_ms=at(2))

    assert rows.failed.tolist() == [True, False]
    assert np.isfinite(rows.matrix[1, :3]).all()


def test_profiles_and_their_absence_are_kept_for_a_while(table: Any) -> None:
    put(table, "ip#1.a", clicks_per_day=1, users_per_day=1, first_seen=0)
    client, now = Counting(table), [float(NOW_S)]
    profiles = reader(client, now=now)

    profiles.read(ips("1.a", "1.absent"), at_ms=at(2))
    now[0] += 299
    kept = profiles.read(ips("1.a", "1.absent"), at_ms=at(2))
    now[0] += 2
    profiles.read(ips("1.a"), at_ms=at(1))

    assert [len(call) for call in client.calls] == [2, 1]
    np.testing.assert_array_equal(kept.matrix[:, 0], [1, np.nan])


def test_failures_are_not_kept(table: Any) -> None:
    put(table, "ip#1.a", clicks_per_day=1, users_per_day=1, first_seen=0)
    client = Counting(table, unprocessed=1)
    profiles = reader(client, deadline_s=0.0)

    assert profiles.read(ips("1.a"), at_ms=at(1)).failed.all()
    assert not profiles.read(ips("1.a"), at_ms=at(1)).failed.any()


def test_keeps_no_more_keys_than_it_may_and_drops_the_least_used(table: Any) -> None:
    client = Counting(table)
    profiles = reader(client, keep_keys=2)

    profiles.read(ips("1.a", "1.b"), at_ms=at(2))
    profiles.read(ips("1.a"), at_ms=at(1))
    profiles.read(ips("1.c"), at_ms=at(1))
    profiles.read(ips("1.a"), at_ms=at(1))
    profiles.read(ips("1.b"), at_ms=at(1))

    assert client.calls == [["ip#1.a", "ip#1.b"], ["ip#1.c"], ["ip#1.b"]]


def test_expired_profile_is_absent(table: Any) -> None:
    put(table, "ip#1.a", clicks_per_day=1, users_per_day=1, first_seen=0, expires_at=NOW_S)
    put(table, "ip#1.b", clicks_per_day=1, users_per_day=1, first_seen=0, expires_at=NOW_S + 1)

    rows = reader(table).read(ips("1.a", "1.b"), at_ms=at(2))

    assert np.isnan(rows.matrix[:, 0]).tolist() == [True, False]
    assert not rows.failed.any()


def test_malformed_profile_fails_only_its_clicks(table: Any) -> None:
    put(table, "ip#1.a", clicks_per_day=1, users_per_day=1)
    put(table, "ip#1.b", clicks_per_day=1, users_per_day=1, first_seen=0)

    rows = reader(table).read(ips("1.a", "1.b"), at_ms=at(2))

    assert rows.failed.tolist() == [True, False]
    assert "first_seen" in rows.error
