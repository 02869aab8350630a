"""What releases of a million clicks cost the buyers of later days: they keep their budget there, or do not.

Three worlds of 80,000 clicks a day, six releases each, a day apart, made from the ten days before. Thresholds keep the
budget on the people who certify them; what counts is the day that follows, and whether a guardrail would stop it.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.guardrail_world import FIRST, LAST, WINDOW, champion_of, date_of, judged, open_world
from benchmarks.harness import Measured
from local.console import console
from training.guardrails import stopped_by
from training.guardrails.model_summary import ModelSummary
from training.simulator import Events

FIGURES: Final = {
    "days": "later days, each with a release trained for it",
    "within_budget": "of them, those on which the release kept the FPR budget",
    "stopped": "of them, those on which a guardrail stops it",
    "fpr_certified": "FPR on the people who certify thresholds, all releases together",
    "fpr_later": "FPR on the later day, all of them together",
}
VARYING: Final = Events(varying_purchases=True)
WORLDS: Final = {7: VARYING, 8: VARYING, 9: replace(VARYING, sale_days=(5, 15))}
CLICKS_PER_DAY: Final = 80_000
BUDGET: Final = 0.01
MOST_FPR: Final = 1.25 * BUDGET
"""Over all days. With ages of keys that told the date it was 1.7 budgets (training/LOG.md)."""
HYPERPARAMETERS: Final = {"fpr_budget": f"{BUDGET}", "epochs": "14"}


def measure() -> Measured:
    rows: list[dict[str, Any]] = []
    certified, later = [0, 0], [0, 0]
    for seed, events in WORLDS.items():
        with tempfile.TemporaryDirectory(prefix="slidr-later-days-") as folder:
            world = open_world(seed, events, Path(folder), clicks_per_day=CLICKS_PER_DAY, **HYPERPARAMETERS)
            champion = champion_of(world)
            for day in range(FIRST, LAST + 1):
                summary, results = judged(world, champion, day)
                told, came = summary.candidate.evidence.calibration_fpr, summary.candidate.overall
                certified = [certified[0] + told.count, certified[1] + told.total]
                later = [later[0] + came.wrong, later[1] + came.purchasing]
                rows.append({
                    "world": str(seed), "day": f"{date_of(day):%a %d}", "certified": told.count / told.total,
                    "later": came.wrong / came.purchasing, "IVR": came.invalid / came.clicks,
                    "dearest slice": _dearest(summary),
                    "stopped by": ", ".join(dict.fromkeys(result.name for result in stopped_by(results))),
                })  # fmt: skip
                console.print(f"  world {seed}, day {day}: FPR {rows[-1]['later']:.2%} {rows[-1]['stopped by']}")
    fpr = later[0] / later[1]
    shares = [row["later"] for row in rows]
    return Measured(
        figures={
            "days": len(rows),
            "within_budget": sum(share <= BUDGET for share in shares),
            "stopped": sum(bool(row["stopped by"]) for row in rows),
            "fpr_certified": certified[0] / certified[1],
            "fpr_later": fpr,
        },
        spread={"fpr_later": (min(shares), max(shares))},
        rows=rows,
        notes=[
            f"{CLICKS_PER_DAY:,} clicks a day, {WINDOW} days make a release, budget {BUDGET:.0%}; purchases vary",
            "a sale on days 5 and 15 of world 9; clicks that a list names are left out of later days",
        ],
        missed=[f"an FPR of at most {MOST_FPR:.2%} on later days, came {fpr:.2%}"] if fpr > MOST_FPR else [],
    )


def _dearest(summary: ModelSummary) -> str:
    """The slice with the highest FPR, with its counts."""
    slices = {name: tally for name, tally in summary.candidate.by_slice.items() if tally.purchasing}
    name, tally = max(slices.items(), key=lambda item: item[1].wrong / item[1].purchasing)
    return f"{name}: {tally.wrong} of {tally.purchasing}"
