from __future__ import annotations

import datetime as dt
import ipaddress
import itertools

import msgspec
import numpy as np
import polars as pl
import pytest

from local.sources.event import Event, Kind
from local.sources.simulated import simulated_chunks
from slidr.click import Click, parse_clicks
from slidr.contract import canonical_ip
from slidr.features import local_minute_of_week
from slidr.givt import packaged_crawlers
from slidr.purchase import Purchase, parse_purchase
from training.dataset import features_of
from training.judgement import area_under_roc
from training.simulator import Events, SimulatedDay, Traffic
from training.simulator.families import FAMILIES, ROBOTS
from training.simulator.log import simulated_log

MONDAY = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)


def any_traffic(
    *, seed: int = 3, clicks_per_day: int = 12_000, mix: dict[str, float] | None = None, events: Events | None = None
) -> Traffic:
    return Traffic(seed=seed, start=MONDAY, clicks_per_day=clicks_per_day, mix=mix or {}, events=events or Events())


@pytest.fixture(scope="module")
def tuesday() -> SimulatedDay:
    return any_traffic().day(1)


def sent(*days: SimulatedDay) -> list[Event]:
    """What `slidr send --simulate` and the demo put on the streams."""
    return [event for chunk in simulated_chunks(iter(days)) for event in chunk]


def same(one: SimulatedDay, other: SimulatedDay) -> bool:
    return one.clicks.equals(other.clicks) and one.purchases.equals(other.purchases) and one.truth.equals(other.truth)


def test_gives_the_same_day_for_the_same_seed_whatever_was_generated_before(tuesday: SimulatedDay) -> None:
    traffic = any_traffic()
    list(traffic.days(1, first=4))
    assert same(traffic.day(1), tuesday)
    assert [same(day, tuesday) for day in traffic.days(2)] == [False, True]


def test_gives_another_day_for_another_seed(tuesday: SimulatedDay) -> None:
    assert not same(any_traffic(seed=4).day(1), tuesday)


def test_clicks_come_in_time_order_within_their_utc_day(tuesday: SimulatedDay) -> None:
    at = tuesday.clicks["at"]
    assert at.is_sorted()
    assert at.min() >= MONDAY + dt.timedelta(days=1)
    assert at.max() < MONDAY + dt.timedelta(days=2)
    assert tuesday.clicks["click_id"].is_unique().all()


def test_purchases_come_in_time_order_until_a_day_later(tuesday: SimulatedDay) -> None:
    at = tuesday.purchases["at"]
    assert at.is_sorted()
    assert at.min() >= MONDAY + dt.timedelta(days=1)
    assert MONDAY + dt.timedelta(days=2) < at.max() < MONDAY + dt.timedelta(days=3)


def test_click_ids_of_different_days_do_not_meet(tuesday: SimulatedDay) -> None:
    other = any_traffic().day(2)
    assert not tuesday.clicks["click_id"].is_in(other.clicks["click_id"].implode()).any()
    assert not tuesday.purchases["order_id"].is_in(other.purchases["order_id"].implode()).any()


def test_every_family_clicks_and_robots_make_a_fifth(tuesday: SimulatedDay) -> None:
    families = tuesday.truth["family"].cast(pl.String)
    assert set(families) == {family.name for family in FAMILIES}
    assert set(families.filter(tuesday.truth["robot"])) == ROBOTS
    assert 0.15 <= tuesday.truth["robot"].mean() <= 0.25
    assert abs(len(tuesday.clicks) - 12_000) < 2_500


def test_leaves_out_a_family_whose_share_is_zero() -> None:
    day = any_traffic(mix={"slow_regular": 0.0}).day(0)
    assert "slow_regular" not in set(day.truth["family"].cast(pl.String))


def test_the_truth_is_in_no_record(tuesday: SimulatedDay) -> None:
    names = [family.name.encode() for family in FAMILIES] + [b"family", b'robot"', b"truth"]
    text = b"\n".join(event.payload for event in sent(tuesday))
    assert [name for name in names if name in text] == []
    click_fields = {field.encode_name for field in msgspec.structs.fields(Click)}
    assert set(tuesday.clicks.columns) == click_fields - {"version"}
    purchase_fields = {field.encode_name for field in msgspec.structs.fields(Purchase)}
    assert set(tuesday.purchases.columns) == purchase_fields - {"version"}


def test_click_ids_do_not_sort_by_family(tuesday: SimulatedDay) -> None:
    number = tuesday.clicks["click_id"].str.split("-").list.last().cast(pl.Int64)
    assert number.to_list() == list(range(len(number)))


def test_every_record_keeps_its_contract_and_its_address_is_canonical(tuesday: SimulatedDay) -> None:
    records = sent(tuesday)
    assert all(one.at_ms <= other.at_ms for one, other in itertools.pairwise(records))
    clicks = [record for record in records if record.kind is Kind.CLICK]
    parsed = parse_clicks([r.payload for r in clicks], arrived_ms=[r.at_ms for r in clicks])
    assert parsed.rejects == []
    assert [click.click_id for click in parsed.clicks] == tuesday.clicks["click_id"].to_list()
    assert [click.ip for click in parsed.clicks] == tuesday.clicks["ip"].to_list()
    assert all(canonical_ip(ip) == ip for ip in tuesday.clicks["ip"].unique())
    orders = [record for record in records if record.kind is Kind.PURCHASE]
    assert len(orders) == len(tuesday.purchases)
    assert {parse_purchase(r.payload, arrived_ms=r.at_ms).order_id for r in orders} == {r.key for r in orders}


def test_purchases_wait_for_their_turn_among_the_next_days_clicks() -> None:
    traffic = any_traffic(clicks_per_day=1_500)
    records = sent(*traffic.days(3))
    at = [record.at_ms for record in records]
    assert at == sorted(at)
    assert len({record.key for record in records}) == len(records)


def test_addresses_belong_to_nobody(tuesday: SimulatedDay) -> None:
    networks = ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")
    addresses = [ipaddress.ip_address(ip) for ip in tuesday.clicks["ip"].unique()]
    assert all(any(address in network for network in networks) for address in addresses)
    assert {address.version for address in addresses} == {4, 6}


def test_only_crawlers_are_on_the_crawler_list(tuesday: SimulatedDay) -> None:
    crawlers = packaged_crawlers()
    named = np.array([crawlers.names(agent) for agent in tuesday.clicks["user_agent"].cast(pl.String)])
    assert (named == (tuesday.truth["family"] == "named_crawler").to_numpy()).all()


def test_people_sleep_at_night_in_their_own_time_zone(tuesday: SimulatedDay) -> None:
    people = tuesday.clicks.filter(~tuesday.truth["robot"])
    for zone in ("America/New_York", "Europe/Berlin", "Asia/Tokyo"):
        there = people.filter(people["time_zone"].cast(pl.String) == zone)
        hour = local_minute_of_week(there["at"].to_physical().to_numpy(), [zone] * len(there)) % 1440 // 60
        assert (hour < 6).sum() * 5 < ((hour >= 17) & (hour < 23)).sum(), zone


def test_offices_rest_at_weekends() -> None:
    traffic = any_traffic(clicks_per_day=6_000)
    tuesday, sunday = traffic.day(1), traffic.day(6)
    office = [(day.truth["family"] == "office_gateway").sum() for day in (tuesday, sunday)]
    assert office[1] * 2 < office[0]


def test_many_people_share_the_address_of_a_gateway_and_few_that_of_a_robot(tuesday: SimulatedDay) -> None:
    office = tuesday.clicks.filter(tuesday.truth["family"] == "office_gateway")
    assert office.group_by("ip").agg(pl.col("user").n_unique())["user"].max() > 50
    fast = tuesday.clicks.filter(tuesday.truth["family"] == "fast_single_ip")
    assert fast.group_by("ip").agg(pl.col("user").n_unique())["user"].max() <= 3


def test_people_return_after_days() -> None:
    first, later = (set(day.clicks["user"].drop_nulls()) for day in any_traffic(clicks_per_day=6_000).days(2))
    assert 0.05 < len(first & later) / len(first) < 0.7


def test_shoppers_compare_as_fast_as_robots_click(tuesday: SimulatedDay) -> None:
    burst = tuesday.clicks.filter(tuesday.truth["family"] == "comparison_burst").sort("session", "at")
    gaps = burst.select(pl.col("at").diff().over("session").dt.total_milliseconds()).to_series().drop_nulls()
    assert gaps.median() < 6_000


def test_on_a_sale_day_people_come_more_often_and_buy_more_and_robots_do_as_always(tuesday: SimulatedDay) -> None:
    sale = any_traffic(events=Events(sale_days=(1,))).day(1)
    people, usual = sale.clicks.filter(~sale.truth["robot"]), tuesday.clicks.filter(~tuesday.truth["robot"])
    assert len(people) > 1.5 * len(usual)
    assert len(sale.purchases) / len(people) > 1.15 * len(tuesday.purchases) / len(usual)
    robots, as_always = sale.clicks.filter(sale.truth["robot"]), tuesday.clicks.filter(tuesday.truth["robot"])
    assert robots.drop("click_id").equals(as_always.drop("click_id"))


def test_before_anything_happens_a_world_with_events_is_the_same(tuesday: SimulatedDay) -> None:
    assert same(any_traffic(events=Events(sale_days=(2,), marketplace_opens=2)).day(1), tuesday)


def test_a_new_marketplace_opens_on_its_day_with_people_and_robots_of_its_own() -> None:
    traffic = any_traffic(clicks_per_day=6_000, events=Events(marketplace_opens=3))
    before, after = traffic.day(2), traffic.day(3)
    new = after.clicks["marketplace"].cast(pl.String) == "br"
    assert set(after.clicks["marketplace"]) - set(before.clicks["marketplace"]) == {"br"}
    assert set(after.clicks.filter(new)["currency"]) == {"BRL"}
    assert 0.08 < new.mean() < 0.2
    assert 0.0 < after.truth.filter(new)["robot"].mean() < 0.5
    known = set(after.clicks.filter(~new)["user"].drop_nulls())
    assert not known & set(after.clicks.filter(new)["user"].drop_nulls())


def test_purchase_rates_vary_by_day_and_by_hour_and_the_clicks_stay() -> None:
    events = Events(varying_purchases=True)
    by_hour = np.stack([events.purchases(3, day) for day in range(200)])
    assert 0.2 < np.log(by_hour.mean(axis=1)).std() < 0.3
    assert 0.17 < np.log(by_hour).std(axis=1).mean() < 0.23
    best = int(by_hour[:14].mean(axis=1).argmax())
    steady, varying = any_traffic().day(best), any_traffic(events=events).day(best)
    assert steady.clicks.equals(varying.clicks)
    assert len(varying.purchases) > 1.1 * len(steady.purchases)


@pytest.mark.parametrize("events", [Events(), Events(varying_purchases=True, sale_days=(1,), marketplace_opens=1)])
def test_no_single_feature_tells_robots_from_people(events: Events) -> None:
    log = simulated_log(any_traffic(clicks_per_day=8_000, events=events), days=2)
    listed = log.clicks["givt"].to_numpy()
    features, robot = features_of(log.clicks)[~listed], log.truth["robot"].to_numpy()[~listed]
    alone = [area_under_roc(column, robot) for column in features.T]
    assert max(max(area, 1 - area) for area in alone) < 0.85


@pytest.mark.parametrize("start", [dt.datetime(2026, 11, 2), MONDAY + dt.timedelta(hours=1)])  # noqa: DTZ001 - the fault
def test_refuses_a_start_that_is_not_midnight_utc(start: dt.datetime) -> None:
    with pytest.raises(ValueError, match="midnight UTC"):
        Traffic(seed=1, start=start, clicks_per_day=10)


def test_refuses_a_family_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="mix must name families"):
        any_traffic(mix={"aliens": 1.0})
