"""What makes the demo fail."""

from __future__ import annotations

import pytest

from local.demonstration import knows_the_truth, learned_too_little
from slidr.metrics import Rate
from training.judgement import Judgement

NOTHING = Rate(count=0, total=0)


def any_judgement(*, robots: Rate, people: Rate, family: str = "slow_regular") -> Judgement:
    return Judgement(
        ivr=NOTHING, fpr=NOTHING, true_fpr=people, coverage=NOTHING, recall=robots, precision=NOTHING,
        families={family: robots},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "too_little"),
    [(2_296, False), (1_000, False), (940, True), (276, True)],
    ids=["real", "in doubt", "below", "shuffled"],
)
def test_the_demo_fails_when_too_few_robots_are_found(found: int, *, too_little: bool) -> None:
    judgement = any_judgement(robots=Rate(count=found, total=4_080), people=Rate(count=150, total=15_270))

    assert learned_too_little(judgement) is too_little


def test_a_log_of_unknown_truth_says_nothing_of_the_model() -> None:
    judgement = any_judgement(robots=NOTHING, people=Rate(count=50, total=100), family="unknown")

    assert not knows_the_truth(judgement)
    assert not learned_too_little(judgement)
