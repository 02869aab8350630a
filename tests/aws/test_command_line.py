"""Commands against AWS in process: what they find by the stacks' outputs, and what they leave behind."""

from __future__ import annotations

import base64
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import local.commands.redrive
from local.cli import app
from local.release_bucket import fetch_release, publish_release, published_releases
from local.sagemaker_sdk import JobPlan, run_training
from local.session import Outputs, Session, StageNotDeployed
from slidr.errors import ReleaseConflict, ReleaseInvalid

pytestmark = pytest.mark.aws
REGION = "us-east-1"
OUTPUTS = Outputs(
    click_stream="clicks", purchase_stream="purchases", verdict_stream="verdicts", lake_bucket="the-lake",
    lake_key="the-key", release_bucket="the-releases", quarantine_bucket="the-quarantine", control_table="control",
    profile_table="profiles", undecided_queue_url="queue", pseudonym_secret="secret",  # noqa: S106 - a name
    score_clicks_function="score-clicks", endpoint_name="slidr-dev", serving_role_arn="role", training_role_arn="role",
    container_image="image", release_machine_arn="machine", schedule_name="slidr-dev-daily",
    model_package_group="slidr-dev", roll_back_function="roll-back", alarm_prefix="slidr-dev-",
    dashboard_name="slidr-dev", replay_machine_arn="replays", hours_machine_arn="hours",
)  # fmt: skip


@pytest.fixture
def credentials(aws: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing"), ("COLUMNS", "200")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLIDR_STATE", str(tmp_path / "state"))


@pytest.fixture
def stage(aws: Any, credentials: None, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A deployed stage `dev`."""
    monkeypatch.setattr(Session, "outputs", OUTPUTS)
    session = Session(stage="dev", region=REGION)
    for stream, shards in ((OUTPUTS.click_stream, 1), (OUTPUTS.purchase_stream, 1), (OUTPUTS.verdict_stream, 2)):
        session.client("kinesis").create_stream(StreamName=stream, ShardCount=shards)
    for bucket in (OUTPUTS.release_bucket, OUTPUTS.quarantine_bucket):
        session.client("s3").create_bucket(Bucket=bucket)
    return session


def test_finds_a_stage_by_the_outputs_of_its_stacks(aws: Any, credentials: None) -> None:
    values = {name: f"the {name}" for name in Outputs.__slots__}
    named = {"".join(part.capitalize() for part in name.split("_")): value for name, value in values.items()}
    formation = aws.client("cloudformation")
    for part, keys in (
        ("data", list(named)[:11]),
        ("online", list(named)[11:-8]),
        ("training", list(named)[-8:-5]),
        ("operations", list(named)[-5:]),
    ):
        template = {
            "Resources": {"Any": {"Type": "AWS::SQS::Queue"}},
            "Outputs": {key: {"Value": named[key]} for key in keys},
        }
        formation.create_stack(StackName=f"slidr-dev-{part}", TemplateBody=json.dumps(template))
    assert Session(stage="dev", region=REGION).outputs == Outputs(**values)


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words, "--stage", "dev", "--region", REGION])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


def records_of(stage: Session, stream: str) -> list[bytes]:
    kinesis = stage.client("kinesis")
    read = []
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        read += [record["Data"] for record in kinesis.get_records(ShardIterator=iterator)["Records"]]
    return read


def any_click_line(index: int, *, minute: int) -> str:
    return json.dumps(
        {"click_id": f"c{index}", "at": f"2026-11-23T12:{minute:02}:00Z", "advertiser": "a", "marketplace": "de"}
    )


def test_sends_a_log_and_its_purchases_to_the_streams_of_the_stage(stage: Session, tmp_path: Path) -> None:
    lines = [any_click_line(1, minute=9), "not JSON", any_click_line(2, minute=3)]
    (tmp_path / "clicks.jsonl").write_text("\n".join(lines))
    order = json.dumps({"order_id": "o", "at": "2026-11-23T12:30:00Z", "user": "u"})
    (tmp_path / "orders.jsonl").write_text(order)
    code, text = run("send", str(tmp_path / "clicks.jsonl"), "--purchases", str(tmp_path / "orders.jsonl"))
    assert code == 0, text
    sent = [record.decode() for record in records_of(stage, stage.outputs.click_stream)]
    assert sent == [lines[2], lines[0], lines[1]]  # by event time; what has none stays behind its neighbour
    assert records_of(stage, stage.outputs.purchase_stream) == [order.encode()]


def test_sends_simulated_days_one_after_another(stage: Session) -> None:
    for _ in range(2):
        code, text = run("send", "--simulate", "1", "--clicks-per-day", "100", "--limit", "20")
        assert code == 0, text
    ids = [json.loads(record)["click_id"] for record in records_of(stage, stage.outputs.click_stream)]
    assert len(ids) == len(set(ids)) == 40
    assert {click_id.split("-")[1] for click_id in ids} == {"11", "12"}


def any_verdict(click_id: str, *, decided: int, decision: str = "VALID", **more: Any) -> bytes:
    at = "2026-11-23T12:00:00Z"
    verdict = {
        "click_id": click_id, "kind": "original", "at": at, "arrived_at": at,
        "decided_at": f"2026-11-23T12:00:{decided:02}Z", "decision": decision, "mode": "observe", "billable": True,
        "reasons": [], "score": 0.5, "threshold": 0.9, "slice": "device=mobile", "release_id": "r-1", "givt": False,
        "late": False, "marketplace": "de", "advertiser": "acme", "cost_micros": 1, "currency": "EUR",
        "features": [1.0],
    }  # fmt: skip
    return json.dumps(verdict | more).encode()


@pytest.fixture
def decided(stage: Session) -> Session:
    verdicts = [
        any_verdict("c1", decided=1),
        any_verdict("c1", decided=9, decision="INVALID"),  # a redelivery: ignored
        any_verdict("c2", decided=2, decision="INVALID", reasons=["robotic_behaviour"]),
        any_verdict("c3", decided=3),
        any_verdict("c3", decided=4, decision="INVALID", kind="correction"),
    ]
    records = [{"Data": verdict, "PartitionKey": str(index)} for index, verdict in enumerate(verdicts)]
    stage.client("kinesis").put_records(StreamName=stage.outputs.verdict_stream, Records=records)
    return stage


def test_summarises_one_verdict_a_click_over_all_shards(decided: Session) -> None:
    code, text = run("verdicts")
    assert code == 0
    assert "66.67% (2 of 3" in text
    assert "p50 2000 ms" in text
    assert "robotic_behaviour: 1" in text


def test_goes_on_where_the_last_resume_ended(decided: Session) -> None:
    assert "66.67% (2 of 3" in run("verdicts", "--resume")[1]
    new = [{"Data": any_verdict("c9", decided=1), "PartitionKey": "k"}]
    decided.client("kinesis").put_records(StreamName=decided.outputs.verdict_stream, Records=new)
    code, text = run("verdicts", "--resume", "--last", "0")
    assert code == 0
    assert "0.00% (0 of 1" in text


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_exports_one_row_a_click(decided: Session, tmp_path: Path, suffix: str) -> None:
    import polars as pl  # noqa: PLC0415

    path = tmp_path / f"verdicts{suffix}"
    code, text = run("verdicts", "--export", str(path))
    assert code == 0, text
    readers = {".jsonl": pl.read_ndjson, ".csv": pl.read_csv, ".parquet": pl.read_parquet}
    rows = readers[suffix](path)
    assert dict(rows.select("click_id", "decision").iter_rows()) == {"c1": "VALID", "c2": "INVALID", "c3": "INVALID"}


def test_says_so_when_the_stream_holds_something_else(stage: Session) -> None:
    stage.client("kinesis").put_record(StreamName=stage.outputs.verdict_stream, Data=b"{}", PartitionKey="k")
    code, _ = run("verdicts")
    assert code == 1


class FakeLambda:
    """Fails the first `failing` invocations from their first record on."""

    def __init__(self, failing: int = 0) -> None:
        self.failing = failing
        self.decided: list[bytes] = []

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        assert FunctionName == OUTPUTS.score_clicks_function
        records = json.loads(Payload)["Records"]
        if self.failing:
            self.failing -= 1
            failures = [{"itemIdentifier": records[0]["kinesis"]["sequenceNumber"]}]
        else:
            self.decided += [base64.b64decode(record["kinesis"]["data"]) for record in records]
            failures = []
        return {"Payload": io.BytesIO(json.dumps({"batchItemFailures": failures}).encode())}


@pytest.fixture
def failed(stage: Session) -> Session:
    """Two failed batches in the quarantine, of one and of two records."""
    for name, payloads in (("first", [b"a"]), ("second", [b"b", b"c"])):
        records = [
            {
                "eventID": f"s:{name}{i}",
                "kinesis": {"sequenceNumber": f"{name}{i}", "data": base64.b64encode(p).decode()},
            }
            for i, p in enumerate(payloads)
        ]
        document = {
            "requestContext": {"functionArn": "arn", "condition": "RetryAttemptsExhausted"},
            "timestamp": "2026-11-23T12:00:00.000Z",
            "KinesisBatchInfo": {"shardId": "shardId-0", "streamArn": "arn:aws:kinesis:r:1:stream/clicks"},
            "payload": json.dumps({"Records": records}),
        }
        stage.client("s3").put_object(
            Bucket=stage.outputs.quarantine_bucket, Key=f"aws/lambda/m/s/{name}", Body=json.dumps(document).encode()
        )
    return stage


def lambda_is(fake: FakeLambda, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Session.client
    monkeypatch.setattr(
        local.commands.redrive.Session,
        "client",
        lambda session, service: fake if service == "lambda" else original(session, service),
    )


def left(stage: Session) -> list[str]:
    found = stage.client("s3").list_objects_v2(Bucket=stage.outputs.quarantine_bucket, Prefix="aws/lambda/")
    return [item["Key"] for item in found.get("Contents", [])]


def test_decides_failed_batches_again_and_removes_them(failed: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeLambda()
    lambda_is(fake, monkeypatch)
    code, text = run("redrive")
    assert (code, fake.decided, left(failed)) == (0, [b"a", b"b", b"c"], [])
    assert "3 of 3 records" in text
    assert run("redrive")[0] == 0  # again: nothing left, nothing done
    assert fake.decided == [b"a", b"b", b"c"]


def test_changes_nothing_in_a_dry_run(failed: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeLambda()
    lambda_is(fake, monkeypatch)
    code, text = run("redrive", "--dry-run")
    assert (code, fake.decided, len(left(failed))) == (0, [], 2)
    assert "3 records in 2 batches" in text


def test_keeps_a_batch_that_fails_on(failed: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeLambda(failing=3)
    lambda_is(fake, monkeypatch)
    monkeypatch.setattr("local.failed_batches._WAIT_S", 0.0)
    code, text = run("redrive")
    assert code == 1
    assert left(failed) == ["aws/lambda/m/s/first"]
    assert "2 of 3 records have an outcome" in text


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "releases" / "r-1"
    folder.mkdir(parents=True)
    for name in ("release.json", "weights.safetensors", "evidence.json"):
        (folder / name).write_text(f"{name} of r-1")
    return folder


def test_publishes_a_release_once(stage: Session, bundle: Path) -> None:
    s3, bucket = stage.client("s3"), stage.outputs.release_bucket
    assert not publish_release(s3, bucket, bundle)
    (bundle / "evidence.json").write_text("of another training that made the same release")
    assert publish_release(s3, bucket, bundle)
    stored = s3.get_object(Bucket=bucket, Key="releases/r-1/evidence.json")["Body"].read()
    assert stored == b"evidence.json of r-1"
    assert published_releases(s3, bucket) == ["r-1"]


def test_never_changes_a_published_release(stage: Session, bundle: Path) -> None:
    s3, bucket = stage.client("s3"), stage.outputs.release_bucket
    publish_release(s3, bucket, bundle)
    (bundle / "weights.safetensors").write_text("other weights")
    with pytest.raises(ReleaseConflict, match=r"weights.safetensors in .* has other content"):
        publish_release(s3, bucket, bundle)
    assert s3.get_object(Bucket=bucket, Key="releases/r-1/weights.safetensors")["Body"].read() == (
        b"weights.safetensors of r-1"
    )


def test_finishes_a_publication_that_was_cut_off(stage: Session, bundle: Path, tmp_path: Path) -> None:
    s3, bucket = stage.client("s3"), stage.outputs.release_bucket
    body = (bundle / "weights.safetensors").read_bytes()
    s3.put_object(Bucket=bucket, Key="releases/r-1/weights.safetensors", Body=body)
    assert published_releases(s3, bucket) == []
    assert not publish_release(s3, bucket, bundle)
    folder = fetch_release(s3, bucket, "r-1", tmp_path / "model")
    assert (folder / "release.json").read_text() == "release.json of r-1"


def test_names_what_is_published_when_a_release_is_not(stage: Session, bundle: Path, tmp_path: Path) -> None:
    s3, bucket = stage.client("s3"), stage.outputs.release_bucket
    publish_release(s3, bucket, bundle)
    with pytest.raises(ReleaseInvalid, match="Published: r-1"):
        fetch_release(s3, bucket, "r-2", tmp_path / "model")


def test_says_how_to_deploy_a_stage_that_is_not(aws: Any, credentials: None) -> None:
    with pytest.raises(StageNotDeployed, match="cdk deploy --all -c stage=nowhere"):
        _ = Session(stage="nowhere", region=REGION).outputs


def test_a_training_job_runs_as_the_training_role_isolated_and_writes_under_our_key(stage: Session) -> None:
    role = "arn:aws:iam::123456789012:role/training"
    key = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    plan = JobPlan(
        name="slidr-1",
        image="123456789012.dkr.ecr.us-east-1.amazonaws.com/slidr:1",
        role_arn=role,
        dataset_uri="s3://the-lake/training/slidr-1/dataset/",
        output_uri="s3://the-lake/training/slidr-1/output/",
        instance_type="ml.c7i.2xlarge",
        hyperparameters={"seed": "7"},
        kms_key=key,
    )
    run_training(stage, plan)
    job = stage.client("sagemaker").describe_training_job(TrainingJobName="slidr-1")
    assert (job["RoleArn"], job["EnableNetworkIsolation"], job["OutputDataConfig"]["KmsKeyId"]) == (role, True, key)


def test_shows_the_last_lines_of_a_parts_log_groups_and_of_training_jobs(stage: Session) -> None:
    logs, now_ms = stage.client("logs"), int(time.time() * 1000)
    for group in (
        "slidr-dev-online-ScoreClicksLogs1A2B",
        "/aws/sagemaker/TrainingJobs",
        "slidr-prod-online-ScoreClicks",
    ):
        logs.create_log_group(logGroupName=group)
        logs.create_log_stream(logGroupName=group, logStreamName="one")
        events = [{"timestamp": now_ms - 60_000 + n, "message": f"{group} says {n}"} for n in range(150)]
        logs.put_log_events(logGroupName=group, logStreamName="one", logEvents=events)
    _, text = run("logs", "score-clicks", "--last", "2")
    assert text.splitlines() == [f"slidr-dev-online-ScoreClicksLogs1A2B says {n}" for n in (148, 149)]
    _, text = run("logs", "training", "--last", "1")
    assert text.splitlines() == ["/aws/sagemaker/TrainingJobs says 149"]
    _, text = run("logs")
    assert "slidr-prod" not in text


def any_endpoint(stage: Session) -> None:
    """What the online stack deploys: a model without data behind the stage's endpoint."""
    sagemaker, name = stage.client("sagemaker"), stage.outputs.endpoint_name
    variant = {"VariantName": "AllTraffic", "ModelName": "first", "InitialInstanceCount": 1}
    sagemaker.create_model(
        ModelName="first",
        PrimaryContainer={"Image": "image:1"},
        ExecutionRoleArn="arn:aws:iam::123456789012:role/serving",
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName="first", ProductionVariants=[variant | {"InstanceType": "ml.m5.large"}]
    )
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName="first")


def test_says_of_a_deployed_stage_whether_it_is_well(stage: Session) -> None:
    any_endpoint(stage)
    template = json.dumps({"Resources": {"Any": {"Type": "AWS::SQS::Queue"}}})
    code, text = run("status")
    assert (code, "slidr-dev-data does not exist" in text) == (1, True)
    for part in ("data", "online", "training", "operations"):
        stage.client("cloudformation").create_stack(StackName=f"slidr-dev-{part}", TemplateBody=template)
    code, text = run("status")
    assert code == 0, text
    assert [line.split() for line in text.splitlines() if "well" in line] == [
        ["stack", "slidr-dev-data", "well", "CREATE_COMPLETE"],
        ["stack", "slidr-dev-online", "well", "CREATE_COMPLETE"],
        ["stack", "slidr-dev-training", "well", "CREATE_COMPLETE"],
        ["stack", "slidr-dev-operations", "well", "CREATE_COMPLETE"],
        ["endpoint", "slidr-dev", "well", "InService"],
    ]
