from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.sources.event import Event, Kind, LogUnreadable
from local.sources.formats import format_of
from local.sources.rees46 import HEADER
from slidr.click import parse_click
from slidr.purchase import parse_purchase

FAR_MS = 4_000_000_000_000
VIEW = (
    "2019-10-01 00:00:04 UTC,view,1004237,2053013555631882655,electronics.smartphone,apple,1081.98,535871217,c6bd7419"
)
BOUGHT = VIEW.replace("view", "purchase")
REAL_LOG = Path(__file__).parents[4] / "shared" / "data" / "rees46_20191001_0000_0250utc.csv.gz"


def read(tmp_path: Path, *rows: str) -> list[Event]:
    path = tmp_path / "shop.csv"
    path.write_text("\n".join([",".join(HEADER), *rows, ""]))
    return [event for chunk in format_of(path).read(path, kind=Kind.CLICK) for event in chunk]


def test_reads_a_view_as_a_click(tmp_path: Path) -> None:
    [event] = read(tmp_path, VIEW)
    click = parse_click(event.payload, arrived_ms=FAR_MS)
    assert click.at == datetime(2019, 10, 1, 0, 0, 4, tzinfo=UTC)
    assert (click.user, click.session, click.ad, click.advertiser) == ("535871217", "c6bd7419", "1004237", "apple")
    assert (click.campaign, click.placement) == ("2053013555631882655", "electronics.smartphone")
    assert (click.ip, click.user_agent, click.logged_in, click.cost_micros) == (None, None, False, 0)


def test_reads_a_purchase_that_can_be_attributed_to_its_view(tmp_path: Path) -> None:
    seen, bought = read(tmp_path, VIEW, BOUGHT)
    click = parse_click(seen.payload, arrived_ms=FAR_MS)
    purchase = parse_purchase(bought.payload, arrived_ms=FAR_MS)
    assert bought.kind is Kind.PURCHASE
    assert (purchase.user, purchase.session, purchase.item) == (click.user, click.session, click.ad)
    assert (purchase.advertiser, purchase.amount_micros, purchase.currency) == ("apple", 1_081_980_000, "USD")


def test_leaves_carts_out_and_takes_what_is_empty_as_absent(tmp_path: Path) -> None:
    bare = "2019-10-01 00:00:04 UTC,view,1004237,205,,,1081.98,535871217,"
    [event] = read(tmp_path, VIEW.replace("view", "cart"), bare, VIEW.replace("view", "remove_from_cart"))
    click = parse_click(event.payload, arrived_ms=FAR_MS)
    assert (click.advertiser, click.placement, click.session) == ("no-brand", None, None)


def test_gives_equal_rows_of_rees46_different_ids_and_the_same_ones_every_time(tmp_path: Path) -> None:
    ids = [event.key for event in read(tmp_path, VIEW, VIEW, BOUGHT, BOUGHT)]
    assert len(set(ids)) == 4
    assert ids == [event.key for event in read(tmp_path, VIEW, VIEW, BOUGHT, BOUGHT)]


@pytest.mark.parametrize(
    "row",
    [
        VIEW.replace("view", "wish"),
        BOUGHT.replace("1081.98", "much"),
        BOUGHT.replace("1081.98", "NaN"),
        BOUGHT.replace("1081.98", "Infinity"),
        VIEW.replace("2019-10-01", "yesterday"),
        "2019",
    ],
)
def test_names_the_row_of_rees46_that_breaks_the_format(tmp_path: Path, row: str) -> None:
    with pytest.raises(LogUnreadable, match=r"data row 2.*are required, came"):
        read(tmp_path, VIEW, row)


def test_asks_for_purchases_of_rees46_in_the_log_that_has_them(tmp_path: Path) -> None:
    read(tmp_path, VIEW)
    with pytest.raises(LogUnreadable, match="give it as PATH"):
        format_of(tmp_path / "shop.csv").read(tmp_path / "shop.csv", kind=Kind.PURCHASE)


@pytest.mark.skipif(not REAL_LOG.exists(), reason=f"needs the REES46 sample, {REAL_LOG.name}")
def test_reads_every_view_and_purchase_of_a_real_log() -> None:
    events = [event for chunk in format_of(REAL_LOG).read(REAL_LOG, kind=Kind.CLICK) for event in chunk]
    for event in events:
        parse = parse_click if event.kind is Kind.CLICK else parse_purchase
        parse(event.payload, arrived_ms=FAR_MS)  # type: ignore[operator]
    assert Counter(event.kind for event in events) == {Kind.CLICK: 17_055, Kind.PURCHASE: 214}
    assert len({event.key for event in events}) == len(events)
