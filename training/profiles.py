"""Long-horizon traffic of an IP, a user and a user agent: what the daily job writes and what training rows are given.

A profile as of an instant counts the clicks of the days before it, never purchases or RFM (rule 3). One function makes
it for both: the table that serving reads, and the rows that a model learns from, each with the profile as of the start
of its click's UTC day. Times and days are UTC.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from slidr.features import PROFILE_COLUMNS
from training.mlp_weights import Floats

TOKENS: Final[Mapping[str, str]] = {"ip": "ip_token", "user": "user_token", "ua": "ua_token"}
"""The archive's column of each kind of key."""
LEAST_CLICKS: Final = 2
"""Clicks that a key needs to have a profile: those that came once would be most of the table and tell nothing."""
KEPT_FOR: Final = dt.timedelta(days=45)
"""How long a profile stays in the table when its key clicks no more."""
FILE_PROFILES: Final = 20_000
_DAY: Final = dt.timedelta(days=1)
_DAY_S: Final = 86_400.0


def daily_traffic(clicks: pl.DataFrame) -> pl.DataFrame:
    """Clicks and distinct users of each key on each day: columns kind, token, day, clicks, users, first_at.

    Args:
        clicks: `at` and the columns of TOKENS, each click once.
    """
    days = clicks.with_columns(pl.col("at").dt.date().alias("day"))
    parts = [
        days.drop_nulls(column)
        .group_by(pl.col(column).alias("token"), "day")
        .agg(
            pl.len().cast(pl.Int64).alias("clicks"),
            pl.col("user_token").drop_nulls().n_unique().cast(pl.Int64).alias("users"),
            pl.col("at").min().alias("first_at"),
        )
        .with_columns(pl.lit(kind).alias("kind"))
        for kind, column in TOKENS.items()
    ]
    return pl.concat(parts).sort("kind", "token", "day")


def profiles_at(traffic: pl.DataFrame, day: dt.date, *, history_days: int) -> pl.DataFrame:
    """The profiles as of the start of a day: columns kind, token, clicks_per_day, users_per_day, first_seen.

    Means are over the days since the key was first seen, days without a click with them; `first_seen` is in epoch
    seconds, at most `history_days` back; `users_per_day` is null for users.

    Args:
        traffic: see `daily_traffic`.
        day: whose start it is; clicks of this day and later ones do not count.
        history_days: how many days before it count.
    """
    past = traffic.filter(pl.col("day") < day, pl.col("day") >= day - history_days * _DAY)
    totals = past.group_by("kind", "token").agg(pl.sum("clicks", "users"), pl.min("day", "first_at"))
    days = (pl.lit(day) - pl.col("day")).dt.total_days()
    return (
        totals.filter(pl.col("clicks") >= LEAST_CLICKS)
        .select(
            "kind",
            "token",
            (pl.col("clicks") / days).alias("clicks_per_day"),
            pl.when(pl.col("kind") != "user").then(pl.col("users") / days).alias("users_per_day"),
            (pl.col("first_at").dt.epoch("ms") / 1000.0).alias("first_seen"),
        )
        .sort("kind", "token")
    )


def profile_matrix(clicks: pl.DataFrame, traffic: pl.DataFrame, *, history_days: int) -> Floats:
    """What serving would have read for each click, had it read at the start of the click's day.

    float32, shape (clicks, len(PROFILE_COLUMNS)), NaN where a key has no profile; ages are those at the click's time.

    Args:
        clicks: `at` and the columns of TOKENS, in any order.
        traffic: of these clicks and of those before them; see `daily_traffic`.
        history_days: see `profiles_at`.
    """
    known = clicks.select("at", *TOKENS.values(), pl.col("at").dt.date().alias("day"))
    days = known["day"].unique().sort().to_list()
    tables = [
        profiles_at(traffic, day, history_days=history_days).with_columns(pl.lit(day).alias("day")) for day in days
    ]
    profiles = pl.concat(tables) if tables else None
    matrix = np.full((len(clicks), len(PROFILE_COLUMNS)), np.nan, dtype=np.float32)
    if profiles is None:
        return matrix
    at_s = known["at"].dt.epoch("ms").to_numpy() / 1000.0
    for kind, column in TOKENS.items():
        own = profiles.filter(pl.col("kind") == kind).rename({"token": column})
        joined = known.join(own, on=[column, "day"], how="left", maintain_order="left")
        values = {name: joined[name].to_numpy() for name in ("clicks_per_day", "users_per_day", "first_seen")}
        values["age_days"] = np.maximum(at_s - values.pop("first_seen"), 0.0) / _DAY_S
        for name, array in values.items():
            if f"{kind}.{name}" in PROFILE_COLUMNS:
                matrix[:, PROFILE_COLUMNS.index(f"{kind}.{name}")] = array
    return matrix


def write_profiles(profiles: pl.DataFrame, folder: Path, *, at: dt.datetime) -> int:
    """Write profiles for the table's writer, `part-00000.jsonl.gz` and on; how many files that made.

    Args:
        profiles: see `profiles_at`.
        folder: made where missing.
        at: as of when they are; they expire KEPT_FOR later.
    """
    folder.mkdir(parents=True, exist_ok=True)
    expires_at = int((at + KEPT_FOR).timestamp())
    files = 0
    for part in profiles.iter_slices(FILE_PROFILES):
        with gzip.open(folder / f"part-{files:05d}.jsonl.gz", "wt", encoding="utf-8", compresslevel=6) as file:
            for kind, token, clicks, users, first_seen in part.iter_rows():
                item = {"key": f"{kind}#{token}", "clicks_per_day": clicks, "first_seen": first_seen,
                        "expires_at": expires_at} | ({} if users is None else {"users_per_day": users})  # fmt: skip
                file.write(json.dumps(item) + "\n")
        files += 1
    return files
