"""Clicks in flight while releases are deployed, challenged, promoted and rolled back, in any interleaving."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from functions.adapters.endpoint import Scores
from functions.adapters.serving_state import ServingState
from slidr.errors import PromotionFrozen, PromotionOutdated, RollbackImpossible
from slidr.features import Floats
from slidr.pointer import (
    Pointer,
    challenged,
    challenger_promoted,
    promoted,
    releases_to_load,
    rolled_back,
    unfrozen,
)
from slidr.policy import Policy
from slidr.slices import Thresholds
from slidr.verdict import Decision
from tests.scoring_world import World, any_click, any_release

RELEASES = 4
STALE = 2
"""How many pointers ago the function may have read it (its cache of some seconds)."""
ACTIONS = ("deploy", "challenge", "promote", "roll back", "unfreeze")
REFUSALS = (PromotionFrozen, PromotionOutdated, RollbackImpossible)


@dataclass
class Operators:
    """Changes releases step by step as local.rollout and local.promotion do: each instance, then the pointer."""

    pointers: list[Pointer]
    fleets: list[frozenset[str]]
    """What each instance holds; while one is replaced they differ."""

    def steps(self, action: str, release: str) -> Iterator[None]:
        before = self.pointers[-1]
        try:
            after = self._after(action, before, release)
        except REFUSALS:
            return
        if action in {"deploy", "challenge"}:
            for instance in range(len(self.fleets)):
                self.fleets[instance] = frozenset(releases_to_load(before, after))
                yield
        self.pointers.append(after)
        yield

    def _after(self, action: str, pointer: Pointer, release: str) -> Pointer:
        match action:
            case "deploy":
                return promoted(pointer, release)
            case "challenge":
                return challenged(pointer, release)
            case "promote":
                return challenger_promoted(pointer, pointer.challenger or release, over=pointer.champion)
            case "roll back":
                return rolled_back(pointer, bad=pointer.champion)
            case _:
                return unfrozen(pointer)


@dataclass
class ChangingEndpoint:
    """Each release scores 0.1 times its number; what an instance lacks is answered by stable, under its own id."""

    operators: Operators
    numbers: dict[str, int]
    instance: Callable[[], int]
    meanwhile: Callable[[], None]
    answered: list[tuple[str, int]] = field(default_factory=list)

    def score(self, features: Floats, *, release_id: str, shadows: Sequence[str] = ()) -> Scores:
        self.meanwhile()
        held = self.operators.fleets[self.instance()]
        stable = self.operators.pointers[-1].stable
        assert stable in held
        scored = release_id if release_id in held else str(stable)
        self.answered.append((scored, len(features)))
        self.meanwhile()
        return Scores(
            release_id=scored,
            scores=np.full(len(features), self._score(scored), dtype=np.float32),
            shadows={
                name: np.full(len(features), self._score(name), dtype=np.float32) for name in shadows if name in held
            },
        )

    def _score(self, release: str) -> float:
        return 0.1 * self.numbers[release]


@given(data=st.data())
@settings(max_examples=60)
def test_no_click_is_lost_and_each_verdict_has_the_threshold_of_the_release_that_scored(data: st.DataObject) -> None:
    world = World()
    numbers = {}
    for number in range(1, RELEASES + 1):  # odd ones find everything robotic, even ones nothing
        threshold = 0.1 * number + (0.05 if number % 2 == 0 else -0.05)
        release = any_release(weights_sha256=f"{number:02}", thresholds=Thresholds(default=threshold))
        numbers[world.releases.add(release)] = number
    ids = list(numbers)
    first = Pointer(champion=ids[0], stable=ids[0], generation=1)
    operators = Operators(pointers=[first], fleets=[frozenset(first.named)] * 2)
    actions = data.draw(st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from(ids)), min_size=1, max_size=10))
    steps = (None for action, release in actions for _ in operators.steps(action, release))

    def meanwhile() -> None:
        for _ in range(data.draw(st.integers(0, 3))):
            next(steps, None)
            for fleet in operators.fleets:  # the pointer names only releases that every instance holds
                assert set(operators.pointers[-1].named) <= fleet

    class Reader:
        error = ""

        def current(self) -> ServingState:
            meanwhile()
            behind = data.draw(st.integers(0, min(STALE, len(operators.pointers) - 1)))
            pointer = operators.pointers[-1 - behind]
            meanwhile()
            return ServingState(pointer=pointer, policy=Policy())

    endpoint = ChangingEndpoint(operators, numbers, lambda: data.draw(st.integers(0, 1)), meanwhile)
    world.serving_state = Reader()  # type: ignore[assignment]
    world.endpoint = endpoint  # type: ignore[assignment]
    batches = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=6))
    sent = [f"{batch}-{n}" for batch, size in enumerate(batches) for n in range(size)]
    for batch, size in enumerate(batches):
        outcome = world.score(*(any_click(f"{batch}-{n}") for n in range(size)))
        assert outcome.retry_from is None
        assert not outcome.undecided

    verdicts = world.verdicts.kept
    assert [verdict.click_id for verdict in verdicts] == sent
    scored_by = [release for release, size in endpoint.answered for _ in range(size)]
    for verdict, release in zip(verdicts, scored_by, strict=True):
        number = numbers[release]
        assert verdict.release_id == release
        assert verdict.score == float(np.float32(0.1 * number))
        assert verdict.threshold == float(np.float32(world.releases.by_id[release].thresholds.default))
        assert verdict.decision is (Decision.INVALID if number % 2 else Decision.VALID)
    event(f"releases that scored: {len(set(scored_by))}")
