"""What nine faults in the middle of 20,000 clicks each cost, on the deployed stacks: no click lost, none counted twice.

Each fault has clicks of its own, a simulated day at RATE clicks a second. A third is decided, the fault begins, the
second third flows while it lasts, it heals (by itself where AWS heals it: a dead container, a dead cache node), the
last third flows. Then every click must have an outcome: one verdict in force, or a place among the failed batches,
which `slidr redrive` decides. Every UNDECIDED click must be in the queue with the fault's reason, 500 further clicks
must all be decided, by the same execution environments. The counters are then asked once more for every click that
they hold (which adds nothing) and must answer as the offline kernel does, to the integer; where a cache was lost, no
higher than with nothing lost, and no lower than with what was decided since.

CHAOS_FAULTS="endpoint, flushed" puts in only the faults whose names hold these words.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np
import psutil
from numpy.typing import NDArray
from redis import Redis

from benchmarks.deployed import deployed
from benchmarks.harness import Measured
from functions.adapters.counters import Counters
from functions.adapters.secrets import Secrets
from functions.adapters.undecided_queue import UndecidedClick
from functions.environment import variable
from local.cloud import lifecycle
from local.cloud.faults import Fault, heal, inject, touched
from local.cloud.processes import recall
from local.cloud.supervision import FIRST_DELAY_S
from local.commands.send import writer_of
from local.commands.verdicts import decode_entry
from local.console import console
from local.demonstration import simulated_traffic
from local.failed_batches import failed_batches
from local.sources.event import Event, Kind
from local.sources.simulated import simulated_chunks
from local.stream_reader import Start, StreamReader
from local.valkey import Valkey, start_valkey
from slidr.click import parse_click
from slidr.counter_batch import CounterBatch, counter_batch
from slidr.counters import ENTITIES, RAW_COLUMNS
from slidr.errors import SlidrError
from slidr.ledger import Ledger, LedgerEntry
from slidr.verdict import Decision, Reason
from tests.cloud.journey import Journey, slidr
from training.counters_kernel import count

FIGURES: Final = {
    "faults": "faults that were put in, each in the middle of 20,000 clicks",
    "survived": "faults of which all of this holds: nothing lost, nothing twice, UNDECIDED queued, recovery unaided",
    "lost": "clicks with neither a verdict, a reject, nor a place among the failed batches",
    "double_counted": "clicks with two verdicts in force, or counted more than once by the counters",
}
CLICKS: Final = 20_000
FURTHER: Final = 500
"""Clicks that must all be decided when the fault is over."""
RATE: Final = 1_500.0
"""Clicks a second: below what two cores decide, so that a queue is the fault's."""
NOTES: Final = (
    f"{CLICKS:,} clicks a fault at {RATE:,.0f}/s, one shard, batches up to 500; one cloud for all faults",
    f"the local cloud starts a dead container or cache node again after {FIRST_DELAY_S:.0f} s, AWS in its own time",
    "young: clicks whose counts miss what a cache lost; none may be counted too high",
    "valkey killed: it comes back empty. Failing over: replication is asynchronous, UNDECIDED batches count in part",
    "verdict stream throttled, poison batch: the function gives up publishing after 0.3 s (else 15), to set aside soon",
    "poison batch: no record made the function raise; it is three clicks whose verdict the stream refuses for ever",
    "poison batch: beside them run adversarial records of some eighty kinds, each rejected or decided",
)
FIRST_DAY: Final = 12
SEED: Final = 7
DAYS_APART: Final = 2
"""Windows reach back a day at most, so that no run sees the clicks of another."""
CLICKS_PER_DAY: Final = 23_500
WARMING: Final = 100
STALL_S: Final = 90.0
RECOVERY_LIMIT_S: Final = 90.0
THROTTLE: Final = "ProvisionedThroughputExceededException"

NEVER: Final = dt.datetime.max.replace(tzinfo=dt.UTC)
_MARKS: Final = ("present", "late")


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

    @contextmanager
    def settings(self, **changes: str) -> Iterator[None]:
        """The function with other settings, in new execution environments; at the end with its own again."""
        functions, name = self.journey.session.client("lambda"), self.journey.session.outputs.score_clicks_function
        variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        changed = {variable(key): value for key, value in changes.items()}
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables | changed})
        try:
            yield
        finally:
            functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


class VerdictLog:
    """Every verdict record from the beginning of the benchmark on, in the order of the stream; a context manager."""

    def __init__(self, journey: Journey) -> None:
        outputs = journey.session.outputs
        self._reader = StreamReader(journey.session.client("kinesis"), outputs.verdict_stream, Start(latest=True))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="verdict log", daemon=True)
        self.entries: list[LedgerEntry] = []
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _read(self) -> None:
        try:
            while not self._stop.is_set():
                before = len(self.entries)
                self.entries.extend(decode_entry(data) for data in self._reader.poll())
                if len(self.entries) == before:
                    self._stop.wait(0.1)
        except BaseException as failure:  # noqa: BLE001 - raised again by whoever waits
            self.failure = failure

    def since(self, start: int) -> list[LedgerEntry]:
        """The records from a place on.

        Raises:
            ChaosFailed: the stream could not be read.
        """
        if self.failure is not None:
            raise ChaosFailed("the verdict stream must stay readable") from self.failure
        return self.entries[start:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One fault: how it is made, how it ends, what may be UNDECIDED for it and what it does to the counters."""

    name: str
    begin: Callable[[Ground], None]
    """Makes the fault; returns when it is there."""
    last: Callable[[Ground], None]
    """Lets it last for a while, then heals it, or waits until it has healed by itself."""
    reason: Reason | None = None
    """Of every UNDECIDED click; None: there may be none."""
    cache: str = "kept"
    """What becomes of the counters: kept, emptied, or behind (a replica has not all that was written)."""
    new_environments: bool = False
    """Whether the fault ends the function's environments."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Other settings of the function, in force before the run begins."""
    cluster: bool = False
    poison: bool = False


@dataclass(slots=True)
class Run:
    """What happened in one trial."""

    warming: list[Event]
    clicks: list[Event]
    further: list[Event]
    trickled: list[Event] = field(default_factory=list)
    odd: list[Event] = field(default_factory=list)
    """Adversarial records among the clicks."""
    first_record: int = 0
    began_at: dt.datetime = NEVER
    healed_at: dt.datetime = NEVER
    undecided_metric: float = 0.0
    """What CloudWatch had counted before."""
    environments: set[int] = field(default_factory=set)
    log_from: int = 0
    set_aside: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


def measure() -> Measured:
    """Put in every fault, one after another, and account for each."""
    rows, missed, problems = [], [], []
    lost = double_counted = survived = 0
    trials = chosen_trials()
    with deployed() as journey, VerdictLog(journey) as verdicts:
        ground = Ground(journey, verdicts)
        for number, trial in enumerate(trials):
            console.print(f"  {trial.name} ...")
            try:
                row, wrong, problem = run_trial(ground, trial, day=FIRST_DAY + number * DAYS_APART)
            except ChaosFailed as failure:
                missed.append(f"{trial.name}: {failure}")
                continue
            console.print(f"  [dim]{row} {wrong or 'survived'}[/]")
            rows.append(row)
            lost += row["lost"]
            double_counted += row["double_counted"]
            survived += not wrong
            problems += [f"{trial.name}: first logged {problem!r}"] if problem else []
            missed += [f"{trial.name}: {words}" for words in wrong]
    return Measured(
        figures={"faults": len(trials), "survived": survived, "lost": lost, "double_counted": double_counted},
        rows=rows,
        notes=[*NOTES, *problems],
        missed=missed,
    )


def run_trial(ground: Ground, trial: Trial, *, day: int) -> tuple[dict[str, Any], list[str], str]:
    """One fault from the first click to the last check: its row, what does not hold, the first problem in words."""
    events = clicks_of_day(day)
    run = Run(
        warming=events[:WARMING],
        clicks=events[WARMING : WARMING + CLICKS],
        further=events[-FURTHER:],
        odd=adversarial(dt_text(events[WARMING + CLICKS // 2])) if trial.poison else [],
    )
    spare = iter(events[WARMING + CLICKS : -FURTHER])
    with surroundings(ground, trial, run):
        flow(ground, trial, run)
        settled(ground, run, [*run.clicks, *poison_of(run)], stall_s=STALL_S)
        run.set_aside = set_aside_clicks(ground)
        recover(ground, run, spare)
        row, wrong = account(ground, trial, run)
        return row, wrong, first_problem(ground, run)


@contextmanager
def surroundings(ground: Ground, trial: Trial, run: Run) -> Iterator[None]:
    """The function as the trial wants it, warm, with its environments noted."""
    changes = dict(trial.settings)
    with tempfile.TemporaryDirectory(prefix="slidr-chaos-") as folder:
        if trial.cluster:
            ground.cache = start_valkey(Path(folder), nodes=3, replicas=1, node_timeout_ms=2_000)
            changes |= {"cache_port": str(ground.cache.port), "cache_cluster": "true"}
        try:
            with ground.settings(**changes):
                run.first_record = len(ground.verdicts.entries)
                ground.journey.send(run.warming)
                settled(ground, run, run.warming, stall_s=STALL_S)
                run.environments = ground.environments()
                run.undecided_metric = undecided_metric(ground)
                run.log_from = ground.log.stat().st_size
                yield
        finally:
            heal(ground.url)
            if ground.cache is not None:
                ground.cache.stop()
                ground.cache = None


def flow(ground: Ground, trial: Trial, run: Run) -> None:
    """Send the clicks; begin the fault when a third is decided, let it last, and send on."""
    third = CLICKS // 3
    bounds = (0, third, 2 * third, CLICKS)
    first, second, last = (run.clicks[start:end] for start, end in pairwise(bounds))
    send_at_rate(ground, mixed(first, []))
    wait_for(lambda: decided_of(ground, run, first) > third * 0.9, what="a third of the clicks decided")
    with ThreadPoolExecutor(1) as background:
        sending = background.submit(send_at_rate, ground, mixed(second, run.odd))
        run.began_at = dt.datetime.now(dt.UTC)
        trial.begin(ground)
        trial.last(ground)
        run.healed_at = dt.datetime.now(dt.UTC)
        sending.result()
    send_at_rate(ground, last)


def send_at_rate(ground: Ground, events: Sequence[Event]) -> None:
    """Put the events on their stream, RATE a second."""
    writer = writer_of(ground.journey.session)
    began = time.monotonic()
    step = 60
    for start in range(0, len(events), step):
        ahead_s = start / RATE - (time.monotonic() - began)
        if ahead_s > 0:
            time.sleep(ahead_s)
        writer.put(events[start : start + step])
    if writer.sent.failed:
        raise ChaosFailed(f"every click must reach its stream, {len(writer.sent.failed)} did not")


def mixed(clicks: Sequence[Event], odd: Sequence[Event]) -> list[Event]:
    """The odd records spread evenly among the clicks."""
    found = list(clicks)
    for position, event in enumerate(odd):
        found.insert((position + 1) * len(clicks) // (len(odd) + 1) + position, event)
    return found


def decided_of(ground: Ground, run: Run, events: Sequence[Event]) -> int:
    """How many of the clicks have a verdict."""
    wanted = {event.key for event in events}
    return len(wanted & {entry.click_id for entry in ground.verdicts.since(run.first_record)})


def settled(ground: Ground, run: Run, events: Sequence[Event], *, stall_s: float) -> None:
    """Wait until every click has a verdict or was set aside, or nothing new has come for `stall_s`."""
    wanted = {event.key for event in events}
    seen, last_s = -1, time.monotonic()
    while True:
        decided = {entry.click_id for entry in ground.verdicts.since(run.first_record)}
        missing = wanted - decided
        if missing and len(missing) < 500:
            missing -= set_aside_clicks(ground)
        if not missing:
            return
        if len(missing) != seen:
            seen, last_s = len(missing), time.monotonic()
        if time.monotonic() - last_s > stall_s:
            run.wrong.append(f"{len(missing):,} clicks had no outcome when nothing had come for {stall_s:.0f} s")
            return
        time.sleep(0.2)


def set_aside_clicks(ground: Ground) -> set[str]:
    """The clicks among the failed batches in the quarantine."""
    outputs = ground.journey.session.outputs
    batches = failed_batches(ground.journey.session.client("s3"), outputs.quarantine_bucket)
    return {record["kinesis"]["partitionKey"] for batch in batches for record in batch.records}


def recover(ground: Ground, run: Run, spare: Iterator[Event]) -> None:
    """Send single clicks until one is decided after the fault, then the further ones, which must all be."""
    deadline = time.monotonic() + RECOVERY_LIMIT_S
    while first_decided_after(ground, run) is None:
        if time.monotonic() > deadline:
            run.wrong.append(f"no click was decided within {RECOVERY_LIMIT_S:.0f} s after the fault")
            return
        click = next(spare)
        run.trickled.append(click)
        ground.journey.send([click])
        time.sleep(0.5)
    ground.journey.send(run.further)
    settled(ground, run, [*run.trickled, *run.further], stall_s=30)
    in_force = fold(ground, run)
    undecided = sum(
        entry is None or entry.decision is Decision.UNDECIDED
        for entry in (in_force.get(event.key) for event in run.further)
    )
    if undecided:
        run.wrong.append(f"{undecided} of {FURTHER} clicks after the fault were not decided")


def first_decided_after(ground: Ground, run: Run) -> dt.datetime | None:
    """When the first click was decided after the fault had healed."""
    times = [
        entry.decided_at
        for entry in ground.verdicts.since(run.first_record)
        if entry.decided_at > run.healed_at and entry.decision is not Decision.UNDECIDED and not entry.givt
    ]
    return min(times, default=None)


def fold(ground: Ground, run: Run) -> Ledger[LedgerEntry]:
    """The verdicts in force of the run."""
    return Ledger(ground.verdicts.since(run.first_record))


def account(ground: Ground, trial: Trial, run: Run) -> tuple[dict[str, Any], list[str]]:
    """Every check, and the row."""
    wrong = run.wrong
    redriven = redrive(ground, run)
    records = ground.verdicts.since(run.first_record)
    ledger, reversed_ledger = Ledger(records), Ledger(reversed(records))
    ids = [event.key for event in run.clicks]
    lost = [key for key in ids if key not in ledger and key not in run.set_aside]
    if lost:
        wrong.append(f"{len(lost):,} clicks are lost, such as {lost[0]}")
    undone = [key for key in ids if key not in ledger and key in run.set_aside]
    if undone:
        wrong.append(f"{len(undone)} clicks were not decided by slidr redrive")
    contradicted = sum(ledger.get(key) != reversed_ledger.get(key) for key in ids)
    decisions = Counter(entry.decision for key in ids if (entry := ledger.get(key)) is not None)
    queued, checked = check_queue(ground, trial, run, ledger)
    wrong += checked
    check_odd_records(ground, run, ledger)
    over, young, words = check_counters(ground, trial, run, ledger)
    wrong += words
    if contradicted:
        wrong.append(f"{contradicted} clicks have a verdict in force that depends on the order of reading")
    ended = run.environments - ground.environments()
    if ended and not trial.new_environments:
        wrong.append(f"execution environments were ended: {ended}")
    wait_for(lambda: lifecycle.status(ground.journey.state).healthy, what="a cloud that is well in every part")
    first = first_decided_after(ground, run)
    of_clicks = set(ids)
    redelivered = sum(entry.click_id in of_clicks for entry in records) - len(ids) + len(lost) + len(undone)
    if not (redelivered or run.set_aside or trial.new_environments):
        published = sum(entry.decision is Decision.UNDECIDED for entry in records)
        counted = undecided_metric(ground) - run.undecided_metric
        if counted != published:
            wrong.append(f"CloudWatch counted {counted:,.0f} UNDECIDED clicks, {published:,} were published")
    row = {
        "fault": trial.name,
        "clicks": len(ids),
        "decided": decisions[Decision.VALID] + decisions[Decision.INVALID],
        "undecided": decisions[Decision.UNDECIDED],
        "queued": queued,
        "set_aside": len(run.set_aside),
        "redriven": redriven,
        "redelivered": redelivered,
        "lost": len(lost),
        "double_counted": contradicted + over,
        "young": young,
        "lasted_s": round((run.healed_at - run.began_at).total_seconds(), 1),
        "back_s": None if first is None else round((first - run.healed_at).total_seconds(), 1),
    }
    return row, wrong


def undecided_metric(ground: Ground) -> float:
    """How many clicks the function has said to be UNDECIDED, by its own metric."""
    now = dt.datetime.now(dt.UTC)
    points = ground.journey.session.client("cloudwatch").get_metric_statistics(
        Namespace="SLIDR",
        MetricName="Undecided",
        Dimensions=[{"Name": "service", "Value": "score_clicks"}],
        StartTime=now - dt.timedelta(hours=2),
        EndTime=now + dt.timedelta(minutes=2),
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))


def redrive(ground: Ground, run: Run) -> int:
    """Decide what was set aside, by the command; returns how many clicks that decided."""
    if not run.set_aside:
        return 0
    before = fold(ground, run)
    undecided = {key for key in run.set_aside if key not in before}
    code, output = slidr("redrive")
    if code != 0:
        run.wrong.append(f"slidr redrive ended with {code}: {output[-200:]}")
    wait_for(lambda: all(key in fold(ground, run) for key in undecided), what="redriven clicks", fails=False)
    return sum(key in fold(ground, run) for key in undecided)


def check_queue(ground: Ground, trial: Trial, run: Run, ledger: Ledger[LedgerEntry]) -> tuple[int, list[str]]:
    """How many UNDECIDED clicks are in the queue, and what is wrong with them; the queue is empty then."""
    wrong = []
    queued = drained(ground)
    undecided = [
        entry
        for event in (*run.clicks, *run.trickled)
        if (entry := ledger.get(event.key)) is not None and entry.decision is Decision.UNDECIDED
    ]
    absent = [entry.click_id for entry in undecided if entry.click_id not in queued]
    if absent:
        wrong.append(f"{len(absent)} UNDECIDED clicks are not in the queue")
    reasons = Counter(reason for entry in undecided for reason in entry.reasons)
    if set(reasons) - {trial.reason}:
        wrong.append(f"UNDECIDED clicks must have the reason {trial.reason}, came {dict(reasons)}")
    unlike = sum(entry.reasons not in queued.get(entry.click_id, set()) for entry in undecided)
    if unlike - len(absent) > 0:
        wrong.append(f"{unlike - len(absent)} UNDECIDED clicks are queued with other reasons than their verdict's")
    billed = sum(not entry.billable for entry in undecided)
    if billed:
        wrong.append(f"{billed} UNDECIDED clicks are not billed")
    keys = {event.key for event in run.clicks}
    return sum(entry.click_id in queued for entry in undecided if entry.click_id in keys), wrong


def drained(ground: Ground) -> dict[str, set[tuple[Reason, ...]]]:
    """Empty the undecided queue: the reasons by click."""
    sqs, url = ground.journey.session.client("sqs"), ground.journey.session.outputs.undecided_queue_url
    found: dict[str, set[tuple[Reason, ...]]] = {}

    def drain() -> None:
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                click = msgspec.json.decode(message["Body"], type=UndecidedClick)
                found.setdefault(click.click_id, set()).add(click.reasons)
            entries = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(messages)]
            sqs.delete_message_batch(QueueUrl=url, Entries=entries)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(drain) for _ in range(4)]:
            done.result()
    return found


def check_counters(ground: Ground, trial: Trial, run: Run, ledger: Ledger[LedgerEntry]) -> tuple[int, int, list[str]]:
    """Clicks counted too high, clicks counted otherwise than with nothing lost, and what that breaks.

    What the counters hold is read by applying clicks that they certainly know once more: redelivery adds nothing.
    """
    session = ground.journey.session
    pseudonymiser = Secrets(session.client("secretsmanager")).pseudonymiser(session.outputs.pseudonym_secret)

    def batch_of(events: Sequence[Event]) -> CounterBatch:
        now_ms = int(time.time() * 1000)
        return counter_batch([parse_click(event.payload, arrived_ms=now_ms) for event in events], pseudonymiser)

    def offline(applied: Sequence[Event]) -> NDArray[np.int32]:
        return count(batch_of([*applied, *certain]))[len(applied) :]

    odd = [event for event in run.odd if event.key in ledger]
    order = [*run.warming, *with_odd(run, odd), *run.trickled, *run.further]
    certain, possible = applied_between(trial, run, ledger, order)
    online = read_counters(ground, [batch_of(certain[start : start + 500]) for start in range(0, len(certain), 500)])
    low, high = offline(certain), offline(possible)
    on_time = whole_windows(online) & whole_windows(high) & whole_windows(low)
    over = int((on_time & (online > high)).any(axis=1).sum())
    under = int((on_time & (online < low)).any(axis=1).sum())
    unlike = int((online != offline(order)).any(axis=1).sum())
    wrong = []
    if over:
        wrong.append(f"{over:,} clicks are counted higher than the kernel counts them")
    if under:
        wrong.append(f"{under:,} clicks are counted lower than the kernel counts what certainly was applied")
    if unlike and trial.cache == "kept":
        wrong.append(f"{unlike:,} clicks are counted otherwise than by the kernel")
    return over, unlike, wrong


def read_counters(ground: Ground, batches: Sequence[CounterBatch]) -> NDArray[np.int32]:
    """What the cache says of the batches."""
    port = ground.cache_port if ground.cache is None else ground.cache.port
    counters = Counters.connect(
        host="127.0.0.1", port=port, cluster=ground.cache is not None, tls=False, timeout_ms=10_000
    )
    try:
        return np.concatenate([counters.apply(batch) for batch in batches])
    finally:
        counters.close()


def whole_windows(counts: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which counts of which clicks can only grow with what was applied, shape as `counts`.

    Not gaps; and not those of clicks that are late for their key by now, whose windows it no longer keeps whole.
    """
    whole = np.zeros(counts.shape, dtype=np.bool_)
    for entity in ENTITIES:
        names = [f"{entity.name}.{column}" for column in entity.columns if column not in _MARKS]
        late = counts[:, RAW_COLUMNS.index(f"{entity.name}.late")]
        for name in names:
            whole[:, RAW_COLUMNS.index(name)] = (late == 0) & ("gap_" not in name)
    return whole


def applied_between(
    trial: Trial, run: Run, ledger: Ledger[LedgerEntry], order: Sequence[Event]
) -> tuple[Sequence[Event], Sequence[Event]]:
    """The clicks that the cache certainly holds, and those that it may hold."""
    if trial.cache == "kept":
        return order, order
    entries = [(event, entry) for event in order if (entry := ledger.get(event.key)) is not None]
    doubtful = [entry.decided_at for _, entry in entries if Reason.COUNTERS_UNAVAILABLE in entry.reasons]
    last_doubt = max(doubtful, default=run.began_at)
    certain = [event for event, entry in entries if entry.decided_at > last_doubt]
    if trial.cache == "behind":
        return certain, order
    margin = dt.timedelta(seconds=1)
    return certain, [event for event, entry in entries if entry.decided_at > run.began_at - margin]


def with_odd(run: Run, odd: Sequence[Event]) -> list[Event]:
    """The clicks in the order of the stream, with those odd records that were decided."""
    third = CLICKS // 3
    second = mixed(run.clicks[third : 2 * third], run.odd)
    kept = {event.key for event in odd}
    unwanted = {event.key for event in run.odd} - kept
    return [
        *run.clicks[:third],
        *(event for event in second if event.key not in unwanted),
        *run.clicks[2 * third :],
    ]


def check_odd_records(ground: Ground, run: Run, ledger: Ledger[LedgerEntry]) -> None:
    """Every adversarial record is rejected or decided."""
    if not run.odd:
        return
    rejected = {reject.payload_base64 for reject in ground.journey.rejects(run.odd)}
    left = [event for event in run.odd if event.key not in ledger and event.payload not in rejected]
    if left:
        run.wrong.append(f"{len(left)} adversarial records have no outcome, such as {left[0].key}")


def first_problem(ground: Ground, run: Run) -> str:
    """The first words that the function logged of a failure since the fault began."""
    with ground.log.open("rb") as log:
        log.seek(run.log_from)
        for line in log:
            if b'"problem"' in line:
                return str(json.loads(line)["problem"])[:180]
    return ""


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


def clicks_of_day(day: int) -> list[Event]:
    """The clicks of one simulated day, by event time."""
    chunks = simulated_chunks(iter([simulated_traffic(SEED, CLICKS_PER_DAY).day(day)]))
    clicks = [event for chunk in chunks for event in chunk if event.kind is Kind.CLICK]
    if len(clicks) < WARMING + CLICKS + FURTHER + 200:
        raise ChaosFailed(f"a simulated day must have {CLICKS:,} clicks and some, day {day} has {len(clicks):,}")
    return clicks


def dt_text(event: Event) -> str:
    """The event time of a click, as records have it."""
    return str(json.loads(event.payload)["at"])


# The faults.


def chosen_trials() -> tuple[Trial, ...]:
    """All nine, or those that CHAOS_FAULTS names (parts of their names, comma separated)."""
    wanted = os.environ.get("CHAOS_FAULTS", "").split(",")
    return tuple(trial for trial in TRIALS if any(part.strip() in trial.name for part in wanted))


def for_seconds(seconds: float) -> Callable[[Ground], None]:
    """Lets a fault of the emulator's last so long, then heals it."""

    def last(ground: Ground) -> None:
        time.sleep(seconds)
        if not touched(ground.url):
            raise ChaosFailed("a fault must touch some request, it touched none")
        heal(ground.url)

    return last


def unaided(ground: Ground) -> None:
    """Waits until the cloud has healed itself."""
    ground.wait_until_well()


def kill(part: str) -> Callable[[Ground], None]:
    """Kills the process of a part, and waits until that shows."""

    def begin(ground: Ground) -> None:
        os.kill(ground.pid_of(part), signal.SIGKILL)
        wait_for(lambda: not all(process["healthy"] for process in ground.processes().values()), what="a dead process")

    return begin


def freeze_endpoint(ground: Ground) -> None:
    """The model server takes connections and answers nothing."""
    os.kill(ground.pid_of("container"), signal.SIGSTOP)


def thaw_endpoint_when_left_alone(ground: Ground) -> None:
    """Until the function's circuit has opened; then the model server answers again."""
    try:
        begin = ground.log.stat().st_size

        def left_alone() -> bool:
            with ground.log.open("rb") as log:
                log.seek(begin)
                return b"left alone" in log.read()

        wait_for(left_alone, what="an open circuit")
    finally:
        os.kill(ground.pid_of("container"), signal.SIGCONT)


def kill_primary(ground: Ground) -> None:
    """The second primary: the first is the address that the function was given."""
    assert ground.cache is not None
    ground.cache.processes[1].kill()
    ground.cache.processes[1].wait()


def await_failover(ground: Ground) -> None:
    """Until its replica serves."""

    def replaced() -> bool:
        assert ground.cache is not None
        roles = []
        for port in ground.cache.ports[3:]:
            with Redis(host=ground.cache.host, port=port) as node:
                roles.append(node.info("replication")["role"])
        return "master" in roles

    wait_for(replaced, what="a replica that has taken over")


def throttle_tables(ground: Ground) -> None:
    """DynamoDB leaves half of the keys of a call unprocessed, and throttles half of the calls."""
    tables = Fault(service="dynamodb", operation="BatchGetItem", error=THROTTLE, share=0.5)
    inject(ground.url, tables)
    inject(ground.url, msgspec.structs.replace(tables, each="entry"))


def throttle_verdicts(ground: Ground) -> None:
    """Kinesis refuses every call."""
    inject(ground.url, _throttled_verdicts(ground))


def refuse_half_of_the_verdicts(ground: Ground) -> None:
    """So for a while; then half of the records of each call."""
    for_seconds(14)(ground)
    inject(ground.url, msgspec.structs.replace(_throttled_verdicts(ground), each="entry", share=0.5))
    for_seconds(4)(ground)


def _throttled_verdicts(ground: Ground) -> Fault:
    stream = ground.journey.session.outputs.verdict_stream
    return Fault(service="kinesis", operation="PutRecords", resource=stream, error=THROTTLE)


def hold_verdicts(ground: Ground) -> None:
    """Each PutRecords of verdicts waits, so that a batch is counted and scored but not published when it is cut off."""
    stream = ground.journey.session.outputs.verdict_stream
    inject(ground.url, Fault(service="kinesis", operation="PutRecords", resource=stream, delay_ms=1_500))


def kill_environments(ground: Ground) -> None:
    """Three times, while a batch is about to be published; then once more at any moment."""
    for _ in range(3):
        before = touched(ground.url)
        wait_for(lambda before=before: touched(ground.url) > before, what="a batch about to be published")  # type: ignore[misc]
        for pid in ground.environments():
            os.kill(pid, signal.SIGKILL)
    heal(ground.url)
    time.sleep(2)
    for pid in ground.environments():
        os.kill(pid, signal.SIGKILL)


def flush_functions(ground: Ground) -> None:
    """The server forgets its functions and scripts."""
    with Redis(host="127.0.0.1", port=ground.cache_port) as cache:
        cache.function_flush("SYNC")
        cache.script_flush("SYNC")


def flush_functions_again(ground: Ground) -> None:
    """Fifty times more, a tenth of a second apart: in the middle of batches too."""
    for _ in range(50):
        time.sleep(0.1)
        flush_functions(ground)


def refuse_some_verdicts(ground: Ground) -> None:
    """Kinesis fails for ever on the verdicts of the poisoned clicks."""
    stream = ground.journey.session.outputs.verdict_stream
    refused = Fault(
        service="kinesis", operation="PutRecords", resource=stream, error="InternalFailure", each="entry", only=POISON
    )
    inject(ground.url, refused)


POISON: Final = "poison-"
"""Begins the ids of the clicks whose verdict the stream refuses."""


def await_poison(ground: Ground) -> None:
    """Until the event source has set the three aside."""

    def aside() -> bool:
        return sum(key.startswith(POISON) for key in set_aside_clicks(ground)) == POISONED

    wait_for(aside, what="the poisoned clicks among the failed batches", limit_s=120)
    heal(ground.url)


POISONED: Final = 3
COPIES: Final = 4
"""Of each adversarial record: several in one batch are worse than one."""


def poison_of(run: Run) -> list[Event]:
    """The clicks whose verdict the stream refuses."""
    return [event for event in run.odd if event.key.startswith(POISON)]


def adversarial(at: str) -> list[Event]:
    """Records that try to break a batch as a whole, and the clicks whose verdict is refused; `at` is their time."""
    right = {"at": at, "advertiser": "a", "marketplace": "us", "user": "u", "ip": "192.0.2.1"}

    def event(key: str, payload: bytes) -> Event:
        return Event(0, Kind.CLICK, key, payload)

    def click(key: str, changes: Mapping[str, Any]) -> Event:
        record = {"click_id": key, **right, **changes}
        return event(str(record["click_id"]), json.dumps(record).encode())

    found = []
    for copy in range(COPIES):
        raw = [payload + b" " * copy for payload in adversarial_payloads(at)]
        found += [event(f"odd-{at[:10]}-{copy}-{i}", payload) for i, payload in enumerate(raw)]
        fields = enumerate(adversarial_fields())
        found += [click(f"field-{at[:10]}-{copy}-{i}", {name: value}) for i, (name, value) in fields]
        found += [click(f"{start}{copy}-{at[:10]}", {}) for start in ("\U0010ffff" * 100, "\u202e\u0430 ", "'\"\\")]
    found += [click(f"hot-{at[:10]}-{i}", {"user": "hot", "session": "hot"}) for i in range(300)]
    found += [click(f"{POISON}{at[:10]}-{i}", {}) for i in range(POISONED)]
    return found


def adversarial_payloads(at: str) -> list[bytes]:
    """Payloads that are no click, or hardly one."""
    right = f'"at":"{at}","advertiser":"a","marketplace":"us"'.encode()
    return [
        b"null", b"[]", b"0", b"NaN", b'"text"', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{" * 60_000,
        b"[" * 60_000, b"{}" * 30_000, b"1" * 60_000, b'{"a":' * 12_000, b"\x1f\x8b\x08" + bytes(99),
        b"\xf3\x89\x9a\xc2" + bytes(40),  # a record that a producer library has aggregated
        bytes(range(256)) * 256, b" " * 65_530, b"x" * 900_000,
        b'{"click_id":"\\ud800",' + right + b"}",
        b'{"click_id":"\xed\xa0\x80",' + right + b"}",
        b'{"click_id":"d",' + right + b',"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"click_id":"d",' + b",".join([b'"user":"u"'] * 5_000) + b"," + right + b"}x",
        b'{"click_id":"d","cost_micros":1e400,' + right + b"}",
        b'{"click_id":"d","cost_micros":' + b"9" * 5_000 + b"," + right + b"}",
        b'{"click_id":"d","cost_micros":-0.0,"version":true,' + right + b"}",
    ]  # fmt: skip


def adversarial_fields() -> list[tuple[str, Any]]:
    """Values of single fields of a click that is right otherwise."""
    return [
        ("user_agent", "bot/" * 512), ("user_agent", "Mozilla/5.0 (" + "(" * 2_030), ("user_agent", " " * 2_048),
        ("user_agent", "a" * 2_047 + "!"), ("user_agent", "\u0000" * 2_048), ("user_agent", "compatible; " * 170),
        ("user_agent", "\U0001f916" * 2_048), ("user_agent", "\ud800"), ("user_agent", ""), ("user", "\ud83d"),
        ("user", "\u0000" * 128), ("session", "\u202e" * 128), ("ip", "::ffff:0.0.0.0"), ("ip", "fe80::1%eth0"),
        ("ip", "\u0663.1.1.1"), ("ip", "0x7f.1"), ("ip", "::" * 900), ("ip", ""), ("ip", "255.255.255.255"),
        ("at", "9999-12-31T23:59:59.999999999-23:59"), ("at", "0001-01-01T00:00:00+23:59"),
        ("at", "2000-01-01T00:00:00+23:59"), ("at", "2000-01-01T00:00:00-23:59"), ("at", "2016-12-31T23:59:60Z"),
        ("at", 1e300), ("at", -1), ("at", "2026-02-30T00:00:00Z"), ("time_zone", "../../etc/passwd"),
        ("time_zone", "/etc/localtime"), ("time_zone", "US"), ("time_zone", "tzdata.zi"), ("time_zone", "zone.tab"),
        ("time_zone", "\u0000"), ("time_zone", "a/" * 64), ("time_zone", "\ud800"), ("time_zone", "Etc/GMT+12"),
        ("time_zone", "Factory"), ("time_zone", "leapseconds"), ("marketplace", "\U0001f6d2" * 128),
        ("marketplace", "\ud800"), ("advertiser", "|" * 128), ("advertiser", {"a": 1}), ("query", "%00" * 600),
        ("query", "\ud800" * 2_048), ("currency", "US\n"), ("currency", "\u0130ST"), ("cost_micros", 2**53),
        ("cost_micros", 2**64), ("cost_micros", 10**300), ("device", "\u0000"), ("logged_in", "yes"),
        ("version", 2**70),
    ]  # fmt: skip


TRIALS: Final = (
    Trial(name="endpoint killed", reason=Reason.SCORING_UNAVAILABLE, begin=kill("container"), last=unaided),
    Trial(
        name="endpoint slow",
        reason=Reason.SCORING_UNAVAILABLE,
        begin=freeze_endpoint,
        last=thaw_endpoint_when_left_alone,
    ),
    Trial(
        name="valkey killed",
        reason=Reason.COUNTERS_UNAVAILABLE,
        begin=kill("valkey"),
        last=unaided,
        cache="emptied",
    ),
    Trial(
        name="valkey failing over",
        reason=Reason.COUNTERS_UNAVAILABLE,
        begin=kill_primary,
        last=await_failover,
        cache="behind",
        cluster=True,
    ),
    Trial(
        name="dynamodb throttled",
        reason=Reason.PROFILES_UNAVAILABLE,
        begin=throttle_tables,
        last=for_seconds(8),
    ),
    Trial(
        name="verdict stream throttled",
        begin=throttle_verdicts,
        last=refuse_half_of_the_verdicts,
        settings={"publish_deadline_ms": "300"},
    ),
    Trial(name="lambda killed in mid-batch", begin=hold_verdicts, last=kill_environments, new_environments=True),
    Trial(
        name="poison batch",
        begin=refuse_some_verdicts,
        last=await_poison,
        settings={"publish_deadline_ms": "300"},
        poison=True,
    ),
    Trial(name="function store flushed", begin=flush_functions, last=flush_functions_again),
)
