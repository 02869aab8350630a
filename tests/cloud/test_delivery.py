"""Firehose of the local cloud delivers as the service does."""

from __future__ import annotations

import base64
import io
import json
import uuid
from typing import Any

import pyarrow.parquet as pq
import pytest

from .conftest import ROLE, Emulator, eventually

# Answers as the record's `do` says, and gives the date and hour of the event as partition keys.
TRANSFORM = """
    import base64, json
    def handler(event, context):
        assert event["sourceKinesisStreamArn"] and event["deliveryStreamArn"] and event["region"]
        out = []
        for record in event["records"]:
            assert record["kinesisRecordMetadata"]["sequenceNumber"]
            value = json.loads(base64.b64decode(record["data"]))
            result = {"drop": "Dropped", "fail": "ProcessingFailed"}.get(value.get("do"), "Ok")
            out.append({
                "recordId": record["recordId"],
                "result": result,
                "data": base64.b64encode(json.dumps({**value, "seen": True}).encode()).decode(),
                "metadata": {"partitionKeys": {"date": value["at"][:10], "hour": value["at"][11:13]}},
            })
        return {"records": out}
"""
COLUMNS = [
    {"Name": "at", "Type": "timestamp"},
    {"Name": "clicks", "Type": "bigint"},
    {"Name": "features", "Type": "array<float>"},
    {"Name": "seen", "Type": "boolean"},
    {"Name": "absent", "Type": "string"},
]


class Archive:
    """A delivery stream behind a Kinesis stream, with transform, partitions and Parquet."""

    def __init__(self, emulator: Emulator, *, table: str = "clicks") -> None:
        self.emulator = emulator
        self.bucket = emulator.bucket()
        self.stream, source = emulator.stream()
        database = f"db_{uuid.uuid4().hex[:8]}"
        glue = emulator.client("glue")
        glue.create_database(DatabaseInput={"Name": database})
        glue.create_table(
            DatabaseName=database, TableInput={"Name": "clicks", "StorageDescriptor": {"Columns": COLUMNS}}
        )
        function = f"arn:aws:lambda:us-east-1:000000000000:function:{emulator.function(TRANSFORM)}"
        self.name = f"archive-{uuid.uuid4().hex[:8]}"
        emulator.client("firehose").create_delivery_stream(
            DeliveryStreamName=self.name,
            DeliveryStreamType="KinesisStreamAsSource",
            KinesisStreamSourceConfiguration={"KinesisStreamARN": source, "RoleARN": ROLE},
            ExtendedS3DestinationConfiguration={
                "BucketARN": f"arn:aws:s3:::{self.bucket}",
                "RoleARN": ROLE,
                "Prefix": "clicks/date=!{partitionKeyFromLambda:date}/hour=!{partitionKeyFromLambda:hour}/",
                "ErrorOutputPrefix": "errors/!{firehose:error-output-type}/",
                "BufferingHints": {"SizeInMBs": 64, "IntervalInSeconds": 60},
                "DynamicPartitioningConfiguration": {"Enabled": True},
                "ProcessingConfiguration": {
                    "Enabled": True,
                    "Processors": [
                        {
                            "Type": "Lambda",
                            "Parameters": [{"ParameterName": "LambdaArn", "ParameterValue": function}],
                        }
                    ],
                },
                "DataFormatConversionConfiguration": {
                    "Enabled": True,
                    "SchemaConfiguration": {"DatabaseName": database, "TableName": table, "RoleARN": ROLE},
                    "InputFormatConfiguration": {"Deserializer": {"OpenXJsonSerDe": {}}},
                    "OutputFormatConfiguration": {"Serializer": {"ParquetSerDe": {}}},
                },
            },
        )

    def put(self, *values: dict[str, Any]) -> None:
        self.emulator.put(self.stream, list(values), key="one")

    def delivered(self, prefix: str = "") -> dict[str, bytes]:
        return self.emulator.objects(self.bucket, prefix)


def click(hour: int, clicks: int = 1, **more: Any) -> dict[str, Any]:
    return {"at": f"2026-03-04T{hour:02d}:30:00.250Z", "clicks": clicks, "features": [0.5, 1.0], **more}


def test_writes_one_parquet_object_a_partition_with_the_columns_of_the_table(emulator: Emulator) -> None:
    archive = Archive(emulator)
    archive.put(*[click(5, n) for n in range(20)], *[click(6, n) for n in range(10)])

    emulator.flush()
    objects = archive.delivered("clicks/")

    by_hour = {key.rsplit("/", 1)[0]: pq.read_table(io.BytesIO(body)) for key, body in objects.items()}
    assert sorted(by_hour) == ["clicks/date=2026-03-04/hour=05", "clicks/date=2026-03-04/hour=06"]
    assert len(objects) == 2
    assert all(key.endswith(".parquet") and f"/{archive.name}-1-" in key for key in objects)
    five = by_hour["clicks/date=2026-03-04/hour=05"]
    assert five.column("clicks").to_pylist() == list(range(20))
    assert [str(field.type) for field in five.schema] == [
        "timestamp[ms]",
        "int64",
        "list<element: float>",
        "bool",
        "string",
    ]
    assert five.column("seen").to_pylist() == [True] * 20
    assert five.column("absent").to_pylist() == [None] * 20


def test_drops_what_the_transform_drops_and_writes_what_it_fails_to_the_error_prefix(emulator: Emulator) -> None:
    archive = Archive(emulator)
    archive.put(click(5), click(5, do="drop"), click(5, do="fail"), click(5, clicks="many"))

    emulator.flush()

    (body,) = archive.delivered("clicks/").values()
    assert pq.read_table(io.BytesIO(body)).num_rows == 1
    (failed,) = archive.delivered("errors/processing-failed/").values()
    document = json.loads(failed)
    assert document["errorCode"] == "Lambda.ProcessingFailedStatus"
    assert json.loads(base64.b64decode(document["rawData"]))["do"] == "fail"
    (failed,) = archive.delivered("errors/format-conversion-failed/").values()
    assert json.loads(failed)["lastErrorCode"] == "DataFormatConversion.MalformedData"


def test_a_flush_delivers_what_is_buffered_now(emulator: Emulator) -> None:
    archive = Archive(emulator)
    archive.put(click(5))
    assert archive.delivered() == {}

    assert emulator.flush() == 1
    assert len(archive.delivered("clicks/")) == 1


def test_a_missing_table_loses_nothing(emulator: Emulator) -> None:
    archive = Archive(emulator, table="elsewhere")
    archive.put(click(5), click(6))

    emulator.flush()
    (body,) = archive.delivered("errors/").values()

    codes = [json.loads(line)["lastErrorCode"] for line in body.splitlines()]
    assert codes == ["DataFormatConversion.EntityNotFound"] * 2


@pytest.mark.parametrize("count", [3])
def test_direct_puts_of_one_buffering_interval_become_one_object(emulator: Emulator, count: int) -> None:
    bucket, name = emulator.bucket(), f"direct-{uuid.uuid4().hex[:8]}"
    firehose = emulator.client("firehose")
    firehose.create_delivery_stream(
        DeliveryStreamName=name,
        ExtendedS3DestinationConfiguration={
            "BucketARN": f"arn:aws:s3:::{bucket}",
            "RoleARN": ROLE,
            "Prefix": "raw/!{timestamp:yyyy}/",
            "BufferingHints": {"SizeInMBs": 1, "IntervalInSeconds": 1},
        },
    )
    for n in range(count):
        firehose.put_record(DeliveryStreamName=name, Record={"Data": f"{n}\n".encode()})

    ((key, body),) = eventually(lambda: emulator.objects(bucket)).items()

    assert key.startswith("raw/20")
    assert body == b"0\n1\n2\n"
