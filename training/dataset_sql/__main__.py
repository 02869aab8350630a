"""Prints the dataset as SQL: `python -m training.dataset_sql --dialect trino --start 2026-11-02 --end 2026-11-12`."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Sequence
from pathlib import Path

from training.dataset_sql.tables import Span
from training.dataset_sql.text import cells_statement, rows_statement, unload, weights_of
from training.labels import ATTRIBUTION_WINDOW, RfmCuts
from training.weights import SCHEME, SCHEMES

_HOUR = dt.timedelta(hours=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one of the two statements."""
    parser = argparse.ArgumentParser(
        prog="python -m training.dataset_sql",
        description="Print the training set as SQL over the lake's tables clicks, verdicts and purchases.",
    )
    parser.add_argument("--dialect", choices=("trino", "athena", "duckdb"), default="trino")
    parser.add_argument("--statement", choices=("rows", "cells"), default="rows",
                        help="cells: counts from which the weights of rows are made (default rows)")  # fmt: skip
    parser.add_argument("--start", type=_day, required=True, help="first day of the rows, UTC")
    parser.add_argument("--end", type=_day, required=True, help="the day after the last one")
    parser.add_argument("--until", type=_day, help="what came later is not known yet (default: the day after --end)")
    parser.add_argument("--orders-from", type=_day, help="oldest order that counts for RFM (default: all)")
    parser.add_argument("--window-hours", type=float, default=ATTRIBUTION_WINDOW / _HOUR, help="default 24")
    parser.add_argument("--rfm", choices=("quintiles", "fixed"), default="quintiles")
    parser.add_argument("--weights-from", type=Path, metavar="CSV", help="what the statement `cells` gave")
    parser.add_argument("--weighting", choices=SCHEMES, default=SCHEME)
    parser.add_argument("--zones", nargs="+", help="time zones of the clicks (default: every known one)")
    parser.add_argument("--unload", metavar="S3_PREFIX", help="write the rows there as Parquet (Athena)")
    chosen = parser.parse_args(arguments)
    span = Span(
        start=chosen.start,
        end=chosen.end,
        until=chosen.until or chosen.end + dt.timedelta(days=1),
        orders_from=chosen.orders_from,
        window=chosen.window_hours * _HOUR,
        rfm_cuts=RfmCuts() if chosen.rfm == "fixed" else None,
    )
    if chosen.statement == "cells":
        text = cells_statement(span, dialect=chosen.dialect, zones=chosen.zones)
    else:
        weights = weights_of(chosen.weights_from, scheme=chosen.weighting) if chosen.weights_from else ()
        text = rows_statement(span, dialect=chosen.dialect, weights=weights, zones=chosen.zones)
    sys.stdout.write(unload(text, chosen.unload) if chosen.unload else text)
    sys.stdout.write("\n")


def _day(text: str) -> dt.datetime:
    return dt.datetime.combine(dt.date.fromisoformat(text), dt.time(), dt.UTC)


if __name__ == "__main__":
    main()
