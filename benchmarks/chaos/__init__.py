"""Every fault that SLIDR must live through: those of the online path, and those of what corrects and delivers.

`chaos_online` has the former, each in the middle of 20,000 clicks, with all its accounts. The latter: Firehose's
transforms killed while it delivers, a replay killed while it publishes, the rollback function killed while it writes,
producers whose clocks are off. CHAOS_FAULTS="replay, clock" runs only what holds these words.
"""

from __future__ import annotations

import os
from typing import Final

from benchmarks.harness import Measured

FIGURES: Final = {
    "faults": "faults that were put in",
    "survived": "faults of which all holds: nothing lost, nothing counted twice, recovery unaided",
    "lost": "clicks without an outcome, a place in the lake, or a decision that was due",
    "double_counted": "clicks with two verdicts in force, two corrections, or counted twice by the counters",
}


def measure() -> Measured:
    """Put in every fault, one after another."""
    from benchmarks import chaos_online  # noqa: PLC0415 - it imports this package
    from benchmarks.chaos.bad_day import TRIALS  # noqa: PLC0415
    from benchmarks.chaos.ground import ChaosFailed, Ground, VerdictLog  # noqa: PLC0415
    from benchmarks.deployed import deployed  # noqa: PLC0415
    from local.console import console  # noqa: PLC0415

    online = chaos_online.measure()
    names = ("fault", "lost", "double_counted")
    rows = [{name: row.get(name, row.get("trial", "")) for name in names} | {"note": ""} for row in online.rows]
    missed, figures = list(online.missed), dict(online.figures)
    wanted = os.environ.get("CHAOS_FAULTS", "").split(",")
    chosen = [trial for trial in TRIALS if any(part.strip().replace(" ", "_") in trial.__name__ for part in wanted)]
    if chosen:
        with deployed() as journey, VerdictLog(journey) as verdicts:
            ground = Ground(journey, verdicts)
            for trial in chosen:
                console.print(f"  {trial.__name__.replace('_', ' ')} ...")
                figures["faults"] += 1
                try:
                    row, wrong = trial(ground)
                except ChaosFailed as failure:
                    missed.append(f"{trial.__name__}: {failure}")
                    continue
                console.print(f"  [dim]{row} {wrong or 'survived'}[/]")
                rows.append({name: row[name] for name in (*names, "note")})
                figures["survived"] += not wrong
                figures["lost"] += row["lost"]
                figures["double_counted"] += row["double_counted"]
                missed += [f"{row['fault']}: {words}" for words in wrong]
    return Measured(figures=figures, rows=rows, notes=online.notes, missed=missed)
