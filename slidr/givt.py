"""General invalid traffic: user agents that name themselves as crawlers, from a packaged, versioned list."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Final

_READ_CHARACTERS: Final = 512
"""Crawlers name themselves early; reading on would let long made-up user agents slow down a whole batch."""
_KNOWN_AGENTS: Final = 50_000


class CrawlerList:
    """Decides whether a user agent is a known crawler, by regular expressions; each user agent is matched once."""

    def __init__(self, patterns: Sequence[str], *, version: str) -> None:
        self.version = version
        self.sha256 = hashlib.sha256("\n".join(patterns).encode()).hexdigest()
        """Hash of the list, as releases record it."""
        self._any = re.compile("|".join(f"(?:{pattern})" for pattern in patterns))
        self._known: dict[str, bool] = {}

    def names(self, user_agent: str | None) -> bool:
        """Whether the list names `user_agent`; an absent one is not named.

        >>> crawlers = CrawlerList(["Googlebot"], version="1")
        >>> crawlers.names("Googlebot/2.1"), crawlers.names("Mozilla/5.0"), crawlers.names(None)
        (True, False, False)
        """
        if user_agent is None:
            return False
        head = user_agent[:_READ_CHARACTERS]
        named = self._known.get(head)
        if named is None:
            if len(self._known) >= _KNOWN_AGENTS:
                self._known.clear()
            named = self._any.search(head) is not None
            self._known[head] = named
        return named


@cache
def packaged_crawlers() -> CrawlerList:
    """The list that ships with SLIDR: the package crawler-user-agents (MIT), its release as the list's version."""
    import crawleruseragents  # noqa: PLC0415 - it reads its list when imported, and imports do no I/O here

    patterns = [entry["pattern"] for entry in crawleruseragents.CRAWLER_USER_AGENTS_DATA]
    return CrawlerList(patterns, version=f"crawler-user-agents {version('crawler-user-agents')}")
