"""`slidr backfill`: bring logs of the past into the lake."""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from local.backfilling import Source, Staged, Written, log_source, read_sources, simulated_source, write_lake
from local.commands.options import ClicksPerDay, Mapping, Profile, Region, Seed, Stage
from local.console import Steps, clicks_bar, console, facts, megabytes
from local.lake_partitions import Table
from local.session import Session
from local.simulated_days import note_sent
from local.sources.event import Kind
from slidr.contract import epoch_ms


def backfill(
    path: Annotated[
        Path | None, typer.Argument(help="A click log, in any format that slidr send reads.", show_default=False)
    ] = None,
    *,
    simulate: Annotated[int | None, typer.Option(min=1, metavar="DAYS", help="Take simulated days instead.")] = None,
    first_day: Annotated[int, typer.Option(min=0, help="The simulated day to begin with.")] = 0,
    seed: Seed = 7,
    clicks_per_day: ClicksPerDay = 20_000,
    purchases: Annotated[
        Path | None, typer.Option(help="A file of purchases that goes with PATH; alone, it is all that is taken.")
    ] = None,
    mapping: Mapping = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count, and write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, where the stage is on AWS.")] = False,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Bring clicks and purchases of the past into the lake, as if the deployment had been there.

    They become the same archive and feature log that the online path writes, by event hour: what `slidr train
    --from-lake` makes the first release of. Nothing is sent, nobody is billed, no verdict is given. A run that was
    interrupted goes on with what is missing; one that was finished finds nothing to do.

    [bold]Examples[/]

      slidr backfill clicks.jsonl.gz --purchases orders.jsonl
      slidr backfill --simulate 10                   ten days of humans and robots
      slidr backfill talkingdata.csv.gz --dry-run
      slidr backfill shop.csv --map shop.map.toml
      slidr backfill clicks.parquet --stage dev --profile ads
    """
    if (path is not None or purchases is not None) == (simulate is not None):
        raise typer.BadParameter("give either the PATH of a log, with its --purchases, or --simulate DAYS")
    session = Session(stage=stage, profile=profile, region=region)
    bucket = session.outputs.lake_bucket  # no stage, no backfill: before minutes of reading, not after
    if simulate is not None:
        from local.sources.simulated import FIRST_DAY  # noqa: PLC0415 - the simulator takes 0.4 s to import
        from training.simulator import Traffic  # noqa: PLC0415

        traffic = Traffic(seed=seed, start=FIRST_DAY, clicks_per_day=clicks_per_day)
        title, sources = f"{simulate} simulated days", [simulated_source(traffic, days=simulate, first=first_day)]
    else:
        title, sources = title_of(path, purchases), log_sources(path, purchases, mapping)
    if not (session.is_local or dry_run or yes):
        console.print(f"This writes to the lake of stage {stage}, s3://{bucket}.")
        typer.confirm("Go on?", abort=True)
    steps, began = Steps(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="slidr-backfill-") as folder:
        with (
            steps.step(f"read {title}", bar=True) as step,
            clicks_bar("reading", total=None, of="records") as bar,
        ):
            staged = read_sources(session, sources, Path(folder), dry_run=dry_run, on_read=bar.advance)
            step.result = _read_line(staged)
        doing = "find out what the lake lacks" if dry_run else "write to the lake"
        total = sum(len(source.clicks) + len(source.purchases) for source in staged)
        with steps.step(doing, bar=True) as step, clicks_bar("writing", total=total, of="records") as bar:
            written = write_lake(session, staged, dry_run=dry_run, on_write=bar.advance)
            step.result = f"{written.objects.total():,} objects"
    show_backfilled(staged, written, dry_run=dry_run, seconds=time.monotonic() - began)
    if simulate is not None and not dry_run:
        note_sent(stage, until=first_day + simulate + 1)  # the day after is for the last orders
    if written.clicks and not dry_run:
        where = "" if session.is_local else f" --stage {stage}"
        console.print(f"Next: [bold]slidr train --from-lake{where}[/]")


def log_sources(path: Path | None, purchases: Path | None, mapping: Path | None) -> list[Source]:
    """A log and a file of purchases, as sources; either may be None.

    Raises:
        LogUnreadable: a file is in no known format.
        MappingUnusable: the mapping cannot be used.
    """
    now_ms = epoch_ms(dt.datetime.now(dt.UTC))
    clicks = [log_source(path, kind=Kind.CLICK, now_ms=now_ms, mapping=mapping)] if path else []
    return clicks + ([log_source(purchases, kind=Kind.PURCHASE, now_ms=now_ms)] if purchases else [])


def title_of(path: Path | None, purchases: Path | None) -> str:
    """The files by name."""
    return " and ".join(file.name for file in (path, purchases) if file is not None)


def _read_line(staged: Sequence[Staged]) -> str:
    clicks = sum(len(source.clicks) for source in staged)
    purchases = sum(len(source.purchases) for source in staged)
    rejects = sum(source.rejected.total() for source in staged)
    return f"{clicks:,} clicks, {purchases:,} purchases, {rejects:,} rejected"


def show_backfilled(staged: Sequence[Staged], written: Written, *, dry_run: bool, seconds: float) -> None:
    """The summary of a backfill."""
    rejected: Counter[str] = sum((source.rejected for source in staged), Counter())
    days = {hour // 24 for source in staged for hour in (*source.clicks.hours, *source.purchases.hours)}
    rows = [
        ("clicks", f"{written.clicks:,}"),
        ("purchases", f"{written.purchases:,}"),
        ("came twice", f"{written.repeated:,} records, left out"),
        ("rejected", f"{rejected.total():,} records" + (", counted only" if dry_run and rejected else "")),
        *((f"  {reason}", f"{count:,}") for reason, count in rejected.most_common()),
        ("days", f"{len(days):,}"),
        *((f"  {table}", _hours_line(written, table, dry_run=dry_run)) for table in Table),
        ("size", megabytes(written.bytes)),
        ("duration", f"{seconds:.1f} s ({written.clicks / max(seconds, 1e-9):,.0f} clicks/s)"),
    ]
    console.print(facts("Would be backfilled" if dry_run else "Backfilled", rows))


def _hours_line(written: Written, table: Table, *, dry_run: bool) -> str:
    verb = "to write" if dry_run else "written"
    return f"{written.objects[table]:,} objects {verb}, {written.known[table]:,} there already"
