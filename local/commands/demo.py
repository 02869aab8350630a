"""`slidr demo`: the main job, from nothing to a table of verdicts."""

from __future__ import annotations

import datetime as dt
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from local.commands.cloud import bring_up
from local.commands.options import Profile, Region, Stage
from local.commands.releases import pointer_line
from local.commands.send import writer_of
from local.commands.train import dataset_line
from local.console import Steps, console, facts, listing, percent
from local.demonstration import (
    FULL,
    PACED_RATE,
    POINTER_CACHE_S,
    SHORT,
    Live,
    Run,
    Scale,
    failures,
    knows_the_truth,
    logged_live,
    run_live,
    simulated_live,
    simulated_traffic,
)
from local.rollout import apply, planned
from local.session import Session, state_directory
from local.simulated_days import TRAINING_DAYS, next_day, note_sent
from local.sources.event import Kind
from local.training_run import LOCAL_INSTANCE, TrainedRelease, run_name, simulated_dataset, train_release
from local.verdict_view import latency
from local.what_was_written import full_names, lake_contents
from slidr.metrics import ROBOTIC_SESSION_CLICKS
from slidr.verdict import Decision

_FPR_BOUND: Final = 0.01


def demo(
    *,
    input_: Annotated[
        Path | None, typer.Option("--input", help="Send this log live instead of a simulated day (see slidr send).")
    ] = None,
    purchases: Annotated[Path | None, typer.Option(help="A file of purchases that goes with --input.")] = None,
    short: Annotated[bool, typer.Option("--short", help="Less traffic: under two minutes.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same simulated world.")] = 7,
    shuffled: Annotated[
        bool, typer.Option("--shuffled", help="Train on shuffled labels, to see that the demo can fail.")
    ] = False,
    down: Annotated[bool, typer.Option("--down", help="Stop the cloud at the end (it is left up otherwise).")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, where the stage is on AWS.")] = False,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Clicks in, verdicts out, end to end: start the cloud, train, deploy, send live clicks, account for every one.

    Exit code 1 if the accounting does not add up, a click stays UNDECIDED, the false-positive rate on purchases lies
    above its bound, or too few of the simulated robots are found (as with --shuffled).

    [bold]Examples[/]

      slidr demo
      slidr demo --short --down
      slidr demo --input clicks.csv.gz
    """
    began, steps, scale = time.monotonic(), Steps(), SHORT if short else FULL
    session = Session(stage=stage, profile=profile, region=region)
    if not session.is_local and not yes:
        console.print(f"This trains a demo release, puts it in force on stage {stage} and sends clicks there.")
        typer.confirm("Go on?", abort=True)
    try:
        if session.is_local:
            bring_up(steps)
        trained = _release_in_force(session, scale, seed, steps, shuffled=shuffled)
        with ExitStack() as stack:
            if input_ is not None:
                with steps.step(f"read {input_.name}") as step:
                    live = logged_live(input_, purchases, limit=None, stack=stack)
                    step.result = f"{live.clicks:,} clicks"
            else:
                day = next_day(stage)
                note_sent(stage, until=day + 2)  # a day of silence, so that no window of 24 hours reaches back
                live = simulated_live(simulated_traffic(seed, scale.clicks_per_day), day=day)
            run = _send_live(session, live, scale, steps)
        with steps.step("deliver the archives to the lake"):
            session.flush_deliveries()
        _show(session, run, trained, seconds=time.monotonic() - began)
    finally:
        if down and session.is_local:
            from local.cloud.lifecycle import stop  # noqa: PLC0415

            stop(state_directory())
    wrong = failures(run, fpr_bound=_FPR_BOUND)
    for failure in wrong:
        console.print(f"[bold red]Not as it must be[/]: {failure}", soft_wrap=True)
    if wrong:
        raise typer.Exit(1)
    _say_what_next(session, trained, down=down)


def _release_in_force(session: Session, scale: Scale, seed: int, steps: Steps, *, shuffled: bool) -> TrainedRelease:
    run = run_name(dt.datetime.now(dt.UTC))
    with steps.step(f"simulate {TRAINING_DAYS} days and build the training set") as step:
        traffic = simulated_traffic(seed, scale.clicks_per_day)
        dataset = simulated_dataset(session, traffic, days=TRAINING_DAYS, run=run)
        step.result = dataset_line(dataset)
    with steps.step("train the first release in a SageMaker job") as step:
        instance = LOCAL_INSTANCE if session.is_local else "ml.c7i.2xlarge"
        hyperparameters = {"seed": str(seed), "fpr_budget": str(_FPR_BOUND), "shuffle_labels": str(shuffled).lower()}
        trained = train_release(session, dataset, run=run, hyperparameters=hyperparameters, instance_type=instance)
        step.result = f"{trained.id}, FPR {percent(trained.fpr)}"
    with steps.step("deploy it to the endpoint and move the pointer") as step:
        pointer = apply(session, planned(session, trained.id, name_stable=True), why="slidr demo")
        time.sleep(POINTER_CACHE_S)
        step.result = pointer_line(pointer)
    return trained


def _send_live(session: Session, live: Live, scale: Scale, steps: Steps) -> Run:
    columns = (
        TextColumn("{task.description:>9}"), BarColumn(bar_width=40), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeElapsedColumn(),
    )  # fmt: skip
    with (
        steps.step(f"send {live.title} and decide every click", bar=True) as step,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        sent = progress.add_task("sent", total=live.clicks, rate="")
        decided = progress.add_task("decided", total=live.clicks, rate="")
        run = run_live(
            session,
            live,
            writer_of(session),
            paced_clicks=scale.paced_clicks,
            on_sent=lambda clicks: progress.advance(sent, clicks),
            on_decided=lambda clicks: progress.advance(decided, clicks),
        )
        step.result = f"{run.bulk_clicks / max(run.decided_s, 1e-9):,.0f} clicks/s from stream to verdict"
    return run


def _show(session: Session, run: Run, trained: TrainedRelease, *, seconds: float) -> None:
    """The table that a product manager understands, and what was written where."""
    tally, judgement = run.tally, run.judgement
    bound = f"bound {_FPR_BOUND:.2%}" if knows_the_truth(judgement) else "no bound: trained on simulated traffic"
    share = {decision: tally.decisions[decision] / max(tally.clicks, 1) for decision in Decision}
    rows = [
        ("clicks sent", f"{run.accounting.records_in:,} (and {run.sent.records[Kind.PURCHASE]:,} purchases)"),
        ("accounted for", str(run.accounting)),
    ]
    rows += [(f"  {decision.value}", f"{tally.decisions[decision]:,} ({share[decision]:.2%})") for decision in Decision]
    rows += [
        ("IVR: clicks found invalid", percent(tally.ivr)),
        ("  of them on a crawler list", f"{tally.listed:,}"),
        ("FPR: purchasing clicks found invalid", f"{percent(judgement.fpr)}; {bound}"),
        (f"robotic coverage (> {ROBOTIC_SESSION_CLICKS} clicks/h)", percent(judgement.coverage)),
        ("billing", f"{tally.not_billable:,} clicks not billed; new advertisers start in observe mode"),
        (f"latency at {PACED_RATE:.0f} clicks/s", latency(run.paced_latency_ms)),
        (f"latency of {run.bulk_clicks:,} sent at once", f"{latency(run.backlog_latency_ms)} (waiting included)"),
        ("stream took", f"{run.bulk_clicks / max(run.send_s, 1e-9):,.0f} clicks/s"),
        ("decided at", f"{run.bulk_clicks / max(run.decided_s, 1e-9):,.0f} clicks/s"),
        ("redelivered verdicts", f"{run.redelivered:,} (readers count one a click)"),
        ("release", f"{trained.id}, FPR when it was calibrated {percent(trained.fpr)}"),
        ("whole demo", f"{seconds:.0f} s"),
    ]
    console.print(facts("What happened to the clicks", rows))
    if knows_the_truth(judgement):
        _show_families(run)
    written = listing("What was written where", "where", "what", "objects")
    for where, what, count in lake_contents(session):
        written.add_row(where, what, count)
    console.print(written)
    for short, full in full_names(session):
        console.print(f"  {short}: [dim]{full}[/]", soft_wrap=True)


def _show_families(run: Run) -> None:
    from training.simulator.families import ROBOTS  # noqa: PLC0415

    table = listing("Who clicked (known, since it is simulated)", "who", "", "found invalid")
    for robot in (True, False):
        for name, rate in run.judgement.families.items():
            if (name in ROBOTS) == robot:
                table.add_row(name, "[red]robot[/]" if robot else "[green]human[/]", percent(rate))
    table.add_row("all robots that no list names", "", percent(run.judgement.recall))
    table.add_row("all people", "", percent(run.judgement.true_fpr))
    console.print(table)


def _say_what_next(session: Session, trained: TrainedRelease, *, down: bool) -> None:
    suffix = "" if session.is_local else f" --stage {session.stage}"
    if down:
        console.print("The cloud is stopped. Run it again: [bold]slidr demo[/]")
        return
    console.print("The cloud is still up. What you can do now:")
    for command, what in (
        (f"slidr verdicts --since 10m{suffix}", "single verdicts, by slice, by reason"),
        (f"slidr reproduce{suffix}", "give every logged verdict again, bit by bit"),
        (f"slidr send clicks.jsonl{suffix}", "your own clicks (docs/data-contract.md)"),
        (f"slidr train --seed 11{suffix}", f"another release; {trained.id} keeps serving"),
        ("slidr status; slidr logs", "what runs, and what it says"),
        ("slidr down", "stop it; nothing is left behind"),
    ):
        console.print(f"  [bold]{command:<34}[/] {what}")
