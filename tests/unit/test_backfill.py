"""The pure half of `slidr backfill`: a log in parts gives what the whole log gives."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl
import pytest

from slidr.click import Click, Device
from slidr.features import FEATURE_COUNT, SPEC_HASH
from slidr.slices import SliceMap
from slidr.verdict import Decision, Reason, Verdict
from training.backfill import StretchFeatures, arrived, backfilled_verdicts, each_once, stretches
from training.dataset import features_of
from training.simulator import Traffic
from training.simulator.log import simulated_log
from training.slice_names import slice_names

MONDAY = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
DAYS = 4


@pytest.fixture(scope="module")
def clicks() -> pl.DataFrame:
    """Four days; the busiest robots click all day, so every window reaches over midnight."""
    clicks = simulated_log(Traffic(seed=5, start=MONDAY, clicks_per_day=1_500), days=DAYS).clicks
    return clicks.cast({pl.Enum: pl.String}).sort("at", "click_id")


def parts_of(clicks: pl.DataFrame, *, hours: int) -> list[pl.DataFrame]:
    first, last = clicks["at"].min(), clicks["at"].max()
    assert isinstance(first, dt.datetime)
    assert isinstance(last, dt.datetime)
    edges = pl.datetime_range(MONDAY, last + dt.timedelta(hours=hours), f"{hours}h", eager=True)
    return [clicks.filter((pl.col("at") >= start) & (pl.col("at") < end)) for start, end in pairwise(edges)]


@pytest.mark.parametrize("hours", [24, 7, 1])
def test_features_of_a_log_in_parts_are_those_of_the_whole_log_to_the_bit(clicks: pl.DataFrame, hours: int) -> None:
    whole = features_of(clicks)

    taken = list(stretches(parts_of(clicks, hours=hours)))

    counting = StretchFeatures()
    assert len(taken) > DAYS - 1
    assert pl.concat([stretch.clicks for stretch in taken]).equals(clicks)
    assert np.array_equal(np.concatenate([counting.of(stretch) for stretch in taken]), whole)


@pytest.mark.parametrize("passed_over", [{0}, {1, 2}, {0, 2}, {0, 1, 2}])
def test_stretches_that_were_passed_over_change_no_features_of_the_others(
    clicks: pl.DataFrame, passed_over: set[int]
) -> None:
    counting, start = StretchFeatures(), 0
    whole = features_of(clicks)
    for stretch in stretches(parts_of(clicks, hours=24)):
        end = start + len(stretch.clicks)
        if stretch.number not in passed_over:
            assert np.array_equal(counting.of(stretch), whole[start:end])
        start = end


def test_counting_that_begins_at_the_part_itself_would_give_other_features(clicks: pl.DataFrame) -> None:
    """The equality above is not for free."""
    first, second, *_ = parts_of(clicks, hours=24)
    assert not np.array_equal(features_of(second), features_of(pl.concat([first, second]))[len(first) :])


def test_a_warm_up_of_less_than_a_day_would_give_other_features(clicks: pl.DataFrame) -> None:
    *_, stretch = stretches(parts_of(clicks, hours=24))
    began = stretch.clicks["at"][0]
    short = pl.concat([stretch.past.filter(pl.col("at") > began - dt.timedelta(hours=20)), stretch.clicks])
    assert not np.array_equal(features_of(short)[-len(stretch.clicks) :], StretchFeatures().of(stretch))


def test_memory_holds_no_more_than_a_day_and_twenty_minutes_of_the_past(clicks: pl.DataFrame) -> None:
    for stretch in stretches(parts_of(clicks, hours=24)):
        if len(stretch.past):
            assert stretch.clicks["at"][0] - stretch.past["at"][0] < dt.timedelta(days=1, minutes=20)


def test_order_within_a_part_and_repeated_records_change_nothing(clicks: pl.DataFrame) -> None:
    days = parts_of(clicks, hours=24)
    again = clicks.sample(200, seed=1).with_columns(pl.col("at") + dt.timedelta(hours=30))  # a later copy, other day
    muddled = [
        pl.concat([day, day.head(100), again.filter(pl.col("at").dt.date() == day["at"][0].date())]).sample(
            fraction=1.0, shuffle=True, seed=2
        )
        for day in days
    ]

    taken = list(stretches(muddled))

    assert pl.concat([stretch.clicks for stretch in taken]).equals(clicks)
    assert sum(stretch.repeated for stretch in taken) == sum(map(len, muddled)) - len(clicks)
    counting = StretchFeatures()
    assert np.array_equal(np.concatenate([counting.of(stretch) for stretch in taken]), features_of(clicks))


def test_the_earliest_of_records_with_one_id_is_taken_across_parts_too() -> None:
    parts = [pl.DataFrame({"at": [5, 3], "id": ["x", "x"]}), pl.DataFrame({"at": [9, 9], "id": ["x", "y"]})]
    assert [part.rows() for part, _ in each_once(parts, key="id")] == [[(3, "x")], [(9, "y")]]


def test_parts_without_clicks_are_passed_over(clicks: pl.DataFrame) -> None:
    assert list(stretches([])) == []
    assert len(list(stretches([clicks.clear(), clicks, clicks.clear()]))) == 1


def test_feature_log_rows_are_verdicts_that_nobody_decided(clicks: pl.DataFrame) -> None:
    few = clicks.head(20)
    features = features_of(few)

    rows = backfilled_verdicts(few, features)

    assert tuple(rows.columns) == Verdict.__struct_fields__
    for click, row, vector in zip(few.iter_rows(named=True), rows.iter_rows(named=True), features, strict=True):
        verdict = msgspec.convert(row | {"shadow_scores": {}}, Verdict)
        assert (verdict.click_id, verdict.at, verdict.givt) == (click["click_id"], click["at"], click["givt"])
        assert (verdict.decision, verdict.reasons, verdict.billable) == (
            Decision.UNDECIDED, (Reason.BACKFILLED,), True,
        )  # fmt: skip
        assert (verdict.score, verdict.threshold, verdict.release_id) == (None, None, None)
        assert verdict.features == tuple(vector.tolist())
        assert len(verdict.features) == FEATURE_COUNT
        assert verdict.feature_spec == SPEC_HASH


def test_slices_of_a_table_are_named_as_those_of_its_clicks() -> None:
    slices = SliceMap(columns=("device", "logged_in", "placement"))
    clicks = [
        Click(click_id="c", at=MONDAY, advertiser="a", marketplace="de", device=device, logged_in=known, placement=top)
        for device in Device for known in (True, False) for top in (None, "top")
    ]  # fmt: skip
    table = pl.DataFrame([msgspec.structs.asdict(click) for click in clicks]).with_columns(
        pl.col("device").cast(pl.String)
    )
    assert slice_names(table, slices.columns).to_list() == slices.names(clicks)


def test_a_record_of_the_past_arrived_when_it_happened(clicks: pl.DataFrame) -> None:
    assert arrived(clicks)["arrived_at"].equals(clicks["at"])
