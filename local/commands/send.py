"""`slidr send`: put clicks and purchases on the streams."""

from __future__ import annotations

import datetime as dt
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from local.commands.options import ClicksPerDay, Mapping, Profile, Region, Seed, Stage
from local.console import clicks_bar, console, facts, megabytes
from local.sending import clicks_in, ending_at, play, playlist_of_log, playlist_of_simulation
from local.session import Session
from local.simulated_days import next_day, note_sent
from local.sources.event import Kind
from local.sources.ordering import Playlist
from local.stream_writer import Sent, StreamWriter


def send(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A click log: JSON lines or Parquet of the data contract, TalkingData's or REES46's CSV, a combined "
            "log of Apache or Nginx, or any CSV with a mapping; .gz too."
        ),
    ] = None,
    *,
    simulate: Annotated[int | None, typer.Option(min=1, metavar="DAYS", help="Send simulated days instead.")] = None,
    first_day: Annotated[
        int | None,
        typer.Option(min=0, help="The simulated day to begin with; the one after the last sent otherwise."),
    ] = None,
    seed: Seed = 7,
    clicks_per_day: ClicksPerDay = 20_000,
    purchases: Annotated[
        Path | None, typer.Option(help="A file of purchases that goes with PATH: JSON lines, Parquet or a mapped CSV.")
    ] = None,
    mapping: Mapping = None,
    rate: Annotated[
        float | None, typer.Option(min=1, help="Clicks a second at most; as fast as the streams take them otherwise.")
    ] = None,
    rebase_time: Annotated[
        bool,
        typer.Option(
            "--rebase-time/--keep-time", help="Move the log in time so that it ends now, or keep its own times."
        ),
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many clicks.")] = None,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Put clicks and purchases on the streams, in event-time order.

    The format is told by the file's content, or by a mapping (slidr map writes one for any CSV). A log that is not in
    order is sorted first, in bounded memory. Records that break the contract are sent too: rejecting them, with the
    reason, is the deployed system's work.

    [bold]Examples[/]

      slidr send --simulate 1                        a day of humans and robots
      slidr send --simulate 1 --first-day 9 --rate 200
      slidr send clicks.jsonl --purchases orders.jsonl
      slidr send talkingdata.csv.gz --limit 10000
      slidr send access.log.gz
      slidr send shop.csv --map shop.map.toml
      slidr send clicks.parquet --rebase-time --stage dev --profile ads
    """
    if (path is None) == (simulate is None):
        raise typer.BadParameter("give either the PATH of a log or --simulate DAYS")
    session = Session(stage=stage, profile=profile, region=region)
    writer = writer_of(session)
    began = time.monotonic()
    with ExitStack() as stack:
        if path is not None:
            playlist = read_log(path, purchases, stack, mapping=mapping)
        else:
            from local.sources.simulated import FIRST_DAY  # noqa: PLC0415 - the simulator takes 0.4 s to import
            from training.simulator import Traffic  # noqa: PLC0415

            traffic = Traffic(seed=seed, start=FIRST_DAY, clicks_per_day=clicks_per_day)
            days, first = simulate or 1, next_day(stage) if first_day is None else first_day
            playlist = playlist_of_simulation(traffic, days=days, first=first)
            note_sent(stage, until=first + days)
        if rebase_time:
            playlist = ending_at(playlist, dt.datetime.now(dt.UTC))
        total = playlist.clicks if limit is None else min(limit, playlist.clicks or limit)
        with clicks_bar("sending", total=total) as bar:
            sent = play(playlist, writer, rate=rate, limit=limit, on_put=lambda chunk: bar.advance(clicks_in(chunk)))
    show_sent(sent, seconds=time.monotonic() - began)
    if sent.failed:
        raise typer.Exit(1)


def writer_of(session: Session) -> StreamWriter:
    """A writer to the stage's click and purchase streams."""
    streams = {Kind.CLICK: session.outputs.click_stream, Kind.PURCHASE: session.outputs.purchase_stream}
    return StreamWriter(session.client("kinesis"), streams)


def read_log(path: Path, purchases: Path | None, stack: ExitStack, *, mapping: Path | None = None) -> Playlist:
    """The playlist of a log, with a bar while it is read and sorted."""
    with clicks_bar("reading", total=None) as bar:
        return playlist_of_log(path, purchases=purchases, stack=stack, mapping=mapping, on_read=bar.advance)


def show_sent(sent: Sent, *, seconds: float) -> None:
    """The summary of a send."""
    clicks = sent.records[Kind.CLICK]
    rows = [
        ("clicks", f"{clicks:,}"),
        ("purchases", f"{sent.records[Kind.PURCHASE]:,}"),
        ("size", megabytes(sent.bytes)),
        ("duration", f"{seconds:.1f} s ({clicks / max(seconds, 1e-9):,.0f} clicks/s)"),
        ("sent again", f"{sent.retried:,}"),
        ("failed", f"{len(sent.failed):,}"),
    ]
    console.print(facts("Sent", rows))
    for key, reason in sent.failed[:5]:
        console.print(f"  [red]not sent[/]: {key}: {reason}")
