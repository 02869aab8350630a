"""A log of the past as the records that a deployment would have written, had it been there: counted, in event order.

The log comes in parts, oldest first, so that memory holds one part and a day before it; the counts are those of the
whole log in one go, to the integer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from slidr.counters import TTL_MS
from slidr.features import SPEC_HASH
from slidr.verdict import Decision, Mode, Reason, is_billable
from training.counter_log import click_context, counter_log
from training.feature_blocks import LogFeatures
from training.slice_names import slice_names

Floats = NDArray[np.float32]

WARM_UP: Final = dt.timedelta(milliseconds=TTL_MS)
"""How far before a part counting begins where the parts before were passed over: what is older reaches no window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of a log, and as much of what came before as its counters can see."""

    number: int
    """Its place in the log, from 0."""
    clicks: pl.DataFrame
    """In the lake's form, by (at, click_id), each id once in the whole log: its earliest click."""
    past: pl.DataFrame
    """The clicks of WARM_UP before, in the same order."""
    repeated: int
    """Records left out: their ids had come before."""


def stretches(parts: Iterable[pl.DataFrame]) -> Iterator[Stretch]:
    """The log that comes in `parts`: clicks in the lake's form; no click of a part is older than any of the one before.

    A part may be in any order and hold an id more than once.
    """
    past: pl.DataFrame | None = None
    filled = ((clicks, repeated) for clicks, repeated in each_once(parts, key="click_id") if len(clicks))
    for number, (clicks, repeated) in enumerate(filled):
        past = clicks.clear() if past is None else past.filter(pl.col("at") > clicks["at"][0] - WARM_UP)
        yield Stretch(number=number, clicks=clicks, past=past, repeated=repeated)
        past = pl.concat([past, clicks]).filter(pl.col("at") > clicks["at"][-1] - WARM_UP)


class StretchFeatures:
    """The raw features of stretches, as if the whole log were counted in one go. A stretch may be passed over."""

    def __init__(self) -> None:
        self._log = LogFeatures()
        self._next = 0

    def of(self, stretch: Stretch) -> Floats:
        """The features of the stretch's clicks, shape (clicks, FEATURE_COUNT). Stretches come in their order."""
        if stretch.number != self._next:  # the counters have not seen the one before
            self._log = LogFeatures()
            if len(stretch.past):
                self._count(stretch.past)
        self._next = stretch.number + 1
        return self._count(stretch.clicks)

    def _count(self, clicks: pl.DataFrame) -> Floats:
        # What comes later is no older than the last of these.
        last_ms = int(clicks["at"].dt.epoch("ms")[-1])
        return self._log.of(counter_log(clicks), click_context(clicks), later_from_ms=last_ms)


def each_once(parts: Iterable[pl.DataFrame], *, key: str) -> Iterator[tuple[pl.DataFrame, int]]:
    """The parts by (at, key), every record whose key came before left out, with how many those were.

    What came before is remembered as 128 bits a record, whatever the keys are: 160 MB for ten million clicks.

    >>> parts = [pl.DataFrame({"at": [2, 1, 1], "id": ["b", "a", "a"]}), pl.DataFrame({"at": [3, 4], "id": ["a", "c"]})]
    >>> [(part["id"].to_list(), repeated) for part, repeated in each_once(parts, key="id")]
    [(['a', 'b'], 1), (['c'], 1)]
    """
    seen: list[pl.DataFrame] = []
    for part in parts:
        ordered = part.sort("at", key, maintain_order=True).unique(key, keep="first", maintain_order=True)
        marks = ordered.select(pl.col(key).hash(1).alias("one"), pl.col(key).hash(2).alias("other"))
        if seen:
            new = marks.with_row_index("row").join(pl.concat(seen), on=["one", "other"], how="anti")["row"].sort()
            ordered, marks = ordered[new], marks[new]
        seen.append(marks)
        yield ordered, len(part) - len(ordered)


def arrived(records: pl.DataFrame) -> pl.DataFrame:
    """The records with the arrival that the lake's form asks for: a log does not know it, so it is the event's time."""
    return records.with_columns(arrived_at=pl.col("at"))


def backfilled_verdicts(clicks: pl.DataFrame, features: Floats) -> pl.DataFrame:
    """The feature log of clicks in the lake's form: rows of `slidr.verdict.Verdict` that nobody decided.

    Args:
        clicks: see `Stretch`.
        features: of these clicks, shape (clicks, FEATURE_COUNT).

    Returns:
        Every field of a verdict, in its order; enumerations as text, what is null throughout as Null.
    """
    decision, mode = Decision.UNDECIDED, Mode.OBSERVE
    return clicks.select(
        pl.lit(1, dtype=pl.Int64).alias("version"),
        "click_id",
        pl.lit("original").alias("kind"),
        "at",
        pl.col("at").alias("arrived_at"),
        pl.col("at").alias("decided_at"),
        pl.lit(decision.value).alias("decision"),
        pl.lit(mode.value).alias("mode"),
        pl.lit(is_billable(decision, mode)).alias("billable"),
        pl.lit([Reason.BACKFILLED.value], dtype=pl.List(pl.String)).alias("reasons"),
        pl.lit(None).alias("score"),
        pl.lit(None).alias("threshold"),
        slice_names(clicks).alias("slice"),
        pl.lit(None).alias("release_id"),
        pl.lit(None).alias("shadow_scores"),
        "givt",
        pl.lit(value=False).alias("late"),
        *("marketplace", "advertiser", "campaign", "cost_micros", "currency"),
        pl.lit(SPEC_HASH).alias("feature_spec"),
        pl.Series("features", features),
    )
