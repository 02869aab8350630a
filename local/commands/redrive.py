"""`slidr redrive`: decide again what the event source gave up."""

from __future__ import annotations

from typing import Annotated

import typer

from local.commands.options import Profile, Region, Stage
from local.console import clicks_bar, console, listing
from local.failed_batches import PREFIX, decide_again, failed_batches
from local.session import Session


def redrive(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the failed batches and change nothing.")] = False,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Decide again the batches that kept failing and were set aside in the quarantine bucket.

    Each batch is handed to the function as it first was, with its arrival times; when every record of it has an
    outcome its object is deleted. Running it twice adds nothing: the first verdict of a click wins.
    Exit code 1 if something is left.

    [bold]Examples[/]

      slidr redrive --dry-run
      slidr redrive --stage prod --profile ads
    """
    session = Session(stage=stage, profile=profile, region=region)
    s3, bucket = session.client("s3"), session.outputs.quarantine_bucket
    batches = list(failed_batches(s3, bucket))
    if not batches:
        console.print(f"No failed batches in s3://{bucket}/{PREFIX}.")
        return
    table = listing("Failed batches", "failed at", "shard", "why", "records")
    for batch in batches:
        table.add_row(batch.failed_at, batch.shard, batch.condition, f"{len(batch.records):,}")
    console.print(table)
    total = sum(len(batch.records) for batch in batches)
    if dry_run:
        console.print(f"{total:,} records in {len(batches):,} batches. Nothing was changed.")
        return
    left = 0
    with clicks_bar("deciding", total=total) as bar:
        for batch in batches:
            undone = decide_again(batch, session.client("lambda"), function=session.outputs.score_clicks_function)
            bar.advance(len(batch.records))
            if undone:
                left += len(undone)
                console.print(f"[red]left[/]: {len(undone):,} of {len(batch.records):,} records of {batch.key}")
            else:
                s3.delete_object(Bucket=bucket, Key=batch.key)
    console.print(f"{total - left:,} of {total:,} records have an outcome now.")
    if left:
        console.print("The others stay where they are. See [bold]slidr logs score-clicks[/] for what failed.")
        raise typer.Exit(1)
