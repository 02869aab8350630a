"""The faults: how each is made, how it ends, what may be UNDECIDED for it and what it does to the counters."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from redis import Redis

from benchmarks.chaos.adversarial import POISON, POISONED
from benchmarks.chaos.ground import ChaosFailed, Ground, set_aside_clicks, wait_for
from local.cloud.faults import Fault, heal, inject, touched
from slidr.verdict import Reason

THROTTLE: Final = "ProvisionedThroughputExceededException"


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


def chosen_trials() -> tuple[Trial, ...]:
    """All ten, or those that CHAOS_FAULTS names (parts of their names, comma separated)."""
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


def lose_the_pointer(ground: Ground) -> None:
    """The control table answers no read: the last known pointer serves."""
    table = ground.journey.session.outputs.control_table
    inject(ground.url, Fault(service="dynamodb", operation="BatchGetItem", resource=table, error="InternalServerError"))


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


def await_poison(ground: Ground) -> None:
    """Until the event source has set the three aside."""

    def aside() -> bool:
        return sum(key.startswith(POISON) for key in set_aside_clicks(ground)) == POISONED

    wait_for(aside, what="the poisoned clicks among the failed batches", limit_s=120)
    heal(ground.url)


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
    Trial(name="pointer table unreachable", begin=lose_the_pointer, last=for_seconds(10)),
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
