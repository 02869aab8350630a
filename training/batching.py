"""Concurrent invocations scored together: whatever arrived while the last batch ran makes the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from slidr.errors import SlidrError
from training.invocation import Plan
from training.mlp_weights import Floats
from training.scoring import Scorer


class EndpointBusy(SlidrError):
    """More rows are waiting than the endpoint may hold, or these waited too long. Ask again after a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """Bounds of one batch and of the queue before it."""

    batch_rows: int = 1024
    """A batch takes waiting invocations until the next one would pass this; a larger one goes alone."""
    queued_rows: int = 8192
    """An invocation that would make more rows wait is refused; one that finds the queue empty never is."""
    wait_ms: int = 500
    """An invocation that waited longer is refused: its caller has given up, and scoring it delays the others."""


@dataclass(slots=True, eq=False)
class _Waiting:
    plan: Plan
    features: Floats
    answer: asyncio.Future[bytes]
    since_s: float


class Batcher:
    """Scores invocations of one event loop, in order of arrival.

    A batch runs inside the event loop, once a turn: a lone invocation waits for nobody, and those that the loop reads
    in the same turn, or that arrive while a batch runs, go together. A thread for it was tried: it made a lone
    invocation slower, a hand-over costs more than scoring 16 rows (docs/decisions/0004-cpu-scoring-backend.md).
    """

    def __init__(self, scorers: Mapping[str, Scorer], limits: BatchLimits) -> None:
        self._scorers = scorers
        self._limits = limits
        self._waiting: deque[_Waiting] = deque()
        self._queued_rows = 0

    async def score(self, plan: Plan, features: Floats) -> bytes:
        """The answer's body: float32, row-major, (1 + shadows, rows).

        Raises:
            EndpointBusy: a bound of the queue is passed.
        """
        rows = len(features)
        if self._waiting and self._queued_rows + rows > self._limits.queued_rows:
            raise EndpointBusy(f"{self._limits.queued_rows} rows may wait, {self._queued_rows} do, {rows} came.")
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run, loop)
        waiting = _Waiting(plan, features, loop.create_future(), loop.time())
        self._waiting.append(waiting)
        self._queued_rows += rows
        return await waiting.answer

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._take(loop.time())
        if self._waiting:
            loop.call_soon(self._run, loop)  # sockets are read in between
        try:
            answers = score_together(self._scorers, [(one.plan, one.features) for one in batch])
        except Exception as failure:  # noqa: BLE001 - whatever it is, every caller that waits must be told
            for one in batch:
                one.answer.set_exception(failure)
            return
        for one, answer in zip(batch, answers, strict=True):
            one.answer.set_result(answer)

    def _take(self, now_s: float) -> list[_Waiting]:
        batch: list[_Waiting] = []
        rows = 0
        while self._waiting:
            one = self._waiting[0]
            if batch and rows + len(one.features) > self._limits.batch_rows:
                break
            self._waiting.popleft()
            self._queued_rows -= len(one.features)
            if one.answer.done():  # its caller hung up
                continue
            waited_ms = (now_s - one.since_s) * 1000
            if waited_ms > self._limits.wait_ms:
                one.answer.set_exception(EndpointBusy(f"waited {waited_ms:.0f} ms, at most {self._limits.wait_ms} ms."))
                continue
            batch.append(one)
            rows += len(one.features)
        return batch


def score_together(scorers: Mapping[str, Scorer], invocations: list[tuple[Plan, Floats]]) -> list[bytes]:
    """The answer's body of each invocation; every release runs once, over the rows of all that asked for it."""
    askers: dict[str, list[int]] = {}
    for i, (plan, _) in enumerate(invocations):
        for release in (plan.release, *plan.shadows):
            askers.setdefault(release, []).append(i)
    scores: dict[tuple[int, str], Floats] = {}
    for release, members in askers.items():
        blocks = [invocations[i][1] for i in members]
        together = scorers[release].score(blocks[0] if len(blocks) == 1 else np.concatenate(blocks))
        start = 0
        for i, block in zip(members, blocks, strict=True):
            scores[i, release] = together[start : start + len(block)]
            start += len(block)
    return [
        b"".join(scores[i, release].astype("<f4", copy=False).tobytes() for release in (plan.release, *plan.shadows))
        for i, (plan, _) in enumerate(invocations)
    ]
