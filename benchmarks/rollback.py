"""A bad day, live: ruined releases are promoted under traffic; alarms take them back, a replay corrects them.

On the deployed stacks, with RATE clicks a second: (1) a release whose thresholds are 0, (2) one of weights drawn
anew. Each must be noticed by an alarm within four minutes of its first verdict and be out of force within ten seconds
of the alarm; then `slidr replay` shows and applies the difference, and the ledger must say for every click what the
stable release decides on the logged features, asked through the endpoint. (3) A sound release is promoted while the
sender writes one user, session and address into every click: its alarm rolls it back, the alarm goes on with stable,
and so the input is blamed: every click is billed, a person is paged, and a replay with recomputed features is told.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np
from pybreaker import CircuitBreaker
from typer.testing import CliRunner

from benchmarks.deployed import running_cloud
from benchmarks.harness import Measured
from functions.adapters.alarms import AlarmReader
from functions.adapters.endpoint import Endpoint
from functions.adapters.serving_state import Change, PointerStore, PolicyStore
from local.cli import app
from local.commands.send import writer_of
from local.console import console
from local.demonstration import simulated_traffic
from local.promotion import promote
from local.release_bucket import publish_release
from local.replaying import loaded_release
from local.rollout import apply, planned
from local.session import Session
from local.sources.event import Event, Kind
from local.sources.simulated import simulated_chunks
from local.stream_reader import Start, StreamReader
from local.training_run import LOCAL_INSTANCE, simulated_dataset, train_release
from slidr.decision import Evidence, decide
from slidr.errors import SlidrError
from slidr.ledger import Ledger
from slidr.pointer import unfrozen
from slidr.policy import DEFAULT, with_kill_switch, with_mode
from slidr.slices import Thresholds
from slidr.verdict import Decision, Mode, Reason, Verdict
from training.artifact import LoadedRelease, weights_sha256, write_release
from training.mlp_weights import save_weights
from training.model import Mlp

FIGURES: Final = {
    "seconds_first_bad_to_alarm": "from the first verdict of a ruined release to the alarm, the slower of two",
    "seconds_alarm_to_rollback": "from the alarm to the pointer naming stable, the slowest of three",
    "ledger_equal": "share of the clicks of ruined releases whose net verdict is what stable decides on their features",
}
RATE: Final = 150.0
"""Clicks a second: what two cores decide besides all else."""
CLICKS_PER_DAY: Final = 20_000
TRAINING_DAYS: Final = 8
SEED: Final = 7
ALARM_WITHIN_S: Final = 240.0
ROLLBACK_WITHIN_S: Final = 10.0
USUAL_S: Final = 100.0
"""Traffic before anything happens: no alarm may go off in it."""
CALM_S: Final = 75.0
"""How long no alarm was on: else the next release would share its first alarm with the last one's clicks."""
_LOOK_S: Final = 0.2
_BATCH: Final = 500


class BadDayNotRun(SlidrError):
    """The benchmark itself could not do what it must."""


@dataclass(slots=True)
class Traffic:
    """Clicks that flow in the background, in the order of their world; a context manager."""

    session: Session
    sent: int = 0
    stuck: bool = False
    """Whether the sender writes one user, session and address into every click."""
    failure: BaseException | None = None
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._flow, name="traffic", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread:
            self._thread.join()

    def _flow(self) -> None:
        try:
            writer = writer_of(self.session)
            began = time.monotonic()
            for events in _pieces(self._events(), round(RATE / 5)):
                ahead_s = self.sent / RATE - (time.monotonic() - began)
                if self._done.wait(max(0.0, ahead_s)):
                    return
                writer.put([_of_one_visitor(event) for event in events] if self.stuck else events)
                self.sent += len(events)
        except BaseException as failure:  # noqa: BLE001 - told by who waits
            self.failure = failure

    def _events(self) -> Iterator[Event]:
        world = simulated_traffic(SEED, CLICKS_PER_DAY)
        days = (world.day(day) for day in count(TRAINING_DAYS + 1))
        return (event for chunk in simulated_chunks(days) for event in chunk if event.kind is Kind.CLICK)


def _pieces(events: Iterator[Event], size: int) -> Iterator[list[Event]]:
    piece: list[Event] = []
    for event in events:
        piece.append(event)
        if len(piece) == size:
            yield piece
            piece = []


def _of_one_visitor(event: Event) -> Event:
    same = {"user": "template", "session": "template", "ip": "192.0.2.1"}
    return event._replace(payload=json.dumps(json.loads(event.payload) | same).encode())


@dataclass(slots=True)
class Scene:
    """The deployed cloud, and what has come of it."""

    session: Session
    traffic: Traffic
    inbox: str
    """Queue that the alerts go to."""
    stable: str
    records: list[Verdict] = field(default_factory=list)
    _reader: StreamReader | None = None

    @property
    def pointers(self) -> PointerStore:
        return PointerStore(self.session.client("dynamodb"), self.session.outputs.control_table)

    @property
    def policies(self) -> PolicyStore:
        return PolicyStore(self.session.client("dynamodb"), self.session.outputs.control_table)

    def alarm_on(self, name: str) -> bool:
        reader = AlarmReader(self.session.client("cloudwatch"))
        return reader.states([f"{self.session.outputs.alarm_prefix}{name}"]).popitem()[1].on

    def poll(self) -> None:
        """Read what is new on the verdict stream."""
        if self._reader is None:
            self._reader = StreamReader(self.session.client("kinesis"), self.session.outputs.verdict_stream, Start())
        while (new := list(self._reader.poll())) or not self._reader.caught_up:
            self.records += [msgspec.json.decode(one, type=Verdict) for one in new]

    def of_release(self, release_id: str) -> list[Verdict]:
        """The original verdicts of a release."""
        self.poll()
        return [one for one in self.records if one.release_id == release_id and one.kind == "original"]

    def wait(self, happened: Callable[[], bool], *, what: str, within_s: float) -> float:
        """Wait until something has happened; when, by the clock."""
        deadline = time.monotonic() + within_s
        while not happened():
            if self.traffic.failure:
                raise BadDayNotRun(f"clicks must flow, however: {self.traffic.failure}")
            if time.monotonic() > deadline:
                raise BadDayNotRun(f"{what} is required within {within_s:.0f} s")
            time.sleep(_LOOK_S)
        return time.time()


def measure() -> Measured:
    rows: list[dict[str, Any]] = []
    missed: list[str] = []
    with running_cloud(), scene() as of:
        of.wait(lambda: of.traffic.sent > RATE * USUAL_S, what="usual traffic", within_s=USUAL_S * 3)
        if of.pointers.read().frozen or of.alarm_on("Rollback") or of.alarm_on("InputFault"):
            raise BadDayNotRun("usual traffic must set off no alarm, it did: look at the release of the benchmark")
        equal = bad_clicks = 0
        for kind, release in ruined_releases(loaded_release(of.session, of.stable)).items():
            row, same, total = bad_release(of, kind, release)
            rows.append(row)
            equal, bad_clicks = equal + same, bad_clicks + total
            console.print(f"  [dim]{row}[/]")
            calm(of)
        rows.append(stuck_input(of))
        console.print(f"  [dim]{rows[-1]}[/]")
    alarm_s = max(row["to alarm, s"] for row in rows[:2])
    rollback_s = max(row["to rollback, s"] for row in rows)
    ledger_equal = equal / bad_clicks if bad_clicks else float("nan")
    if alarm_s > ALARM_WITHIN_S:
        missed.append(f"an alarm within {ALARM_WITHIN_S:.0f} s of the first bad verdict, came after {alarm_s:.0f} s")
    if rollback_s > ROLLBACK_WITHIN_S:
        missed.append(f"a rollback within {ROLLBACK_WITHIN_S:.0f} s of the alarm, came after {rollback_s:.1f} s")
    if equal != bad_clicks:
        missed.append(f"net verdicts equal to stable's, {bad_clicks - equal:,} of {bad_clicks:,} are not")
    if rows[-1]["told"] < 2:
        missed.append("a message of the rollback and a page of observe mode, where the alarm goes on with stable")
    return Measured(
        figures={
            "seconds_first_bad_to_alarm": alarm_s,
            "seconds_alarm_to_rollback": rollback_s,
            "ledger_equal": ledger_equal,
        },
        rows=rows,
        notes=[
            f"{RATE:.0f} clicks a second, {CLICKS_PER_DAY:,} a simulated day; periods of a minute, 2 of 3; one machine",
            "to rollback: the pointer as read by this benchmark every 0.2 s; functions read it at least every 3 s",
        ],
        missed=missed,
    )


@contextmanager
def scene() -> Iterator[Scene]:
    """A release in force that is stable too, verdicts that are enforced, an inbox for alerts, and traffic."""
    session = Session()
    dataset = simulated_dataset(session, simulated_traffic(SEED, CLICKS_PER_DAY), days=TRAINING_DAYS, run="rollback")
    settings = {"epochs": "6"}
    release_id = train_release(
        session, dataset, run="rollback", hyperparameters=settings, instance_type=LOCAL_INSTANCE
    ).id
    apply(session, planned(session, release_id, name_stable=True), why="benchmark")
    change = _change("benchmark")
    PolicyStore(session.client("dynamodb"), session.outputs.control_table).apply(
        lambda policy: with_mode(policy, DEFAULT, Mode.ENFORCE), change
    )
    sqs, sns = session.client("sqs"), session.client("sns")
    inbox = sqs.create_queue(QueueName="rollback-inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=inbox, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    for topic in sns.list_topics()["Topics"]:
        sns.subscribe(TopicArn=topic["TopicArn"], Protocol="sqs", Endpoint=arn)
    with Traffic(session) as traffic:
        yield Scene(session=session, traffic=traffic, inbox=inbox, stable=release_id)


def ruined_releases(sound: LoadedRelease) -> dict[str, LoadedRelease]:
    """Two that must never serve."""
    with np.errstate(divide="ignore"):
        scale = np.where(sound.weights.inverse_scale > 0, 1 / sound.weights.inverse_scale, 0).astype(np.float32)
    drawn = Mlp(sound.weights.mean, scale, seed=SEED + 1).to_weights()
    zero = msgspec.structs.replace(sound.release, thresholds=Thresholds(default=0.0))
    noise = msgspec.structs.replace(sound.release, weights_sha256=weights_sha256(save_weights(drawn)))
    return {
        "thresholds of 0": LoadedRelease(id="", release=zero, weights=sound.weights),
        "weights drawn anew": LoadedRelease(id="", release=noise, weights=drawn),
    }


def promoted(of: Scene, release: LoadedRelease) -> str:
    """Publish a release, load it, put it in force."""
    session = of.session
    with tempfile.TemporaryDirectory() as folder:
        payload = save_weights(release.weights)
        identity = write_release(Path(folder), release=release.release, weights=payload, evidence={})
        bundle = Path(folder) / "releases" / identity
        publish_release(session.client("s3"), session.outputs.release_bucket, bundle)
    apply(session, planned(session, identity, name_stable=False, as_challenger=True), why="benchmark")
    promote(session, identity, over=of.pointers.read().champion, why="benchmark")
    return identity


def bad_release(of: Scene, kind: str, release: LoadedRelease) -> tuple[dict[str, Any], int, int]:
    """Promote it, wait for its end, correct what it did: a row, clicks that are right afterwards, clicks in all."""
    console.print(f"  {kind} ...")
    bad = promoted(of, release)
    alarm_at = of.wait(lambda: of.alarm_on("Rollback"), what="an alarm", within_s=ALARM_WITHIN_S * 1.5)
    console.print(f"  [dim]on: {_on(of)}[/]")
    back_at = of.wait(lambda: of.pointers.read().champion == of.stable, what="a rollback", within_s=90)
    of.wait(lambda: _seconds_since(of.of_release(bad)[-1].decided_at) > 5, what="the bad release's end", within_s=60)
    verdicts = of.of_release(bad)
    first_at = min(one.decided_at for one in verdicts).timestamp()
    last_at = max(one.decided_at for one in verdicts).timestamp()
    hours = (min(one.at for one in verdicts), max(one.at for one in verdicts) + dt.timedelta(hours=1))
    words = ["replay", "--from", _hour(hours[0]), "--to", _hour(hours[1]), "--release", "stable", "--decided-by", bad]
    dry = _run(*words)
    applied = _run(*words, "--apply", "--yes", "--why", kind)
    again = _run(*words, "--apply", "--yes", "--why", kind)
    same = sum(_net_is_stable(of, verdicts))
    row = {
        "case": kind,
        "clicks": len(verdicts),
        "to alarm, s": alarm_at - first_at,
        "to rollback, s": max(0.0, back_at - alarm_at),
        "last bad verdict, s": last_at - alarm_at,
        "to observe mode, s": "",
        "corrections": len([one for one in of.records if one.kind == "correction"]),
        "right after replay": same,
        "told": _messages(of),
    }
    for text, told in ((dry, "Nothing was published"), (applied, "Published"), (again, "Nothing differs")):
        if told not in text:
            raise BadDayNotRun(f"slidr replay must say {told!r}, it said: {text[-800:]}")
    return row, same, len(verdicts)


def _net_is_stable(of: Scene, verdicts: list[Verdict]) -> list[bool]:
    """Whether the ledger says of each click what stable decides on its features, asked through the endpoint."""
    of.poll()
    ledger = Ledger[Verdict](of.records)
    release = loaded_release(of.session, of.stable).release
    client = of.session.client("sagemaker-runtime")
    endpoint = Endpoint(client, of.session.outputs.endpoint_name, breaker=CircuitBreaker(fail_max=3))
    scored = [one for one in verdicts if one.features is not None]
    equal: list[bool] = [True] * (len(verdicts) - len(scored))
    for start in range(0, len(scored), _BATCH):
        batch = scored[start : start + _BATCH]
        answer = endpoint.score(np.array([one.features for one in batch], dtype=np.float32), release_id=of.stable)
        decided = decide(
            Evidence(
                scores=answer.scores,
                thresholds=release.thresholds.of([one.slice for one in batch]),
                doubts=np.zeros(len(batch), dtype=np.uint8),
                crawlers=np.array([one.givt for one in batch]),
                allowed=np.array([Reason.ALLOW_LISTED in one.reasons for one in batch]),
            )
        )
        for one, decision in zip(batch, decided.decisions, strict=True):
            net = ledger.get(one.click_id)
            billed = not (decision is Decision.INVALID and one.mode is Mode.ENFORCE)
            equal.append(net is not None and net.decision is decision and net.billable is billed)
    return equal


def calm(of: Scene) -> None:
    """Wait until no alarm sees anything of what was; then lift the freeze, as an operator would."""
    quiet_since = time.monotonic()

    def is_calm() -> bool:
        nonlocal quiet_since
        if of.alarm_on("Rollback") or of.alarm_on("InputFault"):
            quiet_since = time.monotonic()  # an alarm may go off once more as its periods move on
        return time.monotonic() > quiet_since + CALM_S

    of.wait(is_calm, what="the end of all alarms", within_s=600)
    of.pointers.apply(unfrozen, _change("well again"))


def stuck_input(of: Scene) -> dict[str, Any]:
    """Every click says that it is one visitor's, while a sound release is promoted."""
    console.print("  an input at fault ...")
    stable = loaded_release(of.session, of.stable)
    moved = {name: min(1.0, bound + 1e-4) for name, bound in stable.release.thresholds.by_slice.items() if bound <= 1}
    thresholds = msgspec.structs.replace(
        stable.release.thresholds, by_slice={**stable.release.thresholds.by_slice, **moved}
    )
    sound = LoadedRelease(
        id="", release=msgspec.structs.replace(stable.release, thresholds=thresholds), weights=stable.weights
    )
    promoted(of, sound)
    _messages(of)
    of.poll()
    began, before = time.time(), len(of.records)
    of.traffic.stuck = True
    try:
        alarm_at = of.wait(lambda: of.alarm_on("Rollback"), what="an alarm", within_s=ALARM_WITHIN_S * 1.5)
        console.print(f"  [dim]on: {_on(of)}[/]")
        back_at = of.wait(
            lambda: of.pointers.read().champion == of.stable, what=f"a rollback ({_on(of)})", within_s=200
        )
        observed_at = of.wait(
            lambda: of.policies.read().kill_switch, what="observe mode", within_s=ALARM_WITHIN_S * 1.5
        )
        time.sleep(5)
    finally:
        of.traffic.stuck = False
    of.poll()
    affected = [one for one in of.records[before:] if one.decided_at.timestamp() > began]
    hours = (min(one.at for one in affected), max(one.at for one in affected) + dt.timedelta(hours=1))
    told = _run("replay", "--from", _hour(hours[0]), "--to", _hour(hours[1]), "--release", "stable",
                "--recompute-features")  # fmt: skip
    console.print(told)
    of.policies.apply(lambda policy: with_kill_switch(policy, on=False), _change("well again"))
    return {
        "case": "an input at fault",
        "clicks": len(affected),
        "to alarm, s": alarm_at - began,
        "to rollback, s": max(0.0, back_at - alarm_at),
        "last bad verdict, s": "",
        "to observe mode, s": observed_at - back_at,
        "corrections": "",
        "right after replay": "",
        "told": _messages(of),
    }


def _on(of: Scene) -> str:
    """The alarms that are on, for a message."""
    alarms = AlarmReader(of.session.client("cloudwatch")).on(of.session.outputs.alarm_prefix)
    return ", ".join(f"{alarm.name} since {alarm.since:%H:%M:%S} ({alarm.reason})" for alarm in alarms)


def _messages(of: Scene) -> int:
    """How many pages and rollbacks the inbox has been told of since the last look."""
    sqs, found = of.session.client("sqs"), 0
    while batch := sqs.receive_message(QueueUrl=of.inbox, MaxNumberOfMessages=10).get("Messages"):
        subjects = [str(json.loads(message["Body"]).get("Subject")) for message in batch]
        found += sum("PAGE" in subject or "rolled back" in subject for subject in subjects)
        entries = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(batch)]
        sqs.delete_message_batch(QueueUrl=of.inbox, Entries=entries)
    return found


def _run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    if result.exit_code:
        raise BadDayNotRun(f"slidr {' '.join(words)} must do well: {result.output[-800:]}")
    return result.output


def _hour(at: dt.datetime) -> str:
    return f"{at:%Y-%m-%dT%H:00}+00:00"


def _seconds_since(at: dt.datetime) -> float:
    return time.time() - at.timestamp()


def _change(why: str) -> Change:
    return Change(who="benchmark", why=why, at=dt.datetime.now(dt.UTC))
