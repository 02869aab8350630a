"""`slidr train`: make a release and publish it."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer
from rich.markup import escape

from local.commands.options import ClicksPerDay, Hyperparameter, Profile, Region, Seed, Stage, assignments
from local.console import Steps, console, facts, percent
from local.session import Session
from local.simulated_days import TRAINING_DAYS
from local.training_run import (
    FEATURES,
    LOCAL_INSTANCE,
    DatasetFacts,
    Features,
    TrainedRelease,
    given_dataset,
    lake_dataset,
    run_name,
    simulated_dataset,
    train_release,
)


def train(
    *,
    dataset: Annotated[
        str | None, typer.Option(help="Train on this: Parquet file, directory, or s3:// prefix (training/dataset.py).")
    ] = None,
    from_lake: Annotated[
        bool, typer.Option("--from-lake", help="Train on the clicks and purchases that the lake holds.")
    ] = False,
    first: Annotated[
        dt.datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="With --from-lake: the first UTC day to take."),
    ] = None,
    last: Annotated[
        dt.datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="With --from-lake: the last UTC day to take."),
    ] = None,
    features: Annotated[
        Features,
        typer.Option(
            help="With --from-lake: count features again from the clicks, take those that serving logged, or the "
            "logged ones where nearly all clicks have them."
        ),
    ] = FEATURES,
    simulate_days: Annotated[int, typer.Option(min=1, help="Train on so many simulated days.")] = TRAINING_DAYS,
    seed: Seed = 7,
    clicks_per_day: ClicksPerDay = 20_000,
    fpr_budget: Annotated[
        float, typer.Option(min=0.0001, max=0.5, help="False positives that the threshold may cost, among purchases.")
    ] = 0.01,
    set_: Hyperparameter = None,
    instance_type: Annotated[str, typer.Option(help="SageMaker instance of the jobs, on AWS.")] = "ml.c7i.2xlarge",
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Train a release in a SageMaker training job and publish it, write-once, to the release bucket.

    Without --dataset and --from-lake it trains on simulated days. Publishing changes nothing that serves: `slidr
    deploy` does.

    [bold]Examples[/]

      slidr train                                ten simulated days
      slidr train --simulate-days 14 --seed 11
      slidr train --from-lake --from 2026-11-01 --to 2026-11-14
      slidr train --dataset build/dataset --fpr-budget 0.005
      slidr train --dataset s3://BUCKET/training/2026-11/ --stage dev
    """
    if from_lake and dataset is not None:
        raise typer.BadParameter("give either --dataset or --from-lake")
    if (first or last) and not from_lake:
        raise typer.BadParameter("--from and --to say which days of the lake: give --from-lake too")
    session = Session(stage=stage, profile=profile, region=region)
    instance = LOCAL_INSTANCE if session.is_local else instance_type
    chosen = {"seed": str(seed), "fpr_budget": str(fpr_budget), **assignments(set_ or [])}
    _ = session.outputs  # no stage, no training: before minutes of work, not after
    run, steps = run_name(dt.datetime.now(dt.UTC)), Steps()
    how = " in a SageMaker job" if from_lake else ""
    with steps.step(f"build the dataset{how}") as step:
        if from_lake:
            days = {"first": first.date() if first else None, "last": last.date() if last else None}
            built = lake_dataset(session, run=run, instance_type=instance, features=features, **days)
        elif dataset is None:
            from local.sources.simulated import FIRST_DAY  # noqa: PLC0415
            from training.simulator import Traffic  # noqa: PLC0415

            traffic = Traffic(seed=seed, start=FIRST_DAY, clicks_per_day=clicks_per_day)
            built = simulated_dataset(session, traffic, days=simulate_days, run=run)
        else:
            built = given_dataset(session, dataset, run=run)
        step.result = dataset_line(built)
    with steps.step("train in a SageMaker job") as step:
        trained = train_release(
            session,
            built,
            run=run,
            hyperparameters=chosen,
            instance_type=instance,
        )
        step.result = trained.id
    show_release(trained)
    console.print(f"Next: [bold]slidr deploy {trained.id}[/]{'' if session.is_local else f' --stage {stage}'}")


def dataset_line(dataset: DatasetFacts) -> str:
    """A dataset in one line."""
    if dataset.clicks is None:
        return escape(dataset.uri)
    return f"{dataset.clicks:,} clicks, {dataset.purchasing or 0:,} of them led to a purchase"


def show_release(trained: TrainedRelease) -> None:
    """What a training says of its release."""
    rows = [
        ("release", trained.id + (" (published before: same decision content)" if trained.published_before else "")),
        ("FPR on purchases", f"{percent(trained.fpr)}, budget {trained.fpr_budget:.2%}"),
        ("certificate", trained.certificate),
        ("threshold", f"{trained.threshold:.4f}"),
    ]
    rows += [(f"  {name}", f"{value:.4f}") for name, value in sorted(trained.by_slice.items())]
    rows.append(("measured on", "rows later than all training rows, of people who chose no threshold"))
    console.print(facts("Release", rows))
