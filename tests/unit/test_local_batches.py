"""How the local event source settles failed batches, for every kind of failure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from local.cloud.kinesis_batch import Batch, Record, failed_from, settle


def batch_of(count: int) -> Batch:
    return Batch(tuple(Record(f"{n:05d}", "key", "", float(n)) for n in range(count)))


def numbers(batch: Batch) -> list[int]:
    return [int(record.sequence) for record in batch.records]


@given(
    count=st.integers(1, 40),
    poison=st.sets(st.integers(0, 39)),
    bisect=st.booleans(),
    partial=st.booleans(),
    max_retries=st.integers(0, 3),
)
def test_every_record_ends_once_in_order_and_only_poison_is_given_up_when_bisecting(
    count: int, poison: set[int], bisect: bool, partial: bool, max_retries: int
) -> None:
    pending, given_up, done, invocations = [batch_of(count)], [], [], 0
    ends: list[int] = []
    while pending:
        current = pending.pop(0)
        invocations += 1
        bad = [n for n in numbers(current) if n in poison]
        answer: dict[str, object] = {"body": None}
        if bad:
            failures = [{"itemIdentifier": f"{n:05d}"} for n in bad]
            answer = {"body": {"batchItemFailures": failures}} if partial else {"error": True}
        first_failed = failed_from(current, answer, partial=partial)
        if first_failed is None:
            done += numbers(current)
            ends += numbers(current)
            continue
        done += numbers(current)[:first_failed]
        ends += numbers(current)[:first_failed]
        step = settle(current, first_failed, bisect=bisect, max_retries=max_retries)
        if step.given_up is not None:
            given_up += numbers(step.given_up)
            ends += numbers(step.given_up)
        pending[:0] = step.again
        assert invocations < 10_000

    assert ends == list(range(count))
    if bisect:
        assert given_up == sorted(poison & set(range(count)))
    assert set(given_up) >= poison & set(range(count))


@given(count=st.integers(1, 10), retries=st.integers(0, 5))
def test_a_batch_is_tried_once_more_than_its_retries(count: int, retries: int) -> None:
    current, tries = batch_of(count), 0
    while True:
        tries += 1
        step = settle(current, 0, bisect=False, max_retries=retries)
        if step.given_up is not None:
            break
        (current,) = step.again

    assert tries == retries + 1
    assert step.given_up.failures == tries


def test_a_throttle_costs_no_retry() -> None:
    step = settle(batch_of(3), 0, bisect=True, max_retries=0, counted=False)

    assert step.again == (batch_of(3),)
    assert step.wait


def test_a_malformed_partial_response_fails_the_whole_batch() -> None:
    batch = batch_of(3)
    for body in (
        "text",
        {"batchItemFailures": [{"itemIdentifier": "unknown"}]},
        {"batchItemFailures": [{"other": "00001"}]},
        {"batchItemFailures": [None]},
    ):
        assert failed_from(batch, {"body": body}, partial=True) == 0


def test_an_empty_partial_response_is_a_success() -> None:
    for body in (None, "", {}, {"batchItemFailures": []}, {"batchItemFailures": None}):
        assert failed_from(batch_of(3), {"body": body}, partial=True) is None


def test_without_partial_responses_only_an_error_is_a_failure() -> None:
    body = {"batchItemFailures": [{"itemIdentifier": "00001"}]}

    assert failed_from(batch_of(3), {"body": body}, partial=False) is None
    assert failed_from(batch_of(3), {"body": None, "error": True}, partial=False) == 0
