"""`slidr rollback`: back to the stable release."""

from __future__ import annotations

import typer

from functions.adapters.serving_state import PointerStore
from local.audited import by_operator
from local.commands.options import Profile, Region, Stage, Why, Yes
from local.commands.releases import pointer_line
from local.console import console
from local.session import Session
from slidr.pointer import rolled_back


def rollback(
    *, why: Why, yes: Yes = False, stage: Stage = "local", profile: Profile = None, region: Region = None
) -> None:
    """Put the stable release in force again, in seconds: one conditional, audited write, no endpoint update.

    The canary share becomes 0 and promotion is frozen, until slidr unfreeze. Refuses where there is no stable release
    other than the champion, and where another champion serves by the time of the write.

    [bold]Examples[/]

      slidr rollback --why "invalid clicks doubled at 14:00"
      slidr rollback --why "INC-4711" --yes --stage prod --profile ads
    """
    session = Session(stage=stage, profile=profile, region=region)
    store = PointerStore(session.client("dynamodb"), session.outputs.control_table)
    before = store.read()
    after = rolled_back(before, bad=before.champion)
    console.print(f"Stage [bold]{stage}[/]: champion {before.champion} -> {after.champion}, promotion frozen.")
    if not yes:
        typer.confirm("Roll back?", abort=True)
    pointer = store.apply(lambda now: rolled_back(now, bad=before.champion), by_operator(session, why))
    console.print(f"[green]Rolled back[/]: {pointer_line(pointer)}. Functions read it within seconds.", soft_wrap=True)
