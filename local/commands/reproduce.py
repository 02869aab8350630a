"""`slidr reproduce`: give logged verdicts again (rule 7)."""

from __future__ import annotations

from typing import Annotated

import typer

from local.commands.options import Profile, Region, Stage
from local.console import Steps, console, facts
from local.reproduction import Reproduction, logged_verdicts, reproduced
from local.session import Session


def reproduce(
    *,
    last: Annotated[int | None, typer.Option(min=1, help="Only the newest so many verdicts of the lake.")] = None,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Score the logged features of the lake again and compare: the same scores, bit by bit, and the same verdicts.

    Verdicts of releases that the endpoint no longer has loaded are counted apart. Exit code 1 if any differs.

    [bold]Examples[/]

      slidr reproduce
      slidr reproduce --last 10000 --stage prod --profile ads
    """
    session = Session(stage=stage, profile=profile, region=region)
    steps = Steps()
    with steps.step("read the logged verdicts from the lake") as step:
        session.flush_deliveries()
        logged = logged_verdicts(session, last=last)
        step.result = f"{len(logged):,} verdicts"
    with steps.step("score their features again") as step:
        result = reproduced(session, logged)
        step.result = f"{result.scored:,} rows"
    show_reproduction(result)
    if not result.holds:
        raise typer.Exit(1)


def show_reproduction(result: Reproduction) -> None:
    """What came of scoring again."""
    rows = [
        ("scored again", f"{result.scored:,}"),
        ("same score, bit by bit", f"{result.same_score:,}"),
        ("largest difference", f"{result.largest_difference:.3g}"),
        ("same verdict", f"{result.same_verdict:,}"),
        ("other verdict", f"{len(result.other_verdict):,}"),
        ("no features logged", f"{result.without_features:,} (counters or profiles failed; nothing was scored)"),
        ("release not loaded", f"{result.not_loaded:,}"),
    ]
    console.print(facts("Reproduced", rows))
    for click_id in result.other_verdict[:5]:
        console.print(f"  [red]differs[/]: {click_id}")
