r"""Access logs in Apache's and Nginx's "combined" format (also with the virtual host in front) as clicks.

    192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET /page?x=1 HTTP/1.1" 200 2326 "http://a.example/" "Mozilla/5.0 ..."

| combined | here | why |
|---|---|---|
| line number and content | `click_id` | the log has no id; the same file gives the same ids in every run, and equal lines stay two |
| time, with its offset | `at` | |
| client address | `ip` | a host name (HostnameLookups On) is no address: absent |
| authenticated user | `user`, `logged_in` | "-" is absent |
| path of the request, without its query | `ad` | absent where the request is broken (`-`, TLS bytes on a plain port) |
| virtual host in front (`vhost_combined`) | `advertiser`; "site" where there is none | combined does not say whose page it was |
| host of the referrer | `placement` | the place where it was clicked; "-" is absent |
| user agent | `user_agent`, at most 2,048 characters | "-" is absent |
| user agent | `device` | tablet by "iPad" or "Tablet", mobile by "Mobi" or "Android", desktop by its system, else other |

Status, size and identd's word are not kept. Marketplace "web", time zone UTC. What servers escape (`\"`, `\\`,
`\xhh`) is undone. Identifiers over 128 characters are cut and end in a digest of the whole, so that they stay distinct.

A line of another form is passed on as it stands: the deployed system rejects it, with the reason, and keeps it.
"""  # noqa: E501 - a table row is one line

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from local.sources.compressed import lines_of
from local.sources.event import Chunk, Event, Kind, LogUnreadable, chunked, click_event
from slidr.click import Click, Device
from slidr.contract import canonical_ip

SITE: Final = "site"
"""Stands for the advertiser where the log names no virtual host."""
MARKETPLACE: Final = "web"
_QUOTED: Final = rb'"((?:[^"\\]|\\.)*)"'
_CLIENT: Final = rb"(?:([^\s:]+):\d+ )?(\S+) \S+ (.+?) \[([^\]]{20,40})\] "
_LINE: Final = re.compile(_CLIENT + _QUOTED + rb" \d{3} (?:\d+|-) " + _QUOTED + rb" " + _QUOTED)
_TIME: Final = re.compile(r"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS: Final = {name: number for number, name in enumerate(
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
)}  # fmt: skip
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_C_STYLE: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_REFERRER: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/@?#]*@)?(\[[^\]]*\]|[^/:?#]+)")
_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_IDENTIFIER: Final = 128
_TEXT: Final = 2048


class CombinedLog:
    """Access logs of Apache and Nginx, plain or gzipped; every request becomes a click."""

    name = "Apache/Nginx combined log"
    expects = 'lines like 192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 2326 "-" "Mozilla/5.0"'

    def recognises(self, head: bytes) -> bool:
        """Whether one of the first twenty lines has the form."""
        return any(_LINE.fullmatch(line.strip()) for line in head.split(b"\n", 20)[:20])

    def read(self, path: Path, *, kind: Kind) -> Iterator[Chunk]:
        """The requests as clicks, in file order; lines of another form as they stand, blank ones not at all."""
        if kind is Kind.PURCHASE:
            raise LogUnreadable(f"a file of purchases is required, came an access log ({path}): give it as PATH")
        return chunked(_events(path))


def _events(path: Path) -> Iterator[Event]:
    at_ms = 0
    for number, line in lines_of(path):
        click = _click(number, line)
        if click is None:
            yield Event(at_ms, Kind.CLICK, f"line-{number}", line)
            continue
        event = click_event(click)
        at_ms = event.at_ms
        yield event


def _click(number: int, line: bytes) -> Click | None:
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    host, client, user, time, request, referrer, agent = found.groups()
    at = _instant(time.decode("ascii", "replace"))
    if at is None:
        return None
    user_agent = _text(agent)
    return Click(
        click_id="web-" + hashlib.blake2b(b"%d %b" % (number, line), digest_size=12).hexdigest(),
        at=at,
        user=_identifier(_text(user)),
        logged_in=user != b"-",
        ip=_address(client.decode("utf-8", "replace")),
        user_agent=user_agent and user_agent[:_TEXT],
        device=_device(user_agent),
        advertiser=_identifier(_text(host or b"")) or SITE,
        ad=_identifier(_path(_text(request))),
        placement=_identifier(_host(_text(referrer))),
        marketplace=MARKETPLACE,
    )


def _text(field: bytes) -> str | None:
    """A field with its escapes undone; None where it says that there is nothing."""
    if field in (b"-", b""):
        return None
    if b"\\" in field:
        field = _ESCAPE.sub(_unescaped, field)
    return field.decode("utf-8", "replace")


def _unescaped(found: re.Match[bytes]) -> bytes:
    code, character = found.groups()
    return bytes([int(code, 16)]) if code else _C_STYLE.get(character, character)


@lru_cache(maxsize=4096)
def _instant(text: str) -> dt.datetime | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, offset_hours, offset_minutes = found.groups()
    offset = dt.timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
    try:
        zone = dt.timezone(-offset if sign == "-" else offset)
        return dt.datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=zone)
    except (ValueError, KeyError):
        return None


def _address(text: str) -> str | None:
    try:
        return canonical_ip(text)
    except ValueError:
        return None


def _path(request: str | None) -> str | None:
    r"""The path that a request line asks for, without query; None where the line is broken.

    >>> _path("GET /a?b=1 HTTP/1.1"), _path("GET http://a.example/c HTTP/1.0"), _path("\x16\x03\x01")
    ('/a', '/c', None)
    """
    method, _, rest = (request or "").partition(" ")
    target = rest.removesuffix(rest[rest.rfind(" HTTP/") :] if " HTTP/" in rest else "").strip()
    if not (method.isascii() and method.isalpha() and target):
        return None
    path = target.partition("?")[0].partition("#")[0]
    return (_ORIGIN.sub("", path, count=1) if "://" in path else path) or "/"


def _host(referrer: str | None) -> str | None:
    """The host of a referrer; None where it is no URL.

    >>> _host("http://www.a.example:8080/b"), _host("https://[2001:db8::1]/"), _host("about:blank")
    ('www.a.example', '[2001:db8::1]', None)
    """
    found = _REFERRER.match(referrer or "")
    return found[1].lower() if found else None


@lru_cache(maxsize=4096)
def _device(user_agent: str | None) -> Device:
    """The class of device that a user agent names.

    >>> _device("Mozilla/5.0 (iPad; CPU OS 7_0)").value, _device("Mozilla/5.0 (X11; Linux)").value, _device("x").value
    ('tablet', 'desktop', 'other')
    """
    text = user_agent or ""
    if "iPad" in text or "Tablet" in text:
        return Device.TABLET
    if "Mobi" in text or "Android" in text:
        return Device.MOBILE
    if "Windows NT" in text or "Macintosh" in text or "X11" in text:
        return Device.DESKTOP
    return Device.OTHER


def _identifier(text: str | None) -> str | None:
    """An identifier that the contract takes.

    >>> _identifier("x" * 200) == _identifier("x" * 201), len(_identifier("x" * 200))
    (False, 128)
    """
    if not text:
        return None
    if len(text) <= _IDENTIFIER:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{text[: _IDENTIFIER - 1 - len(digest)]}~{digest}"
