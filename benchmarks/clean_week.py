"""Seven clean days through the deployed alarms, faster than real time: nothing may go off; then ruined releases.

A release is trained on ten simulated days; then a week of a million clicks a day follows, with its nights, its weekend
and one sale day, each day counted and scored as serving would. Their sums by minute and slice go through the alarms of
the synthesised template: the same metric math, M out of N, and rules of missing data. So that bounds which never speak
do not pass for good ones, ruined releases are promoted too, at every hour of a day: each must be noticed.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from aws_cdk import App
from numpy.typing import NDArray

from benchmarks.harness import REPOSITORY, Measured
from infra.app import build
from infra.bundle import FUNCTIONS
from infra.settings import load_stage
from local.cloud.alarm_series import AlarmSeries, MetricKey, metric_key
from local.console import console
from slidr.features import FEATURE_COUNT
from slidr.slices import Thresholds
from training.artifact import LoadedRelease, read_release
from training.counter_log import click_context
from training.dataset import build_dataset, write_dataset
from training.mlp_weights import Floats, MlpWeights
from training.model import Mlp
from training.replay.decide import HourRecords
from training.replay.recount import Recount
from training.scoring import open_scorer
from training.simulator import Events, Traffic
from training.simulator.log import simulated_log
from training.slice_names import slice_names
from training.train import CHANNEL, main

FIGURES: Final = {
    "clean_minutes": "minutes of the clean week that the alarms looked at",
    "clean_alarms": "times that an alarm on verdicts went off in it: each would be a rollback",
    "greatest_deviation": "greatest standard errors of a minute of it, overall",
    "ruined": "promotions of a release with ruined thresholds, two kinds, at every hour of a day",
    "noticed": "of them, those that an alarm noticed within four minutes",
    "minutes_to_alarm": "from a ruined release's first click to the alarm, median",
    "subtle": "promotions of a release with ruined weights, which still invalidates a third of what is expected",
    "subtle_noticed": "of them, those that an alarm noticed within the hour",
}
MONDAY: Final = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
TRAINED: Final = 10
WEEK: Final = 7
SALE: Final = 14
TRAINING_CLICKS: Final = 100_000
CLICKS: Final = 1_000_000
SEED: Final = 3
MINUTES_A_DAY: Final = 1_440
WITHIN_MINUTES: Final = 4
SUBTLE: Final = ("weights drawn anew", "weights of the wrong sign")
"""They still invalidate about a third of what is expected, others than they should: the slow alarms are for them."""
LOOKED_AT: Final = 60
_WORLD: Final = Events(varying_purchases=True, sale_days=(SALE,))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Day:
    """What of a decided day the alarms need, a row a click."""

    minute: NDArray[np.int64]
    hour_of_week: NDArray[np.int64]
    slices: pl.Series
    scores: Floats
    drawn_anew: Floats
    """Scores of a network of the same shape whose weights mean nothing."""
    crawlers: NDArray[np.bool_]


def trained(folder: Path) -> LoadedRelease:
    """A release of the first days."""
    traffic = Traffic(seed=SEED, start=MONDAY, clicks_per_day=TRAINING_CLICKS, events=_WORLD)
    log = simulated_log(traffic, days=TRAINED)
    write_dataset(build_dataset(log.clicks, log.purchases, until=log.until), folder / "data" / "part-0.parquet")
    identity = main({CHANNEL: folder / "data"}, folder / "model", {"epochs": "8"})
    return read_release(folder / "model" / "releases" / identity)


def week_of(release: LoadedRelease, *, clicks_per_day: int = CLICKS) -> list[Day]:
    """The days after, each scored; the day before them warms the counters up."""
    traffic = Traffic(seed=SEED, start=MONDAY, clicks_per_day=clicks_per_day, events=_WORLD)
    scorer, recount = open_scorer(release.weights, "cpu"), Recount()
    noise = open_scorer(Mlp(release.weights.mean, _scale(release.weights), seed=SEED).to_weights(), "cpu")
    nothing = HourRecords(
        records=pl.DataFrame({"has_features": [False]}), features=np.zeros((1, FEATURE_COUNT), np.float32)
    )
    days = []
    for number in range(TRAINED, TRAINED + WEEK + 1):
        clicks = simulated_log(traffic, days=1, first=number).clicks.sort("at", "click_id")
        if number == TRAINED:
            recount.pass_over(clicks)
            continue
        features = recount.of(clicks, nothing).matrix
        minute = (clicks["at"] - (MONDAY + dt.timedelta(days=number))).dt.total_minutes().to_numpy()
        days.append(
            Day(
                minute=minute,
                hour_of_week=(click_context(clicks).minute_of_week // 60).astype(np.int64),
                slices=slice_names(clicks),
                scores=scorer.score(features),
                drawn_anew=noise.score(features),
                crawlers=clicks["givt"].to_numpy(),
            )
        )
        console.print(f"  day {number}: {len(clicks):,} clicks")
    return days


def _scale(weights: MlpWeights) -> Floats:
    with np.errstate(divide="ignore"):
        return np.where(weights.inverse_scale > 0, 1 / weights.inverse_scale, 0).astype(np.float32)


Sums = dict[MetricKey, NDArray[np.float64]]
"""Of each minute, by metric."""


def sums_of(day: Day, release: LoadedRelease, *, thresholds: Thresholds, scores: Floats) -> Sums:
    """The sums that score_clicks would have told for the champion, shape (MINUTES_A_DAY,) each."""
    names = day.slices.unique().sort().to_list()
    places = day.slices.replace_strict(names, list(range(len(names))), return_dtype=pl.Int64).to_numpy()
    invalid = (scores >= thresholds.of(names)[places]) | day.crawlers
    content = release.release
    table = np.array([content.expected_ivr_by_slice.get(name, content.expected_ivr) for name in names])
    expected = table[places, day.hour_of_week]
    counted = {
        "Clicks": np.ones(len(scores)), "Invalid": invalid.astype(np.float64), "ExpectedInvalid": expected,
        "ExpectedVariance": expected * (1 - expected),
    }  # fmt: skip
    role = {"service": "score_clicks", "role": "champion"}
    sums: Sums = {}
    for metric, weights in counted.items():
        cells: NDArray[np.float64] = (
            np.bincount(places * MINUTES_A_DAY + day.minute, weights=weights, minlength=len(names) * MINUTES_A_DAY)
            .reshape(len(names), MINUTES_A_DAY)
            .astype(np.float64)
        )
        sums[metric_key(metric, role)] = cells.sum(axis=0)
        for name, of_slice in zip(names, cells, strict=True):
            sums[metric_key(metric, role | {"slice": name})] = of_slice
    return sums


def deployed_alarms() -> list[AlarmSeries]:
    """The alarms on the champion's verdicts, as production's template has them."""
    with tempfile.TemporaryDirectory() as folder:
        bundles = {function: Path(folder) / function for function in FUNCTIONS}
        for directory in bundles.values():
            directory.mkdir()
            (directory / "handler.py").write_text("")
        context = json.loads((REPOSITORY / "cdk.json").read_text())["context"]
        app = App(builtin_cloud_formation_validation=False, context=context, outdir=f"{folder}/cdk.out")
        *_, operations = build(app, load_stage("prod"), bundles=bundles)
        resources = app.synth().get_stack_by_name(operations.stack_name).template["Resources"].values()
    found = [item["Properties"] for item in resources if item["Type"] == "AWS::CloudWatch::Alarm"]
    return [AlarmSeries(properties=one) for one in found if "-Champion-" in one["AlarmName"]]


def values(alarm: AlarmSeries, sums: Sums, minutes: range) -> list[float | None]:
    """What an alarm compares with its bound, period by period; no data where there is no click."""
    length = alarm.period_s // 60
    known = {key: sums[key][minutes.start : minutes.stop] for key in alarm.metrics if key in sums}
    periods = len(minutes) // length
    added = {key: of[: periods * length].reshape(periods, length).sum(axis=1) for key, of in known.items()}
    return [
        alarm.value(
            {key: float(of[period]) for key, of in added.items() if _has_clicks(sums, key, minutes, period, length)}
        )
        for period in range(periods)
    ]


def _has_clicks(sums: Sums, key: MetricKey, minutes: range, period: int, length: int) -> bool:
    first = minutes.start + period * length
    return bool(sums["Clicks", key[1]][first : first + length].any())


def measure() -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        release = trained(Path(folder))
    alarms, days = deployed_alarms(), week_of(release)
    usual = [sums_of(day, release, thresholds=release.release.thresholds, scores=day.scores) for day in days]
    week: Sums = {key: np.concatenate([_series(day, key) for day in usual]) for key in usual[0]}
    minutes = range(WEEK * MINUTES_A_DAY)
    rows, went_off, greatest = [], 0, 0.0
    for alarm in alarms:
        came = values(alarm, week, minutes)
        states = alarm.states(came)
        times = sum(now == "ALARM" != before for before, now in zip(["OK", *states], states, strict=False))
        said = [value for value in came if value is not None]
        low = alarm.properties["ComparisonOperator"].startswith("Less")
        extreme = (min if low else max)(said, default=0.0)
        greatest = extreme if alarm.name.endswith("Champion-Deviation") else greatest
        went_off += times
        rows.append({"alarm": alarm.name.removeprefix("slidr-prod-"), "bound": float(alarm.properties["Threshold"]),
                     "extreme of a clean minute": extreme, "went off": times})  # fmt: skip
    by_kind = {
        kind: [_noticed_after(alarms, usual[0], ruined, minute=hour * 60) for hour in range(1, 24)]
        for kind, ruined in _ruined(days[0], release).items()
    }
    told = [f"{kind}: minutes to the alarm at 1:00, 2:00, ... {came}" for kind, came in by_kind.items()]
    delays = [delay for kind, came in by_kind.items() if kind not in SUBTLE for delay in came]
    noticed = sum(delay is not None and delay <= WITHIN_MINUTES for delay in delays)
    missed = [f"no alarm in a clean week, {went_off} went off"] if went_off else []
    if noticed < len(delays):
        missed.append(f"every ruined release noticed within {WITHIN_MINUTES} minutes, {len(delays) - noticed} were not")
    return Measured(
        figures={
            "clean_minutes": len(minutes),
            "clean_alarms": went_off,
            "greatest_deviation": greatest,
            "ruined": len(delays),
            "noticed": noticed,
            "subtle": sum(len(by_kind[kind]) for kind in SUBTLE),
            "subtle_noticed": sum(delay is not None for kind in SUBTLE for delay in by_kind[kind]),
            "minutes_to_alarm": float(np.median([delay if delay is not None else np.nan for delay in delays])),
        },
        rows=rows,
        notes=[
            f"{CLICKS:,} clicks a day, {TRAINING_CLICKS:,} in the {TRAINED} days before, sale on day {SALE}",
            *told,
        ],
        missed=missed,
    )


def _series(day: Sums, key: MetricKey) -> NDArray[np.float64]:
    return day.get(key, np.zeros(MINUTES_A_DAY))


def _ruined(day: Day, release: LoadedRelease) -> dict[str, Sums]:
    thresholds = release.release.thresholds
    every, none = Thresholds(default=0.0), Thresholds(default=2.0)
    return {
        "every threshold 0": sums_of(day, release, thresholds=every, scores=day.scores),
        "every threshold 2": sums_of(day, release, thresholds=none, scores=day.scores),
        "weights drawn anew": sums_of(day, release, thresholds=thresholds, scores=day.drawn_anew),
        "weights of the wrong sign": sums_of(
            day, release, thresholds=thresholds, scores=(1 - day.scores).astype(np.float32)
        ),
    }


def _noticed_after(
    alarms: Sequence[AlarmSeries], usual: Sums, ruined: Mapping[MetricKey, NDArray[np.float64]], *, minute: int
) -> int | None:
    """Minutes from a promotion to the first alarm; None where none goes off within LOOKED_AT."""
    both: Sums = {key: np.where(np.arange(MINUTES_A_DAY) < minute, usual[key], ruined[key]) for key in usual}
    found = []
    for alarm in alarms:
        length = alarm.period_s // 60
        before = 3 * length
        looked_at = range(max(0, minute - before), min(MINUTES_A_DAY, minute + LOOKED_AT))
        states = alarm.states(values(alarm, both, looked_at))
        found += [
            looked_at.start + (place + 1) * length - minute for place, state in enumerate(states) if state == "ALARM"
        ][:1]
    return min(found, default=None)
