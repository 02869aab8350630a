from __future__ import annotations

import datetime as dt

import msgspec
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from slidr.ledger import Ledger, LedgerEntry
from slidr.verdict import Reason
from tests.unit.test_ledger import any_entry
from training.replay.fold import NARROW, entry_of, in_force

ENTRIES = st.builds(
    any_entry,
    click_id=st.sampled_from("abc"),
    kind=st.sampled_from(["original", "correction"]),
    decided_s=st.integers(0, 3),  # narrow: ties of the clock must come up
    score=st.sampled_from([0.1, 0.2, 0.9]),
    reasons=st.sampled_from([(), (Reason.BACKFILLED,)]),
)


def table(entries: list[LedgerEntry]) -> pl.DataFrame:
    rows = [msgspec.to_builtins(entry, builtin_types=(dt.datetime,)) for entry in entries]
    schema = dict.fromkeys(NARROW) | {"reasons": pl.List(pl.String), "score": pl.Float64}
    schema |= {name: pl.Datetime("us", "UTC") for name in ("at", "arrived_at", "decided_at")}
    return pl.DataFrame(rows, schema={name: kind or pl.Unknown for name, kind in schema.items()}, strict=False)


@given(st.lists(ENTRIES, min_size=1, max_size=12))
def test_holds_the_records_that_the_ledger_holds(entries: list[LedgerEntry]) -> None:
    folded = in_force(table(entries).with_row_index("row"))
    came = {msgspec.json.encode(entry_of(row)) for row in folded.select(NARROW).iter_rows(named=True)}
    assert came == {msgspec.json.encode(entry) for entry in Ledger(entries)}
    assert folded["click_id"].is_unique().all()


def test_tells_where_each_record_was() -> None:
    entries = [any_entry("b", decided_s=2), any_entry("a"), any_entry("b", decided_s=1)]
    folded = in_force(table(entries).with_row_index("row"))
    assert folded.select("click_id", "row").rows() == [("a", 1), ("b", 2)]
