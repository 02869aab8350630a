"""The adapters of the functions and the command line's stream reader and writer, against LocalStack's services."""

from __future__ import annotations

import base64
import datetime as dt
import json

import msgspec
import pytest

from functions.adapters.attempts import Attempts
from functions.adapters.reject_store import RejectStore, read_rejects, reject_key
from functions.adapters.release_store import ReleaseStore, ReleaseUnavailable, release_key
from functions.adapters.secrets import Secrets, SecretUnavailable
from functions.adapters.undecided_queue import UndecidedQueue
from functions.adapters.verdict_stream import MAX_RECORDS, VerdictStream
from local.sources.event import Event, Kind
from local.stream_reader import Start, StreamReader, StreamUnreadable
from local.stream_writer import SendFailed, StreamWriter
from slidr.errors import PublishFailed, ReleaseInvalid
from slidr.pseudonym import Pseudonymiser
from slidr.release import encode_release, release_id
from slidr.verdict import Verdict
from tests.aws.test_stores import any_reject, any_release, any_undecided
from tests.aws.test_verdict_stream import any_verdict
from tests.localstack.conftest import LocalStack, eventually, new_name

PATIENT = Attempts(deadline_s=10)
ONCE = Attempts(deadline_s=0)


def read_all(reader: StreamReader, count: int) -> list[bytes]:
    """What the stream holds, once it holds `count` records."""
    records: list[bytes] = []

    def polled() -> bool:
        records.extend(reader.poll())
        return len(records) >= count and reader.caught_up

    eventually(polled)
    return records


def events(count: int) -> list[Event]:
    return [Event(i, Kind.CLICK, f"c-{i}", f"payload {i}".encode()) for i in range(count)]


def test_verdicts_are_read_back_in_order_over_the_limit_of_a_call(localstack: LocalStack) -> None:
    kinesis, stream = localstack.client("kinesis"), localstack.stream()
    verdicts = [any_verdict(f"c-{i}-é") for i in range(MAX_RECORDS + 100)]

    VerdictStream(kinesis, stream, attempts=PATIENT).publish(verdicts)

    records = read_all(StreamReader(kinesis, stream, Start()), len(verdicts))
    assert [msgspec.json.decode(record, type=Verdict) for record in records] == verdicts


def test_verdict_that_the_stream_does_not_take_is_named_and_retried_from(localstack: LocalStack) -> None:
    kinesis, stream = localstack.client("kinesis"), localstack.stream()
    enormous = any_verdict("c-2", campaign="x" * 1_100_000)

    with pytest.raises(PublishFailed, match="did not") as failure:
        VerdictStream(kinesis, stream, attempts=ONCE).publish([any_verdict("c-1"), enormous])

    assert failure.value.first_failed == 0  # Kinesis refuses the whole call


def test_missing_stream_is_a_failed_publication(localstack: LocalStack) -> None:
    with pytest.raises(PublishFailed, match="ResourceNotFound") as failure:
        VerdictStream(localstack.client("kinesis"), new_name(), attempts=ONCE).publish([any_verdict("c-1")])

    assert failure.value.first_failed == 0


def test_writer_fills_streams_that_the_reader_resumes(localstack: LocalStack) -> None:
    kinesis, stream = localstack.client("kinesis"), localstack.stream()
    sent = events(600)
    writer = StreamWriter(kinesis, {Kind.CLICK: stream})

    writer.put(sent[:350])
    first = StreamReader(kinesis, stream, Start())
    read = read_all(first, 350)
    writer.put(sent[350:])

    read += read_all(StreamReader(kinesis, stream, Start(sequences=first.position)), 250)
    assert read == [event.payload for event in sent]
    assert (writer.sent.records[Kind.CLICK], writer.sent.failed) == (600, [])


def test_every_record_of_every_shard_is_read_and_a_keys_records_in_order(localstack: LocalStack) -> None:
    kinesis, stream = localstack.client("kinesis"), localstack.stream(shards=3)
    sent = [Event(i, Kind.CLICK, f"key-{i % 7}", f"{i % 7} {i}".encode()) for i in range(300)]

    StreamWriter(kinesis, {Kind.CLICK: stream}).put(sent)

    reader = StreamReader(kinesis, stream, Start())
    read = read_all(reader, len(sent))
    assert len(reader.position) == 3
    for key in range(7):
        mine = f"{key} ".encode()
        assert [r for r in read if r.startswith(mine)] == [e.payload for e in sent if e.payload.startswith(mine)]


def test_reader_of_the_latest_sees_only_what_comes_then(localstack: LocalStack) -> None:
    kinesis, stream = localstack.client("kinesis"), localstack.stream()
    writer = StreamWriter(kinesis, {Kind.CLICK: stream})
    writer.put(events(5))

    reader = StreamReader(kinesis, stream, Start(latest=True))
    writer.put([Event(9, Kind.CLICK, "c", b"after")])

    assert read_all(reader, 1) == [b"after"]


def test_missing_stream_can_be_neither_written_nor_read(localstack: LocalStack) -> None:
    kinesis = localstack.client("kinesis")
    with pytest.raises(SendFailed, match="ResourceNotFound"):
        StreamWriter(kinesis, {Kind.CLICK: new_name()}).put(events(1))
    with pytest.raises(StreamUnreadable, match="ResourceNotFound"):
        StreamReader(kinesis, new_name(), Start())


def test_rejects_are_stored_and_a_retry_overwrites_them(localstack: LocalStack) -> None:
    s3, bucket = localstack.client("s3"), localstack.bucket()
    rejects = [any_reject("42"), any_reject("43", payload_base64=bytes(range(256)))]
    store = RejectStore(s3, bucket)

    store.store(rejects[:1])
    store.store(rejects)

    (stored,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert stored["Key"] == reject_key(rejects[0])
    assert read_rejects(s3.get_object(Bucket=bucket, Key=stored["Key"])["Body"].read()) == rejects


def test_missing_bucket_is_a_failed_publication(localstack: LocalStack) -> None:
    with pytest.raises(PublishFailed, match="NoSuchBucket"):
        RejectStore(localstack.client("s3"), new_name()).store([any_reject()])


def test_release_is_read_and_checked_against_its_id(localstack: LocalStack) -> None:
    s3, bucket, release = localstack.client("s3"), localstack.bucket(), any_release()
    name = release_id(release)
    s3.put_object(Bucket=bucket, Key=release_key(name), Body=encode_release(release))
    s3.put_object(Bucket=bucket, Key=release_key("r-1"), Body=encode_release(release))
    store = ReleaseStore(s3, bucket)

    assert store.release(name) == release
    with pytest.raises(ReleaseInvalid, match="stored as r-1"):
        store.release("r-1")
    with pytest.raises(ReleaseUnavailable, match="NoSuchKey"):
        store.release("r-2")


def test_undecided_clicks_are_queued_over_the_limit_of_a_call(localstack: LocalStack) -> None:
    queue = localstack.queue()
    names = [f"c-{i}-\uffff\U0001f916" for i in range(25)]  # characters that SQS takes only escaped

    UndecidedQueue(queue.sqs, queue.url, attempts=PATIENT).send([any_undecided(name) for name in names])

    assert sorted(message["click_id"] for message in queue.messages(25)) == sorted(names)
    assert queue.is_empty()


def test_missing_queue_is_a_failed_publication(localstack: LocalStack) -> None:
    queue = localstack.queue()
    with pytest.raises(PublishFailed, match="NonExistentQueue"):
        UndecidedQueue(queue.sqs, queue.url + "-gone", attempts=ONCE).send([any_undecided("c-1")])


def test_secret_gives_the_pseudonyms_of_its_key(localstack: LocalStack) -> None:
    client, name, key = localstack.client("secretsmanager"), new_name(), bytes(range(48))
    value = {"version": 7, "key_base64": base64.b64encode(key).decode()}
    client.create_secret(Name=name, SecretString=json.dumps(value))

    assert Secrets(client).pseudonymiser(name).token("ip", "::1") == Pseudonymiser(key, version=7).token("ip", "::1")
    with pytest.raises(SecretUnavailable, match="ResourceNotFound"):
        Secrets(client).text(new_name())


def test_secret_that_is_being_deleted_is_unavailable(localstack: LocalStack) -> None:
    client, name = localstack.client("secretsmanager"), new_name()
    client.create_secret(Name=name, SecretString="hush")
    client.delete_secret(SecretId=name, RecoveryWindowInDays=7)

    with pytest.raises(SecretUnavailable, match="InvalidRequest") as failure:
        Secrets(client).text(name)

    assert "hush" not in str(failure.value)


def test_reader_starts_at_a_time(localstack: LocalStack) -> None:
    kinesis, stream = localstack.client("kinesis"), localstack.stream()
    StreamWriter(kinesis, {Kind.CLICK: stream}).put(events(3))
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)

    assert len(read_all(StreamReader(kinesis, stream, Start(at=long_ago)), 3)) == 3
