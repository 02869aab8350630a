"""`slidr backfill` with S3 and Secrets Manager alone: what it writes, and what it does when it runs again."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from functions.adapters.reject_store import Reject, read_rejects
from functions.prepare_archive.transform import preparation
from infra.glue_columns import glue_columns
from local.backfilling import log_source, read_sources, write_lake
from local.cli import app
from local.cloud.parquet import Column, read_document, schema_of, to_parquet
from local.session import Session
from local.sources.event import Kind
from slidr.archive import ArchivedClick, ArchivedPurchase
from slidr.givt import packaged_crawlers
from slidr.pseudonym import Pseudonymiser
from slidr.verdict import Verdict
from tests.aws.test_command_line import OUTPUTS, REGION

pytestmark = pytest.mark.aws
KEY = Pseudonymiser(bytes(range(40)), version=3)
NOON = dt.datetime(2025, 11, 20, 12, tzinfo=dt.UTC)
RICH = {
    "click_id": "rich", "at": "2025-11-20T13:30:00.123456+02:00", "user": "ada-lovelace", "session": "ada-session",
    "ip": "2001:DB8:1:2::3", "user_agent": "Ada's Browser", "device": "mobile", "logged_in": True, "advertiser": "acme",
    "campaign": "autumn", "ad": "ad-9", "placement": "top", "marketplace": "de", "time_zone": "Europe/Berlin",
    "cost_micros": 450_000, "currency": "EUR", "query": "shoes of ada",
}  # fmt: skip
BUYER = {"order_id": "o-1", "at": "2025-11-20T12:05:00Z", "user": "ada-lovelace", "advertiser": "acme", "item": "ad-9",
         "amount_micros": 89_000_000, "currency": "EUR"}  # fmt: skip


def click(number: int, **changes: Any) -> dict[str, Any]:
    at = NOON + dt.timedelta(minutes=7 * number)
    base = {"click_id": f"c-{number}", "at": at.isoformat(), "advertiser": "acme", "marketplace": "de"}
    return base | {"user": f"ada-{number % 3}", "ip": f"192.0.2.{number % 5}", "user_agent": "Ada's Browser"} | changes


WRONG = {
    "not_json": b'{"click_id": "x", "ada"',
    "bad_ip": json.dumps(click(900, ip="ada")).encode(),
    "missing_field": b'{"click_id": "y", "at": "2025-11-20T12:00:00Z", "user": "ada"}',
    "ahead_of_arrival": json.dumps(click(901, at="2999-01-01T00:00:00Z")).encode(),
}
CLICKS = [click(number) for number in range(40)]


@pytest.fixture
def stage(aws: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Session:
    for name, value in (("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing"), ("COLUMNS", "200")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLIDR_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(Session, "outputs", OUTPUTS)
    session = Session(stage="dev", region=REGION)
    for bucket in (OUTPUTS.lake_bucket, OUTPUTS.quarantine_bucket):
        session.client("s3").create_bucket(Bucket=bucket)
    secret = {"version": 3, "key_base64": base64.b64encode(bytes(range(40))).decode()}
    session.client("secretsmanager").create_secret(Name=OUTPUTS.pseudonym_secret, SecretString=json.dumps(secret))
    return session


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Forty clicks in disorder, four records that break the contract, two that come again."""
    lines = [
        json.dumps(each).encode() for each in [*CLICKS[20:], *CLICKS[:20], CLICKS[3], {**CLICKS[4], "at": _later()}]
    ]
    path = tmp_path / "clicks.jsonl"
    path.write_bytes(b"\n".join([*lines[:10], *WRONG.values(), *lines[10:]]))
    return path


def _later() -> str:
    return (NOON + dt.timedelta(days=2)).isoformat()


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    path = tmp_path / "orders.jsonl"
    path.write_text(
        "\n".join(json.dumps(each) for each in (BUYER, BUYER, {**BUYER, "order_id": "o-2"})) + '\n{"no": 1}'
    )
    return path


def backfill(*words: str | Path, answer: str | None = None, yes: bool = True) -> tuple[int, str]:
    options = ["--stage", "dev", "--region", REGION, *(["--yes"] if yes else [])]
    result = CliRunner().invoke(app, ["backfill", *map(str, words), *options], input=answer)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def objects(stage: Session, bucket: str = OUTPUTS.lake_bucket) -> dict[str, bytes]:
    s3 = stage.client("s3")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def rows(stage: Session, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for key, body in objects(stage).items():
        if key.startswith(f"{table}/"):
            rows = pq.read_table(io.BytesIO(body)).to_pylist()
            assert {f"date={row['at']:%Y-%m-%d}/hour={row['at']:%H}" for row in rows} == {"/".join(key.split("/")[1:3])}
            found += rows
    return found


def delivered(record: type[msgspec.Struct], kind: Any, *payloads: dict[str, Any]) -> bytes:
    """What the deliveries write of records that arrived when they happened."""
    columns = [Column(name, hive) for name, hive in glue_columns(record)]
    prepare = preparation(kind, pseudonymiser=lambda: KEY, crawlers=packaged_crawlers)
    documents = []
    for payload in payloads:
        arrived_ms = int(dt.datetime.fromisoformat(payload["at"]).timestamp() * 1000)
        documents.append(read_document(prepare(json.dumps(payload).encode(), arrived_ms)[1], columns))
    return to_parquet(documents, schema_of(columns))


def test_archives_clicks_and_purchases_exactly_as_the_deliveries_do(stage: Session, tmp_path: Path) -> None:
    least = {"click_id": "a-least", "at": "2025-11-20T11:00:00Z", "advertiser": "acme", "marketplace": "de"}
    crawler = least | {
        "click_id": "b-crawler",
        "at": "2025-11-20T11:10:00Z",
        "user_agent": "Googlebot/2.1",
        "ip": "192.0.2.7",
    }
    clicks = [least, crawler, RICH]
    (tmp_path / "clicks.jsonl").write_text("\n".join(map(json.dumps, clicks)))
    (tmp_path / "orders.jsonl").write_text(json.dumps(BUYER))

    code, output = backfill(tmp_path / "clicks.jsonl", "--purchases", tmp_path / "orders.jsonl")

    assert code == 0, output
    for table, record, kind, payloads in (
        ("clicks", ArchivedClick, "click", clicks),
        ("purchases", ArchivedPurchase, "purchase", [BUYER]),
    ):
        (written,) = (body for key, body in objects(stage).items() if key.startswith(f"{table}/"))
        ours, theirs = (
            pq.ParquetFile(io.BytesIO(written)),
            pq.ParquetFile(io.BytesIO(delivered(record, kind, *payloads))),
        )
        assert ours.read().to_pylist() == theirs.read().to_pylist()
        assert ours.schema.equals(theirs.schema)
        assert ours.schema_arrow.equals(theirs.schema_arrow, check_metadata=True)


def test_the_feature_log_has_the_columns_of_delivered_verdicts(stage: Session, log: Path) -> None:
    backfill(log)
    verdict = rows(stage, "verdicts")[0]
    again = {**verdict, "shadow_scores": {}, "at": _utc(verdict["at"]), "arrived_at": _utc(verdict["arrived_at"]),
             "decided_at": _utc(verdict["decided_at"])}  # fmt: skip
    payload = json.loads(msgspec.json.encode(msgspec.convert(again, Verdict)))
    theirs = pq.ParquetFile(io.BytesIO(delivered(Verdict, "verdict", payload)))
    key = next(key for key in objects(stage) if key.startswith("verdicts/"))
    ours = pq.ParquetFile(io.BytesIO(objects(stage)[key]))
    assert theirs.read().to_pylist() == [verdict]
    assert ours.schema.equals(theirs.schema)
    assert ours.schema_arrow.equals(theirs.schema_arrow, check_metadata=True)


def _utc(at: dt.datetime) -> dt.datetime:
    return at.replace(tzinfo=dt.UTC)


def test_takes_each_click_and_order_once_by_its_earliest_time(stage: Session, log: Path, orders: Path) -> None:
    code, output = backfill(log, "--purchases", orders)

    assert code == 0, output
    expected = {each["click_id"]: dt.datetime.fromisoformat(each["at"]).replace(tzinfo=None) for each in CLICKS}
    for table in ("clicks", "verdicts"):
        assert sorted((row["click_id"], row["at"]) for row in rows(stage, table)) == sorted(expected.items())
    assert sorted(row["order_id"] for row in rows(stage, "purchases")) == ["o-1", "o-2"]
    assert "came twice 3 records" in " ".join(output.split())


def test_rejects_what_breaks_the_contract_with_its_reason_and_only_once(
    stage: Session, log: Path, orders: Path
) -> None:
    for _ in range(2):
        code, output = backfill(log, "--purchases", orders)
        assert code == 0, output
        assert "rejected 5 records" in " ".join(output.split())
        assert [reason for reason in WRONG if reason not in output] == []

        rejects = [each for body in objects(stage, OUTPUTS.quarantine_bucket).values() for each in read_rejects(body)]

        assert sorted(each.reason for each in rejects) == sorted([*WRONG, "missing_field"])
        by_payload: dict[bytes, Reject] = {each.payload_base64: each for each in rejects}
        for reason, payload in WRONG.items():
            assert by_payload[payload].reason == reason
            assert by_payload[payload].stream.startswith("backfill-")
        assert [int(by_payload[payload].sequence) for payload in WRONG.values()] == [
            11,
            12,
            13,
            14,
        ]  # lines of the file


def test_a_finished_run_again_writes_nothing(stage: Session, log: Path, orders: Path) -> None:
    backfill(log, "--purchases", orders)
    before = written_at(stage)

    code, output = backfill(log, "--purchases", orders)

    assert code == 0, output
    assert written_at(stage) == before
    assert "0 objects written, 5 there already" in output


def test_purchases_that_come_later_do_not_write_the_clicks_again(stage: Session, log: Path, orders: Path) -> None:
    backfill(log)
    before = written_at(stage)

    backfill(log, "--purchases", orders)

    after = written_at(stage)
    assert {key: after[key] for key in before} == before
    assert {key.split("/")[0] for key in after.keys() - before.keys()} == {"purchases"}


def written_at(stage: Session) -> dict[str, Any]:
    contents = stage.client("s3").list_objects_v2(Bucket=OUTPUTS.lake_bucket).get("Contents", [])
    return {item["Key"]: item["LastModified"] for item in contents}


@pytest.mark.parametrize("survived", [0, 3, 8])
def test_an_interrupted_run_goes_on_with_what_is_missing(
    stage: Session, log: Path, orders: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    s3, left = stage.client("s3"), [survived]
    put = s3.put_object

    def failing(**request: Any) -> Any:
        if request["Bucket"] == OUTPUTS.lake_bucket:
            if not left[0]:
                raise ClientError({"Error": {"Code": "SlowDown", "Message": "later"}}, "PutObject")
            left[0] -= 1
        return put(**request)

    monkeypatch.setattr(s3, "put_object", failing)
    monkeypatch.setattr(Session, "client", lambda _, service: s3 if service == "s3" else _client(stage, service))
    code, _ = backfill(log, "--purchases", orders)
    assert code == 1
    interrupted = written_at(stage)
    assert len(interrupted) == survived
    monkeypatch.setattr(s3, "put_object", put)

    code, output = backfill(log, "--purchases", orders)

    assert code == 0, output
    assert {key: at for key, at in written_at(stage).items() if key in interrupted} == interrupted
    resumed = objects(stage)
    for key in resumed:
        s3.delete_object(Bucket=OUTPUTS.lake_bucket, Key=key)
    backfill(log, "--purchases", orders)
    assert objects(stage) == resumed


def _client(stage: Session, service: str) -> Any:
    return stage._boto.client(service)


def test_a_dry_run_counts_and_writes_nothing(stage: Session, log: Path, orders: Path) -> None:
    code, output = backfill(log, "--purchases", orders, "--dry-run", yes=False)

    assert code == 0, output
    assert objects(stage) == objects(stage, OUTPUTS.quarantine_bucket) == {}
    text = " ".join(output.split())
    assert "clicks 40 purchases 2" in text
    assert "rejected 5 records, counted only" in text
    assert "5 objects to write, 0 there already" in text


def test_asks_before_it_writes_to_a_stage_on_aws(stage: Session, log: Path) -> None:
    code, output = backfill(log, answer="n\n", yes=False)
    assert (code, objects(stage)) == (1, {})
    assert f"s3://{OUTPUTS.lake_bucket}" in output
    assert backfill(log, answer="y\n", yes=False)[0] == 0
    assert objects(stage)


def test_takes_purchases_without_clicks(stage: Session, orders: Path) -> None:
    code, output = backfill("--purchases", orders)
    assert code == 0, output
    assert {key.split("/")[0] for key in objects(stage)} == {"purchases"}


def test_a_mapping_is_a_part_of_the_source(stage: Session, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("when;who;what\n2025-11-20T12:00:00Z;ada;acme\n")
    mapping = '[fields]\nat = { column = "when" }\nuser = { column = "who" }\nmarketplace = { constant = "MARKET" }\n'
    mapping = f'kind = "click"\ndelimiter = ";"\n{mapping}advertiser = {{ column = "what" }}\n'
    for market in ("de", "us", "de"):
        (tmp_path / "shop.map.toml").write_text(mapping.replace("MARKET", market))
        code, output = backfill(tmp_path / "shop.csv", "--map", tmp_path / "shop.map.toml")
        assert code == 0, output
    (tmp_path / "shop.csv.map.toml").write_text(mapping.replace("MARKET", "jp"))
    backfill(tmp_path / "shop.csv")

    assert sorted(row["marketplace"] for row in rows(stage, "clicks")) == ["de", "jp", "us"]


def test_says_that_a_log_is_empty(stage: Session, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    code, output = backfill(tmp_path / "empty.jsonl")
    assert (code, "came an empty file" in " ".join(output.split())) == (1, True)


def test_a_log_of_nothing_valid_is_rejected_whole(stage: Session, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_bytes(b"\n".join([WRONG["bad_ip"], WRONG["missing_field"]]))
    code, output = backfill(tmp_path / "bad.jsonl")
    assert (code, objects(stage)) == (0, {})
    assert "train --from-lake" not in output


@pytest.mark.parametrize("words", [(), ("log.jsonl", "--simulate", "1"), ("--purchases", "o", "--simulate", "1")])
def test_takes_a_log_or_a_simulation(stage: Session, words: tuple[str, ...]) -> None:
    code, output = backfill(*words)
    assert (code, "or --simulate DAYS" in " ".join(output.split())) == (2, True)


def test_simulated_days_are_the_same_whether_they_come_as_tables_or_as_records(stage: Session, tmp_path: Path) -> None:
    from local.sources.simulated import FIRST_DAY, simulated_chunks  # noqa: PLC0415
    from training.simulator import Traffic  # noqa: PLC0415

    code, output = backfill("--simulate", "1", "--clicks-per-day", "150")
    assert code == 0, output
    tables = {table: rows(stage, table) for table in ("clicks", "purchases", "verdicts")}
    for key in objects(stage):
        stage.client("s3").delete_object(Bucket=OUTPUTS.lake_bucket, Key=key)
    traffic = Traffic(seed=7, start=FIRST_DAY, clicks_per_day=150)
    events = [event for chunk in simulated_chunks(traffic.days(1)) for event in chunk]
    for kind in Kind:
        (tmp_path / kind).write_bytes(b"\n".join(event.payload for event in events if event.kind is kind))

    backfill(tmp_path / Kind.CLICK, "--purchases", tmp_path / Kind.PURCHASE)

    assert len(tables["clicks"]) > 100
    assert {table: rows(stage, table) for table in tables} == tables


def test_nobody_is_named_on_disk_or_in_the_lake(stage: Session, log: Path, tmp_path: Path) -> None:
    source = log_source(log, kind=Kind.CLICK, now_ms=int(NOON.timestamp() * 1000) + 10**9)
    folder = tmp_path / "staged"

    staged = read_sources(stage, [source], folder, on_read=lambda _records: None)

    files = list(folder.rglob("*.parquet"))
    assert files
    on_disk = b"".join(path.read_bytes() + str(pl.read_parquet(path).rows()).encode() for path in files)
    write_lake(stage, staged)
    in_lake = b"".join(
        body + str(pq.read_table(io.BytesIO(body)).to_pylist()).encode() for body in objects(stage).values()
    )
    for written in (on_disk, in_lake):
        assert b"acme" in written
        assert b"192.0.2.0/24" in written
        assert not [name for name in (b"ada", b"Ada", b"192.0.2.1'", b'192.0.2.1"') if name in written]


def test_parts_of_a_large_log_make_the_objects_of_the_whole(stage: Session, log: Path, tmp_path: Path) -> None:
    backfill(log)
    whole = objects(stage)
    for key in whole:
        stage.client("s3").delete_object(Bucket=OUTPUTS.lake_bucket, Key=key)
    source = log_source(log, kind=Kind.CLICK, now_ms=int(NOON.timestamp() * 1000) + 10**9)
    staged = read_sources(stage, [source], tmp_path / "staged", on_read=lambda _records: None)

    write_lake(stage, staged, part_rows=5)

    assert objects(stage) == whole
