"""Written anomalies against the guardrails, and clean days: how many of each are stopped."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from benchmarks.guardrail_anomalies import (
    DAY,
    DELIVERED,
    ROWS,
    Deliveries,
    archive_of,
    flipped_labels,
    leaked,
    newest_part,
    rows_of,
)
from benchmarks.guardrail_world import (
    CLICKS_PER_DAY,
    FIRST,
    LAST,
    WINDOW,
    World,
    between,
    candidate_of,
    candidate_rows,
    champion_of,
    date_of,
    judged,
    later_rows,
    open_world,
    summarised,
    trained,
)
from benchmarks.harness import Measured
from local.console import console
from slidr.errors import SlidrError
from slidr.release import EVIDENCE_FILE, RELEASE_FILE, WEIGHTS_FILE, decode_release
from slidr.shadow import EndpointSummary
from slidr.slices import Thresholds
from training.artifact import write_release
from training.guardrails import (
    Result,
    data_guardrails,
    endpoint_guardrails,
    model_guardrails,
    stopped_by,
    summarise_day,
    summarise_models,
)
from training.guardrails.model_summary import Entrant, read_entrant
from training.simulator import Events

VARYING: Final = Events(varying_purchases=True)
WORLDS: Final = {
    2001: VARYING,
    2002: replace(VARYING, sale_days=(12,)),
    2003: replace(VARYING, marketplace_opens=13),
    2004: replace(VARYING, sale_days=(5, 15), marketplace_opens=12),
    2005: Events(),
}
"""Seeds on which no bound was set."""

FIGURES: Final = {
    "injected": "anomalies written",
    "stopped": "of them, stopped by the guardrail or error that each of them names",
    "clean_days": "clean simulated days, each with a release trained for it",
    "clean_stopped": "of them, stopped by any guardrail",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One anomaly and what stopped it."""

    anomaly: str
    by: str
    """The guardrail or error that must stop it."""
    stopped: tuple[str, ...]
    """All that did."""

    @property
    def holds(self) -> bool:
        return self.by in self.stopped


def measure() -> Measured:
    """The first world is disturbed; all of them have clean days."""
    with tempfile.TemporaryDirectory(prefix="slidr-guardrails-") as folder:
        cases: list[Case] = []
        clean: dict[str, tuple[Result, ...]] = {}
        values: defaultdict[str, list[float]] = defaultdict(list)
        for seed, events in WORLDS.items():
            world = open_world(seed, events, Path(folder) / str(seed))
            champion = champion_of(world)
            for day in range(FIRST, LAST + 1):
                _, results = judged(world, champion, day)
                clean[f"world {seed}, day {day}"] = stopped_by(results)
                for result in results:
                    values[result.name].append(result.value)
            console.print(f"  world {seed}: {sum(map(bool, clean.values()))} of {len(clean)} clean days stopped")
            if not cases:
                cases = [*_data_cases(world), *_model_cases(world, champion), *_endpoint_cases()]
                console.print(f"  {sum(case.holds for case in cases)} of {len(cases)} anomalies stopped")
    missed = [f"{case.anomaly} stopped by {case.by}, came {', '.join(case.stopped) or 'nothing'}"
              for case in cases if not case.holds]  # fmt: skip
    missed += [f"{name} not stopped: {one.says}" for name, results in clean.items() for one in results]
    return Measured(
        figures={
            "injected": len(cases),
            "stopped": sum(case.holds for case in cases),
            "clean_days": len(clean),
            "clean_stopped": sum(map(bool, clean.values())),
        },
        rows=[
            {"anomaly": case.anomaly, "must be stopped by": case.by, "stopped": case.holds,
             "others that stop it": ", ".join(name for name in case.stopped if name != case.by)}
            for case in cases
        ],
        notes=[
            f"worlds {min(WORLDS)} to {max(WORLDS)} of {CLICKS_PER_DAY:,} clicks a day, {WINDOW} days make a release",
            "purchases vary in four worlds; sales on days 12 and 15, new marketplaces from days 13 and 12",
            "no loop runs here: what is shown is that guardrails stop, not that a loop obeys them",
            *(f"clean {name}: {min(found):.4g} to {max(found):.4g}" for name, found in values.items()),
        ],
        missed=missed,
    )  # fmt: skip


def _names(run: Callable[[], tuple[Result, ...]]) -> tuple[str, ...]:
    """The guardrails that stop, or the error that came."""
    try:
        return tuple(dict.fromkeys(result.name for result in stopped_by(run())))
    except SlidrError as failure:
        return (type(failure).__name__,)


def _data_cases(world: World) -> list[Case]:
    _, trailing = summarised(world, DAY)
    given = Deliveries(
        clicks=between(world.log.clicks, DAY - 1, DAY),
        purchases=between(world.log.purchases, DAY - WINDOW, DAY + 1),
        truth=world.log.truth,
    )
    rows = rows_of(given)

    def judged_day(rows: pl.DataFrame, given: Deliveries) -> tuple[Result, ...]:
        return data_guardrails(summarise_day(rows, archive_of(given), day=date_of(DAY)), trailing)

    # Undisturbed, the same way must let the day pass: else a stop says nothing of the anomaly.
    control = Case(anomaly="(nothing: passes)", by="", stopped=_names(lambda: judged_day(rows, given)) or ("",))
    if not control.holds:
        return [control]
    cases = []
    for anomaly, (by, disturb) in DELIVERED.items():
        disturbed = disturb(given)
        cases.append(Case(anomaly=anomaly, by=by, stopped=_names(partial(_judged_again, disturbed, judged_day))))
    for anomaly, (by, change) in ROWS.items():
        cases.append(Case(anomaly=anomaly, by=by, stopped=_names(partial(judged_day, change(rows), given))))
    return cases


def _judged_again(
    given: Deliveries, judged: Callable[[pl.DataFrame, Deliveries], tuple[Result, ...]]
) -> tuple[Result, ...]:
    return judged(rows_of(given), given)


def _model_cases(world: World, champion: Entrant) -> list[Case]:
    later, rows = later_rows(world, DAY), candidate_rows(world, DAY)
    good = candidate_of(world, DAY)

    def case(anomaly: str, by: str, make: Callable[[], Path], on: pl.DataFrame = later) -> Case:
        def run() -> tuple[Result, ...]:
            return model_guardrails(summarise_models(read_entrant(make()), champion, on))

        return Case(anomaly=anomaly, by=by, stopped=_names(run))

    def training(name: str, data: pl.DataFrame, **hyperparameters: str) -> Callable[[], Path]:
        return lambda: trained(data, world.folder / name, **hyperparameters)

    def damaged(name: str, file: str, change: Callable[[bytes], bytes | None]) -> Callable[[], Path]:
        return lambda: _damaged(good, world.folder / name, file, change)

    def rewritten(name: str, **changes: Any) -> Callable[[], Path]:
        return lambda: _rewritten(good, world.folder / name, **changes)

    told = decode_release((good / RELEASE_FILE).read_bytes()).thresholds
    one_open = Thresholds(default=told.default, by_slice={**told.by_slice, "device=desktop|logged_in=false": 0.0})
    closed = Thresholds(default=2.0, by_slice=dict.fromkeys(told.by_slice, 2.0))
    return [
        case("weights that are no numbers", "ReleaseInvalid", damaged("nan", WEIGHTS_FILE, _not_numbers)),
        case("the champion's weights swapped in", "ReleaseInvalid",
             damaged("swapped", WEIGHTS_FILE, lambda _: (world.folder / "champion" / "model" / "releases"
                     / champion.loaded.id / WEIGHTS_FILE).read_bytes())),
        case("weights file cut off", "ReleaseInvalid", damaged("cut", WEIGHTS_FILE, lambda b: b[: len(b) // 2])),
        case("thresholds edited in place", "ReleaseInvalid",
             damaged("edited", RELEASE_FILE, lambda b: b.replace(b'"default":', b'"default":1.0,"was":'))),
        case("metrics file missing", "EvidenceInvalid", damaged("no-metrics", EVIDENCE_FILE, lambda _: None)),
        case("metrics file without its calibration", "EvidenceInvalid",
             damaged("no-calibration", EVIDENCE_FILE, lambda b: b.replace(b'"calibration"', b'"was"'))),
        case("all thresholds 0", "fpr", rewritten("zeros", thresholds=Thresholds(default=0.0))),
        case("one slice's threshold 0", "threshold", rewritten("one-open", thresholds=one_open)),
        case("no threshold that invalidates", "ivr", rewritten("closed", thresholds=closed)),
        case("thresholds of another calibration", "thresholds_untold",
             rewritten("other", thresholds=champion.loaded.release.thresholds)),
        case("expected IVR of another world", "expected_ivr", rewritten("expects", expected_ivr=(0.9,) * 168)),
        case("another feature spec", "ReleaseInvalid", rewritten("spec", feature_spec="0" * 16)),
        case("labels and purchases turned over", "auc", training("flipped", flipped_labels(rows))),
        case("labels shuffled", "auc", training("shuffled", rows, shuffle_labels="true")),
        case("training cut off before its first step", "ivr", training("cut-off", rows, epochs="1", learning_rate="0")),
        case("seven rows in ten lost", "training_rows", training("short", newest_part(rows))),
        case("a label leaks into a feature", "auc", training("leak", leaked(rows)), leaked(later)),
        case("judged on rows that trained", "hours_after_training", lambda: good, rows),
        case("trained on days long past", "hours_after_training", training("old", candidate_rows(world, FIRST - 1))),
        case("no later row to judge on", "EvidenceInvalid", lambda: good, later.clear()),
    ]  # fmt: skip


def _endpoint_cases() -> list[Case]:
    def case(anomaly: str, by: str, **came: Any) -> Case:
        summary = EndpointSummary(**{"invocations": 5_000, "failed": 0, "p99_ms": 20.0, **came})
        return Case(anomaly=anomaly, by=by, stopped=_names(lambda: endpoint_guardrails(summary)))

    return [
        case("the endpoint is slow", "latency_p99_ms", p99_ms=1_900.0),
        case("the endpoint fails", "failed_invocations", failed=400),
        case("latency was not measured", "latency_p99_ms", p99_ms=None),
    ]


def _damaged(good: Path, folder: Path, file: str, change: Callable[[bytes], bytes | None]) -> Path:
    """A copy under the same id in which one file is another, or missing."""
    copy = folder / good.name
    copy.mkdir(parents=True)
    for path in good.iterdir():
        content = change(path.read_bytes()) if path.name == file else path.read_bytes()
        if content is not None:
            (copy / path.name).write_bytes(content)
    return copy


def _rewritten(good: Path, folder: Path, **changes: Any) -> Path:
    """A whole release, with its own id, whose content differs; its evidence is the old one's."""
    release = msgspec.structs.replace(decode_release((good / RELEASE_FILE).read_bytes()), **changes)
    evidence = msgspec.json.decode((good / EVIDENCE_FILE).read_bytes())
    identity = write_release(folder, release=release, weights=(good / WEIGHTS_FILE).read_bytes(), evidence=evidence)
    return folder / "releases" / identity


def _not_numbers(weights: bytes) -> bytes:
    """The last float32 of the file as NaN."""
    return weights[:-4] + np.float32(np.nan).tobytes()
