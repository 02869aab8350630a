from __future__ import annotations

import datetime as dt
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidr.ledger import Ledger, LedgerEntry, latency_percentiles, tally
from slidr.verdict import Decision, Mode, Reason, Verdict

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


def any_entry(click_id: str = "c", kind: str = "original", decided_s: int = 0, **changes: object) -> LedgerEntry:
    values: dict[str, object] = {
        "at": NOON, "arrived_at": NOON, "decision": Decision.VALID, "mode": Mode.OBSERVE, "billable": True,
        "reasons": (), "score": 0.25, "threshold": 0.5, "slice": "device=mobile", "release_id": "r-1", "givt": False,
        "late": False, "marketplace": "de", "advertiser": "acme", "cost_micros": 100, "currency": "EUR",
    }  # fmt: skip
    decided_at = NOON + dt.timedelta(seconds=decided_s)
    return LedgerEntry(click_id=click_id, kind=kind, decided_at=decided_at, **(values | changes))  # type: ignore[arg-type]


ENTRIES = st.builds(
    any_entry,
    click_id=st.sampled_from("abc"),
    kind=st.sampled_from(["original", "correction"]),
    decided_s=st.integers(0, 3),  # narrow: ties of the clock must come up
    score=st.sampled_from([0.1, 0.2, 0.9]),
    reasons=st.sampled_from([(), (Reason.BACKFILLED,)]),
)


def content(ledger: Ledger[LedgerEntry]) -> set[bytes]:
    return {msgspec.json.encode(entry) for entry in ledger}


@given(st.lists(ENTRIES, max_size=12), st.randoms())
def test_ends_in_the_same_state_whatever_the_order(entries: list[LedgerEntry], order: random.Random) -> None:
    shuffled = list(entries)
    order.shuffle(shuffled)
    assert content(Ledger(entries)) == content(Ledger(shuffled))


@given(st.lists(ENTRIES, max_size=12))
def test_adds_nothing_when_a_replay_runs_twice(entries: list[LedgerEntry]) -> None:
    once = Ledger(entries)
    twice = Ledger(entries)
    assert twice.add(entries) == 0
    assert content(twice) == content(once)


@given(st.lists(ENTRIES, max_size=12))
def test_holds_one_verdict_a_click(entries: list[LedgerEntry]) -> None:
    ledger = Ledger(entries)
    assert len(ledger) == len({entry.click_id for entry in entries})
    assert sorted(entry.click_id for entry in ledger) == sorted({entry.click_id for entry in entries})


def test_ignores_a_later_original() -> None:
    first, redelivered = any_entry(decided_s=1, score=0.1), any_entry(decided_s=9, score=0.9)
    assert list(Ledger([redelivered, first])) == [first]


def test_lets_a_correction_supersede_whenever_it_was_decided() -> None:
    original, early_correction = any_entry(decided_s=5), any_entry(kind="correction", decided_s=1)
    assert list(Ledger([original, early_correction])) == [early_correction]


def test_lets_the_last_correction_win() -> None:
    first, last = any_entry(kind="correction", decided_s=1), any_entry(kind="correction", decided_s=2)
    assert list(Ledger([last, first, any_entry()])) == [last]


@pytest.mark.parametrize("kind", ["original", "correction"])
def test_lets_whatever_was_decided_supersede_a_backfilled_row(kind: str) -> None:
    backfilled = any_entry(decided_s=1, decision=Decision.UNDECIDED, reasons=(Reason.BACKFILLED,))
    decided = any_entry(kind=kind, decided_s=9)
    assert list(Ledger([backfilled, decided])) == list(Ledger([decided, backfilled])) == [decided]


def test_counts_how_many_clicks_are_new() -> None:
    ledger = Ledger([any_entry("a")])
    assert ledger.add([any_entry("a"), any_entry("b")]) == 1
    assert "b" in ledger
    assert ledger.get("c") is None


def test_reads_an_entry_from_a_verdict_and_leaves_the_features_behind() -> None:
    verdict = Verdict(
        click_id="c", at=NOON, arrived_at=NOON, decided_at=NOON, decision=Decision.INVALID, mode=Mode.ENFORCE,
        billable=False, reasons=(Reason.ROBOTIC_BEHAVIOUR,), score=0.75, threshold=0.5, slice="s", release_id="r-1",
        givt=False, late=False, marketplace="de", advertiser="acme", campaign=None, cost_micros=5, currency="EUR",
        feature_spec="f", features=(1.0, 2.0),
    )  # fmt: skip
    entry = msgspec.json.decode(msgspec.json.encode(verdict), type=LedgerEntry)
    assert (entry.click_id, entry.decision, entry.reasons) == ("c", Decision.INVALID, (Reason.ROBOTIC_BEHAVIOUR,))


def test_adds_up_decisions_slices_money_and_latency() -> None:
    invalid = {"decision": Decision.INVALID, "reasons": (Reason.ROBOTIC_BEHAVIOUR,)}
    result = tally([
        any_entry("a", decided_s=1),
        any_entry("b", decided_s=2, mode=Mode.ENFORCE, billable=False, **invalid),
        any_entry("c", decided_s=3, slice="device=desktop", currency="USD", **invalid),
        any_entry("d", decided_s=4, decision=Decision.UNDECIDED, reasons=(Reason.NO_RELEASE,), release_id=None),
    ])  # fmt: skip
    assert result.clicks == 4
    assert (result.ivr.count, result.ivr.total, result.undecided.count) == (2, 4, 1)
    assert result.slices["device=mobile"].count == 1
    assert result.slices["device=mobile"].total == 3
    assert (result.not_billable, result.cost_saved_micros) == (1, {"EUR": 100})
    assert result.cost_invalid_micros == {"EUR": 100, "USD": 100}
    assert result.releases == {"r-1": 3, "": 1}
    assert result.latency_ms[0] == 2_500.0


def test_leaves_backfilled_rows_out_of_the_latency() -> None:
    backfilled = any_entry("a", decision=Decision.UNDECIDED, reasons=(Reason.BACKFILLED,), release_id=None)
    assert tally([backfilled, any_entry("b", decided_s=2)]).latency_ms[0] == 2_000.0


def test_has_no_latency_without_verdicts() -> None:
    assert all(value != value for value in latency_percentiles([]))  # noqa: PLR0124 - NaN
    assert tally([]).ivr.total == 0


@pytest.mark.parametrize("kind", ["original", "correction"])
def test_decides_a_tie_of_the_clock_by_content(kind: str) -> None:
    one, other = any_entry(kind=kind, score=0.1), any_entry(kind=kind, score=0.2)
    assert list(Ledger([one, other])) == list(Ledger([other, one]))
