"""Faults of what corrects and delivers: Firehose failing, a replay and the rollback function killed, clock skew."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec
import psutil

from benchmarks.chaos.ground import ChaosFailed, Ground, wait_for
from functions.adapters.serving_state import AuditLog, Change, PointerStore
from local.cloud.faults import Fault, heal, inject, touched
from local.cloud.processes import recall
from local.demonstration import simulated_traffic
from local.replaying import lake_of
from local.session import STATE_VARIABLE
from local.sources.event import Event, Kind
from local.sources.simulated import simulated_chunks
from slidr.hours import hour_of
from slidr.ledger import Ledger
from slidr.pointer import promoted
from slidr.replay import APPLIED, Applied
from slidr.telemetry import Role, namespace
from slidr.verdict import Decision, Verdict
from tests.cloud.journey import CLICKS_PER_DAY, SEED

CLICKS: Final = 2_000
_KILLS: Final = 2
"""Fewer than Firehose's tries of one transform."""
_ONE_DAY: Final = 60
"""First simulated day of these clicks: far from those of all other faults."""
Row = dict[str, Any]


def clicks_from(day: int, count: int = CLICKS) -> list[Event]:
    """So many clicks of the release's world."""
    chunks = simulated_chunks(simulated_traffic(SEED, CLICKS_PER_DAY).day(number) for number in range(day, day + 30))
    clicks = (event for chunk in chunks for event in chunk if event.kind is Kind.CLICK)
    return [event for event, _ in zip(clicks, range(count), strict=False)]


def firehose_failing(ground: Ground) -> tuple[Row, list[str]]:
    """The transforms' environments are killed while clicks and verdicts are delivered: Firehose invokes them again."""
    clicks = clicks_from(_ONE_DAY)
    accounting = ground.journey.decide(clicks)
    killed, deadline = 0, time.monotonic() + 60
    with ThreadPoolExecutor(1) as pool:
        delivery = pool.submit(ground.journey.session.flush_deliveries)
        while killed < _KILLS and not delivery.done() and time.monotonic() < deadline:
            killed += _kill_environments(ground, "Prepare")
            time.sleep(0.02)
        delivery.result()
    wanted = {click.key for click in clicks}
    in_lake = {row["click_id"] for row in ground.journey.lake("clicks/") if row["click_id"] in wanted}
    verdicts = {row["click_id"] for row in ground.journey.lake("verdicts/") if row["click_id"] in wanted}
    lost = len(wanted - in_lake) + len(wanted - verdicts)
    wrong = [] if accounting.holds else [str(accounting)]
    wrong += [f"{lost} clicks or verdicts are not in the lake"] if lost else []
    wrong += ["no environment was killed"] if not killed else []
    return _row("firehose failing", clicks=len(clicks), lost=lost, note=f"{killed} transforms killed"), wrong


def replay_killed(ground: Ground) -> tuple[Row, list[str]]:
    """A replay is killed while it publishes; the same command then goes on."""
    session = ground.journey.session
    clicks = clicks_from(_ONE_DAY + 20)
    server = ground.pid_of("container")
    os.kill(server, signal.SIGKILL)
    ground.journey.decide(clicks)
    ground.wait_until_well()
    session.flush_deliveries()
    verdicts = ground.journey.verdicts(clicks)
    undecided = {one.click_id for one in verdicts if one.decision is Decision.UNDECIDED}
    first, last = min(one.at for one in verdicts), max(one.at for one in verdicts)
    words = [sys.executable, "-m", "local.cli", "replay", "--from", f"{hour_of(first).isoformat()}", "--to",
             f"{(hour_of(last) + dt.timedelta(hours=1)).isoformat()}", "--undecided", "--apply", "--yes"]  # fmt: skip
    environment = os.environ | {STATE_VARIABLE: str(ground.journey.state)}
    inject(ground.url, Fault(service="kinesis", operation="PutRecords", resource=session.outputs.verdict_stream,
                             delay_ms=400))  # fmt: skip
    began = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: _published(ground) > 0 or began.poll() is not None, what="a replay that publishes", limit_s=120)
    began.kill()
    began.wait()
    heal(ground.url)
    before = _published(ground)
    again = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    records = ground.journey.verdicts(clicks)
    corrections = [one for one in records if one.kind == "correction"]
    net = Ledger[Verdict](records)
    waiting = sum(one.decision is Decision.UNDECIDED for one in net)
    distinct = {(one.click_id, one.decided_at, one.decision) for one in corrections}
    double = len(distinct) - len({one.click_id for one in corrections})
    wrong = [again.stdout[-400:] + again.stderr[-400:]] if again.returncode else []
    wrong += [f"{waiting} clicks are still UNDECIDED"] if waiting else []
    wrong += [f"{double} clicks have two different corrections"] if double else []
    wrong += ["the endpoint's end left no click UNDECIDED"] if not undecided else []
    wrong += [f"all {before} were published before it was killed"] if before >= len(undecided) else []
    note = f"{before} of {len(undecided)} published when it was killed"
    return _row("replay killed half-way", clicks=len(clicks), lost=waiting, double=double, note=note), wrong


def rollback_killed(ground: Ground) -> tuple[Row, list[str]]:
    """The rollback function is killed while it writes the pointer; a later look finishes what it began."""
    session, dynamodb = ground.journey.session, ground.journey.session.client("dynamodb")
    store = PointerStore(dynamodb, session.outputs.control_table)
    before = store.read()
    change = Change(who="chaos", why="chaos", at=dt.datetime.now(dt.UTC) - dt.timedelta(hours=1))
    store.apply(lambda pointer: promoted(pointer, "r-bad"), change)
    table = session.outputs.control_table
    inject(ground.url, Fault(service="dynamodb", operation="TransactWriteItems", resource=table, delay_ms=4_000))
    killed, began = 0, time.monotonic()
    while not killed and time.monotonic() - began < 240:
        _tell_of_a_bad_champion(ground)
        time.sleep(0.5)
        if _writing(ground):
            time.sleep(1.0)
            killed = _kill_environments(ground, session.outputs.roll_back_function)
    heal(ground.url)
    wrong = [] if killed else ["the function was not killed while it wrote"]
    try:
        wait_for(lambda: _rolled_back(store, before.stable), what="a rollback by a later look", limit_s=180)
    except ChaosFailed as failure:
        wrong.append(str(failure))
    entries = AuditLog(dynamodb, table).entries()
    rollbacks = sum(entry.who.startswith("alarm ") and entry.changed == "pointer" for entry in entries)
    wrong += [f"one rollback is required, the audit has {rollbacks}"] if rollbacks != 1 else []
    seconds = time.monotonic() - began
    return _row("rollback function killed", clicks=0, note=f"killed {killed}, done after {seconds:.0f} s"), wrong


def clock_skew(ground: Ground) -> tuple[Row, list[str]]:
    """A third of the producers is two hours ahead of the clock, a third two hours behind."""
    now = dt.datetime.now(dt.UTC)
    skews = (dt.timedelta(0), dt.timedelta(hours=2), -dt.timedelta(hours=2))
    clicks = [_at(event, now + skews[number % 3]) for number, event in enumerate(clicks_from(_ONE_DAY + 40, 300))]
    accounting = ground.journey.decide(clicks)
    rejects = ground.journey.rejects(clicks)
    ahead = {click.key for number, click in enumerate(clicks) if number % 3 == 1}
    rejected = {str(json.loads(reject.payload_base64)["click_id"]) for reject in rejects}
    reasons = {reject.reason for reject in rejects}
    wrong = [] if accounting.holds else [str(accounting)]
    if rejected != ahead or reasons != {"ahead_of_arrival"}:
        wrong.append(f"{len(ahead)} clicks rejected as ahead_of_arrival are required, came {len(rejected)}: {reasons}")
    note = f"{len(rejected)} of the future rejected, the others decided"
    return _row("clock skew", clicks=len(clicks), lost=len(accounting.missing), note=note), wrong


TRIALS: Final[Sequence[Callable[[Ground], tuple[Row, list[str]]]]] = (
    firehose_failing, replay_killed, clock_skew, rollback_killed,
)  # fmt: skip


def _row(name: str, *, clicks: int, lost: int = 0, double: int = 0, note: str = "") -> Row:
    return {"fault": name, "clicks": clicks, "lost": lost, "double_counted": double, "note": note}


def _at(event: Event, at: dt.datetime) -> Event:
    record = json.loads(event.payload) | {"at": at.isoformat()}
    return event._replace(payload=json.dumps(record).encode())


def _kill_environments(ground: Ground, function: str) -> int:
    """Kill the execution environments of functions whose names hold this; how many they were."""
    daemon = recall(ground.journey.state / "run" / "emulator.json")
    if daemon is None or daemon.process is None:
        raise ChaosFailed("the emulator must live through every fault, it is gone")
    killed = 0
    for process in daemon.process.children(recursive=True):
        try:
            if function in process.environ().get("AWS_LAMBDA_FUNCTION_NAME", ""):
                process.kill()
                killed += 1
        except psutil.Error:
            continue
    return killed


def _published(ground: Ground) -> int:
    """Corrections that markers tell of, of hours that a trial of this module replays."""
    lake = lake_of(ground.journey.session)
    return sum(msgspec.json.decode(lake.read(key), type=Applied).published for key in lake.keys(APPLIED))


def _tell_of_a_bad_champion(ground: Ground) -> None:
    """Metrics of a minute in which a champion invalidates everything."""
    dimensions = [{"Name": "service", "Value": "score_clicks"}, {"Name": "role", "Value": Role.CHAMPION.value}]
    sums = {"Clicks": 500.0, "Invalid": 500.0, "ExpectedInvalid": 50.0, "ExpectedVariance": 45.0}
    now = dt.datetime.now(dt.UTC)
    ground.journey.session.client("cloudwatch").put_metric_data(
        Namespace=namespace("local"),
        MetricData=[
            {
                "MetricName": name,
                "Value": value,
                "Dimensions": dimensions,
                "Timestamp": now - dt.timedelta(seconds=back),
            }
            for name, value in sums.items()
            for back in (90, 30)
        ],
    )


def _writing(ground: Ground) -> bool:
    """Whether a write of the pointer is held back."""
    return touched(ground.url) > 0


def _rolled_back(store: PointerStore, stable: str | None) -> bool:
    pointer = store.read()
    return pointer.champion == stable and pointer.frozen
