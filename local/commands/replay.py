"""`slidr replay`: decide past clicks again, show what would change, publish the corrections on approval."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType

from functions.adapters.serving_state import PointerStore
from local.audited import by_operator
from local.commands.options import Profile, Region, Stage, Yes
from local.console import clicks_bar, console, facts, listing
from local.replaying import lake_of, loaded_release, nothing_there, publish, replayed
from local.session import Session
from slidr.replay import Change, Difference, changes_by, merged, money

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.replay.run import HourOutcome

_SHOWN = 10


def replay(
    *,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="First hour, such as 2026-11-23T14:00Z.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="The hour that is not replayed any more.")],
    release: Annotated[
        str, typer.Option("--release", metavar="RELEASE", help="Who decides: an id, or champion, or stable.")
    ] = "champion",
    recompute_features: Annotated[
        bool,
        typer.Option(
            "--recompute-features",
            help="Decide by features counted anew from the archive, a day of warm-up included, not by those logged.",
        ),
    ] = False,
    decided_by: Annotated[
        str, typer.Option("--decided-by", metavar="RELEASE", help="Only clicks that this release decided.")
    ] = "",
    undecided: Annotated[
        bool, typer.Option("--undecided", help="Only UNDECIDED clicks, by logged features or else by counted ones.")
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Publish the corrections, after asking; or only show them.")
    ] = False,
    why: Annotated[str, typer.Option("--why", help="The reason, kept with the corrections.")] = "",
    yes: Yes = False,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Decide the clicks of an interval again with one release: first the difference, then, approved, the corrections.

    The interval goes by the time of the click, in whole hours. What was found of an hour is kept in the lake: after an
    interruption the same command goes on where it was, and a replay that was applied adds nothing when it runs again.

    [bold]Examples[/]

      slidr replay --from 2026-11-23T14:00Z --to 2026-11-23T16:00Z --release stable
      slidr replay --from 2026-11-23T14:00Z --to 2026-11-23T16:00Z --release stable --apply --why INC-4711
      slidr replay --from 2026-11-23T00:00Z --to 2026-11-24T00:00Z --undecided --apply --yes
      slidr replay --from 2026-11-23T14:00Z --to 2026-11-23T15:00Z --recompute-features --decided-by r-8e25fc9bab63e1e0
    """
    from training.replay.decide import Judge, Wanted  # noqa: PLC0415 - numba, polars: seconds
    from training.replay.run import Ask  # noqa: PLC0415
    from training.scoring import open_scorer  # noqa: PLC0415

    session = Session(stage=stage, profile=profile, region=region)
    change = by_operator(session, why or "slidr replay")
    loaded = loaded_release(session, _named(session, release))
    ask = Ask(
        start=hour_option(start, "--from"),
        end=hour_option(end, "--to"),
        judge=Judge(release_id=loaded.id, release=loaded.release, scorer=open_scorer(loaded.weights, "cpu")),
        wanted=Wanted(undecided=undecided, decided_by=decided_by),
        recompute=recompute_features or undecided,
    )
    session.flush_deliveries()
    with clicks_bar("deciding again", total=len(ask.hours), of="hours") as bar:
        outcomes = replayed(session, ask, on_hour=lambda _: bar.advance(1))
    difference = merged(outcome.found.difference for outcome in outcomes)
    if not difference.clicks and (told := nothing_there(lake_of(session), ask.start, ask.end)):
        console.print(told, soft_wrap=True)
        return
    console.print(shown(difference, outcomes, release_id=loaded.id))
    corrections = sum(outcome.found.corrections for outcome in outcomes)
    if not corrections:
        console.print("Nothing differs: there is nothing to correct.")
        return
    if not apply:
        console.print("Nothing was published. The same command with [bold]--apply[/] publishes the corrections.")
        return
    if not yes:
        typer.confirm(f"Publish {corrections:,} corrections?", abort=True)
    with clicks_bar("publishing", total=corrections, of="corrections") as bar:
        published = publish(session, outcomes, who=change.who, why=change.why, on_published=bar.advance)
    console.print(
        f"[green]Published[/]: {published:,} corrections"
        + (f"; {corrections - published:,} had been published before." if published < corrections else "."),
    )


def shown(difference: Difference, outcomes: list[HourOutcome], *, release_id: str) -> RenderableType:
    """What a replay says, for the screen."""
    rows = [
        ("decided again by", release_id),
        ("clicks", f"{difference.clicks:,} in {len(outcomes):,} hours"),
        ("same verdict", f"{difference.same:,}"),
        ("another verdict", f"{difference.changed:,}"),
        ("left as they are", f"{difference.without_features:,} (no features of this spec were logged)"),
        ("refunded, charged", _amounts(difference.changes)),
        ("found before", f"{sum(outcome.reused for outcome in outcomes):,} hours"),
    ]
    tables: list[RenderableType] = [facts("Replay", rows)]
    if difference.changes:
        tables += [
            _table(difference, "By outcome", "from, to", lambda change: f"{change.before or 'none'} -> {change.after}"),
            _table(difference, "By reason", "reason", lambda change: ", ".join(change.reasons) or "none"),
            _table(difference, "By slice", "slice", lambda change: change.slice),
            _table(difference, "By advertiser", "advertiser", lambda change: change.advertiser),
        ]
    return Group(*tables)


def _table(difference: Difference, title: str, column: str, key: Callable[[Change], str]) -> RenderableType:
    groups = changes_by(difference, key)
    table = listing(title, column, "clicks", "refunded, charged")
    for name, changes in list(groups.items())[:_SHOWN]:
        table.add_row(name, f"{sum(change.clicks for change in changes):,}", _amounts(changes))
    if len(groups) > _SHOWN:
        table.add_row(f"[dim]and {len(groups) - _SHOWN:,} more[/]", "", "")
    return table


def _amounts(changes: list[Change] | tuple[Change, ...]) -> str:
    return "; ".join(
        f"{one.refunded_micros / 1e6:,.2f}, {one.charged_micros / 1e6:,.2f} {one.currency}" for one in money(changes)
    ) or "nothing"  # fmt: skip


def _named(session: Session, release: str) -> str:
    if release not in {"champion", "stable"}:
        return release
    pointer = PointerStore(session.client("dynamodb"), session.outputs.control_table).read()
    found = pointer.champion if release == "champion" else pointer.stable
    if found is None:
        raise typer.BadParameter(f"the pointer names no {release} release; pass an id (slidr releases)")
    return found


def hour_option(text: str, option: str) -> dt.datetime:
    """A whole hour from the command line, UTC."""
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or (at.minute, at.second, at.microsecond) != (0, 0, 0):
        raise typer.BadParameter(f"{option} takes a whole hour with its zone, such as 2026-11-23T14:00Z, came {text!r}")
    return at.astimezone(dt.UTC)
