"""How long to go on with what a service took only in part (PutRecords, SendMessageBatch, BatchGetItem)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Attempts with exponential waits and full jitter between them, until a deadline.

    Source: Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), full jitter.
    """

    deadline_s: float
    first_wait_s: float = 0.05
    longest_wait_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random

    def __iter__(self) -> Iterator[int]:
        """Attempt numbers from 0; at least one, the last no later than the deadline.

        >>> waits = []
        >>> attempts = Attempts(deadline_s=1.0, clock=lambda: sum(waits), sleep=waits.append, draw=lambda: 1.0)
        >>> list(attempts), waits
        ([0, 1, 2, 3, 4], [0.05, 0.1, 0.2, 0.4])
        """
        end = self.clock() + self.deadline_s
        bound, attempt = self.first_wait_s, 0
        while True:
            yield attempt
            wait = bound * self.draw()
            if self.clock() + wait > end:
                return
            self.sleep(wait)
            bound, attempt = min(2 * bound, self.longest_wait_s), attempt + 1
