"""The deployed cloud that faults are put into, and what is read from it."""

from __future__ import annotations

import datetime as dt
import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from local.cloud import lifecycle
from local.cloud.processes import recall
from local.commands.verdicts import decode_entry
from local.failed_batches import failed_batches
from local.stream_following import StreamFollowing
from local.stream_reader import Start, StreamReader
from local.valkey import Valkey
from slidr.errors import SlidrError
from slidr.ledger import LedgerEntry
from tests.cloud.journey import Journey


class ChaosFailed(SlidrError):
    """The benchmark itself could not do what it must."""


@dataclass(slots=True)
class Ground:
    """The deployed cloud that the faults are put into, and what is read from it."""

    journey: Journey
    verdicts: VerdictLog
    cache: Valkey | None = None
    """The cluster, where the function is pointed at one."""

    @property
    def url(self) -> str:
        """Where the emulator answers."""
        return str(self.journey.session.endpoint_url)

    @property
    def cache_port(self) -> int:
        """Of the cloud's own cache."""
        return lifecycle.connect(self.journey.state).valkey_port

    def processes(self) -> dict[str, dict[str, Any]]:
        """What the emulator says of its processes, by name: quicker than `slidr status`, so the times are right."""
        with urllib.request.urlopen(f"{self.url}/_slidr/processes", timeout=30) as answer:  # noqa: S310 - our own
            return {process["part"]: process for process in json.loads(answer.read())}

    def pid_of(self, part: str) -> int:
        """The process of the part whose name begins so."""
        (process,) = [process for name, process in self.processes().items() if name.startswith(part)]
        return int(process["detail"].removeprefix("pid ").partition(",")[0])

    def wait_until_well(self, *, limit_s: float = 120.0) -> None:
        """Wait until every process is well; nothing is started from here.

        Raises:
            ChaosFailed: one did not come back by itself.
        """
        wait_for(
            lambda: all(process["healthy"] for process in self.processes().values()),
            what="every process back by itself",
            limit_s=limit_s,
        )

    def environments(self) -> set[int]:
        """Pids of the function's execution environments."""
        found = set()
        daemon = recall(self.journey.state / "run" / "emulator.json")
        if daemon is None or daemon.process is None:
            raise ChaosFailed("the emulator must live through every fault, it is gone")
        emulator = daemon.process
        for process in emulator.children(recursive=True):
            try:
                named = process.environ().get("AWS_LAMBDA_FUNCTION_NAME")
            except psutil.Error:  # has ended meanwhile
                continue
            if named == self.journey.session.outputs.score_clicks_function:
                found.add(process.pid)
        return found

    @property
    def log(self) -> Path:
        """What the function says."""
        return self.journey.state / "logs" / f"lambda-{self.journey.session.outputs.score_clicks_function}.log"


class VerdictLog:
    """Every verdict record from the beginning of the benchmark on, in the order of the stream; a context manager."""

    def __init__(self, journey: Journey) -> None:
        outputs = journey.session.outputs
        reader = StreamReader(journey.session.client("kinesis"), outputs.verdict_stream, Start(latest=True))
        self._following = StreamFollowing(
            reader, lambda records: self.entries.extend(decode_entry(data) for data in records)
        )
        self.entries: list[LedgerEntry] = []

    def __enter__(self) -> Self:
        self._following.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._following.__exit__()

    def since(self, start: int) -> list[LedgerEntry]:
        """The records from a place on.

        Raises:
            StreamUnreadable: the stream could not be read.
        """
        self._following.check()
        return self.entries[start:]


def set_aside_clicks(ground: Ground) -> set[str]:
    """The clicks among the failed batches in the quarantine."""
    outputs = ground.journey.session.outputs
    batches = failed_batches(ground.journey.session.client("s3"), outputs.quarantine_bucket)
    return {record["kinesis"]["partitionKey"] for batch in batches for record in batch.records}


def undecided_metric(ground: Ground) -> float:
    """How many clicks the function has said to be UNDECIDED, by its own metric."""
    now = dt.datetime.now(dt.UTC)
    points = ground.journey.session.client("cloudwatch").get_metric_statistics(
        Namespace="SLIDR/local",
        MetricName="Undecided",
        Dimensions=[{"Name": "service", "Value": "score_clicks"}],
        StartTime=now - dt.timedelta(hours=2),
        EndTime=now + dt.timedelta(minutes=2),
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))


def wait_for(happened: Callable[[], bool], *, what: str, limit_s: float = 60.0, fails: bool = True) -> None:
    """Wait until `happened`.

    Raises:
        ChaosFailed: it has not within the limit.
    """
    deadline = time.monotonic() + limit_s
    while not happened():
        if time.monotonic() > deadline:
            if fails:
                raise ChaosFailed(f"{what} is required within {limit_s:.0f} s")
            return
        time.sleep(0.1)
