"""The crawler list: what names itself is found, what is long does not hold up the batch."""

from __future__ import annotations

import pytest

from slidr.givt import CrawlerList, packaged_crawlers


@pytest.mark.parametrize(
    ("user_agent", "named"),
    [
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", True),
        ("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", True),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0", False),
        ("", False),
        (None, False),
    ],
)  # fmt: skip
def test_the_packaged_list_names_crawlers_and_no_browsers(user_agent: str | None, *, named: bool) -> None:
    assert packaged_crawlers().names(user_agent) is named


def test_the_list_has_a_version_and_a_hash_that_follows_its_content() -> None:
    assert packaged_crawlers().version.startswith("crawler-user-agents ")
    assert CrawlerList(["a"], version="1").sha256 != CrawlerList(["b"], version="1").sha256


def test_only_the_head_of_a_user_agent_is_read() -> None:
    crawlers = CrawlerList(["Robot"], version="1")

    assert crawlers.names("x" * 500 + "Robot")
    assert not crawlers.names("x" * 600 + "Robot")
