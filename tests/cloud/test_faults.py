"""Faults that are put into the local cloud look as the services' own do, and end when they are healed."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.cloud.faults import Fault, FaultRefused, heal, inject, touched

from .conftest import Emulator

THROTTLE = "ProvisionedThroughputExceededException"


@pytest.fixture(autouse=True)
def healed(emulator: Emulator) -> Iterator[None]:
    yield
    heal(emulator.url)


def put_two(emulator: Emulator, stream: str) -> Any:
    records = [{"Data": b"1", "PartitionKey": "good"}, {"Data": b"2", "PartitionKey": "bad"}]
    return emulator.client("kinesis").put_records(StreamName=stream, Records=records)


def held(emulator: Emulator, stream: str) -> list[bytes]:
    kinesis = emulator.client("kinesis")
    shard = kinesis.list_shards(StreamName=stream)["Shards"][0]["ShardId"]
    iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    return [record["Data"] for record in kinesis.get_records(ShardIterator=iterator["ShardIterator"])["Records"]]


def code_of(failure: pytest.ExceptionInfo[ClientError]) -> str:
    return str(failure.value.response["Error"]["Code"])


def test_a_stream_refuses_single_records_with_their_own_error_codes(emulator: Emulator) -> None:
    stream, _ = emulator.stream()
    inject(
        emulator.url,
        Fault(service="kinesis", operation="PutRecords", resource=stream, error=THROTTLE, each="entry", only="bad"),
    )

    answer = put_two(emulator, stream)

    assert answer["FailedRecordCount"] == 1
    assert [record.get("ErrorCode") for record in answer["Records"]] == [None, THROTTLE]
    assert answer["Records"][0]["SequenceNumber"]
    assert held(emulator, stream) == [b"1"]
    assert touched(emulator.url) == 1


def test_a_stream_that_refuses_every_record_holds_none(emulator: Emulator) -> None:
    stream, _ = emulator.stream()
    inject(emulator.url, Fault(service="kinesis", operation="PutRecords", error=THROTTLE, each="entry"))

    assert put_two(emulator, stream)["FailedRecordCount"] == 2
    assert held(emulator, stream) == []


def test_a_whole_call_is_throttled_until_it_is_healed_and_other_resources_are_not(emulator: Emulator) -> None:
    (stream, _), (other, _) = emulator.stream(), emulator.stream()
    inject(emulator.url, Fault(service="kinesis", operation="PutRecords", resource=stream, error=THROTTLE))

    with pytest.raises(ClientError) as failure:
        put_two(emulator, stream)
    assert code_of(failure) == THROTTLE
    assert put_two(emulator, other)["FailedRecordCount"] == 0
    heal(emulator.url)
    assert put_two(emulator, stream)["FailedRecordCount"] == 0


def test_a_table_leaves_keys_unprocessed_or_throttles_the_call(emulator: Emulator) -> None:
    table, dynamodb = f"table-{uuid.uuid4().hex[:8]}", emulator.client("dynamodb")
    dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for key in ("a", "b"):
        dynamodb.put_item(TableName=table, Item={"key": {"S": key}})
    wanted = {table: {"Keys": [{"key": {"S": "a"}}, {"key": {"S": "b"}}]}}
    throttle = Fault(service="dynamodb", operation="BatchGetItem", resource=table, error=THROTTLE)
    inject(
        emulator.url,
        Fault(service="dynamodb", operation="BatchGetItem", error=THROTTLE, each="entry", only='{"S": "b"}'),
    )

    answer = dynamodb.batch_get_item(RequestItems=wanted)

    assert answer["Responses"][table] == [{"key": {"S": "a"}}]
    assert answer["UnprocessedKeys"] == {table: {"Keys": [{"key": {"S": "b"}}]}}
    inject(emulator.url, throttle)
    with pytest.raises(ClientError) as failure:
        dynamodb.batch_get_item(RequestItems=wanted)
    assert code_of(failure) == THROTTLE


def test_a_queue_names_the_messages_that_it_refused(emulator: Emulator) -> None:
    url, _ = emulator.queue()
    inject(
        emulator.url,
        Fault(service="sqs", operation="SendMessageBatch", error="InternalError", each="entry", only="bad"),
    )

    answer = emulator.client("sqs").send_message_batch(
        QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "good"}, {"Id": "2", "MessageBody": "bad"}]
    )

    assert [message["Id"] for message in answer["Successful"]] == ["1"]
    assert [(message["Id"], message["Code"]) for message in answer["Failed"]] == [("2", "InternalError")]


def test_a_bucket_refuses_in_its_own_words(emulator: Emulator) -> None:
    bucket = emulator.bucket()
    inject(emulator.url, Fault(service="s3", operation="PUT", resource=bucket, error="AccessDenied"))

    with pytest.raises(ClientError) as failure:
        emulator.client("s3").put_object(Bucket=bucket, Key="k", Body=b"")

    assert code_of(failure) == "AccessDenied"


def test_a_delayed_request_goes_through_in_the_end(emulator: Emulator) -> None:
    stream, _ = emulator.stream()
    inject(emulator.url, Fault(service="kinesis", operation="PutRecords", resource=stream, delay_ms=200))
    began = time.monotonic()

    put_two(emulator, stream)

    assert time.monotonic() - began >= 0.2
    assert held(emulator, stream) == [b"1", b"2"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"error": None},
        {"operation": "GetItem", "each": "entry"},
        {"share": 0.0},
        {"delay_ms": -1},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_the_reason(emulator: Emulator, wrong: dict[str, Any]) -> None:
    with pytest.raises((FaultRefused, ValueError), match=r"required|share|delay_ms"):
        inject(emulator.url, Fault(**{"service": "kinesis", "operation": "PutRecords", "error": THROTTLE, **wrong}))
    assert touched(emulator.url) == 0
