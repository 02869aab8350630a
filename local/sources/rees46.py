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
import hashlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final

from local.sources.csv_rows import csv_rows, has_header
from local.sources.event import Chunk, Event, Kind, LogUnreadable, chunked, click_event, purchase_event
from slidr.click import Click
from slidr.purchase import Purchase

HEADER: Final = (
    "event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id",
    "user_session",
)  # fmt: skip
_NEITHER: Final = frozenset({"cart", "remove_from_cart"})


class Rees46:
    """REES46's CSV with its header, plain or gzipped; its purchases become purchases."""

    name = "REES46 CSV"
    expects = f"the header line {','.join(HEADER)}"

    def recognises(self, head: bytes) -> bool:
        """Whether the first line is REES46's header."""
        return has_header(head, HEADER)

    def read(self, path: Path, *, kind: Kind) -> Iterator[Chunk]:
        """Views as clicks and purchases as purchases, in file order.

        Raises:
            LogUnreadable: a row does not have the nine columns with the values that they need.
        """
        if kind is Kind.PURCHASE:
            raise LogUnreadable(f"a file of purchases is required, came REES46 events ({path}): give it as PATH")
        return chunked(_all_events(path))


def _all_events(path: Path) -> Iterator[Event]:
    rows = csv_rows(path)
    next(rows)
    for number, row in enumerate(rows, start=1):
        try:
            event = _event(number, row)
        except (ValueError, ArithmeticError) as failure:
            raise LogUnreadable(
                f"{path}, data row {number}: {Rees46.expects} with view, cart, remove_from_cart or purchase, a price "
                f"and times like 2019-10-01 00:00:00 UTC are required, came {','.join(row)!r} ({failure})"
            ) from failure
        if event is not None:
            yield event


def _event(number: int, row: list[str]) -> Event | None:
    event_time, event_type, product, category, category_code, brand, price, user, session = row
    if event_type in _NEITHER:
        return None
    if event_type not in ("view", "purchase"):
        raise ValueError(f"unknown event_type {event_type!r}")
    at = dt.datetime.fromisoformat(event_time.removesuffix(" UTC")).replace(tzinfo=dt.UTC)
    digest = hashlib.blake2b(f"{number},{','.join(row)}".encode(), digest_size=12).hexdigest()
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
        return purchase_event(purchase)
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
    return click_event(click)
