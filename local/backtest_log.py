"""A log for a backtest: read by the contract, pseudonymised, in memory; nothing of it is kept."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from local.backfill_source import LakeForm, Rejected
from local.backfilling import Count, Source
from local.sources.event import Kind
from slidr.givt import packaged_crawlers
from slidr.pseudonym import Pseudonymiser

if TYPE_CHECKING:
    import polars as pl

    from training.backtest.trial import Log
    from training.simulator import Traffic

_KEYS = {Kind.CLICK: "click_id", Kind.PURCHASE: "order_id"}


def read_log(sources: Sequence[Source], *, on_read: Count) -> tuple[Log, Counter[str], int]:
    """The records of the sources together; how many broke the contract, by reason; how many came twice.

    Raises:
        LogUnreadable: a file breaks its format.
    """
    import polars as pl  # noqa: PLC0415 - with numba below, seconds that no other command should pay

    from training.backfill import each_once  # noqa: PLC0415
    from training.backtest.trial import Log  # noqa: PLC0415

    tables: dict[Kind, list[pl.DataFrame]] = {kind: [] for kind in Kind}
    rejected: Counter[str] = Counter()
    # The same log has the same tokens in every run, and no other log has them.
    key = hashlib.sha256(f"backtest {' '.join(source.digest for source in sources)}".encode()).digest()
    form = LakeForm(pseudonymiser=Pseudonymiser(key, version=1), crawlers=packaged_crawlers())
    for source in sources:
        broken = Rejected(source=source.digest, store=None)
        for kind, records in source.read(form, broken, on_read):
            tables[kind].append(records.with_columns(pl.col(pl.Enum, pl.Categorical).cast(pl.String)))
        rejected += broken.reasons
    once, repeated = {kind: pl.DataFrame() for kind in Kind}, 0
    for kind, parts in tables.items():
        if parts:
            [(once[kind], again)] = each_once([pl.concat(parts)], key=_KEYS[kind])
            repeated += again
    return Log(clicks=once[Kind.CLICK], purchases=once[Kind.PURCHASE]), rejected, repeated


def simulated_traffic(traffic: Traffic, *, days: int) -> Log:
    """Simulated days, with the truth of who clicked."""
    from training.backtest.trial import Log  # noqa: PLC0415
    from training.simulator.log import simulated_log  # noqa: PLC0415

    log = simulated_log(traffic, days=days)
    return Log(clicks=log.clicks.sort("at", "click_id"), purchases=log.purchases, truth=log.truth)
