"""Intervals of rates: Clopper-Pearson where clicks are independent, a bootstrap over people where they are not.

Whoever clicked thirty times was taken for a robot thirty times or not at all, so an interval that counts clicks claims
more evidence than there is. The bootstrap draws people: every replicate gives each person a Poisson(1) number of
copies, all of their clicks together. Source: Hanley and MacGibbon (2006), "Creating non-parametric bootstrap samples
using Poisson frequencies".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array  # type: ignore[import-untyped]
from scipy.special import betaincinv, pdtr  # type: ignore[import-untyped]

from slidr.metrics import Rate

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REPLICATES: Final = 400
SEED: Final = 7
LEVEL: Final = 0.95
_COPIES_AT_ONCE: Final = 8_000_000
"""Poisson numbers in memory: 64 MB."""
_POISSON: Final = np.searchsorted(pdtr(np.arange(12), 1.0), (np.arange(65_536) + 0.5) / 65_536).astype(np.float64)
"""Poisson(1) by a number in [0, 65536): its quantiles, ten times as fast as drawing them one by one."""


def exact_interval(rate: Rate, *, level: float = LEVEL) -> tuple[float, float]:
    """Two-sided Clopper-Pearson interval; (nan, nan) where nothing was counted.

    Source: Clopper and Pearson (1934).

    >>> [round(end, 4) for end in exact_interval(Rate(count=4, total=160))]
    [0.0069, 0.0628]
    """
    tail, count, total = (1.0 - level) / 2.0, rate.count, rate.total
    if not total:
        return np.nan, np.nan
    low = 0.0 if count == 0 else float(betaincinv(count, total - count + 1, tail))
    high = 1.0 if count == total else float(betaincinv(count + 1, total - count, 1.0 - tail))
    return low, high


def copies(people: int, *, replicates: int = REPLICATES, seed: int = SEED) -> Iterator[Floats]:
    """How often each person is in each replicate, shape (some replicates, people): Poisson(1), piece by piece.

    Equal arguments give equal numbers, so that two models on the same clicks are compared replicate by replicate.

    >>> pieces = list(copies(1000, replicates=3))
    >>> pieces[0].shape, round(pieces[0].mean())
    ((3, 1000), 1)
    """
    draw = np.random.default_rng(seed)
    piece = max(1, _COPIES_AT_ONCE // max(people, 1))
    for start in range(0, replicates, piece):
        size = (min(piece, replicates - start), people)
        yield _POISSON[draw.integers(0, len(_POISSON), size, dtype=np.uint16)]


def by_person(person: Ints, cell: Ints, counted: Flags, *, people: int, cells: int) -> csr_array:
    """How many counted clicks each person has in each cell, sparse, shape (people, cells).

    Args:
        person: of each click, in [0, people), shape (clicks,).
        cell: of each click, in [0, cells).
        counted: the clicks that count.
        people: how many rows the table has.
        cells: how many columns.
    """
    rows, columns = person[counted], cell[counted]
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(people, cells))


def shares_by_replicate(
    hit: Flags, within: Flags, person: Ints, *, replicates: int = REPLICATES, seed: int = SEED
) -> Floats:
    """The share of the clicks in `within` that are `hit` in each replicate, shape (replicates,); NaN for none of none.

    >>> shares = shares_by_replicate(np.array([True, False] * 50), np.ones(100, dtype=np.bool_), np.arange(100) // 10)
    >>> shares.shape, bool((shares == 0.5).all())  # everybody has as many hits as misses: no people to differ by
    ((400,), True)
    """
    people = int(person.max()) + 1 if len(person) else 0
    table = by_person(person, (~hit).astype(np.int64), within, people=people, cells=2)
    sums = np.concatenate([piece @ table for piece in copies(people, replicates=replicates, seed=seed)])
    total = sums.sum(axis=1)
    return np.asarray(np.divide(sums[:, 0], total, out=np.full(len(total), np.nan), where=total > 0))


def percentile_interval(replicates: Floats, *, level: float = LEVEL) -> tuple[Floats, Floats]:
    """The ends between which the middle `level` of the replicates lie, over the first axis; NaN where there is none.

    >>> low, high = percentile_interval(np.arange(101.0))
    >>> round(float(low), 6), round(float(high), 6)
    (2.5, 97.5)
    """
    known = ~np.isnan(replicates)
    tail = (1.0 - level) / 2.0
    # nanquantile warns of columns without a number; they get one here and lose it again.
    held = np.where(known.any(axis=0), replicates, 0.0)
    low, high = np.nanquantile(held, [tail, 1.0 - tail], axis=0)
    none = ~known.any(axis=0)
    return np.where(none, np.nan, low), np.where(none, np.nan, high)
