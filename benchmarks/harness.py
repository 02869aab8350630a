"""What a benchmark gives back, and how it is shown and kept: a table on screen, build/bench/NAME.json.

A benchmark is a module of this folder with

    FIGURES = {"clicks_per_s": "clicks decided a second, median of all batches", ...}

    def measure() -> Measured: ...

and a line in `benchmarks/__main__.py`. Its floor or peer is measured in the same run, interleaved: these figures are
worth what stands beside them, not what they are.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from local.console import console, facts, listing
from local.training_run import commit
from slidr.errors import SlidrError

REPOSITORY: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = REPOSITORY / "build" / "bench"


class FiguresMissing(SlidrError):
    """A benchmark did not give the figures that it declares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The outcome of one benchmark."""

    figures: Mapping[str, float]
    """By the names in the module's FIGURES; the median where there were several runs."""
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Lowest and highest of the runs behind a figure."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """What the figures are to be read against, measured in the same run."""
    rows: Sequence[Mapping[str, Any]] = ()
    """A table of details, one row a case; all with the same keys."""
    notes: Sequence[str] = ()
    """What a reader must know: sizes, what is left out, what stood in for what."""
    missed: Sequence[str] = ()
    """Bounds that must hold and do not, in words; the run then exits with 1."""


def show(name: str, meanings: Mapping[str, str], measured: Measured, *, seconds: float) -> None:
    """Print the outcome."""
    table = listing(f"{name} ({seconds:.0f} s)", "figure", "value", "lowest", "highest", "meaning")
    for figure, value in measured.figures.items():
        low, high = measured.spread.get(figure, (None, None))
        table.add_row(figure, number(value), number(low), number(high), meanings[figure])
    for floor, value in measured.floors.items():
        table.add_row(f"[dim]{floor}[/]", number(value), "", "", "[dim]floor or peer, same run[/]")
    console.print(table)
    if measured.rows:
        console.print(_rows(measured.rows))
    if measured.notes:
        console.print(facts("", [("-", note) for note in measured.notes]))
    for bound in measured.missed:
        console.print(f"[red]missed:[/] {bound}")


def keep(name: str, meanings: Mapping[str, str], measured: Measured, *, seconds: float, at: dt.datetime) -> Path:
    """Write build/bench/NAME.json: the figures by name at the top level, all else beside them."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {
        "name": name,
        "at": at.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        **measured.figures,
        "meanings": dict(meanings),
        **{key: value for key, value in asdict(measured).items() if key != "figures"},
        "machine": machine(),
    }
    path.write_text(json.dumps(content, indent=2, default=_plain) + "\n")
    return path


def check_figures(name: str, meanings: Mapping[str, str], measured: Measured) -> None:
    """Raise where the figures are not the declared ones.

    Raises:
        FiguresMissing: a figure is missing or has no declared meaning.
    """
    if measured.figures.keys() != meanings.keys():
        raise FiguresMissing(
            f"benchmark {name} must give {', '.join(meanings)}, came {', '.join(measured.figures)}: mend its FIGURES"
        )


def machine() -> dict[str, Any]:
    """Where this ran: processors, load, Python, commit."""
    return {
        "processors": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 2),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "commit": commit(),
    }


def number(value: float | None) -> str:
    """A figure, with as many digits as it is worth.

    >>> number(12345.6), number(0.12345), number(3), number(None), number(float("nan"))
    ('12,346', '0.123', '3', '', 'none')
    """
    if value is None:
        return ""
    if value != value:  # noqa: PLR0124 - NaN differs from itself
        return "none"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = listing("", *rows[0])
    for row in rows:
        table.add_row(*(number(v) if isinstance(v, int | float) and not isinstance(v, bool) else str(v)
                        for v in row.values()))  # fmt: skip
    return table


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    return value.item()
