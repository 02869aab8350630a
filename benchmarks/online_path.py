"""The online path as it is deployed, for benchmarks: real counters on a real Valkey, the real endpoint in its process.

What stands in: Kinesis, DynamoDB, S3 and SQS answer at once, from memory. The request to SageMaker is made, signed
and read as on AWS, but goes straight to the container (`/endpoints/NAME/invocations` becomes `/invocations`), without
TLS and without the service's own routing.
"""

from __future__ import annotations

import base64
import datetime as dt
import gc
import http.client
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import boto3
import numpy as np
from botocore.credentials import Credentials
from pybreaker import CircuitBreaker

from functions.adapters.attempts import Attempts
from functions.adapters.counter_calls import encode, library
from functions.adapters.counters import Counters
from functions.adapters.endpoint import Endpoint, endpoint_config
from functions.adapters.kept_connection import Answer, KeptConnection
from functions.adapters.profiles import Profiles
from functions.adapters.reject_store import RejectStore
from functions.adapters.release_store import ReleaseStore
from functions.adapters.serving_state import ServingStateReader
from functions.adapters.signed_invocations import SignedInvocations
from functions.adapters.undecided_queue import UndecidedQueue
from functions.adapters.verdict_stream import VerdictStream
from functions.score_clicks.records import read_records
from functions.score_clicks.scoring import score_clicks
from functions.score_clicks.services import Services
from functions.score_clicks.settings import Settings
from local.cloud.children import ChildOptions, start_child, stop_child
from local.cloud.containers import DEFAULT_COMMAND, free_port
from local.sources.event import Event, Kind
from local.sources.simulated import simulated_chunks
from local.valkey import Valkey, start_valkey
from slidr.click import parse_clicks
from slidr.counter_batch import counter_batch
from slidr.errors import SlidrError
from slidr.features import FEATURE_COUNT, SPEC_HASH
from slidr.givt import packaged_crawlers
from slidr.pointer import POINTER_ITEM
from slidr.pseudonym import Pseudonymiser
from slidr.release import Release, encode_release
from slidr.slices import SliceMap, Thresholds
from training.artifact import weights_sha256, write_manifest, write_release
from training.mlp_weights import save_weights, standardisation
from training.model import Mlp
from training.simulator import Traffic

HOST: Final = "127.0.0.1"
REPOSITORY: Final = Path(__file__).resolve().parents[1]
CONTROL_TABLE: Final = "control"
SETTINGS: Final = Settings(
    stage="bench",
    verdict_stream="verdicts",
    quarantine_bucket="rejects",
    undecided_queue_url="undecided",
    control_table=CONTROL_TABLE,
    profile_table="profiles",
    release_bucket="releases",
    endpoint_name="slidr",
    cache_host=HOST,
    pseudonym_secret_id="none",  # noqa: S106
)
STARTS: Final = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


class NotDecided(SlidrError):
    """The online path did not decide what it was given: no figure would mean anything."""


@dataclass(frozen=True, slots=True)
class InstantAws:
    """Kinesis that takes everything; DynamoDB with a pointer and no profiles; S3 with one release."""

    champion: str
    release: bytes

    def put_records(self, *, Records: Sequence[Any], **_: Any) -> dict[str, Any]:  # noqa: N803 - the service's name
        return {"Records": [{} for _ in Records]}

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        if CONTROL_TABLE not in RequestItems:
            return {"Responses": {}, "UnprocessedKeys": {}}
        pointer = f'{{"champion":"{self.champion}","generation":1}}'
        return {"Responses": {CONTROL_TABLE: [{"name": {"S": POINTER_ITEM}, "document": {"S": pointer}}]}}

    def get_object(self, **_: Any) -> dict[str, Any]:
        return {"Body": self}

    def read(self) -> bytes:
        return self.release


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where the cache and the endpoint answer, and which release is in force."""

    cache_port: int
    endpoint_port: int
    champion: str
    release: bytes

    @contextmanager
    def services(self) -> Iterator[Services]:
        """The function's services by its own defaults, as one of its execution environments opens them."""
        aws: Any = InstantAws(self.champion, self.release)
        counters = Counters.connect(
            host=HOST, port=self.cache_port, cluster=False, tls=False, timeout_ms=SETTINGS.cache_timeout_ms
        )
        once = Attempts(deadline_s=1.0)
        services = Services(
            pseudonymiser=Pseudonymiser(bytes(range(32)), version=1),
            crawlers=packaged_crawlers(),
            counters=counters,
            profiles=Profiles(
                aws,
                SETTINGS.profile_table,
                attempts=once,
                keep_s=SETTINGS.profile_cache_s,
                keep_keys=SETTINGS.profile_cache_keys,
            ),
            serving_state=ServingStateReader(
                aws, SETTINGS.control_table, keep_s=SETTINGS.pointer_cache_s, max_age_s=SETTINGS.pointer_max_age_s
            ),
            endpoint=Endpoint(
                sagemaker_at(self.endpoint_port),
                SETTINGS.endpoint_name,
                breaker=CircuitBreaker(SETTINGS.breaker_failures),
            ),
            releases=ReleaseStore(aws, SETTINGS.release_bucket),
            verdicts=VerdictStream(aws, SETTINGS.verdict_stream, attempts=once),
            undecided=UndecidedQueue(aws, SETTINGS.undecided_queue_url, attempts=once),
            rejects=RejectStore(aws, SETTINGS.quarantine_bucket),
            now=lambda: dt.datetime.now(dt.UTC),
        )
        gc.collect()
        gc.freeze()  # as the function does once it has its services
        try:
            yield services
        finally:
            counters.close()
            gc.unfreeze()


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlinePath:
    services: Services
    cache: Valkey


@contextmanager
def servers(directory: Path) -> Iterator[tuple[Servers, Valkey]]:
    """Start the cache and the endpoint."""
    champion, release = _write_model(directory / "opt-ml" / "model")
    with start_valkey(directory / "valkey") as cache, _endpoint(directory / "opt-ml") as port:
        found = Servers(cache_port=cache.port, endpoint_port=port, champion=champion, release=encode_release(release))
        yield found, cache


@contextmanager
def online_path(directory: Path) -> Iterator[OnlinePath]:
    """Start the cache and the endpoint and open the services, in this process."""
    with servers(directory) as (found, cache), found.services() as services:
        yield OnlinePath(services=services, cache=cache)


def sagemaker_at(port: int) -> SignedInvocations:
    """The function's way to SageMaker, whose requests go straight to the container at `port`."""
    url = f"http://{HOST}:{port}"
    waits = {
        "connect_timeout_ms": SETTINGS.endpoint_connect_timeout_ms,
        "read_timeout_ms": SETTINGS.endpoint_read_timeout_ms,
    }
    client = boto3.session.Session().client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        config=endpoint_config(**waits, attempts=SETTINGS.endpoint_attempts - 1),
    )
    connection = KeptConnection(url, **waits)

    def to_container(_target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return connection.post("/invocations", headers, body)

    return SignedInvocations(client, Credentials("none", "none"), post=to_container)


def simulated_clicks(count: int) -> list[Event]:
    """The first `count` clicks of simulated days of about that many, as producers send them, in time order."""
    days = Traffic(seed=7, start=STARTS, clicks_per_day=count).days(3)
    events = (event for chunk in simulated_chunks(days) for event in chunk)
    clicks = list(islice((event for event in events if event.kind is Kind.CLICK), count))
    if len(clicks) < count:
        raise NotDecided(f"{count} clicks are required, three simulated days have {len(clicks)}")
    return clicks


def stream_event(clicks: Sequence[Event]) -> dict[str, Any]:
    """What the function is invoked with: each click arrived a second after it happened."""
    return {
        "Records": [
            {
                "eventID": f"shardId-000000000000:{place}",
                "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/clicks",
                "kinesis": {
                    "data": base64.b64encode(click.payload).decode(),
                    "sequenceNumber": str(place),
                    "approximateArrivalTimestamp": click.at_ms / 1000 + 1,
                },
            }
            for place, click in enumerate(clicks)
        ]
    }


def decide(event: Mapping[str, Any], services: Services) -> None:
    """What the function does with an event.

    Raises:
        NotDecided: a click was rejected, left undecided or not published.
    """
    outcome = score_clicks(read_records(event), services)
    if outcome.problems or outcome.rejects or outcome.undecided or outcome.retry_from is not None:
        raise NotDecided(f"every click must be decided, came {outcome}")


def counter_commands(event: Mapping[str, Any], pseudonymiser: Pseudonymiser) -> list[bytes]:
    """The counter calls that the function makes for an event, as they go over the wire."""
    records = read_records(event)
    clicks = parse_clicks(records.payloads, arrived_ms=records.arrived_ms).clicks
    return encode(counter_batch(clicks, pseudonymiser), library().name).commands


def _write_model(directory: Path) -> tuple[str, Release]:
    """A release of the deployed network's shape; its weights are random, which costs the same to score."""
    rows = np.random.default_rng(9).gamma(0.3, 50.0, size=(300, FEATURE_COUNT)).astype(np.float32)
    weights = save_weights(Mlp(*standardisation(rows), seed=1).to_weights())
    release = Release(
        weights_sha256=weights_sha256(weights),
        feature_spec=SPEC_HASH,
        slices=SliceMap(),
        thresholds=Thresholds(default=0.5),
        lists={},
        expected_ivr=(0.1,) * 168,
    )
    champion = write_release(directory, release=release, weights=weights, evidence={})
    write_manifest(directory, champion=champion)
    return champion, release


@contextmanager
def _endpoint(opt_ml: Path) -> Iterator[int]:
    """The container's entry point as a process; the port that it listens on."""
    port = free_port()
    environment = {"SLIDR_OPT_ML": str(opt_ml), "SLIDR_SERVE_HOST": HOST, "SAGEMAKER_BIND_TO_PORT": str(port)}
    with serving([*DEFAULT_COMMAND, "serve"], port, opt_ml, environment):
        yield port


@contextmanager
def serving(command: Sequence[str], port: int, directory: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """An HTTP server as a process of its own, from when it answers GET /ping."""
    log = directory / f"server-{port}.log"
    with log.open("wb") as output:
        process = start_child(
            command,
            ChildOptions(
                environment={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
                directory=directory,
                output=output,
            ),
        )
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotDecided(f"{' '.join(command)} must answer GET /ping, it said:\n{log.read_text()}")
            time.sleep(0.05)
        yield
    finally:
        stop_child(process)


def _answers(port: int) -> bool:
    """Whether an HTTP server answers GET /ping at `port`."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
