"""`slidr verdicts`: follow and summarise the verdict stream."""

from __future__ import annotations

import csv
import datetime as dt
import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Group
from rich.live import Live

from local.commands.options import Profile, Region, Stage
from local.console import console
from local.session import Session, state_directory
from local.stream_reader import Start, StreamReader
from local.verdict_view import latest_table, summary
from slidr.errors import SlidrError
from slidr.ledger import Ledger, LedgerEntry, tally

_IDLE_S: Final = 0.5
_DECODER: Final = msgspec.json.Decoder(LedgerEntry)
_AGO: Final = re.compile(r"(\d+)([smhd])")
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class VerdictUnreadable(SlidrError):
    """A record on the verdict stream is not a verdict of this contract."""


def verdicts(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as verdicts come, until Ctrl-C.")] = False,
    last: Annotated[int, typer.Option(min=0, help="How many single verdicts to show.")] = 10,
    since: Annotated[
        str | None, typer.Option(help="Only what reached the stream since: 90s, 15m, 2h, 1d, or a time with its zone.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the last --resume of this stage ended.")
    ] = False,
    export: Annotated[
        Path | None, typer.Option(help="Write the verdicts in force to FILE: .jsonl, .csv or .parquet.")
    ] = None,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Show the verdicts: one a click, however often it was delivered; then what they add up to.

    Reads every shard of the verdict stream from its oldest record on (the stream keeps a day or more; older ones are
    in the lake), folds it by click (the first original wins, a correction supersedes) and summarises.

    [bold]Examples[/]

      slidr verdicts                            everything on the stream
      slidr verdicts --follow --since 5m        live, from five minutes ago
      slidr verdicts --export verdicts.csv      one row a click
      slidr verdicts --stage prod --resume      what is new since the last time
    """
    if export is not None and export.suffix not in _WRITERS:
        raise typer.BadParameter(f"--export writes {', '.join(_WRITERS)}, came {export.name}")
    session = Session(stage=stage, profile=profile, region=region)
    position = state_directory() / "positions" / f"verdicts-{stage}.json"
    start = Start(at=None if since is None else instant(since, now=dt.datetime.now(dt.UTC)))
    if resume and position.exists():
        start = Start(sequences=json.loads(position.read_text()))
    reader = StreamReader(session.client("kinesis"), session.outputs.verdict_stream, start)
    ledger: Ledger[LedgerEntry] = Ledger()
    latest: deque[LedgerEntry] = deque(maxlen=last or None)
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            for entries in entries_of(reader, follow=follow):
                ledger.add(entries)
                latest.extend(entries[-last:] if last else [])
                if console.is_terminal:
                    live.update(Group(latest_table(list(latest)), f"{len(ledger):,} clicks"), refresh=True)
    except KeyboardInterrupt:
        pass  # the way to end --follow
    if last and latest:
        console.print(latest_table(list(latest)))
    console.print(summary(tally(ledger)))
    if resume:
        position.parent.mkdir(parents=True, exist_ok=True)
        position.write_text(json.dumps(reader.position))
    if export is not None:
        _WRITERS[export.suffix](sorted(ledger, key=lambda entry: (entry.at, entry.click_id)), export)
        console.print(f"{len(ledger):,} verdicts written to {export}.")


def entries_of(reader: StreamReader, *, follow: bool) -> Iterator[list[LedgerEntry]]:
    """Rounds of verdicts: until the tip of the stream, or for ever.

    Raises:
        VerdictUnreadable: a record is no verdict.
    """
    while True:
        entries = [decode_entry(data) for data in reader.poll()]
        if entries:
            yield entries
        elif reader.caught_up and not follow:
            return
        else:
            time.sleep(_IDLE_S)


def decode_entry(data: bytes) -> LedgerEntry:
    """A verdict without its features, from the stream's bytes.

    Raises:
        VerdictUnreadable: it is none.
    """
    try:
        return _DECODER.decode(data)
    except msgspec.DecodeError as failure:
        raise VerdictUnreadable(
            f"the verdict stream must hold verdicts of this version, came: {failure}. "
            "Use the slidr of the deployed commit."
        ) from failure


def instant(text: str, *, now: dt.datetime) -> dt.datetime:
    """A time from `--since`.

    >>> noon = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
    >>> instant("15m", now=noon).isoformat(), instant("2026-11-23T10:00:00+01:00", now=noon).isoformat()
    ('2026-11-23T11:45:00+00:00', '2026-11-23T10:00:00+01:00')
    """
    ago = _AGO.fullmatch(text)
    if ago:
        return now - dt.timedelta(seconds=int(ago[1]) * _UNIT_S[ago[2]])
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise typer.BadParameter(f"--since takes 90s, 15m, 2h, 1d or 2026-11-23T10:00:00+00:00, came {text!r}")
    return at


def _write_jsonl(entries: list[LedgerEntry], path: Path) -> None:
    path.write_bytes(msgspec.json.Encoder().encode_lines(entries))


def _flat(entry: LedgerEntry) -> dict[str, object]:
    row: dict[str, object] = msgspec.to_builtins(entry)
    return row | {"reasons": " ".join(reason.value for reason in entry.reasons)}


def _write_csv(entries: list[LedgerEntry], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, LedgerEntry.__struct_fields__)
        writer.writeheader()
        writer.writerows(_flat(entry) for entry in entries)


def _write_parquet(entries: list[LedgerEntry], path: Path) -> None:
    import polars as pl  # noqa: PLC0415 - only for this

    times = [pl.col(name).str.to_datetime(time_zone="UTC") for name in ("at", "arrived_at", "decided_at")]
    pl.DataFrame([_flat(entry) for entry in entries], infer_schema_length=None).with_columns(times).write_parquet(path)


_WRITERS: Final[dict[str, Callable[[list[LedgerEntry], Path], None]]] = {
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
