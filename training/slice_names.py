"""The slices of whole tables: what slidr/slices.py says of one click, for every row; and what people call them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from slidr.slices import DEFAULT_COLUMNS


def slice_names(rows: pl.DataFrame, columns: Sequence[str] = DEFAULT_COLUMNS) -> pl.Series:
    """The slice of each row, as `SliceMap.names` gives it for clicks; the empty text for no columns.

    >>> rows = pl.DataFrame({"device": ["tv", None], "logged_in": [True, False]})
    >>> slice_names(rows, ["device", "logged_in"]).to_list()
    ['device=tv|logged_in=true', 'device=|logged_in=false']
    """
    if not columns:
        return pl.repeat("", len(rows), eager=True)
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
