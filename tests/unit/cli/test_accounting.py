from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from local.accounting import SentRecord, account, payload_digest, sent_record
from local.sources.event import Event, Kind


def any_sent(*keys: str) -> list[SentRecord]:
    return [SentRecord(key, payload_digest(key.encode())) for key in keys]


def test_adds_up_verdicts_and_rejects() -> None:
    malformed = Event(0, Kind.CLICK, "line-3", b"{")
    sent = [*any_sent("a", "b"), sent_record(malformed)]
    result = account(sent, decided={"a", "b", "other"}, rejected={payload_digest(b"{"), b"another"})
    assert result.holds
    assert (result.records_in, result.verdicts, result.rejects, result.duplicates) == (3, 2, 1, 0)


def test_names_what_has_neither() -> None:
    result = account(any_sent("a", "b"), decided={"a"}, rejected=())
    assert not result.holds
    assert result.missing == ("b",)
    assert "does not equal" in str(result)
    assert "such as b" in str(result)


def test_counts_a_click_that_was_sent_twice_once() -> None:
    result = account(any_sent("a", "a", "b"), decided={"a", "b"}, rejected=())
    assert result.holds
    assert (result.verdicts, result.duplicates) == (2, 1)
    assert "+ 1 records of clicks that had been sent already" in str(result)


def test_counts_every_rejected_record_even_where_they_name_the_same_click() -> None:
    good, bad = any_sent("a")[0], SentRecord("a", b"bad")
    result = account([bad, good, bad, bad], decided={"a"}, rejected={b"bad"})
    assert (result.verdicts, result.rejects, result.duplicates) == (1, 3, 0)
    assert result.holds


@given(st.lists(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
def test_puts_every_record_into_exactly_one_place(keys: list[str], decided: set[str], rejected: set[str]) -> None:
    result = account(any_sent(*keys), decided=decided, rejected={payload_digest(key.encode()) for key in rejected})
    assert result.records_in == len(keys)
    assert result.verdicts + result.rejects + result.duplicates + len(result.missing) == len(keys)
    assert result.holds == (set(keys) <= decided | rejected)
