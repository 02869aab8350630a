"""The means of a journey: traffic to send to the deployed stacks, and what came of it, read from their own stores."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from pyarrow.parquet import read_table
from typer.testing import CliRunner

from functions.adapters.reject_store import PREFIX as REJECTS
from functions.adapters.reject_store import Reject, read_rejects
from functions.adapters.release_store import ReleaseStore
from functions.adapters.undecided_queue import UndecidedClick
from functions.environment import variable
from local.accounting import Accounting, sent_record
from local.cli import app
from local.commands.send import writer_of
from local.decided_clicks import DecidedClicks
from local.demonstration import simulated_traffic
from local.rollout import apply, planned
from local.session import Session
from local.sources.event import Event, Kind
from local.sources.simulated import simulated_chunks
from local.stream_reader import Start, StreamReader
from local.training_run import LOCAL_INSTANCE, simulated_dataset, train_release
from slidr.release import Release
from slidr.verdict import Verdict
from tests.malformed_clicks import malformed_clicks

CLICKS_PER_DAY = 2_000
TRAINING_DAYS = 4
SEED = 7
HYPERPARAMETERS = {
    "epochs": "3",
    # Four small days hold too few purchases to prove a small FPR: what is tested here is the way, not the model.
    "fpr_bound": "point",
    "fpr_budget": "0.05",
}
PERSON = "person-of-the-journey"
"""Stands in every user, session and user agent that is sent: where it turns up again, somebody is named in clear."""
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]{7,}(?![0-9A-Fa-f.:/])")  # a network, `192.0.2.0/24`, may be kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """A deployed local cloud with a release in force."""

    state: Path
    session: Session
    release_id: str

    def deploy(self) -> None:
        """Put the release in force, on a new fleet of model servers."""
        apply(self.session, planned(self.session, self.release_id, name_stable=True), why="a journey")

    def decide(self, events: Sequence[Event]) -> Accounting:
        """Send the events and wait until every click record has its outcome."""
        with DecidedClicks(self.session, since=dt.datetime.now(dt.UTC)) as decided:
            self.send(events)
            return decided.wait_for([sent_record(event) for event in events if event.kind is Kind.CLICK], stall_s=30)

    def send(self, events: Sequence[Event]) -> None:
        """Put the events on their streams."""
        writer = writer_of(self.session)
        writer.put(events)
        assert not writer.sent.failed

    @property
    def release(self) -> Release:
        """The decision content of the release in force."""
        return ReleaseStore(self.session.client("s3"), self.session.outputs.release_bucket).release(self.release_id)

    def verdict_records(self) -> list[bytes]:
        """All that is on the verdict stream, from its oldest record on."""
        reader = StreamReader(self.session.client("kinesis"), self.session.outputs.verdict_stream, Start())
        records: list[bytes] = []
        while (new := list(reader.poll())) or not reader.caught_up:
            records += new
        return records

    def verdicts(self, clicks: Iterable[Event]) -> list[Verdict]:
        """Every verdict record of these clicks, in the order of the stream."""
        wanted = {click.key for click in clicks}
        found = (msgspec.json.decode(record, type=Verdict) for record in self.verdict_records())
        return [verdict for verdict in found if verdict.click_id in wanted]

    def click_records(self) -> dict[tuple[str, str], bytes]:
        """The data on the click stream by shard and sequence number."""
        kinesis, stream = self.session.client("kinesis"), self.session.outputs.click_stream
        found: dict[tuple[str, str], bytes] = {}
        for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
            name = shard["ShardId"]
            iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=name, ShardIteratorType="TRIM_HORIZON")
            answer = {"NextShardIterator": iterator["ShardIterator"], "MillisBehindLatest": 1, "Records": [{}]}
            while answer["Records"] or answer["MillisBehindLatest"]:
                answer = kinesis.get_records(ShardIterator=answer["NextShardIterator"])
                found |= {(name, record["SequenceNumber"]): record["Data"] for record in answer["Records"]}
        return found

    def rejects(self, events: Iterable[Event]) -> list[Reject]:
        """What the reject store holds of these records."""
        payloads = {event.payload for event in events}
        found = self.objects(self.session.outputs.quarantine_bucket, REJECTS)
        return [reject for _, body in found for reject in read_rejects(body) if reject.payload_base64 in payloads]

    def objects(self, bucket: str, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """Key and content of every object."""
        s3 = self.session.client("s3")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                yield item["Key"], s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()

    def lake(self, prefix: str) -> list[dict[str, Any]]:
        """The rows below a prefix of the lake, each with the `date` and `hour` of its partition."""
        self.session.flush_deliveries()
        rows = []
        for key, body in self.objects(self.session.outputs.lake_bucket, prefix):
            partition = dict(part.split("=") for part in key.split("/")[1:-1])
            rows += [row | partition for row in read_table(io.BytesIO(body)).to_pylist()]
        return rows

    def undecided_clicks(self) -> tuple[list[UndecidedClick], str]:
        """Empty the undecided queue: the clicks that were on it, and all its messages as text."""
        sqs, url = self.session.client("sqs"), self.session.outputs.undecided_queue_url
        bodies: list[str] = []

        def drain() -> None:
            while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                bodies.extend(message["Body"] for message in messages)
                entries = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(messages)]
                sqs.delete_message_batch(QueueUrl=url, Entries=entries)

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(drain) for _ in range(4)]:
                done.result()
        return [msgspec.json.decode(body, type=UndecidedClick) for body in bodies], "\n".join(bodies)

    @contextmanager
    def function_settings(self, **changes: str) -> Iterator[None]:
        """The function with other settings, in new execution environments; at the end with its own again."""
        functions, name = self.session.client("lambda"), self.session.outputs.score_clicks_function
        variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        changed = {variable(key): value for key, value in changes.items()}
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables | changed})
        try:
            yield
        finally:
            functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})

    def verdict_stream_out_of_reach(self) -> AbstractContextManager[None]:
        """For a while the function publishes verdicts to a stream that does not exist, and gives up soon."""
        return self.function_settings(verdict_stream="no-such-stream", publish_deadline_ms="100")


def begin(state: Path, session: Session) -> Journey:
    """Train a small release in a SageMaker job and put it in force, as `slidr train` and `slidr deploy` do."""
    traffic = simulated_traffic(SEED, CLICKS_PER_DAY)
    dataset = simulated_dataset(session, traffic, days=TRAINING_DAYS, run="journey")
    trained = train_release(
        session, dataset, run="journey", hyperparameters=HYPERPARAMETERS, instance_type=LOCAL_INSTANCE
    )
    journey = Journey(state=state, session=session, release_id=trained.id)
    journey.deploy()
    return journey


def slidr(*words: str) -> tuple[int, str]:
    """Run the command line; its exit code and what it printed."""
    result = CliRunner().invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def simulated(day: int, *, clicks: int | None = None) -> list[Event]:
    """A later simulated day of the world that the release was trained in (its first clicks only, without purchases)."""
    events = [
        event._replace(payload=_marked(event.payload))
        for chunk in simulated_chunks(iter([simulated_traffic(SEED, CLICKS_PER_DAY).day(day)]))
        for event in chunk
    ]
    return events if clicks is None else [event for event in events if event.kind is Kind.CLICK][:clicks]


def _marked(payload: bytes) -> bytes:
    record = json.loads(payload)
    for field in ("user", "session", "user_agent"):
        if record.get(field):
            record[field] = f"{record[field]} {PERSON}"
    return json.dumps(record).encode()


def malformed(seed: int = SEED) -> dict[Event, str]:
    """Thirty click records that break the contract, with the reason that each must be rejected for."""
    return {record.event: record.reason for record in malformed_clicks(30, seed=seed, user=PERSON)}


def spread(events: Sequence[Event], among: Sequence[Event]) -> list[Event]:
    """`events` put evenly among others, whose order is kept."""
    step = len(among) // len(events)
    mixed = list(among)
    for position, event in reversed(list(enumerate(events))):
        mixed.insert(position * step, event)
    return mixed


def addresses_of(clicks: Iterable[Event]) -> frozenset[str]:
    """The IP addresses of the clicks, whole."""
    return frozenset(json.loads(click.payload).get("ip") for click in clicks) - {None}


def named_in(text: str, addresses: frozenset[str]) -> list[str]:
    """Who is named in a text: people by their mark, in clear or in base64, and any of the addresses."""
    spellings = [PERSON, *(b64encode(b" " * skipped + PERSON.encode()).decode()[4:-4] for skipped in range(3))]
    return [spelling for spelling in spellings if spelling in text] + sorted(
        addresses.intersection(_ADDRESS.findall(text))
    )


def readable(body: bytes) -> str:
    """The bytes of a file as text; of Parquet also its values, decoded (but for numbers, which name nobody)."""
    if body.startswith(b"\x1f\x8b"):
        body = gzip.decompress(body)
    text = body.decode("utf-8", "replace")
    if body.startswith(b"PAR1"):
        table = read_table(io.BytesIO(body))
        worded = [field.name for field in table.schema if "string" in str(field.type)]
        text += json.dumps(table.select(worded).to_pylist())
    return text
