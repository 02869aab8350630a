"""One meaning of a profile: what training rows are given is what serving reads from the table, to the bit."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from functions.adapters.attempts import Attempts
from functions.adapters.lake import Lake
from functions.adapters.profile_table import ProfileTable
from functions.adapters.profiles import ProfileKeys, Profiles
from functions.daily_loop.profile_step import write_profiles as put_file
from training.profiles import daily_traffic, profile_matrix, profiles_at, write_profiles
from training.simulator import Traffic
from training.simulator.log import simulated_log

pytestmark = pytest.mark.aws
MONDAY = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
DAYS = 3


def test_rows_of_training_are_what_serving_reads(aws: Any, control: Any, tmp_path: Path) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="lake")
    control.create_table(
        TableName="profiles",
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    clicks = simulated_log(Traffic(seed=3, start=MONDAY, clicks_per_day=400), days=DAYS + 1).clicks
    traffic, until = daily_traffic(clicks), MONDAY + dt.timedelta(days=DAYS)
    files = write_profiles(profiles_at(traffic, until.date(), history_days=28), tmp_path, at=until)
    table = ProfileTable(control, "profiles", attempts=Attempts(deadline_s=1.0))
    for number in range(files):
        s3.put_object(Bucket="lake", Key=f"{number}", Body=(tmp_path / f"part-{number:05d}.jsonl.gz").read_bytes())
        assert put_file(Lake(s3, "lake"), f"{number}", table)["written"] > 0

    later = clicks.filter(pl.col("at") >= until)
    serving = Profiles(
        control, "profiles", attempts=Attempts(deadline_s=1.0), keep_s=1.0, keep_keys=10_000, clock=until.timestamp
    )
    keys = ProfileKeys(
        ip=later["ip_token"].to_list(), user=later["user_token"].to_list(), ua=later["ua_token"].to_list()
    )
    read = serving.read(keys, at_ms=later["at"].to_physical().to_numpy())
    given = profile_matrix(later, traffic, history_days=28)
    assert not read.failed.any()
    assert np.isfinite(given).any(axis=0).all()
    assert np.isnan(given).any()
    np.testing.assert_array_equal(given, read.matrix)


def test_a_profile_knows_nothing_of_its_own_day_or_of_days_too_far_back() -> None:
    at = [MONDAY + dt.timedelta(days=day) for day in (0, 0, 5, 5, 5, 9)]
    clicks = pl.DataFrame(
        {"at": at, "ip_token": ["a"] * 6, "user_token": ["u", "v", "u", "u", None, "u"], "ua_token": [None] * 6},
        schema_overrides={"at": pl.Datetime("ms", "UTC"), "ua_token": pl.String},
    )
    traffic = daily_traffic(clicks)

    def of(day: int, history: int) -> list[tuple[Any, ...]]:
        found = profiles_at(traffic, (MONDAY + dt.timedelta(days=day)).date(), history_days=history)
        return found.filter(pl.col("kind") == "ip").rows()

    assert of(0, 28) == []
    assert of(5, 28) == [("ip", "a", 2 / 5, 2 / 5, MONDAY.timestamp())]
    assert of(9, 28) == [("ip", "a", 5 / 9, 3 / 9, MONDAY.timestamp())]
    assert of(9, 4) == [("ip", "a", 3 / 4, 1 / 4, at[2].timestamp())]
    assert of(10, 1) == []  # one click alone makes no profile
