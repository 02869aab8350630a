"""The training set: one row a click with its features as serving would have seen them, its label, and no person in it.

    python -m training.dataset --days 10 --clicks-per-day 20000 --out build/dataset/part-0.parquet

Parquet columns, the training channel's format: every name of `slidr.features.FEATURE_NAMES` (float32), click_id, at,
label, rule, purchased, user_token and session_token (for splits by person), the slice columns, hour_of_week (local),
session_clicks_1h.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from slidr.counters import HOUR_MS
from slidr.errors import FeatureMismatch
from slidr.features import FEATURE_COUNT, FEATURE_NAMES
from slidr.slices import SLICE_COLUMNS
from training.counter_log import click_context, counter_log
from training.feature_blocks import feature_blocks
from training.labels import ATTRIBUTION_WINDOW, UnusableTrainingData, label
from training.simulator.log import add_simulation_arguments, simulated_log, simulation_of

Floats = NDArray[np.float32]

ROW_COLUMNS: Final = (
    "click_id", "at", "label", "rule", "purchased", "user_token", "session_token", *SLICE_COLUMNS, "hour_of_week",
    "session_clicks_1h",
)  # fmt: skip
"""What a row holds beside its features."""


RESTART_EVERY: Final = dt.timedelta(hours=30)
"""How often counting starts anew in a training set, so that a model also knows young counters (see `build_dataset`)."""


def features_of(
    clicks: pl.DataFrame, *, profiles: Floats | None = None, restart_every: dt.timedelta | None = None
) -> Floats:
    """The raw feature matrix, float32, shape (clicks, FEATURE_COUNT): what the online path gives for the same log.

    Args:
        clicks: in the lake's form, in the order in which they arrived; counting starts empty.
        profiles: shape (clicks, len(PROFILE_COLUMNS)); by default no key is known.
        restart_every: event time after which counting starts from empty again; by default never.
    """
    matrix = np.empty((len(clicks), FEATURE_COUNT), dtype=np.float32)
    for rows in _stretches(clicks, restart_every):
        part = clicks[rows]
        known = None if profiles is None else profiles[rows]
        for block, features in feature_blocks(counter_log(part), click_context(part), known):
            matrix[rows[block]] = features
    return matrix


def _stretches(clicks: pl.DataFrame, restart_every: dt.timedelta | None) -> list[NDArray[np.intp]]:
    """The rows between one restart of the counters and the next."""
    if restart_every is None or not len(clicks):
        return [np.arange(len(clicks))]
    elapsed = (clicks["at"] - clicks["at"].min()).to_numpy()
    stretch = elapsed // np.timedelta64(restart_every)
    return [np.flatnonzero(stretch == number) for number in np.unique(stretch)]


def build_dataset(
    clicks: pl.DataFrame,
    purchases: pl.DataFrame,
    *,
    until: dt.datetime,
    window: dt.timedelta = ATTRIBUTION_WINDOW,
    profiles: Floats | None = None,
    restart_every: dt.timedelta | None = RESTART_EVERY,
) -> pl.DataFrame:
    """One row a click of the log, in its order, labelled by what was known at `until`; columns as this module says.

    Args:
        clicks: in the lake's form, in the order in which they arrived.
        purchases: in the lake's form.
        until: when the dataset is built; what is younger than `window` then is immature and stays out of training.
        window: attribution window.
        profiles: see `features_of`.
        restart_every: see `features_of`; None to judge on counters that kept their past. The cache is empty after a
            deployment, a lost node or a new pseudonym key; a model that never saw that takes the few people whom a
            young counter has seen behind an office's address for a robot (training/LOG.md).
    """
    labels = label(clicks, purchases, until=until, window=window)
    rows = clicks.select(
        "click_id",
        "at",
        pl.Series("label", labels.label),
        pl.Series("rule", labels.rule.tolist(), dtype=pl.Categorical),
        pl.Series("purchased", labels.purchased),
        "user_token",
        "session_token",
        *SLICE_COLUMNS,
        pl.Series("hour_of_week", click_context(clicks).minute_of_week // 60),
        pl.Series("session_clicks_1h", busiest_hour(clicks)),
    )
    return pl.concat(
        [rows, feature_frame(features_of(clicks, profiles=profiles, restart_every=restart_every))], how="horizontal"
    )


def feature_frame(matrix: Floats) -> pl.DataFrame:
    """The feature matrix as a table, one column a feature."""
    return pl.DataFrame({name: matrix[:, i] for i, name in enumerate(FEATURE_NAMES)})


def feature_matrix(rows: pl.DataFrame) -> Floats:
    """The feature matrix of dataset rows, float32, C-ordered, columns as in FEATURES.

    Raises:
        FeatureMismatch: the table was built with another feature spec.
    """
    missing = [name for name in FEATURE_NAMES if name not in rows.columns]
    if missing:
        raise FeatureMismatch(
            f"a dataset with all {len(FEATURE_NAMES)} features is required, it lacks {missing[:5]}. "
            "Build it again with this commit."
        )
    return np.ascontiguousarray(rows.select(FEATURE_NAMES).to_numpy(), dtype=np.float32)


def busiest_hour(clicks: pl.DataFrame) -> NDArray[np.int64]:
    """The most clicks that each click's session made within one hour, shape (clicks,); 0 without a session.

    >>> clicks = pl.DataFrame({"at": [0, 1000, 3_700_000], "session_token": ["s", "s", "s"]},
    ...                       schema_overrides={"at": pl.Datetime("ms", "UTC")})
    >>> busiest_hour(clicks)
    array([2, 2, 2])
    """
    at_ms = clicks["at"].to_physical().to_numpy()
    if not len(at_ms):
        return np.empty(0, dtype=np.int64)
    session = clicks.select(pl.col("session_token").rank("dense").fill_null(0)).to_series().to_numpy().astype(np.int64)
    order = np.lexsort((at_ms, session))
    # Sessions are laid one after another, further apart than an hour, so that one search serves all.
    span = int(at_ms.max() - at_ms.min()) + HOUR_MS + 1
    keys = session[order] * span + (at_ms[order] - at_ms.min())
    within = np.arange(1, len(keys) + 1) - np.searchsorted(keys, keys - HOUR_MS, side="right")
    most = np.zeros(int(session.max()) + 1, dtype=np.int64)
    np.maximum.at(most, session[order], within)
    most[0] = 0
    return np.asarray(most[session], dtype=np.int64)


def write_dataset(rows: pl.DataFrame, path: Path) -> None:
    """Write the rows as Parquet, making the directory where missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(path, compression="zstd")


def read_dataset(folder: Path) -> pl.DataFrame:
    """All rows of a training channel, in time order.

    Raises:
        UnusableTrainingData: there is no Parquet file.
        FeatureMismatch: a file was built with another feature spec.
    """
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise UnusableTrainingData(
            f"Parquet files of the dataset are required in the training channel, {folder} has none. "
            "Build them with python -m training.dataset."
        )
    columns = [*ROW_COLUMNS, *FEATURE_NAMES]
    tables = []
    for file in files:
        missing = [name for name in columns if name not in pl.read_parquet_schema(file)]
        if missing:
            raise FeatureMismatch(
                f"{file.name} must have the columns of training/dataset.py, it lacks {missing[:5]}. "
                "Build it again with this commit."
            )
        # Other writers know no zones, or no milliseconds.
        tables.append(pl.read_parquet(file, columns=columns).with_columns(pl.col("at").cast(pl.Datetime("ms", "UTC"))))
    return pl.concat(tables).sort("at", "click_id")


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate days of traffic and write their dataset."""
    parser = argparse.ArgumentParser(
        prog="python -m training.dataset", description="Simulate traffic and write its training set."
    )
    add_simulation_arguments(parser, days=10)
    parser.add_argument(
        "--restart-hours", type=float, default=RESTART_EVERY / dt.timedelta(hours=1),
        help="start counting anew so often (default 30)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="the Parquet file to write")
    chosen = parser.parse_args(arguments)
    log = simulated_log(simulation_of(chosen), days=chosen.days, first=chosen.first_day)
    restart = dt.timedelta(hours=chosen.restart_hours)
    rows = build_dataset(log.clicks, log.purchases, until=log.until, restart_every=restart)
    write_dataset(rows, chosen.out)
    human, purchases = int((rows["label"] == 0).sum()), int(rows["purchased"].sum())
    sys.stderr.write(f"{len(rows)} clicks, {human} labelled human, {purchases} led to a purchase: {chosen.out}\n")


if __name__ == "__main__":
    main()
