"""The slices of whole tables: what slidr/slices.py says of one click, for every row; and what people call them."""

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


def slice_title(name: str) -> str:
    """A slice as people say it.

    >>> slice_title("device=mobile|logged_in=true"), slice_title("device=other|marketplace=de"), slice_title("")
    ('mobile, logged in', 'other device, marketplace de', 'all traffic')
    """
    if not name:
        return "all traffic"
    said = []
    for part in name.split("|"):
        column, _, value = part.partition("=")
        if column == "logged_in":
            said.append("logged in" if value == "true" else "not logged in")
        elif column == "device":
            said.append("other device" if value == "other" else value)
        else:
            said.append(f"{column} {value or 'unknown'}")
    return ", ".join(said)
