"""What must hold when a fault is over: every click decided once, queued where UNDECIDED, counted once."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.chaos.faults import Trial
from benchmarks.chaos.ground import Ground, undecided_metric, wait_for
from benchmarks.chaos.run import Run, first_decided_after, fold, with_odd
from functions.adapters.counters import Counters
from functions.adapters.secrets import Secrets
from local.cloud import lifecycle
from local.sources.event import Event
from slidr.click import parse_click
from slidr.counter_batch import CounterBatch, counter_batch
from slidr.counters import ENTITIES, RAW_COLUMNS
from slidr.ledger import Ledger, LedgerEntry
from slidr.verdict import Decision, Reason
from tests.cloud.journey import slidr
from training.counters_kernel import count

_MARKS: Final = ("present", "late")


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
    queued: dict[str, set[tuple[Reason, ...]]] = {}
    for click in ground.journey.undecided_clicks()[0]:
        queued.setdefault(click.click_id, set()).add(click.reasons)
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
    low = offline(certain)
    high = low if possible is certain else offline(possible)
    on_time = whole_windows(online) & whole_windows(high) & whole_windows(low)
    over = int((on_time & (online > high)).any(axis=1).sum())
    under = int((on_time & (online < low)).any(axis=1).sum())
    whole = high if possible is order else offline(order)
    unlike = int((online != whole).any(axis=1).sum())
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


def check_odd_records(ground: Ground, run: Run, ledger: Ledger[LedgerEntry]) -> None:
    """Every adversarial record is rejected or decided."""
    if not run.odd:
        return
    rejected = {reject.payload_base64 for reject in ground.journey.rejects(run.odd)}
    left = [event for event in run.odd if event.key not in ledger and event.payload not in rejected]
    if left:
        run.wrong.append(f"{len(left)} adversarial records have no outcome, such as {left[0].key}")
