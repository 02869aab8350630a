"""The handlers whole, wired as deployed: settings from the environment, real adapters, moto's AWS."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import boto3
import msgspec
import numpy as np
import pytest

from functions import observability
from functions.adapters.counters import Counters
from functions.adapters.reject_store import read_rejects
from functions.adapters.release_store import release_key
from functions.adapters.secrets import SecretUnavailable
from functions.adapters.serving_state import Change, PointerStore
from functions.prepare_archive import handler as prepare_archive
from functions.prepare_archive.settings import Settings as ArchiveSettings
from functions.score_clicks import handler as score_clicks
from functions.score_clicks import wiring
from functions.score_clicks.settings import Settings
from slidr.contract import from_epoch_ms
from slidr.counters import RAW_COLUMNS
from slidr.features import FEATURE_COUNT, SPEC_HASH
from slidr.pointer import Pointer, promoted
from slidr.release import Release, encode_release, release_id
from slidr.slices import SliceMap, Thresholds
from slidr.verdict import Decision, Reason, Verdict

pytestmark = pytest.mark.aws
ARRIVED_MS = 1_795_435_200_000
CLICK = {
    "click_id": "c-1",
    "at": "2026-11-23T11:59:58Z",
    "user": "ada-lovelace",
    "ip": "192.0.2.77",
    "user_agent": "Mozilla/5.0 (private)",
    "advertiser": "acme",
    "marketplace": "de",
}


@dataclass
class Context:
    function_name: str = "function"
    memory_limit_in_mb: int = 128
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:function"
    aws_request_id: str = "request"
    tenant_id: str | None = None


class FakeRuntime:
    """SageMaker's runtime (moto's takes no binary body): scores every row 0.75, if it has a release."""

    meta = SimpleNamespace(
        endpoint_url="https://runtime", region_name="us-east-1", config=SimpleNamespace(user_agent="slidr")
    )

    def __init__(self) -> None:
        self.release: str | None = None

    def invoke_endpoint(self, **request: Any) -> dict[str, Any]:
        rows = len(request["Body"]) // (4 * FEATURE_COUNT)
        body = np.full(rows, 0.75, dtype="<f4").tobytes() if self.release else b"no scores"
        return {"Body": io.BytesIO(body), "CustomAttributes": f"release={self.release};shadow="}


class DeployedSession:
    """boto3's session: moto's services, and an endpoint."""

    def __init__(self, session: Any) -> None:
        self.runtime = FakeRuntime()
        self.configs: dict[str, Any] = {}
        self.addresses: list[dict[str, Any]] = []
        self._session = session

    def get_credentials(self) -> Any:
        return self._session.get_credentials()

    def client(self, name: str, **options: Any) -> Any:
        if "config" in options:
            self.configs[name] = options["config"]
        return self.runtime if name == "sagemaker-runtime" else self._session.client(name, **options)


class NoHistory:
    """Counters that have seen nothing."""

    def apply(self, batch: Any, *, meanwhile: Any) -> Any:
        meanwhile()
        return np.zeros((batch.clicks, len(RAW_COLUMNS)), dtype=np.int32)


class NoConnection:
    """Leaves every invocation to the SDK."""

    def __init__(self, url: str, *, connect_timeout_ms: int, read_timeout_ms: int) -> None:
        self.waits = (url, connect_timeout_ms, read_timeout_ms)

    def post(self, *_: Any) -> Any:
        raise ConnectionRefusedError(f"no sockets in this test: {self.waits}")


def base64_of(payload: Any) -> str:
    return base64.b64encode(payload if isinstance(payload, bytes) else json.dumps(payload).encode()).decode()


def click_event(*payloads: Any) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventID": f"shardId-000000000000:{i}",
                "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/clicks",
                "kinesis": {
                    "data": base64_of(payload),
                    "sequenceNumber": str(i),
                    "approximateArrivalTimestamp": ARRIVED_MS / 1000,
                },
            }
            for i, payload in enumerate(payloads)
        ]
    }


@pytest.fixture
def deployed(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The data stack's services, the functions' environment, fresh execution environments."""
    aws.client("kinesis").create_stream(StreamName="verdicts", ShardCount=1)
    aws.client("s3").create_bucket(Bucket="quarantine")
    aws.client("s3").create_bucket(Bucket="releases")
    queue_url = aws.client("sqs").create_queue(QueueName="undecided")["QueueUrl"]
    for table, key in (("control", "name"), ("profiles", "key")):
        aws.client("dynamodb").create_table(
            TableName=table,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    aws.client("secretsmanager").create_secret(
        Name="pseudonyms", SecretString=json.dumps({"version": 1, "key_base64": base64_of(bytes(48))})
    )
    settings = Settings(
        stage="test",
        verdict_stream="verdicts",
        quarantine_bucket="quarantine",
        undecided_queue_url=queue_url,
        control_table="control",
        profile_table="profiles",
        release_bucket="releases",
        endpoint_name="slidr-test",
        cache_host="localhost",
        pseudonym_secret_id="pseudonyms",  # noqa: S106 - a name
        publish_deadline_ms=100,
    )
    environment = {**settings.to_environment(), "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    session = DeployedSession(aws)
    monkeypatch.setattr(boto3.session, "Session", lambda: session)
    monkeypatch.setattr(Counters, "connect", lambda **address: session.addresses.append(address) or NoHistory())
    monkeypatch.setattr(wiring, "KeptConnection", NoConnection)
    yield session
    for cached in (score_clicks._services, prepare_archive._services, observability.telemetry):
        cached.cache_clear()
    # `observed` keeps its instrumented handler; it holds telemetry only, which the next test may share.


def published(aws: Any) -> list[Verdict]:
    client = aws.client("kinesis")
    shard = client.list_shards(StreamName="verdicts")["Shards"][0]["ShardId"]
    start = client.get_shard_iterator(StreamName="verdicts", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    records = client.get_records(ShardIterator=start["ShardIterator"])["Records"]
    return [msgspec.json.decode(record["Data"], type=Verdict) for record in records]


def stored_rejects(aws: Any) -> list[Any]:
    client = aws.client("s3")
    keys = [item["Key"] for item in client.list_objects_v2(Bucket="quarantine").get("Contents", [])]
    return [
        reject
        for key in keys
        for reject in read_rejects(client.get_object(Bucket="quarantine", Key=key)["Body"].read())
    ]


def put_release(deployed: Any) -> str:
    """A release in force that invalidates from 0.75."""
    release = Release(
        weights_sha256="00",
        feature_spec=SPEC_HASH,
        slices=SliceMap(),
        thresholds=Thresholds(default=0.75),
        lists={},
        expected_ivr=(0.5,) * 168,
    )
    name = release_id(release)
    deployed.client("s3").put_object(Bucket="releases", Key=release_key(name), Body=encode_release(release))
    change = Change(who="test", why="test", at=from_epoch_ms(ARRIVED_MS))
    PointerStore(deployed.client("dynamodb"), "control").change(Pointer(), promoted(Pointer(), name), change)
    return name


def test_click_is_decided_by_the_release_in_force(deployed: Any) -> None:
    deployed.runtime.release = put_release(deployed)

    score_clicks.handler(click_event(CLICK), Context())

    (verdict,) = published(deployed)
    assert (verdict.decision, verdict.score, verdict.threshold) == (Decision.INVALID, 0.75, 0.75)
    assert verdict.release_id == deployed.runtime.release


def test_endpoint_that_answers_something_else_leaves_clicks_undecided(deployed: Any) -> None:
    put_release(deployed)

    score_clicks.handler(click_event(CLICK), Context())

    (verdict,) = published(deployed)
    assert verdict.reasons == (Reason.SCORING_UNAVAILABLE,)
    assert verdict.features is not None


def test_names_the_record_to_resume_from_when_verdicts_cannot_be_published(deployed: Any) -> None:
    deployed.client("kinesis").delete_stream(StreamName="verdicts")

    answer = score_clicks.handler(click_event(b"bad", CLICK), Context())

    assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert [reject.sequence for reject in stored_rejects(deployed)] == ["0"]


def test_clients_wait_as_long_as_the_settings_say(deployed: Any) -> None:
    score_clicks.handler(click_event(CLICK), Context())

    waits = {
        name: (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"])
        for name, config in deployed.configs.items()
    }
    read, publish = (1.0, 5.0, 2), (1.0, 5.0, 1)
    assert waits == {
        "dynamodb": (1.0, 1.0, 2),
        "s3": read,
        "secretsmanager": read,
        "kinesis": publish,
        "sqs": publish,
        "sagemaker-runtime": (0.5, 2.0, 1),  # behind the lean try
    }


def test_cache_is_reached_and_breaker_opens_as_the_settings_say(deployed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed.client("secretsmanager").create_secret(Name="token", SecretString="hush")
    settings = {
        "CACHE_SECRET_ID": "token",
        "CACHE_PORT": "6380",
        "CACHE_TIMEOUT_MS": "700",
        "BREAKER_FAILURES": "3",
        "BREAKER_RESET_MS": "2500",
        "POINTER_CACHE_S": "4",
        "POINTER_MAX_AGE_S": "60",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"SLIDR_{name}", value)

    services = score_clicks._services()

    assert deployed.addresses == [
        {"host": "localhost", "port": 6380, "cluster": True, "tls": True, "timeout_ms": 700, "password": "hush"}
    ]
    breaker, state = services.endpoint._breaker, services.serving_state
    assert (breaker.fail_max, breaker.reset_timeout) == (3, 2.5)
    assert (state._keep_s, state._max_age_s) == (4, 60)


@pytest.mark.filterwarnings("ignore:No application metrics to publish")
def test_fails_the_invocation_without_the_pseudonym_key(deployed: Any) -> None:
    deployed.client("secretsmanager").delete_secret(SecretId="pseudonyms", ForceDeleteWithoutRecovery=True)

    with pytest.raises(SecretUnavailable):
        score_clicks.handler(click_event(CLICK), Context())


def test_logs_and_metrics_tell_the_batch_and_no_person(
    deployed: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    score_clicks.handler(click_event(CLICK, b"not json"), Context())

    logged = [vars(record) for record in caplog.records if record.name == "score_clicks"]
    (decided,) = [record for record in logged if record["message"] == "batch decided"]
    assert (decided["decisions"], decided["rejects"]) == ({"UNDECIDED": 1}, {"not_json": 1})
    output = capsys.readouterr().out
    metrics = [json.loads(line) for line in output.splitlines() if '"Rejects"' in line and '"_aws"' in line]
    assert (metrics[0]["Undecided"], metrics[0]["Rejects"], metrics[0]["service"]) == ([1.0], [1.0], "score_clicks")
    assert metrics[0]["_aws"]["CloudWatchMetrics"][0]["Namespace"].startswith("SLIDR")
    for personal in ("ada-lovelace", "192.0.2", "Mozilla", "private"):
        assert personal not in output + str(logged)


def test_purchase_is_archived_and_an_invalid_one_quarantined(deployed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ArchiveSettings(
        stage="test",
        record_kind="purchase",
        quarantine_bucket="quarantine",
        pseudonym_secret_id="pseudonyms",  # noqa: S106 - a name
    )
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    payloads = [{"order_id": "o", "at": "2026-11-23T09:00:00Z", "user": "ada"}, b"bad"]
    event = {
        "sourceKinesisStreamArn": "arn:aws:kinesis:us-east-1:000000000000:stream/purchases",
        "records": [
            {
                "recordId": str(i),
                "approximateArrivalTimestamp": ARRIVED_MS,
                "data": base64_of(payload),
                "kinesisRecordMetadata": {
                    "sequenceNumber": str(i),
                    "shardId": "shardId-0",
                    "approximateArrivalTimestamp": ARRIVED_MS,
                },
            }
            for i, payload in enumerate(payloads)
        ],
    }

    answer = prepare_archive.handler(event, Context())

    assert [record["result"] for record in answer["records"]] == ["Ok", "Dropped"]
    assert b'"user_token":"1.' in base64.b64decode(answer["records"][0]["data"])
    assert [reject.stream for reject in stored_rejects(deployed)] == ["purchases"]
