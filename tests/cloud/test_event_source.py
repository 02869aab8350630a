"""Kinesis event source mappings of the local cloud settle batches as AWS documents it."""

from __future__ import annotations

import json
import re
from typing import Any

from .conftest import Emulator, eventually

# Writes each batch it is given to a bucket, then fails as the records say.
RECORDER = """
    import base64, json, os, time, uuid
    import boto3

    s3 = boto3.client("s3")

    def handler(event, context):
        values = [json.loads(base64.b64decode(record["kinesis"]["data"])) for record in event["Records"]]
        s3.put_object(Bucket=os.environ["BUCKET"], Key=f"{time.time_ns()}", Body=json.dumps(values))
        if any(value.get("kill") for value in values):
            os.kill(os.getpid(), 9)
        if any(value.get("raise") for value in values):
            raise ValueError("poison")
        failed = [
            {"itemIdentifier": record["kinesis"]["sequenceNumber"]}
            for record, value in zip(event["Records"], values)
            if value.get("fail")
        ]
        return {"batchItemFailures": failed}
"""


class Consumer:
    """A recording function behind a stream."""

    def __init__(self, emulator: Emulator, *, shards: int = 1, source: str = RECORDER, **mapping: Any) -> None:
        self.emulator = emulator
        self.bucket = emulator.bucket()
        self.stream, self.arn = emulator.stream(shards)
        self.function = emulator.function(source, BUCKET=self.bucket)
        settings = {
            "StartingPosition": "TRIM_HORIZON",
            "BatchSize": 100,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            **mapping,
        }
        created = emulator.client("lambda").create_event_source_mapping(
            FunctionName=self.function, EventSourceArn=self.arn, **settings
        )
        self.mapping = created["UUID"]

    def batches(self) -> list[list[Any]]:
        """The batches so far, as lists of the records' `n`, in order of arrival."""
        found = self.emulator.objects(self.bucket)
        return [[value["n"] for value in json.loads(found[key])] for key in sorted(found)]


def numbered(count: int, **marks: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"n": n, **marks.get(f"at_{n}", {})} for n in range(count)]


def test_retries_from_the_first_failed_record_and_then_gives_the_rest_to_the_queue(emulator: Emulator) -> None:
    url, queue = emulator.queue()
    consumer = Consumer(emulator, MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": queue}})
    sequences = emulator.put(consumer.stream, numbered(4, at_2={"fail": True}), key="one")

    messages = eventually(lambda: emulator.client("sqs").receive_message(QueueUrl=url).get("Messages"))

    assert consumer.batches() == [[0, 1, 2, 3], [2, 3]]
    record = json.loads(messages[0]["Body"])
    assert record["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert record["KinesisBatchInfo"]["startSequenceNumber"] == sequences[2]
    assert record["KinesisBatchInfo"]["batchSize"] == 2
    assert "payload" not in record


def test_bisect_isolates_a_poison_record_and_delivers_every_other_one_once(emulator: Emulator) -> None:
    bucket = emulator.bucket()
    destination = {"OnFailure": {"Destination": f"arn:aws:s3:::{bucket}"}}
    consumer = Consumer(
        emulator, BisectBatchOnFunctionError=True, MaximumRetryAttempts=1, DestinationConfig=destination
    )
    emulator.put(consumer.stream, numbered(8, at_5={"raise": True}), key="one")

    eventually(lambda: emulator.objects(bucket))
    eventually(lambda: consumer.batches()[-1] == [6, 7])

    settled = [batch for batch in consumer.batches() if 5 not in batch]
    assert sorted(n for batch in settled for n in batch) == [0, 1, 2, 3, 4, 6, 7]
    (failure,) = emulator.objects(bucket).values()
    assert json.loads(failure)["KinesisBatchInfo"]["batchSize"] == 1


def test_the_on_failure_object_has_the_key_the_fields_and_the_payload_that_aws_documents(emulator: Emulator) -> None:
    bucket = emulator.bucket()
    destination = {"OnFailure": {"Destination": f"arn:aws:s3:::{bucket}"}}
    consumer = Consumer(emulator, MaximumRetryAttempts=0, DestinationConfig=destination)
    (sequence,) = emulator.put(consumer.stream, [{"n": 0, "raise": True}], key="one")

    ((key, body),) = eventually(lambda: emulator.objects(bucket)).items()

    directory = rf"aws/lambda/{consumer.mapping}/shardId-000000000000/\d{{4}}/\d\d/\d\d/"
    assert re.fullmatch(directory + r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d-[0-9a-f-]{36}", key)
    record = json.loads(body)
    assert set(record) == {"requestContext", "responseContext", "version", "timestamp", "KinesisBatchInfo", "payload"}
    assert set(record["requestContext"]) == {"requestId", "functionArn", "condition", "approximateInvokeCount"}
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert set(record["KinesisBatchInfo"]) == {
        "shardId",
        "startSequenceNumber",
        "endSequenceNumber",
        "approximateArrivalOfFirstRecord",
        "approximateArrivalOfLastRecord",
        "batchSize",
        "streamArn",
    }
    (event,) = json.loads(record["payload"])["Records"]
    assert event["kinesis"]["sequenceNumber"] == sequence
    assert event["eventSourceARN"] == consumer.arn


def test_a_worker_killed_in_mid_batch_is_an_error_of_that_invocation_and_the_batch_is_retried(
    emulator: Emulator,
) -> None:
    bucket = emulator.bucket()
    destination = {"OnFailure": {"Destination": f"arn:aws:s3:::{bucket}"}}
    consumer = Consumer(emulator, MaximumRetryAttempts=1, DestinationConfig=destination)
    emulator.put(consumer.stream, [{"n": 0, "kill": True}], key="one")
    eventually(lambda: emulator.objects(bucket))
    emulator.put(consumer.stream, [{"n": 1}], key="one")

    eventually(lambda: [1] in consumer.batches())

    assert consumer.batches() == [[0], [0], [1]]


def test_records_older_than_the_maximum_age_are_given_away_without_an_invocation(emulator: Emulator) -> None:
    url, queue = emulator.queue()
    consumer = Consumer(
        emulator,
        MaximumRecordAgeInSeconds=60,
        MaximumRetryAttempts=-1,
        DestinationConfig={"OnFailure": {"Destination": queue}},
    )
    # 60 s is the least that the service takes, too long for a test: shorten it behind its back.
    emulator.client("lambda").update_event_source_mapping(UUID=consumer.mapping, MaximumRecordAgeInSeconds=1)
    emulator.put(consumer.stream, [{"n": 0, "raise": True}], key="one")

    (message,) = eventually(lambda: emulator.client("sqs").receive_message(QueueUrl=url).get("Messages"))

    assert json.loads(message["Body"])["requestContext"]["condition"] == "RecordAgeExceeded"


def test_the_batching_window_gathers_records_that_come_apart(emulator: Emulator) -> None:
    consumer = Consumer(emulator, MaximumBatchingWindowInSeconds=1)
    for n in range(3):
        emulator.put(consumer.stream, [{"n": n}], key="one")

    eventually(consumer.batches)

    assert consumer.batches() == [[0, 1, 2]]


def test_lanes_keep_the_order_of_a_partition_key_and_lose_nothing(emulator: Emulator) -> None:
    consumer = Consumer(emulator, shards=2, ParallelizationFactor=3, BatchSize=20)
    emulator.put(consumer.stream, numbered(300), key=None)
    emulator.put(consumer.stream, [{"n": 1000 + n} for n in range(50)], key="one")

    eventually(lambda: sum(map(len, consumer.batches())) == 350)

    everything = [n for batch in consumer.batches() for n in batch]
    assert sorted(everything) == [*range(300), *range(1000, 1050)]
    assert [n for n in everything if n >= 1000] == list(range(1000, 1050))
