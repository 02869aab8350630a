"""Tables of verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table

from local.console import facts, listing, milliseconds, percent
from slidr.ledger import LedgerEntry, Tally
from slidr.verdict import Decision

_COLOURS: Final = {Decision.VALID: "green", Decision.INVALID: "red", Decision.UNDECIDED: "yellow"}


def latest_table(entries: Sequence[LedgerEntry]) -> Table:
    """Single verdicts, one a row."""
    table = listing("Latest verdicts", "decided", "click", "verdict", "score", "from", "slice", "reasons")
    for entry in entries:
        table.add_row(
            f"{entry.decided_at:%H:%M:%S}",
            entry.click_id,
            f"[{_COLOURS[entry.decision]}]{entry.decision.value}[/]",
            "" if entry.score is None else f"{entry.score:.4f}",
            "" if entry.threshold is None else f"{entry.threshold:.4f}",
            entry.slice,
            ", ".join(reason.value for reason in entry.reasons),
        )
    return table


def summary(tally: Tally) -> RenderableType:
    """All that a set of verdicts adds up to."""
    share = {decision: tally.decisions[decision] / tally.clicks if tally.clicks else 0.0 for decision in Decision}
    rows = [("clicks with a verdict", f"{tally.clicks:,}")]
    rows += [(decision.value, f"{tally.decisions[decision]:,} ({share[decision]:.2%})") for decision in Decision]
    rows += [
        ("IVR", percent(tally.ivr)),
        ("not billed", f"{tally.not_billable:,}{_money(tally.cost_saved_micros)}"),
        ("cost of INVALID clicks", _money(tally.cost_invalid_micros).strip(" ()") or "none"),
        ("on a crawler list", f"{tally.listed:,}"),
        ("late for a counter", f"{tally.late:,}"),
        ("modes", _counts(tally.modes)),
        ("releases", _counts(tally.releases)),
        ("reasons", _counts(tally.reasons)),
        ("arrival to verdict", latency(tally.latency_ms)),
    ]
    slices = listing("By slice", "slice", "clicks", "IVR")
    for name, rate in tally.slices.items():
        slices.add_row(name, f"{rate.total:,}", percent(rate))
    return Group(facts("Verdicts", rows), slices)


def latency(percentiles_ms: tuple[float, float, float]) -> str:
    """p50, p95 and p99 in one line."""
    p50, p95, p99 = (milliseconds(value) for value in percentiles_ms)
    return f"p50 {p50}, p95 {p95}, p99 {p99}"


def _counts(counter: Mapping[Any, int]) -> str:
    ordered = sorted(counter.items(), key=lambda item: -item[1])
    return ", ".join(f"{name or 'none'}: {count:,}" for name, count in ordered) or "none"


def _money(micros: Mapping[str, int]) -> str:
    amounts = ", ".join(f"{amount / 1e6:,.2f} {currency}" for currency, amount in sorted(micros.items()) if amount)
    return f" ({amounts})" if amounts else ""
