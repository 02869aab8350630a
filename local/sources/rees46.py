"""REES46 events of a shop (Kaggle 2019, "eCommerce behavior data from multi category store") as clicks and purchases.

| REES46 | here | why |
|---|---|---|
| row number and content | `click_id`, `order_id` | the log has no id; the same file gives the same ids in every run, and equal rows (somebody looked twice within a second) stay two |
| `event_type` view | a click | a product page that was opened stands for an ad that was clicked |
| `event_type` purchase | a purchase | |
| `event_type` cart, remove_from_cart | nothing | neither a click nor an order; such rows are left out, and are not among the records sent |
| `event_time` (UTC) | `at` | |
| `user_id`, `user_session` | `user`, `session` | the shop knows every visitor by an id; whether somebody was logged in it does not say, so `logged_in` is false |
| `product_id` | `ad`; of a purchase `item` | |
| `brand` | `advertiser`, "no-brand" where it has none | who gains by the click |
| `category_id`, `category_code` | `campaign`, `placement` | |
| `price` | of a purchase `amount_micros` | a view costs nothing. No currency is stated: the contract's default, USD, stands for it |

There is no IP, user agent or device: absent by nature. Marketplace "rees46"; the shop's time zone is not stated: UTC.
"""  # noqa: E501 - a table row is one line

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from local.sources.event import Event, click_event, purchase_event
from local.sources.fixed_csv import FixedCsv, row_digest
from slidr.click import Click
from slidr.purchase import Purchase

HEADER: Final = (
    "event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id",
    "user_session",
)  # fmt: skip
_NEITHER: Final = frozenset({"cart", "remove_from_cart"})


def _events(number: int, row: list[str]) -> Iterator[Event]:
    event_time, event_type, product, category, category_code, brand, price, user, session = row
    if event_type in _NEITHER:
        return
    if event_type not in ("view", "purchase"):
        raise ValueError(f"unknown event_type {event_type!r}")
    at = dt.datetime.fromisoformat(event_time.removesuffix(" UTC")).replace(tzinfo=dt.UTC)
    digest = row_digest(number, row)
    advertiser = brand or "no-brand"
    if event_type == "purchase":
        purchase = Purchase(
            order_id=f"order-{digest}",
            at=at,
            user=user or None,
            session=session or None,
            advertiser=advertiser,
            item=product or None,
            amount_micros=int(Decimal(price) * 1_000_000),
        )
        yield purchase_event(purchase)
        return
    click = Click(
        click_id=f"rees46-{digest}",
        at=at,
        user=user or None,
        session=session or None,
        advertiser=advertiser,
        campaign=category or None,
        ad=product or None,
        placement=category_code or None,
        marketplace="rees46",
    )
    yield click_event(click)


REES46: Final = FixedCsv(
    name="REES46 CSV",
    header=HEADER,
    what="REES46 events",
    required="view, cart, remove_from_cart or purchase, a price and times like 2019-10-01 00:00:00 UTC",
    events_of=_events,
)
"""Its views become clicks, its purchases purchases."""
