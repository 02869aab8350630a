"""`slidr mode`: who is billed by the verdicts: observe or enforce, the kill switch, the allow-lists."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape

from functions.adapters.serving_state import PolicyStore
from local.audited import by_operator
from local.commands.options import Profile, Region, Stage, Yes
from local.console import console, facts
from local.session import Session
from slidr.audit import differences
from slidr.errors import ReleaseConflict
from slidr.policy import DEFAULT, Policy, with_allowed, with_kill_switch, with_mode
from slidr.verdict import Mode


class Setting(StrEnum):
    """What may be said of a marketplace or advertiser."""

    OBSERVE = "observe"
    ENFORCE = "enforce"
    UNSET = "unset"


class Switch(StrEnum):
    """A switch."""

    ON = "on"
    OFF = "off"


def mode(
    setting: Annotated[
        Setting | None, typer.Argument(metavar="[observe|enforce|unset]", help="What to set; none shows the policy.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Argument(metavar="WHERE", help="default, MARKETPLACE, MARKETPLACE/ADVERTISER or '*/ADVERTISER'."),
    ] = None,
    *,
    kill_switch: Annotated[
        Switch | None, typer.Option("--kill-switch", help="on: every click is billed, whatever else is said.")
    ] = None,
    allow_network: Annotated[
        list[str] | None, typer.Option("--allow-network", metavar="CIDR", help="Clicks from there are always VALID.")
    ] = None,
    allow_advertiser: Annotated[
        list[str] | None, typer.Option("--allow-advertiser", metavar="NAME", help="Its clicks are always VALID.")
    ] = None,
    disallow_network: Annotated[
        list[str] | None, typer.Option("--disallow-network", metavar="CIDR", help="Take it off the allow-list.")
    ] = None,
    disallow_advertiser: Annotated[
        list[str] | None, typer.Option("--disallow-advertiser", metavar="NAME", help="Take it off the allow-list.")
    ] = None,
    why: Annotated[str | None, typer.Option(help="The reason, for the audit; required to change anything.")] = None,
    yes: Yes = False,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Show or change who is billed by the verdicts.

    [bold]observe[/] records what would be invalid and bills every click; [bold]enforce[/] does not bill INVALID clicks.
    The most specific wins: MARKETPLACE/ADVERTISER, '*/ADVERTISER', MARKETPLACE, default. [bold]unset[/] takes back what
    was said. Changes take effect within seconds; verdicts that were given stay as they are.

    [bold]Examples[/]

      slidr mode                                            what holds now
      slidr mode enforce de --why "two weeks observed"      a marketplace
      slidr mode observe de/acme --why "on their request"   one advertiser there
      slidr mode enforce '*/acme' --why "their contract"    one advertiser everywhere
      slidr mode unset de/acme --why "as the others again"
      slidr mode --kill-switch on --why "IVR doubled"       bill everything, now
      slidr mode --allow-network 192.0.2.0/24 --why "our load test"
    """

    def change(policy: Policy) -> Policy:
        after = policy
        if setting is not None and where is not None:
            after = with_mode(after, where, None if setting is Setting.UNSET else Mode(setting.value))
        if kill_switch is not None:
            after = with_kill_switch(after, on=kill_switch is Switch.ON)
        return with_allowed(
            after,
            networks=tuple(allow_network or ()),
            advertisers=tuple(allow_advertiser or ()),
            no_networks=tuple(disallow_network or ()),
            no_advertisers=tuple(disallow_advertiser or ()),
        )

    if (setting is None) is not (where is None):
        raise typer.BadParameter(f"say of what: {DEFAULT}, MARKETPLACE, MARKETPLACE/ADVERTISER or '*/ADVERTISER'")
    changes = [setting, kill_switch, allow_network, allow_advertiser, disallow_network, disallow_advertiser]
    session = Session(stage=stage, profile=profile, region=region)
    store = PolicyStore(session.client("dynamodb"), session.outputs.control_table)
    before = store.read()
    if not any(changes):
        console.print(facts(f"Who is billed, stage {stage}", _rows(before)))
        return
    if not why:
        raise typer.BadParameter("say why, for the audit: --why TEXT")
    agreed = differences(before, change(before))
    if not agreed:
        console.print("Nothing to do: it is so already.")
        return
    console.print("\n".join([f"Stage [bold]{stage}[/]:", *(f"  {escape(line)}" for line in agreed)]), soft_wrap=True)
    if not yes:
        typer.confirm("Change it?", abort=True)

    def as_agreed(policy: Policy) -> Policy:
        after = change(policy)
        if differences(policy, after) != agreed:
            raise ReleaseConflict(
                f"the policy must change as was agreed ({'; '.join(agreed)}), however somebody changed it meanwhile. "
                "Look at slidr mode and decide again."
            )
        return after

    after = store.apply(as_agreed, by_operator(session, why))
    console.print(f"[green]Changed[/]: policy generation {after.generation}. Functions read it within seconds.")


def _rows(policy: Policy) -> list[tuple[str, str]]:
    rows = [(f"{DEFAULT} (all that is not named)", policy.default.value)]
    rows += [(escape(where), said.value) for where, said in sorted(policy.modes.items())]
    rows += [
        ("kill switch", "[bold red]on: every click is billed[/]" if policy.kill_switch else "off"),
        ("allowed networks", ", ".join(policy.allowed_networks) or "none"),
        ("allowed advertisers", escape(", ".join(policy.allowed_advertisers)) or "none"),
        ("generation", str(policy.generation)),
    ]
    return rows
