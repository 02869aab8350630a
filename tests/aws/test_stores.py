"""Rejects in S3, undecided clicks in SQS, releases in S3, secrets: written and read back."""

from __future__ import annotations

import base64
import datetime as dt
import json
import time
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ReadTimeoutError

from functions.adapters.attempts import Attempts
from functions.adapters.reject_store import Reject, RejectStore, read_rejects
from functions.adapters.release_store import ReleaseStore, ReleaseUnavailable, release_key
from functions.adapters.secrets import Secrets, SecretUnavailable
from functions.adapters.undecided_queue import UndecidedClick, UndecidedQueue
from slidr.errors import PublishFailed, ReleaseInvalid
from slidr.pseudonym import Pseudonymiser
from slidr.release import Release, encode_release, release_id
from slidr.slices import SliceMap, Thresholds
from slidr.verdict import Reason

pytestmark = pytest.mark.aws
AT = dt.datetime(2026, 11, 23, 9, 30, tzinfo=dt.UTC)
ONCE = Attempts(deadline_s=0.0, draw=lambda: 1.0)


def any_reject(sequence: str = "42", **changes: Any) -> Reject:
    values: dict[str, Any] = {
        "reason": "not_json",
        "detail": "malformed",
        "stream": "clicks",
        "shard": "shardId-000000000000",
        "sequence": sequence,
        "arrived_at": AT,
        "payload_base64": b"\xff{",
    }
    return Reject(**{**values, **changes})


def any_undecided(click_id: str) -> UndecidedClick:
    return UndecidedClick(
        click_id=click_id,
        at=AT,
        arrived_at=AT,
        stream="clicks",
        shard="shardId-0",
        sequence="42",
        reasons=(Reason.COUNTERS_UNAVAILABLE,),
    )


def any_release() -> Release:
    return Release(
        weights_sha256="00",
        feature_spec="f",
        slices=SliceMap(),
        thresholds=Thresholds(default=0.5),
        lists={},
        expected_ivr=(0.1,) * 168,
    )


@pytest.fixture
def s3(aws: Any) -> Any:
    client = aws.client("s3")
    client.create_bucket(Bucket="bucket")
    return client


def keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket="bucket").get("Contents", [])]


def test_rejects_are_one_object_of_json_lines(s3: Any) -> None:
    rejects = [any_reject("42"), any_reject("43", payload_base64=b"{}")]

    RejectStore(s3, "bucket").store(rejects)

    (key,) = keys(s3)
    body = s3.get_object(Bucket="bucket", Key=key)["Body"].read()
    assert key == "rejects/date=2026-11-23/hour=09/clicks-shardId-000000000000-42.jsonl"
    assert read_rejects(body) == rejects
    first = json.loads(body.splitlines()[0])
    assert base64.b64decode(first["payload_base64"]) == b"\xff{"
    assert first["arrived_at"] == "2026-11-23T09:30:00Z"


def test_retry_overwrites_the_rejects_of_the_first_try(s3: Any) -> None:
    store = RejectStore(s3, "bucket")

    store.store([any_reject("42"), any_reject("43")])
    store.store([any_reject("42")])

    assert len(keys(s3)) == 1


def test_no_rejects_make_no_object(s3: Any) -> None:
    RejectStore(s3, "bucket").store([])

    assert keys(s3) == []


def test_rejects_that_cannot_be_stored_are_reported(s3: Any) -> None:
    with pytest.raises(PublishFailed, match="1 rejects must be stored") as failure:
        RejectStore(s3, "missing").store([any_reject()])

    assert failure.value.first_failed == 0


class Silent:
    """A service that answers no call."""

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            raise ReadTimeoutError(endpoint_url="https://service")

        return call


def test_silent_bucket_is_a_failed_publication() -> None:
    with pytest.raises(PublishFailed, match="timeout") as failure:
        RejectStore(Silent(), "bucket").store([any_reject()])  # type: ignore[arg-type]

    assert failure.value.first_failed == 0


def received(client: Any, url: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    while batch := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        messages += (json.loads(message["Body"]) for message in batch)
    return messages


def test_every_undecided_click_is_queued(aws: Any) -> None:
    client = aws.client("sqs")
    url = client.create_queue(QueueName="undecided")["QueueUrl"]

    UndecidedQueue(client, url, attempts=ONCE).send([any_undecided(f"c-{i}") for i in range(25)])

    messages = received(client, url)
    assert {message["click_id"] for message in messages} == {f"c-{i}" for i in range(25)}
    assert messages[0]["reasons"] == ["counters_unavailable"]
    assert (messages[0]["at"], messages[0]["sequence"]) == ("2026-11-23T09:30:00Z", "42")


def test_click_id_that_sqs_would_refuse_as_text_is_queued(aws: Any) -> None:
    client = aws.client("sqs")
    url = client.create_queue(QueueName="undecided")["QueueUrl"]

    UndecidedQueue(client, url, attempts=ONCE).send([any_undecided("c-\uffff\U0001f916")])

    raw = client.receive_message(QueueUrl=url)["Messages"][0]["Body"]
    assert raw.isascii()
    assert json.loads(raw)["click_id"] == "c-\uffff\U0001f916"


class StubbedSqs:
    def __init__(self, refused: set[str], *, times: int) -> None:
        self.calls: list[list[str]] = []
        self._refused = refused
        self._times = times

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        ids = [json.loads(entry["MessageBody"])["click_id"] for entry in Entries]
        self.calls.append(ids)
        failed = [e["Id"] for e, name in zip(Entries, ids, strict=True) if name in self._refused and self._times > 0]
        self._times -= bool(failed)
        return {"Successful": [], "Failed": [{"Id": name, "SenderFault": False} for name in failed]}


def test_queues_again_only_what_was_refused() -> None:
    sqs, waits = StubbedSqs({"b"}, times=1), list[float]()
    attempts = Attempts(deadline_s=1.0, clock=lambda: sum(waits), sleep=waits.append, draw=lambda: 1.0)

    UndecidedQueue(sqs, "url", attempts=attempts).send([any_undecided(name) for name in "abc"])  # type: ignore[arg-type]

    assert sqs.calls == [["a", "b", "c"], ["b"]]


def test_names_the_first_click_that_was_not_queued() -> None:
    sqs = StubbedSqs({"c-13", "c-24"}, times=99)

    with pytest.raises(PublishFailed, match="2 were not") as failure:
        UndecidedQueue(sqs, "url", attempts=ONCE).send([any_undecided(f"c-{i}") for i in range(30)])  # type: ignore[arg-type]

    assert failure.value.first_failed == 13


def test_silent_queue_is_waited_for_once_and_not_for_every_call() -> None:
    class Silent:
        calls = 0

        def send_message_batch(self, **request: Any) -> Any:
            self.calls += 1
            time.sleep(0.02)
            raise ReadTimeoutError(endpoint_url="https://sqs")

    sqs: Any = Silent()
    with pytest.raises(PublishFailed, match="500 were not") as failure:
        UndecidedQueue(sqs, "url", attempts=ONCE).send([any_undecided(f"c-{i}") for i in range(500)])

    assert failure.value.first_failed == 0
    assert sqs.calls <= 8  # those that were under way


def test_queue_that_is_gone_fails_from_the_first_click(aws: Any) -> None:
    with pytest.raises(PublishFailed, match="NonExistentQueue") as failure:
        UndecidedQueue(aws.client("sqs"), "https://queue.amazonaws.com/000000000000/gone", attempts=ONCE).send(
            [any_undecided("a")]
        )

    assert failure.value.first_failed == 0


def test_release_is_read_once_and_its_id_is_checked(s3: Any) -> None:
    release = any_release()
    name = release_id(release)
    s3.put_object(Bucket="bucket", Key=release_key(name), Body=encode_release(release))
    store = ReleaseStore(s3, "bucket")

    assert store.release(name) == release
    s3.delete_object(Bucket="bucket", Key=release_key(name))
    assert store.release(name) == release


def test_few_releases_are_kept(s3: Any) -> None:
    releases = [msgspec.structs.replace(any_release(), weights_sha256=f"{i:02}") for i in range(18)]
    names = [release_id(release) for release in releases]
    for name, release in zip(names, releases, strict=True):
        s3.put_object(Bucket="bucket", Key=release_key(name), Body=encode_release(release))
    store = ReleaseStore(s3, "bucket")

    assert [store.release(name) for name in names] == releases
    for name in names:
        s3.delete_object(Bucket="bucket", Key=release_key(name))
    assert store.release(names[-1]) == releases[-1]
    with pytest.raises(ReleaseUnavailable):
        store.release(names[0])


def test_release_that_was_changed_is_refused(s3: Any) -> None:
    changed = encode_release(any_release()).replace(b"0.5", b"0.6")
    s3.put_object(Bucket="bucket", Key=release_key("r-1"), Body=changed)

    with pytest.raises(ReleaseInvalid, match="stored as r-1"):
        ReleaseStore(s3, "bucket").release("r-1")


def test_missing_release_is_unavailable(s3: Any) -> None:
    with pytest.raises(ReleaseUnavailable, match=r"releases/r-1/release\.json"):
        ReleaseStore(s3, "bucket").release("r-1")


def test_silent_bucket_makes_a_release_unavailable_and_is_asked_again(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    release, store = any_release(), ReleaseStore(s3, "bucket")
    name = release_id(release)
    s3.put_object(Bucket="bucket", Key=release_key(name), Body=encode_release(release))
    with monkeypatch.context() as silence:
        silence.setattr(store, "_client", Silent())
        with pytest.raises(ReleaseUnavailable, match="timeout"):
            store.release(name)

    assert store.release(name) == release


def test_pseudonymiser_uses_the_secrets_key_and_version(aws: Any) -> None:
    client = aws.client("secretsmanager")
    key = bytes(range(48))
    secret = {"version": 7, "key_base64": base64.b64encode(key).decode()}
    client.create_secret(Name="pseudonyms", SecretString=json.dumps(secret))

    pseudonymiser = Secrets(client).pseudonymiser("pseudonyms")

    assert pseudonymiser.token("ip", "192.0.2.1") == Pseudonymiser(key, version=7).token("ip", "192.0.2.1")


@pytest.mark.parametrize(
    "value", ["hush", "{}", '{"version": 1, "key_base64": "aHVzaA=="}', '{"version": 1, "key_base64": "hush!"}']
)
def test_malformed_key_is_refused_without_being_shown(aws: Any, value: str) -> None:
    client = aws.client("secretsmanager")
    client.create_secret(Name="pseudonyms", SecretString=value)

    with pytest.raises(SecretUnavailable, match="must hold") as failure:
        Secrets(client).pseudonymiser("pseudonyms")

    assert "hush" not in str(failure.value)
    assert failure.value.__cause__ is None


def test_missing_secret_is_unavailable(aws: Any) -> None:
    with pytest.raises(SecretUnavailable, match="secret token must be readable"):
        Secrets(aws.client("secretsmanager")).text("token")


def test_silent_service_makes_a_secret_unavailable() -> None:
    with pytest.raises(SecretUnavailable, match="secret token must be readable"):
        Secrets(Silent()).text("token")  # type: ignore[arg-type]


def test_secret_of_bytes_is_unavailable_and_not_shown(aws: Any) -> None:
    client = aws.client("secretsmanager")
    client.create_secret(Name="token", SecretBinary=b"hush")

    with pytest.raises(SecretUnavailable, match="Check that it has a value") as failure:
        Secrets(client).text("token")

    assert "hush" not in str(failure.value)
