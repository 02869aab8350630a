"""Many who change one pointer at the same time, and what the table must hold afterwards."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from functions.adapters.attempts import Attempts
from functions.adapters.serving_state import AuditLog, Change, PointerStore
from slidr.errors import PromotionFrozen, PromotionOutdated, RollbackImpossible
from slidr.pointer import Pointer, challenged, challenger_promoted, frozen, promoted, rolled_back

AT = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
PATIENT = Attempts(deadline_s=60.0, first_wait_s=0.002, longest_wait_s=0.02)
INTENTIONS: dict[str, Callable[[Pointer], Pointer]] = {
    "promote": partial(challenger_promoted, challenger="r-new", over="r-old"),
    "roll back": partial(rolled_back, bad="r-new"),
    "freeze": frozen,
}


class ReadTogether:
    """A client whose first read in each thread waits until all have read: everybody decides on the same pointer."""

    def __init__(self, client: Any, parties: int) -> None:
        self._client = client
        self._barrier = threading.Barrier(parties)
        self._mine = threading.local()
        self.exceptions = client.exceptions
        self.conflicts: list[Exception] = []

    def batch_get_item(self, **request: Any) -> Any:
        answer = self._client.batch_get_item(**request)
        if not getattr(self._mine, "met", False):
            self._mine.met = True
            self._barrier.wait(timeout=30)
        return answer

    def transact_write_items(self, **request: Any) -> Any:
        try:
            return self._client.transact_write_items(**request)
        except self.exceptions.TransactionCanceledException as failure:
            self.conflicts.append(failure)
            raise


@dataclass(frozen=True)
class Contention:
    """What came of it."""

    done: dict[str, list[str]]
    """By intention: for each who had it, "done" or the name of the refusal."""
    pointer: Pointer
    history: list[tuple[Pointer, Pointer]]
    """The audit's from and to, in its order."""
    conflicts: int


def contend(client: Any, table: str, *, parties: int = 20) -> Contention:
    """Have `parties` threads promote, roll back and freeze at once: r-new challenges r-old, which is stable."""
    store = PointerStore(client, table)
    first = store.change(Pointer(), promoted(Pointer(), "r-old"), Change(who="ops", why="first", at=AT))
    named = store.apply(lambda before: Pointer(champion="r-old", stable="r-old", generation=before.generation + 1),
                        Change(who="ops", why="stable", at=AT))  # fmt: skip
    assert (first.generation, named.generation) == (1, 2)
    store.apply(lambda before: challenged(before, "r-new"), Change(who="ops", why="shadow", at=AT))
    together = ReadTogether(client, parties)
    kinds = [list(INTENTIONS)[index % 3] for index in range(parties)]

    def act(position: int) -> tuple[str, str]:
        kind = kinds[position]
        change = Change(who=f"operator-{position}", why=kind, at=AT + dt.timedelta(seconds=-position))
        try:
            PointerStore(together, table, attempts=PATIENT).apply(INTENTIONS[kind], change)  # type: ignore[arg-type]
        except (PromotionFrozen, PromotionOutdated, RollbackImpossible) as refusal:
            return kind, type(refusal).__name__
        return kind, "done"

    done: dict[str, list[str]] = {kind: [] for kind in INTENTIONS}
    with ThreadPoolExecutor(parties) as pool:
        for kind, outcome in pool.map(act, range(parties)):
            done[kind].append(outcome)
    history = [(entry.before, entry.after) for entry in AuditLog(client, table).entries()]
    return Contention(
        done=done,
        pointer=store.read(),
        history=[(b, a) for b, a in history if isinstance(b, Pointer) and isinstance(a, Pointer)],
        conflicts=len(together.conflicts),
    )


def check(result: Contention) -> None:
    """One consistent pointer and a complete history.

    A freeze that comes before the promotion refuses it, and then nothing can be rolled back; so there are two ends.
    """
    befores, afters = zip(*result.history, strict=True)
    assert befores[0] == Pointer()
    assert afters[-1] == result.pointer
    assert list(befores[1:]) == list(afters[:-1])  # unbroken: everybody decided on what was in force
    assert [after.generation for after in afters] == list(range(1, result.pointer.generation + 1))
    assert result.conflicts > 0  # else they did not contend
    promotions = result.done["promote"].count("done")
    takeovers = [after for before, after in result.history if before.champion == "r-old" and after.champion == "r-new"]
    assert len(takeovers) == promotions <= 1
    assert result.done["roll back"].count("done") <= promotions
    assert set(result.done["freeze"]) == {"done"}
    assert result.pointer.frozen
    assert result.pointer.champion == ("r-new" if promotions > result.done["roll back"].count("done") else "r-old")
    assert result.pointer.stable == "r-old"  # nothing here may write it
    assert sum(before.frozen is not after.frozen for before, after in result.history) == 1
