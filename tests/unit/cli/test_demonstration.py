"""What makes the demo fail."""

from __future__ import annotations

import pytest

from local.demonstration import knows_the_truth, learned_nothing
from slidr.metrics import Rate
from training.judgement import Judgement

NOTHING = Rate(count=0, total=0)


def any_judgement(*, robots: Rate, people: Rate, family: str = "slow_regular") -> Judgement:
    return Judgement(
        ivr=NOTHING, fpr=NOTHING, true_fpr=people, coverage=NOTHING, recall=robots, precision=NOTHING,
        families={family: robots},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found_of_1000_robots", "found_of_10000_people", "nothing"),
    [(500, 200, False), (30, 100, False), (12, 100, True), (0, 24, True), (1000, 10_000, True)],
)
def test_a_model_learned_nothing_when_robots_are_found_no_more_often_than_people(
    found_of_1000_robots: int, found_of_10000_people: int, nothing: bool
) -> None:
    judgement = any_judgement(
        robots=Rate(count=found_of_1000_robots, total=1_000), people=Rate(count=found_of_10000_people, total=10_000)
    )

    assert learned_nothing(judgement) is nothing


def test_a_log_of_unknown_truth_says_nothing_of_the_model() -> None:
    judgement = any_judgement(robots=NOTHING, people=Rate(count=50, total=100), family="unknown")

    assert not knows_the_truth(judgement)
    assert not learned_nothing(judgement)
