from __future__ import annotations

from local.sources.event import Kind
from local.sources.simulated import FIRST_DAY, simulated_chunks, span_of
from slidr.click import parse_click
from slidr.contract import epoch_ms
from slidr.purchase import parse_purchase
from training.simulator import Traffic

FAR_MS = 4_000_000_000_000


def test_plays_simulated_days_in_event_order_with_nothing_lost() -> None:
    traffic = Traffic(seed=3, start=FIRST_DAY, clicks_per_day=400)
    events = [event for chunk in simulated_chunks(traffic.days(2, first=1)) for event in chunk]
    days = list(traffic.days(2, first=1))
    times = [event.at_ms for event in events]
    assert times == sorted(times)
    assert [event.key for event in events if event.kind is Kind.CLICK] == [
        click_id for day in days for click_id in day.clicks["click_id"]
    ]
    assert {event.key for event in events if event.kind is Kind.PURCHASE} == {
        order_id for day in days for order_id in day.purchases["order_id"]
    }
    first_ms, last_ms = span_of(traffic, days=2, first=1)
    assert first_ms <= times[0]
    assert times[-1] <= last_ms


def test_plays_records_of_the_contract() -> None:
    traffic = Traffic(seed=3, start=FIRST_DAY, clicks_per_day=300)
    events = [event for chunk in simulated_chunks(traffic.days(1)) for event in chunk]
    for event in events:
        parse = parse_click if event.kind is Kind.CLICK else parse_purchase
        assert epoch_ms(parse(event.payload, arrived_ms=FAR_MS).at) == event.at_ms
