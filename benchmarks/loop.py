"""The whole daily loop, by the deployed state machine on this machine, over 0.1, 1 and 10 million backfilled clicks.

A cloud of its own for each size: simulated days go into the lake (not counted), then a run is counted from its start to
its end: dataset, data guardrails, training beside profiles, evaluation against baselines, model guardrails,
publication, registry, deployment, promotion, page. It makes the first release. Up to a million clicks the next run
follows, which compares with a champion and waits in shadow; it stands in the rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Final

from benchmarks.daily_runs import (
    TRAINING_DAYS,
    LoopNotRun,
    Memory,
    date_of,
    memory_watched,
)
from benchmarks.deployed import running_cloud
from benchmarks.harness import Measured
from local.console import console
from local.daily_run import DailyRun, Step, run_ended, start_run
from local.session import Session

SIZES: Final = {"0_1m": 100_000, "1m": 1_000_000, "10m": 10_000_000}
FIGURES: Final = {
    name: meaning
    for size, clicks in SIZES.items()
    for name, meaning in {
        f"seconds_{size}": f"one run of the loop over {clicks:,} clicks, from its start to its end",
        f"peak_gb_{size}": "most memory of any one process of it (VmHWM)",
    }.items()
}
MOST_SECONDS_1M: Final = 300.0
SEED: Final = 7
DAYS: Final = TRAINING_DAYS + 3
"""Of the first run, and one more for the second."""
_LIMIT_S: Final = 7_200.0
_WITH_NEXT_DAY: Final = 1_000_000


def measure() -> Measured:
    figures: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    notes = []
    for size, clicks in SIZES.items():
        first, memory, second = _measured(clicks)
        figures |= {f"seconds_{size}": first.seconds, f"peak_gb_{size}": memory.peak_gb}
        notes.append(f"{clicks:,} clicks: {first.release} {first.outcome}; largest process: {memory.of}")
        for title, run in (("first", first), ("next day", second)):
            if run is not None:
                rows += [
                    {"clicks": f"{clicks:,}", "run": title, "step": step.name, "seconds": step.seconds}
                    for step in (*run.steps, Step(name=f"all ({run.outcome})", seconds=run.seconds))
                ]
        console.print(f"  {clicks:,} clicks: {first.seconds:.0f} s, {memory.peak_gb:.2f} GB")
    missed = []
    if figures["seconds_1m"] >= MOST_SECONDS_1M:
        missed.append(f"{MOST_SECONDS_1M:.0f} s for a million clicks, came {figures['seconds_1m']:.0f} s")
    return Measured(
        figures=figures,
        rows=rows,
        notes=[
            *notes,
            f"{DAYS} simulated days in the lake; a run reads {TRAINING_DAYS + 2} of them and trains on {TRAINING_DAYS}",
            "instances that AWS would start first are not in it",
        ],
        missed=missed,
    )


def _measured(clicks: int) -> tuple[DailyRun, Memory, DailyRun | None]:
    """The first run on a lake of so many clicks, the memory of its largest process, and the next day's run."""
    with running_cloud():
        session = Session()
        backfill(days=DAYS, clicks_per_day=clicks // (TRAINING_DAYS + 2))
        with memory_watched() as memory:
            first = run_ended(session, start_run(session, {"day": f"{date_of(TRAINING_DAYS)}"}), within_s=_LIMIT_S)
        if first.outcome != "promoted":
            raise LoopNotRun(f"the first release must be put in force, it is {first.outcome}: {first.why}")
        if clicks > _WITH_NEXT_DAY:
            return first, memory, None
        asked = {"day": f"{date_of(TRAINING_DAYS + 1)}"}
        return first, memory, run_ended(session, start_run(session, asked), within_s=_LIMIT_S)


def backfill(*, days: int, clicks_per_day: int, first_day: int = 0) -> None:
    """Bring simulated days into the lake, by the command.

    Raises:
        LoopNotRun: the command failed.
    """
    words = ("--simulate", str(days), "--first-day", str(first_day), "--clicks-per-day", str(clicks_per_day))
    ended = subprocess.run(
        [sys.executable, "-m", "local.cli", "backfill", *words, "--seed", str(SEED)],
        env=os.environ,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if ended.returncode:
        raise LoopNotRun(f"slidr backfill must end with 0, it ended with {ended.returncode}")
