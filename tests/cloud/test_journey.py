"""The main job on the deployed stacks: clicks in, verdicts out, every one accounted for, nobody named.

One cloud, with a release that was trained and deployed on it, serves all of these tests; each sends clicks of its own,
and what a test breaks it mends.
"""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from pyarrow.parquet import read_table

from functions.adapters.alarms import AlarmReader
from functions.adapters.reject_store import PREFIX as REJECTS
from functions.adapters.reject_store import Reject, read_rejects
from functions.adapters.serving_state import AuditLog, Change, PointerStore
from local.accounting import sent_record
from local.cloud.deployment import REPOSITORY
from local.commands.cloud import bring_up
from local.commands.send import writer_of
from local.console import Steps
from local.decided_clicks import DecidedClicks
from local.demonstration import logged_live, run_live
from local.failed_batches import PREFIX as FAILED
from local.failed_batches import failed_batches
from local.lake_partitions import is_backfilled
from local.reproduction import logged_verdicts, reproduced
from local.session import STATE_VARIABLE, Session
from local.sources.event import Event, Kind
from local.training_run import LOCAL_INSTANCE, lake_dataset
from slidr.ledger import Ledger
from slidr.pointer import promoted, unfrozen
from slidr.telemetry import SCORING, Role, alarms_of, namespace
from slidr.verdict import Decision, Reason, Verdict

from .conftest import belonging_to, eventually
from .journey import Journey, addresses_of, begin, malformed, named_in, readable, simulated, slidr, spread

LIVE_DAY, UNDECIDED_DAY, FAILED_DAY, REPLAYED_DAY, PAST_DAY = 5, 7, 9, 13, 40
PAST_CLICKS = 300
REDELIVERED = 100
REAL_LOG = REPOSITORY.parent / "shared" / "data" / "talkingdata_dev_7-8nov_cst.csv.gz"
REAL_CLICKS = 3_000


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    """The cloud of all journeys. It is stopped by the command, and then no process of it may be left."""
    if not (REPOSITORY / "node_modules" / ".bin" / "cdk").exists():
        pytest.skip("node_modules/.bin/cdk is required to deploy the stacks: run npm ci")
    state = tmp_path_factory.mktemp("journey") / ".slidr"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(STATE_VARIABLE, str(state))
        try:
            bring_up(Steps())
            yield begin(state, Session())
        finally:
            down = slidr("down")
    assert down[0] == 0, down[1]
    assert belonging_to(state) == []


@pytest.fixture(scope="module")
def live(journey: Journey) -> list[Event]:
    """A simulated day that was sent and decided: its purchases, malformed records among it, some clicks twice."""
    day = simulated(LIVE_DAY)
    events = spread(list(malformed()), day) + clicks_of(day)[:REDELIVERED]
    accounting = journey.decide(events)
    assert accounting.holds, str(accounting)
    return events


def clicks_of(events: list[Event]) -> list[Event]:
    return [event for event in events if event.kind is Kind.CLICK]


def well_formed(events: list[Event]) -> list[Event]:
    wrong = malformed()
    return [click for click in clicks_of(events) if click not in wrong]


def assert_decided(journey: Journey, click: Event) -> None:
    assert journey.decide([click]).holds
    assert {verdict.decision for verdict in journey.verdicts([click])} <= {Decision.VALID, Decision.INVALID}


def in_force(verdicts: list[Verdict]) -> list[Verdict]:
    return list(Ledger(verdicts))


def test_every_record_that_was_sent_has_one_verdict_or_one_reject(journey: Journey, live: list[Event]) -> None:
    sent = clicks_of(live)

    verdicts, rejects = journey.verdicts(sent), journey.rejects(sent)

    decided = [verdict.click_id for verdict in in_force(verdicts)]
    assert sorted(decided) == sorted({click.key for click in well_formed(live)})
    assert sorted(reject.payload_base64 for reject in rejects) == sorted(click.payload for click in malformed())
    assert len(sent) == len(decided) + len(rejects) + REDELIVERED
    assert len(verdicts) >= len(decided) + REDELIVERED  # what came twice was decided twice, and counts once


def test_every_reject_names_its_reason_and_the_record_it_was(journey: Journey, live: list[Event]) -> None:
    on_the_stream = journey.click_records()
    reasons = {event.payload: reason for event, reason in malformed().items()}

    rejects = journey.rejects(live)

    assert len(rejects) == len(reasons) == 30
    for reject in rejects:
        assert reject.reason == reasons[reject.payload_base64]
        assert reject.stream == journey.session.outputs.click_stream
        assert on_the_stream[reject.shard, reject.sequence] == reject.payload_base64


def test_every_click_is_decided_by_the_release_that_was_deployed(journey: Journey, live: list[Event]) -> None:
    verdicts = in_force(journey.verdicts(live))
    thresholds = journey.release.thresholds

    assert {verdict.decision for verdict in verdicts} == {Decision.VALID, Decision.INVALID}
    for verdict in verdicts:
        if verdict.givt:
            assert (verdict.decision, verdict.reasons[0]) == (Decision.INVALID, Reason.KNOWN_CRAWLER)
            continue
        assert verdict.release_id == journey.release_id
        threshold = float(thresholds.of([verdict.slice])[0])
        assert verdict.threshold == threshold
        assert verdict.score is not None
        assert (verdict.decision is Decision.INVALID) == (verdict.score >= threshold)


def test_clicks_purchases_and_verdicts_reach_the_lake_by_the_hour_of_their_event(
    journey: Journey, live: list[Event]
) -> None:
    clicks = {click.key: json.loads(click.payload) for click in well_formed(live)}
    purchases = {event.key for event in live if event.kind is Kind.PURCHASE}

    lake = {kind: journey.lake(f"{kind}/") for kind in ("clicks", "purchases", "verdicts")}

    archived = {row["click_id"]: row for row in lake["clicks"]}
    assert clicks.keys() <= archived.keys()
    assert clicks.keys() <= {row["click_id"] for row in lake["verdicts"]}
    assert purchases
    assert purchases <= {row["order_id"] for row in lake["purchases"]}
    for rows in lake.values():
        assert all(f"{row['date']} {row['hour']}" == f"{row['at']:%Y-%m-%d %H}" for row in rows)
    for click_id, click in clicks.items():
        assert archived[click_id]["advertiser"] == click["advertiser"]
        assert (archived[click_id]["user_token"] is None) == ("user" not in click)
    buyers = {row["user_token"] for row in lake["purchases"]} - {None}
    assert buyers & {row["user_token"] for row in lake["clicks"]}  # the pseudonyms of both join


def test_nobody_is_named_in_the_lake_the_verdicts_or_the_logs(journey: Journey, live: list[Event]) -> None:
    journey.session.flush_deliveries()
    lake = dict(journey.objects(journey.session.outputs.lake_bucket))
    logs = {path.name: path.read_bytes() for path in (journey.state / "logs").glob("lambda-*.log")}
    verdicts = {f"verdict {number}": record for number, record in enumerate(journey.verdict_records())}
    prefixes = {key.split("/")[0] for key in lake}
    assert {"clicks", "purchases", "verdicts", "training"} <= prefixes <= {
        "clicks", "purchases", "verdicts", "training", "replays",
    }  # fmt: skip
    assert any(b"batch decided" in log for log in logs.values())
    assert verdicts
    addresses = addresses_of(well_formed(live))
    sent = " ".join(click.payload.decode("utf-8", "replace") for click in live)
    assert len(named_in(sent, addresses)) > len(addresses)  # it can find

    written = {**lake, **logs, "all verdicts": b"\n".join(verdicts.values())}
    named = {where: found for where, body in written.items() if (found := named_in(where + readable(body), addresses))}

    assert named == {}


def test_logged_features_give_every_verdict_again_bit_by_bit(journey: Journey, live: list[Event]) -> None:
    journey.session.flush_deliveries()
    sent = {click.key for click in well_formed(live)}
    logged = [verdict for verdict in logged_verdicts(journey.session) if verdict.click_id in sent]

    again = reproduced(journey.session, logged)

    assert again.holds
    assert again.scored == len(logged) == len(sent)
    code, output = slidr("reproduce")
    assert code == 0, output


def test_clicks_are_undecided_billed_and_queued_until_the_endpoint_is_back_by_itself(journey: Journey) -> None:
    day = simulated(UNDECIDED_DAY, clicks=200)
    clicks, later = day[:100], iter(day[100:])
    for server in belonging_to(journey.state, running="entrypoint serve"):
        server.kill()

    with DecidedClicks(journey.session, since=dt.datetime.now(dt.UTC)) as decided:
        journey.send(clicks)  # at once: some seconds later they would be decided
        assert slidr("status")[0] == 1
        accounting = decided.wait_for([sent_record(click) for click in clicks], stall_s=30)

    assert accounting.holds, str(accounting)
    verdicts = [verdict for verdict in in_force(journey.verdicts(clicks)) if not verdict.givt]
    assert verdicts
    for verdict in verdicts:
        assert (verdict.decision, verdict.reasons) == (Decision.UNDECIDED, (Reason.SCORING_UNAVAILABLE,))
        assert verdict.billable
        assert (verdict.score, verdict.release_id) == (None, None)
    queued, messages = journey.undecided_clicks()
    assert {click.click_id for click in queued} == {verdict.click_id for verdict in verdicts}
    assert named_in(messages, addresses_of(clicks)) == []
    eventually(lambda: slidr("status")[0] == 0, within_s=60)
    # The circuit may still be open for some seconds: each click is decided or not, and soon they are.
    eventually(lambda: scored(journey, next(later)), within_s=30)


def test_undecided_clicks_are_decided_by_the_replay_machine_once(journey: Journey) -> None:
    clicks = simulated(REPLAYED_DAY, clicks=60)
    journey.undecided_clicks()  # of other tests
    for server in belonging_to(journey.state, running="entrypoint serve"):
        server.kill()
    assert journey.decide(clicks).holds
    waiting = {verdict.click_id for verdict in journey.verdicts(clicks) if verdict.decision is Decision.UNDECIDED}
    assert waiting
    eventually(lambda: slidr("status")[0] == 0, within_s=60)
    journey.session.flush_deliveries()

    first, again = replayed(journey), replayed(journey)

    assert (first["found"]["changed"], first["finished"]["corrections"]) == (len(waiting), len(waiting))
    assert again["plan"]["days"] == 0  # the notes are answered, the queue is empty
    net = Ledger[Verdict](journey.verdicts(clicks))
    assert {verdict.decision for verdict in net} <= {Decision.VALID, Decision.INVALID}
    corrections = [verdict for verdict in journey.verdicts(clicks) if verdict.kind == "correction"]
    assert {verdict.click_id for verdict in corrections} == waiting
    assert {verdict.release_id for verdict in corrections} == {journey.release_id}


def test_a_replay_with_the_release_that_decided_differs_in_nothing(journey: Journey, live: list[Event]) -> None:
    times = sorted(verdict.at for verdict in journey.verdicts(live))
    first, last = times[0].replace(minute=0, second=0, microsecond=0), times[-1]
    interval = ("--from", first.isoformat(), "--to", f"{last + dt.timedelta(hours=1):%Y-%m-%dT%H:00}+00:00")
    code, text = slidr("replay", *interval, "--decided-by", journey.release_id)
    assert (code, "Nothing differs" in text) == (0, True), text
    code, text = slidr("billing", *interval, "--by", "hour")
    assert code == 0
    assert "final until" in text


def test_a_verdict_is_explained_by_the_score_given_again(journey: Journey, live: list[Event]) -> None:
    scored_one = next(verdict for verdict in journey.verdicts(live) if verdict.score is not None)
    code, text = slidr("explain", scored_one.click_id, "--at", scored_one.at.isoformat())
    assert (code, "the same, to the bit" in text) == (0, True), text


def test_an_alarm_puts_stable_back_in_force_within_seconds(journey: Journey) -> None:
    session = journey.session
    store = PointerStore(session.client("dynamodb"), session.outputs.control_table)
    an_hour_ago = Change(who="ada", why="test", at=dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
    store.apply(lambda pointer: promoted(pointer, "r-bad"), an_hour_ago)

    parts = AlarmReader(session.client("cloudwatch")).all(f"{session.outputs.alarm_prefix}{alarms_of(Role.CHAMPION)}")
    assert {part.window for part in parts} == {dt.timedelta(minutes=3), dt.timedelta(minutes=45)}

    tell_of_a_bad_champion(journey)

    eventually(lambda: store.read().champion == journey.release_id, within_s=20)
    assert store.read().frozen
    last = [entry for entry in AuditLog(session.client("dynamodb"), session.outputs.control_table).entries()
            if entry.changed == "pointer"][-1]  # fmt: skip
    assert last.who == f"alarm {session.outputs.alarm_prefix}Rollback"
    _, text = slidr("status")
    assert "Rollback" in text
    assert "frozen" in text
    store.apply(unfrozen, Change(who="ada", why="test", at=dt.datetime.now(dt.UTC)))


def tell_of_a_bad_champion(journey: Journey) -> None:
    """Metrics of two minutes in which a champion invalidates everything."""
    dimensions = [{"Name": "service", "Value": SCORING}, {"Name": "role", "Value": Role.CHAMPION.value}]
    sums = {"Clicks": 900.0, "Invalid": 900.0, "ExpectedInvalid": 90.0, "ExpectedVariance": 80.0}
    now = dt.datetime.now(dt.UTC)
    journey.session.client("cloudwatch").put_metric_data(
        Namespace=namespace("local"),
        MetricData=[
            {"MetricName": name, "Value": value, "Dimensions": dimensions, "Timestamp": now - dt.timedelta(seconds=ago)}
            for name, value in sums.items()
            for ago in (75, 15)
        ],
    )


def replayed(journey: Journey) -> dict[str, Any]:
    """Run the replay machine over what is undecided; its output."""
    machine = journey.session.client("stepfunctions")
    execution = machine.start_execution(
        stateMachineArn=journey.session.outputs.replay_machine_arn,
        input=json.dumps({"undecided": True, "apply": True}),
    )["executionArn"]
    eventually(lambda: machine.describe_execution(executionArn=execution)["status"] != "RUNNING", within_s=120)
    described = machine.describe_execution(executionArn=execution)
    assert described["status"] == "SUCCEEDED", (described, machine.get_execution_history(executionArn=execution))
    found: dict[str, Any] = json.loads(described["output"])
    return found


def scored(journey: Journey, click: Event) -> bool:
    assert journey.decide([click]).holds
    return any(verdict.score is not None for verdict in journey.verdicts([click]))


def test_what_cannot_be_stored_is_set_aside_and_decided_by_a_redrive(journey: Journey) -> None:
    *clicks, later = simulated(FAILED_DAY, clicks=3)
    s3, bucket = journey.session.client("s3"), journey.session.outputs.quarantine_bucket
    with journey.verdict_stream_out_of_reach():
        journey.send(clicks)
        eventually(lambda: len(records_set_aside(journey)) == len(clicks), within_s=40)
    assert sorted(records_set_aside(journey)) == sorted(click.key for click in clicks)
    assert journey.verdicts(clicks) == []
    assert_decided(journey, later)  # the shard goes on behind them
    batches = dict(journey.objects(bucket, FAILED))

    code, output = slidr("redrive")

    assert code == 0, output
    first = in_force(journey.verdicts(clicks))
    assert {verdict.click_id for verdict in first} == {click.key for click in clicks}
    assert all(verdict.release_id == journey.release_id for verdict in first)
    assert records_set_aside(journey) == []
    for key, body in batches.items():  # as if the redrive had died before it could delete them
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    assert slidr("redrive")[0] == 0
    assert in_force(journey.verdicts(clicks)) == first
    assert slidr("redrive") == (0, f"No failed batches in s3://{bucket}/{FAILED}.\n")


def records_set_aside(journey: Journey) -> list[str]:
    batches = failed_batches(journey.session.client("s3"), journey.session.outputs.quarantine_bucket)
    return [record["kinesis"]["partitionKey"] for batch in batches for record in batch.records]


def test_a_log_of_the_past_reaches_the_lake_once_and_becomes_a_training_set(journey: Journey, tmp_path: Path) -> None:
    day = simulated(PAST_DAY)
    clicks, purchases = clicks_of(day)[:PAST_CLICKS], [event for event in day if event.kind is Kind.PURCHASE]
    wrong = [event.payload for event in malformed(seed=PAST_DAY)]
    good = [click.payload for click in clicks]
    (tmp_path / "clicks.jsonl").write_bytes(b"\n".join([*good[50:], *wrong, *good[:50]]))
    (tmp_path / "orders.jsonl").write_bytes(b"\n".join(event.payload for event in purchases))
    words = ("backfill", str(tmp_path / "clicks.jsonl"), "--purchases", str(tmp_path / "orders.jsonl"))

    code, output = slidr(*words)

    assert code == 0, output
    assert f"{len(wrong)} records" in output
    written, rejected = backfilled(journey), rejects_of_a_backfill(journey)
    keys = {"clicks": "click_id", "verdicts": "click_id", "purchases": "order_id"}
    sent = {"clicks": clicks, "verdicts": clicks, "purchases": purchases}
    for table, key in keys.items():
        bodies = [body for name, body in written.items() if name.startswith(f"{table}/")]
        ids = [row[key] for body in bodies for row in read_table(io.BytesIO(body)).to_pylist()]
        assert sorted(ids) == sorted(event.key for event in sent[table])
    assert sorted(reject.payload_base64 for reject in rejected) == sorted(wrong)
    assert slidr(*words)[0] == 0
    assert (backfilled(journey), len(rejects_of_a_backfill(journey))) == (written, len(wrong))

    date = dt.datetime.fromisoformat(json.loads(good[0])["at"]).date()
    dataset = lake_dataset(journey.session, run="past", first=date, last=date, instance_type=LOCAL_INSTANCE)

    built = dict(journey.objects(journey.session.outputs.lake_bucket, dataset.uri.split("/", 3)[3]))
    table = read_table(io.BytesIO(next(iter(built.values()))))
    assert sorted(table["click_id"].to_pylist()) == sorted(click.key for click in clicks)
    addresses = addresses_of(clicks)
    everything = {**written, **built}
    assert {name: who for name, body in everything.items() if (who := named_in(name + readable(body), addresses))} == {}


def backfilled(journey: Journey) -> dict[str, bytes]:
    objects = journey.objects(journey.session.outputs.lake_bucket)
    return {key: body for key, body in objects if is_backfilled(key)}


def rejects_of_a_backfill(journey: Journey) -> list[Reject]:
    found = journey.objects(journey.session.outputs.quarantine_bucket, REJECTS)
    return [reject for key, body in found if is_backfilled(key) for reject in read_rejects(body)]


@pytest.mark.skipif(not REAL_LOG.exists(), reason=f"needs the TalkingData sample, {REAL_LOG.name}")
def test_a_real_log_is_accounted_for_and_every_click_scored(journey: Journey, tmp_path: Path) -> None:
    log = tmp_path / "clicks.csv"
    with gzip.open(REAL_LOG, "rt") as whole, log.open("w") as part:
        part.writelines(islice(whole, 1 + REAL_CLICKS))  # its header too
    with ExitStack() as stack:
        sent = logged_live(log, None, limit=None, stack=stack)
        run = run_live(
            journey.session,
            sent,
            writer_of(journey.session),
            paced_clicks=0,
            on_sent=lambda _clicks: None,
            on_decided=lambda _clicks: None,
        )

    assert run.accounting.records_in == REAL_CLICKS
    assert run.accounting.holds, str(run.accounting)
    assert run.accounting.rejects == run.accounting.duplicates == 0
    assert run.tally.undecided.count == 0
    assert run.tally.releases == {journey.release_id: REAL_CLICKS}
