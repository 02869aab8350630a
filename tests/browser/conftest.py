"""A Chromium for the session: $CHROMIUM, the one of `make browser`, or one on the PATH; else a skip that says why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser import install
from tests.browser.chromium import Browser, started


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    binary = install.browser()
    if binary is None:
        why = install.REASON.read_text() if install.REASON.exists() else "it was never tried"
        pytest.skip(f"no Chromium at $CHROMIUM or on the PATH, and none installed here ({why}): run `make browser`")
    with started(binary, tmp_path_factory.mktemp("browser")) as browser:
        yield browser
