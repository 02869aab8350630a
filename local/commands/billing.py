"""`slidr billing`: net clicks and money by advertiser and hour, from the ledger alone."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import RenderableType

from local.commands.options import Profile, Region, Stage
from local.commands.replay import hour_option
from local.console import clicks_bar, console, facts, listing
from local.replaying import lake_of, nothing_there
from local.session import Session
from slidr.billing import WATERMARK_KEY, Adjustment, FinalHour, NetRow, Watermark, adjustments, final_key
from slidr.hours import hours_between

_SHOWN: Final = 40
_BY: Final[dict[str, Callable[[NetRow], str]]] = {
    "advertiser": lambda row: row.advertiser,
    "hour": lambda row: f"{row.hour:%Y-%m-%d %H}:00",
}


def billing(
    *,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="First hour, such as 2026-11-23T14:00Z.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="The hour that does not count any more.")],
    by: Annotated[str, typer.Option(help=f"One row for each {' or '.join(_BY)}.")] = "advertiser",
    advertiser: Annotated[str, typer.Option(help="Only this advertiser.")] = "",
    export: Annotated[Path | None, typer.Option(help="Write every advertiser and hour to FILE, CSV.")] = None,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Show net clicks and money: what the verdicts in force say, corrections included.

    The rows with most clicks are shown, and the sum of all; --export has every hour and advertiser. Hours before the
    watermark are final: what has changed in them since is shown apart, as adjustments.

    [bold]Examples[/]

      slidr billing --from 2026-11-23T00:00Z --to 2026-11-24T00:00Z
      slidr billing --from 2026-11-23T00:00Z --to 2026-11-24T00:00Z --by hour --advertiser acme
      slidr billing --from 2026-11-01T00:00Z --to 2026-12-01T00:00Z --export november.csv --stage prod
    """
    from training.billing import billed_hours  # noqa: PLC0415 - polars

    if by not in _BY:
        raise typer.BadParameter(f"--by takes {' or '.join(_BY)}, came {by!r}")
    session = Session(stage=stage, profile=profile, region=region)
    session.flush_deliveries()
    lake, begin, until = lake_of(session), hour_option(start, "--from"), hour_option(end, "--to")
    if begin >= until:
        raise typer.BadParameter(f"--to must be after --from, came {start} to {end}")
    hours = hours_between(begin, until)
    rows: list[NetRow] = []
    adjusted: list[Adjustment] = []
    with clicks_bar("reading the ledger", total=len(hours), of="hours") as bar:
        for hour, net in billed_hours(lake, hours):
            kept = lake.find(final_key(hour))
            if kept is not None:
                adjusted += adjustments(msgspec.json.decode(kept, type=FinalHour), net)
            rows += net
            bar.advance(1)
    if not rows and (nothing := nothing_there(lake, begin, until)):
        console.print(nothing, soft_wrap=True)
        return
    rows = [row for row in rows if advertiser in {"", row.advertiser}]
    known = lake.find(WATERMARK_KEY)
    final_until = msgspec.json.decode(known, type=Watermark).final_until if known else None
    console.print(_table(rows, by))
    told = [("final until", "no hour is final yet" if final_until is None else f"{final_until:%Y-%m-%d %H:%M} UTC")]
    for one in adjusted:
        if advertiser in {"", one.advertiser}:
            owed = f"{one.billed:+,} clicks, {one.net_micros / 1e6:+,.2f} {one.currency}"
            told.append((f"adjustment {one.hour:%Y-%m-%d %H}:00", f"{one.advertiser}: {owed}"))
    console.print(facts("", told))
    if export is not None:
        _write(rows, export)
        console.print(f"{len(rows):,} rows written to {export}.")


def _table(rows: list[NetRow], by: str) -> RenderableType:
    groups: defaultdict[tuple[str, str], list[NetRow]] = defaultdict(list)
    totals: defaultdict[str, list[NetRow]] = defaultdict(list)
    for row in rows:
        groups[_BY[by](row), row.currency].append(row)
        totals[row.currency].append(row)
    largest = sorted(groups.items(), key=lambda item: (-sum(row.clicks for row in item[1]), item[0]))[:_SHOWN]
    table = listing("Net clicks and money", by, "clicks", "INVALID", "UNDECIDED", "billed", "gross", "net", "currency")
    for (name, currency), those in sorted(largest) if by == "hour" else largest:
        table.add_row(name, *_sums(those), currency)
    if len(groups) > _SHOWN:
        table.add_row(f"[dim]and {len(groups) - _SHOWN:,} more[/]")
    for currency, those in sorted(totals.items()):
        table.add_row("[bold]all[/]", *_sums(those), currency)
    return table


def _sums(rows: list[NetRow]) -> list[str]:
    counts = (sum(getattr(row, name) for row in rows) for name in ("clicks", "invalid", "undecided", "billed"))
    amounts = (sum(getattr(row, name) for row in rows) / 1e6 for name in ("gross_micros", "net_micros"))
    return [*(f"{count:,}" for count in counts), *(f"{amount:,.2f}" for amount in amounts)]


def _write(rows: list[NetRow], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, NetRow.__struct_fields__)
        writer.writeheader()
        writer.writerows({**msgspec.to_builtins(row)} for row in rows)
