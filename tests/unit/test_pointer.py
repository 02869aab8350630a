"""What may become of the pointer, and what is refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial

import pytest

from slidr.audit import AuditEntry, times_in_force
from slidr.errors import PromotionFrozen, PromotionOutdated, RollbackImpossible, SlidrError
from slidr.pointer import Pointer, challenged, challenger_promoted, promoted, rolled_back, unfrozen, with_canary

POINTER = Pointer(champion="r-1", stable="r-0", challenger="r-2", canary_share=0.1, generation=7)
FROZEN = Pointer(champion="r-1", stable="r-0", challenger="r-2", frozen=True, generation=8)
AT = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("step", "before", "refusal"),
    [
        (partial(promoted, champion="r-2"), FROZEN, PromotionFrozen),
        (partial(challenger_promoted, challenger="r-2", over="r-1"), FROZEN, PromotionFrozen),
        (partial(challenger_promoted, challenger="r-3", over="r-1"), POINTER, PromotionOutdated),
        (partial(challenger_promoted, challenger="r-2", over="r-0"), POINTER, PromotionOutdated),
        (partial(challenged, challenger="r-1"), POINTER, PromotionOutdated),
        (partial(challenged, challenger="r-1"), Pointer(), PromotionOutdated),
        (partial(with_canary, share=0.5), FROZEN, PromotionFrozen),
        (partial(with_canary, share=0.5), Pointer(champion="r-1"), PromotionOutdated),
        (partial(rolled_back, bad="r-2"), POINTER, RollbackImpossible),
        (partial(rolled_back, bad="r-1"), Pointer(champion="r-1"), RollbackImpossible),
        (partial(rolled_back, bad="r-1"), Pointer(champion="r-1", stable="r-1"), RollbackImpossible),
        (partial(rolled_back, bad=None), Pointer(stable="r-0"), RollbackImpossible),
    ],
)
def test_refuses_what_makes_no_sense(
    step: Callable[[Pointer], Pointer], before: Pointer, refusal: type[SlidrError]
) -> None:
    with pytest.raises(refusal):
        step(before)


def test_a_frozen_pointer_still_takes_a_challenger_and_can_roll_back() -> None:
    assert challenged(FROZEN, "r-3").challenger == "r-3"
    assert rolled_back(FROZEN, bad="r-1").champion == "r-0"
    assert with_canary(FROZEN, 0.0) is FROZEN


def test_what_changes_nothing_is_not_written() -> None:
    assert challenged(POINTER, "r-2") is POINTER
    assert with_canary(POINTER, 0.1) is POINTER
    assert unfrozen(POINTER) is POINTER


def test_a_release_that_served_twice_has_two_times_in_force() -> None:
    names = ["r-1", "r-2", "r-1"]
    entries = [
        AuditEntry(
            at=AT + dt.timedelta(hours=hour),
            who="ops",
            why="test",
            before=Pointer(champion=names[hour - 1] if hour else None, generation=hour),
            after=Pointer(champion=name, generation=hour + 1),
        )
        for hour, name in enumerate(names)
    ]

    hours = [AT + dt.timedelta(hours=hour) for hour in range(3)]
    assert times_in_force(entries) == {"r-1": [(hours[0], hours[1]), (hours[2], None)], "r-2": [(hours[1], hours[2])]}
