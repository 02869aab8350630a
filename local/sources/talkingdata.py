"""TalkingData AdTracking (Kaggle 2018) as clicks of the contract.

| TalkingData | here | why |
|---|---|---|
| row number and content | `click_id` | the log has no id; the same file gives the same ids in every run |
| `click_time` (UTC) | `at` | |
| `ip`, an integer code | `ip` 240.0.0.0 + 256 * code + 1 | reserved addresses (RFC 1112, class E) that nobody has; one-to-one, each code in a /24 of its own, since codes that are near say nothing about networks that are near |
| `device`, `os` codes | `user_agent` "talkingdata device=D os=O" | the only fingerprint there is; on no crawler list |
| `app` | `advertiser` "app-N" | the advertised app |
| `channel` | `placement` "channel-N" | the publisher's channel that showed the ad |
| `is_attributed`, `attributed_time` | a purchase "install-..." with `click_id` | an install is the nearest thing to an order |

Device class is mobile; there is no user, session or campaign: absent by nature. Traffic is from China:
marketplace "cn", time zone Asia/Shanghai.
"""  # noqa: E501 - a table row is one line

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterator
from typing import Final

from local.sources.event import Event, click_event, purchase_event
from local.sources.fixed_csv import FixedCsv, row_digest
from slidr.click import Click, Device
from slidr.purchase import Purchase

HEADER: Final = ("ip", "app", "device", "os", "channel", "click_time", "attributed_time", "is_attributed")
_FIRST_ADDRESS: Final = int(ipaddress.IPv4Address("240.0.0.0"))
_IP_CODES: Final = 2**20 - 1
"""Codes below this have a /24 of their own in 240.0.0.0/4, the broadcast network left out; the whole set's largest
code is 364,778."""


def address_of(code: int) -> str:
    """The reserved IPv4 address that stands for an IP code.

    >>> address_of(0), address_of(364_778)
    ('240.0.0.1', '245.144.234.1')
    """
    if not 0 <= code < _IP_CODES:
        raise ValueError(f"an ip code in [0, {_IP_CODES}) is required, came {code}")
    return str(ipaddress.IPv4Address(_FIRST_ADDRESS + 256 * code + 1))


def _events(number: int, row: list[str]) -> Iterator[Event]:
    ip, app, device, os, channel, click_time, attributed_time, is_attributed = row
    digest = row_digest(number, row)
    click = Click(
        click_id=f"td-{digest}",
        at=_utc(click_time),
        ip=address_of(int(ip)),
        user_agent=f"talkingdata device={int(device)} os={int(os)}",
        device=Device.MOBILE,
        advertiser=f"app-{int(app)}",
        placement=f"channel-{int(channel)}",
        marketplace="cn",
        time_zone="Asia/Shanghai",
    )
    yield click_event(click)
    if is_attributed.strip() == "1":
        install = Purchase(
            order_id=f"install-{digest}",
            at=_utc(attributed_time),
            advertiser=click.advertiser,
            click_id=click.click_id,
        )
        yield purchase_event(install)


def _utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


TALKING_DATA: Final = FixedCsv(
    name="TalkingData CSV",
    header=HEADER,
    what="TalkingData clicks",
    required="integer codes and times like 2017-11-07 09:30:38",
    events_of=_events,
)
"""Its installs become purchases, each behind its click."""
