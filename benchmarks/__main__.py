"""Runs benchmarks: `make bench BENCH=handler`, `make bench` for all short ones, `make soak` for the long ones."""

from __future__ import annotations

import datetime as dt
import time
from importlib import import_module
from typing import Annotated, Final

import typer

from benchmarks.harness import check_figures, keep, show
from local.console import console, errors, listing
from slidr.errors import SlidrError

SHORT: Final = (
    "bundle",
    "parse",
    "scoring_backends",
    "counter_state",
    "local_cloud",
    "handler",
    "latency",
    "calibration",
    "training",
)
"""Each takes a few minutes at most; `make bench` runs all of them."""
LONG: Final = (
    "features",
    "quality",
    "certificate",
    "guardrails",
    "later_days",
    "week",
    "clean_week",
    "rollback",
    "replay",
    "loop",
    "dataset",
    "backfill",
    "real_logs",
    "malformed",
    "chaos_online",
    "chaos",
)
"""The ones that take long; `make soak` runs all of them."""


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which to run; all short ones where none is named.")] = None,
    *,
    soak: Annotated[bool, typer.Option(help="Run the long ones.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Say which benchmarks there are, and run none.")] = False,
) -> None:
    """Run benchmarks, one after another; show each as a table and keep it in build/bench/NAME.json.

    Exit code 1 where a bound that must hold did not.
    """
    known = (*SHORT, *LONG)
    if list_:
        table = listing("Benchmarks", "name", "what it measures", "run by")
        for name in known:
            about = (import_module(f"benchmarks.{name}").__doc__ or "").strip().partition("\n")[0]
            table.add_row(name, about, "make bench" if name in SHORT else "make soak")
        console.print(table)
        return
    chosen = names or (LONG if soak else SHORT)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise typer.BadParameter(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    missed = [name for name in chosen if not _run(name)]
    if missed:
        console.print(f"[red]Bounds were missed by {', '.join(missed)}.[/]")
        raise typer.Exit(1)


def _run(name: str) -> bool:
    """Run one; whether all its bounds held."""
    module = import_module(f"benchmarks.{name}")
    console.print(f"[bold]{name}[/]: {module.__doc__.strip().partition(chr(10))[0]}")
    at, began = dt.datetime.now(dt.UTC), time.monotonic()
    try:
        measured = module.measure()
        check_figures(name, module.FIGURES, measured)
    except SlidrError as failure:
        errors.print(f"[red]{name}:[/] {failure}")
        return False
    seconds = time.monotonic() - began
    show(name, module.FIGURES, measured, seconds=seconds)
    console.print(f"kept in {keep(name, module.FIGURES, measured, seconds=seconds, at=at)}\n")
    return not measured.missed


if __name__ == "__main__":
    typer.run(main)
