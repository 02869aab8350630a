"""How the verdicts of a run did: rates with intervals, and by family where the truth is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from local.sources.event import Event, Kind
from slidr.ledger import LedgerEntry
from slidr.verdict import Decision

if TYPE_CHECKING:
    import polars as pl

    from training.judgement import Judgement

UNKNOWN: Final = "unknown"
"""Family of every click of a log whose truth nobody knows."""
_PERSONAL = {"user": "user_token", "session": "session_token"}


def verdict_frame(entries: Iterable[LedgerEntry]) -> pl.DataFrame:
    """One row a click: click_id, invalid, givt."""
    import polars as pl  # noqa: PLC0415

    rows = [(entry.click_id, entry.decision is Decision.INVALID, entry.givt) for entry in entries]
    schema = {"click_id": pl.String, "invalid": pl.Boolean, "givt": pl.Boolean}
    return pl.DataFrame(rows, schema=schema, orient="row")


def judged(events: Iterable[Event], entries: Iterable[LedgerEntry], *, truth: pl.DataFrame | None) -> Judgement:
    """Judge the verdicts on the clicks and purchases that were sent.

    Args:
        events: what was sent; records without a verdict (rejected, lost) are passed over.
        entries: the verdicts in force.
        truth: click_id, family, robot; None where nobody knows, then only IVR, FPR and coverage mean something.
    """
    import polars as pl  # noqa: PLC0415

    from training.judgement import judge_verdicts  # noqa: PLC0415

    verdicts = verdict_frame(entries)
    clicks, purchases = _frames(events)
    clicks = clicks.join(verdicts, on="click_id", how="semi", maintain_order="left")  # what was rejected is no click
    if truth is None:
        truth = clicks.select("click_id", pl.lit(UNKNOWN).alias("family"), pl.lit(value=False).alias("robot"))
    return judge_verdicts(clicks, purchases, truth, verdicts)


def _frames(events: Iterable[Event]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Clicks and purchases with the columns that attribution reads. People stay in clear: this is the sender's side."""
    import polars as pl  # noqa: PLC0415

    time = pl.Datetime("ms", "UTC")
    columns: dict[Kind, dict[str, Any]] = {
        Kind.CLICK: dict.fromkeys(("click_id", "user_token", "session_token", "advertiser", "ad"), pl.String),
        Kind.PURCHASE: dict.fromkeys(
            ("order_id", "user_token", "session_token", "advertiser", "item", "click_id"), pl.String
        ),
    }
    rows: dict[Kind, list[dict[str, Any]]] = {kind: [] for kind in Kind}
    for event in events:
        try:
            record = msgspec.json.decode(event.payload, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        named = {_PERSONAL.get(name, name): value for name, value in record.items()}
        rows[event.kind].append({"at": event.at_ms, **{name: _text(named.get(name)) for name in columns[event.kind]}})
    frames = [
        pl.DataFrame(rows[kind], schema={"at": pl.Int64, **columns[kind]}).with_columns(pl.col("at").cast(time))
        for kind in Kind
    ]
    clicks, purchases = frames
    return clicks.unique("click_id", keep="first", maintain_order=True), purchases


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
