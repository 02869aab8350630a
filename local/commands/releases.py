"""`slidr releases`: what is published, what serves, and who changed it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape

from functions.adapters.serving_state import AuditLog, PointerStore
from local.commands.options import Profile, Region, Stage
from local.console import console, listing
from local.release_list import ListedRelease, listed_releases
from local.sagemaker_sdk import registered_releases
from local.session import Session
from slidr.audit import AuditEntry, differences
from slidr.metrics import Rate
from slidr.pointer import Pointer


def releases(
    *,
    history: Annotated[
        bool, typer.Option("--history", help="Show the audit instead: who changed what, when and why.")
    ] = False,
    registry: Annotated[
        bool, typer.Option("--registry", help="Show the Model Registry instead: what the daily loop registered.")
    ] = False,
    last: Annotated[int, typer.Option(min=1, help="The newest so many releases, or changes.")] = 20,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """List the published releases: what each measured, its role, and when it was in force.

    [bold]Champion[/] decides, [bold]stable[/] is what a rollback returns to, the [bold]challenger[/] scores in shadow.
    FPR (its budget beside it) and IVR, with 95% intervals, are those of each release's own later data: compare
    releases in shadow, not here.

    [bold]Examples[/]

      slidr releases
      slidr releases --history                every change of the pointer and of the policy
      slidr releases --registry               releases of the daily loop, with what their evaluation measured
      slidr releases --stage prod --profile ads
    """
    session = Session(stage=stage, profile=profile, region=region)
    if registry:
        _show_registry(session, last=last)
        return
    dynamodb, table = session.client("dynamodb"), session.outputs.control_table
    audit = AuditLog(dynamodb, table).entries()
    if history:
        _show_history(audit, last=last)
        return
    pointer = PointerStore(dynamodb, table).read()
    listed = listed_releases(session, audit, last=last)
    if not listed:
        console.print("Nothing is published yet. Make a release: [bold]slidr train[/].")
        return
    table_of_all = listing(
        f"Releases of stage {stage}", "release", "published", "FPR (budget)", "IVR", "certificate", "role", "in force"
    )
    for column in table_of_all.columns:
        column.no_wrap = column.header != "certificate"
    for release in listed:
        table_of_all.add_row(*_row(release, pointer))
    console.print(table_of_all)
    console.print(f"{pointer_line(pointer)}. Times are UTC.", soft_wrap=True)
    if pointer.frozen:
        console.print(f"[bold red]Promotion is frozen[/]: {escape(_frozen_by(audit))}", soft_wrap=True)


def pointer_line(pointer: Pointer) -> str:
    """The pointer in one line.

    >>> pointer_line(Pointer(champion="r-b", stable="r-a", generation=4))
    'champion r-b, stable r-a, challenger none, generation 4'
    """
    canary = f" (decides {pointer.canary_share:.1%})" if pointer.canary_share else ""
    return (
        f"champion {pointer.champion or 'none'}, stable {pointer.stable or 'none'}, challenger "
        f"{pointer.challenger or 'none'}{canary}, {'frozen, ' if pointer.frozen else ''}generation {pointer.generation}"
    )


def _row(release: ListedRelease, pointer: Pointer) -> tuple[str, ...]:
    roles = [role for role in ("champion", "stable", "challenger") if getattr(pointer, role) == release.id]
    return (
        release.id,
        _minute(release.published_at).replace(" ", "\n"),
        _interval(release.fpr, budget=release.budget),
        _interval(release.ivr),
        release.certificate or "unknown",
        "\n".join(roles) or ("former" if release.in_force else ""),
        "\n".join(f"{_minute(begin)} to\n{_minute(end) if end else 'now'}" for begin, end in release.in_force[-2:]),
    )


def _interval(rate: Rate | None, *, budget: float | None = None) -> str:
    r"""A rate, the budget that it had, and below them its interval.

    >>> _interval(Rate(count=1, total=200), budget=0.01)
    '0.50% (1.00%)\n0.09 to 2.78%'
    """
    if rate is None or not rate.total:
        return "unknown"
    low, high = rate.interval
    beside = "" if budget is None else f" ({budget:.2%})"
    return f"{rate.value:.2%}{beside}\n{100 * low:.2f} to {high:.2%}"


def _minute(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M}"


def _frozen_by(audit: Sequence[AuditEntry]) -> str:
    for entry in reversed(audit):
        if isinstance(entry.after, Pointer) and entry.after.frozen and not getattr(entry.before, "frozen", False):
            return f"by {entry.who}, {_minute(entry.at)}: {entry.why}"
    return "the audit does not say by whom"


def _show_registry(session: Session, *, last: int) -> None:
    found = registered_releases(session, last=last)
    if not found:
        console.print("The registry is empty: the daily loop registers releases ([bold]slidr train-day[/]).")
        return
    table = listing(
        f"Model Registry, group {session.outputs.model_package_group}", "version", "release", "approval", "measured"
    )
    for one in found:
        measured = ", ".join(f"{name} {value}" for name, value in sorted(one.measured.items()))
        table.add_row(str(one.version), one.release_id, one.approval, escape(measured))
    console.print(table)


def _show_history(audit: Sequence[AuditEntry], *, last: int) -> None:
    if not audit:
        console.print("Nothing was changed yet.")
        return
    table = listing("Changes, the newest last (UTC)", "when", "what", "who", "why", "from -> to")
    for entry in audit[-last:]:
        table.add_row(
            f"{entry.at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}",
            f"{entry.changed} {entry.after.generation}",
            escape(entry.who),
            escape(entry.why),
            escape("\n".join(differences(entry.before, entry.after)) or "written anew"),
        )
    console.print(table)
    if len(audit) > last:
        console.print(f"{len(audit) - last:,} earlier ones: --last {len(audit)} shows all.")
