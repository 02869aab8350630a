"""The user agents of the simulated devices, and those of real crawlers that name themselves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

_CHROME: Final = tuple(range(122, 144))
_FIREFOX: Final = tuple(range(128, 146, 2))
_WEBKIT: Final = "AppleWebKit/537.36 (KHTML, like Gecko)"
_IOS: Final = ("16_7", "17_2", "17_4", "17_5", "17_6", "18_0", "18_1", "18_3", "18_5", "26_0")
_MODELS: Final = ("Pixel 6", "Pixel 7a", "Pixel 8", "Pixel 9", "SM-S901B", "SM-S918B", "SM-S921U",
                  "SM-A145R", "SM-A546B", "M2101K6G", "2201117TY", "22101316G", "CPH2451",
                  "RMX3630", "XQ-CC54")  # fmt: skip
_TABLETS: Final = ("SM-X200", "SM-X700", "SM-T870", "Lenovo TB-J606F", "Pixel Tablet")


@dataclass(frozen=True, slots=True)
class UserAgents:
    """User agents by device class, the common ones first, in one list; `mobile` and `tablet` are where they begin."""

    strings: tuple[str, ...]
    mobile: int
    tablet: int
    crawler: int


def _desktop() -> list[str]:
    systems = (
        "Windows NT 10.0; Win64; x64",
        "Macintosh; Intel Mac OS X 10_15_7",
        "X11; Linux x86_64",
        "X11; CrOS x86_64 14541.0.0",
    )
    chrome = [f"Mozilla/5.0 ({s}) {_WEBKIT} Chrome/{v}.0.0.0 Safari/537.36" for v in _CHROME[::-1] for s in systems]
    edge = [f"{agent} Edg/{v}.0.0.0" for agent, v in zip(chrome[::4], _CHROME[::-1], strict=True)]
    firefox = [
        f"Mozilla/5.0 ({s}; rv:{v}.0) Gecko/20100101 Firefox/{v}.0" for v in _FIREFOX[::-1] for s in systems[::2]
    ]
    safari = [
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        f"Version/{v} Safari/605.1.15"
        for v in ("26.0", "18.5", "18.3", "18.1", "17.6", "17.4", "16.6")
    ]
    return chrome[:20] + safari[:3] + edge[:8] + firefox[:6] + chrome[20:] + safari[3:] + edge[8:] + firefox[6:]


def _mobile() -> list[str]:
    iphone = [
        f"Mozilla/5.0 (iPhone; CPU iPhone OS {v} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        f"Version/{v.replace('_', '.')} Mobile/15E148 Safari/604.1"
        for v in _IOS[::-1]
    ]
    android = [
        f"Mozilla/5.0 (Linux; Android {version}; {model}) {_WEBKIT} Chrome/{v}.0.0.0 Mobile Safari/537.36"
        for v in _CHROME[:12:-2]
        for version in (15, 14, 13)
        for model in _MODELS
    ]
    return iphone + android


def _tablet() -> list[str]:
    ipad = [
        f"Mozilla/5.0 (iPad; CPU OS {v} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        f"Version/{v.replace('_', '.')} Mobile/15E148 Safari/604.1"
        for v in _IOS[::-1]
    ]
    android = [
        f"Mozilla/5.0 (Linux; Android 14; {model}) {_WEBKIT} Chrome/{v}.0.0.0 Safari/537.36"
        for model in _TABLETS
        for v in _CHROME[:14:-2]
    ]
    return ipad + android


@cache
def user_agents() -> UserAgents:
    """All user agents; crawlers are real ones, from the packaged list's own instances.

    >>> agents = user_agents()
    >>> 0 < agents.mobile < agents.tablet < agents.crawler < len(agents.strings)
    True
    """
    import crawleruseragents  # noqa: PLC0415 - it reads its list when imported, and imports do no I/O here

    desktop, mobile, tablet = _desktop(), _mobile(), _tablet()
    listed = crawleruseragents.CRAWLER_USER_AGENTS_DATA[:60]
    crawlers = list(dict.fromkeys(entry["instances"][0] for entry in listed if entry["instances"]))
    return UserAgents(
        strings=tuple(desktop + mobile + tablet + crawlers),
        mobile=len(desktop),
        tablet=len(desktop) + len(mobile),
        crawler=len(desktop) + len(mobile) + len(tablet),
    )
