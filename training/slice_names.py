"""The slices of whole tables: what slidr/slices.py says of one click, for every row."""

from __future__ import annotations

import polars as pl

from slidr.slices import SliceMap


def slice_names(rows: pl.DataFrame, slices: SliceMap | None = None) -> pl.Series:
    """The slice of each row, as `SliceMap.names` gives it for clicks.

    >>> slice_names(pl.DataFrame({"device": ["mobile"], "logged_in": [True]})).to_list()
    ['device=mobile|logged_in=true']
    """
    columns = (slices or SliceMap()).columns
    cells = [pl.format(f"{column}={{}}", pl.col(column).cast(pl.String).fill_null("")) for column in columns]
    return rows.select(pl.concat_str(cells, separator="|")).to_series()
