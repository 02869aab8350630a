"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

Stage = Annotated[
    str,
    typer.Option(
        "--stage",
        envvar="SLIDR_STAGE",
        help="Which deployment: 'local' is the cloud on this machine; any other is slidr-<stage>-* on AWS.",
        rich_help_panel="Where",
    ),
]
Profile = Annotated[
    str | None, typer.Option("--profile", help="AWS profile, where the stage is on AWS.", rich_help_panel="Where")
]
Region = Annotated[
    str | None, typer.Option("--region", help="AWS region, where the stage is on AWS.", rich_help_panel="Where")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the audit.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same simulated traffic.")]
ClicksPerDay = Annotated[
    int, typer.Option("--clicks-per-day", min=100, help="Clicks of a simulated day, on average over a week.")
]
Mapping = Annotated[
    Path | None,
    typer.Option(
        "--map", metavar="FILE", help="The mapping of PATH, where it is any CSV; LOG.map.toml beside it otherwise."
    ),
]
Hyperparameter = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Any other hyperparameter (training/hyperparameters.py); repeatable."
    ),
]


def assignments(texts: Sequence[str]) -> dict[str, str]:
    """What --set was given, by name.

    >>> assignments(["weight-decay=0.5"])
    {'weight_decay': '0.5'}
    """
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--set takes NAME=VALUE, came {text!r}")
        pairs[name.replace("-", "_")] = value
    return pairs
