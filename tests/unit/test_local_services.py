"""The pure rules of the local cloud's services: alarms, metric math, Firehose, prefixes, secrets."""

from __future__ import annotations

import base64
import io
import json
import string
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local.cloud.alarm_rules import MissingData, Rule, State, next_state
from local.cloud.embedded_metrics import metrics_in
from local.cloud.generated_secret import generate_password
from local.cloud.metric_math import MetricMathUnsupported, evaluate
from local.cloud.parquet import Column, ConversionFailed, arrow_type, fits, read_document, schema_of, to_parquet
from local.cloud.s3_prefix import PrefixInvalid, evaluate_prefix
from local.cloud.s3_uri import InvalidS3Uri, split_uri
from local.cloud.transform import Refused, SourceRecord, Transformed, chunks, transform

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("missing", "values", "current", "expected"),
    [
        ("missing", [6, 6, 1], "OK", "ALARM"),
        ("missing", [6, 1, 1], "ALARM", "OK"),
        ("missing", [None, None, None], "ALARM", "INSUFFICIENT_DATA"),
        ("breaching", [None, 6, 1], "OK", "ALARM"),
        ("breaching", [None, None, None], "OK", "ALARM"),
        ("notBreaching", [None, None, None], "ALARM", "OK"),
        ("notBreaching", [None, 6, 1], "ALARM", "OK"),
        ("ignore", [None, None, None], "ALARM", "ALARM"),
        ("ignore", [None, 6, 1], "ALARM", "ALARM"),
    ],
)
def test_two_of_three_periods_and_missing_data(
    missing: MissingData, values: list[float | None], current: State, expected: State
) -> None:
    assert next_state(Rule("GreaterThanThreshold", 5, 2, missing), values, current) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a / b", 2.0),
        ("a / zero", None),
        ("a + none", None),
        ("FILL(none, 3) + a", 13.0),
        ("IF(a > b && b > 1, -a, b)", -10.0),
        ("IF(a < b || none > 1, 1, 2)", None),
        ("MAX([a, b, none])", 10.0),
        ("AVG(METRICS())", 5.0),
        ("ABS(b - a) * 2 ", 10.0),
        ("IF(a == 10, 1)", 1.0),
    ],
)
def test_metric_math(expression: str, expected: float | None) -> None:
    assert evaluate(expression, {"a": 10.0, "b": 5.0, "zero": 0.0, "none": None}) == expected


@pytest.mark.parametrize("expression", ["ANOMALY_DETECTION_BAND(a)", "a.real", "unknown + 1", "a +", "[a for a in b]"])
def test_metric_math_that_is_not_computed_says_so(expression: str) -> None:
    with pytest.raises(MetricMathUnsupported):
        evaluate(expression, {"a": 1.0})


def records(*datas: bytes) -> list[SourceRecord]:
    return [SourceRecord(f"r{index}", data, 0.0) for index, data in enumerate(datas)]


def answer(*items: dict[str, Any]) -> dict[str, Any]:
    return {"body": {"records": list(items)}}


def ok(identity: str, data: bytes, **keys: str) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {"recordId": identity, "result": "Ok", "data": encoded, "metadata": {"partitionKeys": keys}}


def test_each_record_becomes_what_the_transform_says() -> None:
    source = records(b"a", b"b", b"c", b"d", b"e")
    reply = answer(
        ok("r0", b"A", hour="05"),
        {"recordId": "r1", "result": "Dropped"},
        {"recordId": "r2", "result": "ProcessingFailed"},
        {"recordId": "r3", "result": "Ok", "data": "no base64!"},
    )

    outcomes = list(transform(source, lambda _: reply, {}, retries=3))

    assert outcomes[0] == Transformed(source[0], b"A", {"hour": "05"})
    assert [(item.source.identity, item.code) for item in outcomes if isinstance(item, Refused)] == [
        ("r2", "Lambda.ProcessingFailedStatus"),
        ("r3", "Lambda.InvalidData"),
        ("r4", "Lambda.MissingRecordId"),
    ]


def test_a_transform_that_fails_is_tried_again_and_then_refuses_all_its_records() -> None:
    calls: list[int] = []

    def fail(_: object) -> dict[str, Any]:
        calls.append(1)
        return {"error": True, "body": "boom"}

    outcomes = list(transform(records(b"a", b"b"), fail, {}, retries=2))

    assert len(calls) == 3
    assert [(item.code, item.attempts) for item in outcomes if isinstance(item, Refused)] == [
        ("Lambda.FunctionError", 3),
        ("Lambda.FunctionError", 3),
    ]


def test_chunks_keep_the_order_and_stay_below_the_limit_unless_one_record_is_larger() -> None:
    source = records(*[b"x" * 300_000] * 7, b"y" * 1_500_000, b"z")

    groups = list(chunks(source))

    assert [record for group in groups for record in group] == source
    assert [len(group) for group in groups] == [3, 3, 1, 1, 1]


def test_parquet_has_the_types_of_the_table_and_reads_keys_without_case() -> None:
    columns = [Column("At", "timestamp"), Column("scores", "array<double>"), Column("tags", "map<string,int>")]
    rows = [
        read_document(b'{"AT": "2026-03-04T03:06:07Z", "scores": [1], "tags": {"a": 1}, "x": 0}', columns),
        read_document(b'{"at": null}', columns),
    ]

    table = pq.read_table(io.BytesIO(to_parquet(rows, schema_of(columns))))

    assert table.column("At").to_pylist() == [datetime(2026, 3, 4, 3, 6, 7), None]  # noqa: DTZ001 - Hive has no zone
    assert table.column("tags").to_pylist() == [[("a", 1)], None]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-03-04T05:06:07.123456Z", True),
        ("2026-03-04 05:06:07.5", True),
        ("2026-03-04T05:06:07+02:00", False),
        ("2026-03-04T05:06:07", False),
        ("soon", False),
    ],
)
def test_parquet_takes_the_times_that_the_service_takes(text: str, read: bool) -> None:
    columns = [Column("at", "timestamp")]
    row = read_document(json.dumps({"at": text}).encode(), columns)
    assert fits(row, schema_of(columns)) is read


@pytest.mark.parametrize("data", [b"", b"[1]", b"1", b"\xff", b"{"])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ConversionFailed):
        read_document(data, [Column("a", "int")])


def test_hive_types() -> None:
    assert arrow_type("decimal(10,2)") == pa.decimal128(10, 2)
    assert arrow_type("struct<a:int,b:array<string>>").num_fields == 2
    assert arrow_type("varchar(20)") == pa.string()
    with pytest.raises(ConversionFailed, match="uniontype"):
        arrow_type("uniontype<int>")


def test_a_prefix_needs_the_keys_that_it_names() -> None:
    assert evaluate_prefix("e/!{firehose:error-output-type}/!{timestamp:yyyy-MM-dd}/", NOW, error_type="x") == (
        "e/x/2026-03-04/"
    )
    with pytest.raises(PrefixInvalid, match="hour"):
        evaluate_prefix("!{partitionKeyFromLambda:hour}/", NOW, partition_keys={"date": "d"})


def test_a_location_that_is_not_s3_is_refused() -> None:
    with pytest.raises(InvalidS3Uri, match="came 'file:///etc/passwd'"):
        split_uri("file:///etc/passwd")


def test_embedded_metrics_pass_over_what_is_malformed() -> None:
    lines = [
        '{"CloudWatchMetrics"',
        '["CloudWatchMetrics"]',
        '{"_aws": {"CloudWatchMetrics": [{"Namespace": "n", "Metrics": [{"Name": "a"}, {"Name": "b"}]}]}, "b": 2}',
    ]

    assert [(metric.name, metric.value, metric.dimensions) for metric in metrics_in(lines)] == [("b", 2.0, {})]


def test_a_generated_password_has_every_class_that_is_asked_for_and_none_that_is_not() -> None:
    password = generate_password({"PasswordLength": 4, "ExcludeUppercase": True, "IncludeSpace": True})

    assert len(password) == 4
    for letters in (string.ascii_lowercase, string.digits, string.punctuation, " "):
        assert set(password) & set(letters)
    assert not set(password) & set(string.ascii_uppercase)
    assert set(generate_password({"ExcludeCharacters": string.printable.replace("x", "")})) == {"x"}
