"""`slidr cost`: what a stage would cost on AWS."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.settings import load_stage
from local.console import console, listing
from local.cost import PRICES_OF, daily_costs, total


def cost(
    *,
    clicks_per_day: Annotated[
        list[float] | None, typer.Option("--clicks-per-day", min=1, help="Clicks of a day; repeatable.")
    ] = None,
    stage: Annotated[str, typer.Option(help="Whose settings: a file in infra/stages/.")] = "prod",
) -> None:
    """Say what a stage costs a day on AWS, by part, by a small model (local/cost.py states all it assumes).

    It asks no account and changes nothing.

    [bold]Examples[/]

      slidr cost                                     a million, ten, a hundred, a thousand million clicks a day
      slidr cost --clicks-per-day 25e6 --stage dev
    """
    settings = load_stage(stage)
    volumes = clicks_per_day or [1e6, 1e7, 1e8, 1e9]
    columns = [daily_costs(settings, volume) for volume in volumes]
    table = listing(f"US dollars a day, stage {stage}", "part", *(f"{volume:,.0f} clicks" for volume in volumes), "of")
    for rows in zip(*columns, strict=True):
        table.add_row(rows[0].part, *(f"{row.dollars_a_day:,.2f}" for row in rows), rows[0].because)
    table.add_row("[bold]all[/]", *(f"[bold]{total(lines):,.2f}[/]" for lines in columns))
    table.add_row(
        "a million clicks",
        *(f"{total(lines) / volume * 1e6:,.2f}" for lines, volume in zip(columns, volumes, strict=True)),
    )
    console.print(table)
    console.print(f"[dim]Prices: {PRICES_OF}. The last column is of the first volume.[/]")
