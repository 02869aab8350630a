"""Many operators at once, in process: one pointer, a complete history."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.pointer_contention import check, contend

pytestmark = pytest.mark.aws


class OneAtATime:
    """A client for moto, which, unlike DynamoDB, does not serialise transactions of several threads."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self.exceptions = client.exceptions
        self.get_paginator = client.get_paginator

    def batch_get_item(self, **request: Any) -> Any:
        with self._lock:
            return self._client.batch_get_item(**request)

    def transact_write_items(self, **request: Any) -> Any:
        with self._lock:
            return self._client.transact_write_items(**request)


def test_twenty_promotions_rollbacks_and_freezes_at_once_leave_one_pointer_and_its_whole_history(control: Any) -> None:
    check(contend(OneAtATime(control), "control"))
