"""`slidr train-day`: one run of the daily loop, now."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer
from rich.markup import escape

from functions.adapters.serving_state import PointerStore
from local.commands.options import Profile, Region, Stage, Yes
from local.commands.releases import pointer_line
from local.console import Steps, console
from local.daily_run import DailyRun, kept_page, last_run, run_ended, start_run
from local.session import Session


def train_day(
    *,
    day: Annotated[
        dt.datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="The UTC day that judges the release; by default the newest that has matured."
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run though a run of this day was promoted already.")] = False,
    why: Annotated[str, typer.Option("--why", help="The reason, for the audit.")] = "slidr train-day",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the run to its end.")] = True,
    follow: Annotated[
        bool, typer.Option("--follow", help="Start nothing: follow the run that was started last.")
    ] = False,
    yes: Yes = False,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Run the daily loop now: dataset, guardrails, training, evaluation, publication, shadow, promotion.

    It is the deployed state machine that runs, the same that the schedule starts. A guardrail that stops it leaves the
    champion serving; then, and where a step fails, the exit code is 1. Two runs at once: the second one is stopped.
    Ctrl-C leaves the run going.

    [bold]Examples[/]

      slidr backfill --simulate 13 && slidr train-day --day 2026-06-11
      slidr train-day --why "after the outage" --stage prod --profile ads
      slidr train-day --follow
    """
    session = Session(stage=stage, profile=profile, region=region)
    pointer = PointerStore(session.client("dynamodb"), session.outputs.control_table).read()
    if follow:
        execution = last_run(session)
        if execution is None:
            console.print("No run was started yet: [bold]slidr train-day[/].")
            raise typer.Exit(1)
    else:
        judged = f"{day:%Y-%m-%d}" if day else "the newest day that has matured"
        console.print(
            f"Stage [bold]{stage}[/]: a release judged on {judged}. Now: {pointer_line(pointer)}.", soft_wrap=True
        )
        if pointer.frozen:
            console.print("Promotion is frozen: the run will end before it. See slidr releases --history.")
        if not yes:
            typer.confirm("Train it, and put it in force where every guardrail lets it?", abort=True)
        asked = {"why": why, "again": again} | ({"day": f"{day:%Y-%m-%d}"} if day else {})
        execution = start_run(session, asked)
    console.print(f"[dim]{execution}[/]", soft_wrap=True)
    if not wait:
        console.print("It runs. Look at it: [bold]slidr train-day --follow[/]")
        return
    steps = Steps()
    try:
        run = run_ended(session, execution, on_step=lambda step: steps.note(step.name, seconds=step.seconds))
    except KeyboardInterrupt:
        console.print("It goes on. Look at it again: [bold]slidr train-day --follow[/]")
        raise
    _show(session, run)
    if run.outcome != "promoted":
        raise typer.Exit(1)


def _show(session: Session, run: DailyRun) -> None:
    if run.outcome == "promoted":
        console.print(f"[bold green]Promoted[/]: {run.release} is in force, after {run.seconds:.0f} s.")
    else:
        console.print(f"[bold yellow]{run.outcome.capitalize()}[/]: {escape(run.why)}", soft_wrap=True)
        pointer = PointerStore(session.client("dynamodb"), session.outputs.control_table).read()
        console.print(f"What served serves on: {pointer_line(pointer)}.", soft_wrap=True)
    if run.page:
        console.print(f"Page: {kept_page(session, run.page)} [dim]({run.page})[/]", soft_wrap=True)
