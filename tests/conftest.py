"""Which tests may open sockets (unit tests none), which share a process, and patience on busy machines."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings
from pytest_socket import disable_socket, enable_socket, socket_allow_hosts

HERE = Path(__file__).parent
TOGETHER = ("browser", "cloud", "localstack", "valkey")
"""Folders whose tests share what takes long to start, so one process runs them; elsewhere one runs a file."""
WITH_SOCKETS = ("valkey", "cloud", "localstack", "enable_socket")
THIS_MACHINE = ["127.0.0.1", "::1", "localhost"]

# A slow machine is no defect of a test: what is asserted is values, never time.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        item.add_marker(pytest.mark.xdist_group(folder if folder in TOGETHER else str(item.path)))


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if any(is_marked(item, name) for name in WITH_SOCKETS):
        enable_socket()
        theirs = urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname if is_marked(item, "localstack") else None
        socket_allow_hosts([*THIS_MACHINE, *filter(None, [theirs])], allow_unix_socket=True)
    else:
        disable_socket(allow_unix_socket=True)


def is_marked(item: pytest.Item, name: str) -> bool:
    return item.get_closest_marker(name) is not None
