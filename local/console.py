"""What the commands write to the screen: steps with their durations, progress, tables, figures."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from slidr.metrics import Rate

PIPE_WIDTH = 120
"""Columns where no terminal says how many: in a pipe or a log, tables need not wrap at 80."""

console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
"""Standard output; tests and pipes see plain text."""
errors = Console(stderr=True, highlight=False)


@dataclass(slots=True)
class Step:
    """A step on the screen; what it sets as `result` stands beside its duration when it is done."""

    title: str
    result: str = ""


@dataclass(slots=True)
class Steps:
    """Steps, each ended by a line with its duration."""

    done: list[tuple[str, float]] = field(default_factory=list)
    """Title and seconds of each step that ended well."""

    @contextmanager
    def step(self, title: str, *, bar: bool = False) -> Iterator[Step]:
        """A step. A spinner turns while it runs; `bar` leaves the screen to a progress bar of the step's own."""
        step, began = Step(title), time.monotonic()
        if bar or not console.is_terminal:
            console.print(f"[dim]  {title} ...[/]")
            yield step
        else:
            with console.status(f"{title}"):
                yield step
        self.note(step.title, seconds=time.monotonic() - began, result=step.result)

    def note(self, title: str, *, seconds: float, result: str = "") -> None:
        """Note a step that is done and was timed elsewhere."""
        self.done.append((title, seconds))
        console.print(f"[green]✓[/] {title} [dim]({seconds:.1f} s)[/] {result}".rstrip(), soft_wrap=True)


@contextmanager
def clicks_bar(description: str, *, total: int | None, of: str = "clicks") -> Iterator[ClicksBar]:
    """A progress bar that counts clicks (or what `of` says) and tells how many a second."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield ClicksBar(progress, description, total, of)


class ClicksBar:
    """One bar; `advance` is told how many more clicks were done."""

    def __init__(self, progress: Progress, description: str, total: int | None, of: str) -> None:
        self._progress = progress
        self._of = of
        self._began = time.monotonic()
        self._done = 0
        self._task = progress.add_task(description, total=total, rate="")

    def advance(self, clicks: int) -> None:
        """Count `clicks` more."""
        self._done += clicks
        per_s = self._done / max(time.monotonic() - self._began, 1e-6)
        self._progress.update(self._task, advance=clicks, rate=f"{per_s:,.0f} {self._of}/s")


def percent(rate: Rate) -> str:
    """A rate with its counts and interval.

    >>> percent(Rate(count=1, total=200))
    '0.50% (1 of 200; 95%: 0.09% to 2.78%)'
    """
    if not rate.total:
        return "none to measure"
    low, high = rate.interval
    return f"{rate.value:.2%} ({rate.count:,} of {rate.total:,}; 95%: {low:.2%} to {high:.2%})"


def milliseconds(value: float) -> str:
    """A latency, in the unit that reads best.

    >>> milliseconds(12.34), milliseconds(65_000.0)
    ('12 ms', '65.0 s')
    """
    if math.isnan(value):
        return "none"
    return f"{value:.0f} ms" if value < 10_000 else f"{value / 1000:.1f} s"


def megabytes(count: int) -> str:
    """A size in bytes as text.

    >>> megabytes(1_500_000)
    '1.5 MB'
    """
    return f"{count / 1e6:.1f} MB"


def facts(title: str, rows: list[tuple[str, str]]) -> Table:
    """A table of two columns: what, and how much."""
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=box.SIMPLE)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def listing(title: str, *columns: str) -> Table:
    """An empty table with these columns; nothing in it is cut off."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
