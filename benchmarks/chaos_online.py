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
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos.accounts import account
from benchmarks.chaos.adversarial import adversarial
from benchmarks.chaos.faults import Trial, chosen_trials
from benchmarks.chaos.ground import ChaosFailed, Ground, VerdictLog, set_aside_clicks, undecided_metric, wait_for
from benchmarks.chaos.run import CLICKS, Run, first_decided_after, fold, mixed, poison_of
from benchmarks.deployed import deployed
from benchmarks.harness import Measured
from local.cloud.faults import heal
from local.cloud.supervision import FIRST_DELAY_S
from local.commands.send import writer_of
from local.console import console
from local.demonstration import simulated_traffic
from local.sources.event import Event, Kind
from local.sources.simulated import simulated_chunks
from local.valkey import start_valkey
from slidr.verdict import Decision

FIGURES: Final = {
    "faults": "faults that were put in, each in the middle of 20,000 clicks",
    "survived": "faults of which all of this holds: nothing lost, nothing twice, UNDECIDED queued, recovery unaided",
    "lost": "clicks with neither a verdict, a reject, nor a place among the failed batches",
    "double_counted": "clicks with two verdicts in force, or counted more than once by the counters",
}
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
            with ground.journey.function_settings(**changes):
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


def first_problem(ground: Ground, run: Run) -> str:
    """The first words that the function logged of a failure since the fault began."""
    with ground.log.open("rb") as log:
        log.seek(run.log_from)
        for line in log:
            if b'"problem"' in line:
                return str(json.loads(line)["problem"])[:180]
    return ""


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
