"""`slidr freeze`, `slidr unfreeze`: hold every promotion, and let them go on."""

from __future__ import annotations

import typer

from functions.adapters.serving_state import PointerStore
from local.audited import by_operator
from local.commands.options import Profile, Region, Stage, Why, Yes
from local.commands.releases import pointer_line
from local.console import console
from local.session import Session
from slidr.pointer import frozen, unfrozen


def freeze(*, why: Why, stage: Stage = "local", profile: Profile = None, region: Region = None) -> None:
    """Freeze promotion: nothing is promoted or deployed until unfreeze. What serves goes on serving.

    Does not ask, since it changes nothing that serves. A deployment or promotion that is just under way fails at its
    write. Frozen already: nothing is changed.

    [bold]Examples[/]

      slidr freeze --why "sale weekend"
      slidr freeze --why "rotating the pseudonym key" --stage prod --profile ads
    """
    session = Session(stage=stage, profile=profile, region=region)
    store = PointerStore(session.client("dynamodb"), session.outputs.control_table)
    before = store.read()
    pointer = store.apply(frozen, by_operator(session, why))
    said = "Frozen already" if pointer == before else "Frozen"
    console.print(f"{said}: {pointer_line(pointer)}.", soft_wrap=True)


def unfreeze(
    *, why: Why, yes: Yes = False, stage: Stage = "local", profile: Profile = None, region: Region = None
) -> None:
    """Let promotion go on. Who froze it and why: slidr releases.

    Holds only for the freeze that is shown: where the pointer changed meanwhile (a rollback froze it again), nothing is
    written.

    [bold]Examples[/]

      slidr unfreeze --why "the alarm was a broken sender, mended"
      slidr unfreeze --why "sale is over" --yes --stage prod --profile ads
    """
    session = Session(stage=stage, profile=profile, region=region)
    store = PointerStore(session.client("dynamodb"), session.outputs.control_table)
    before = store.read()
    if not before.frozen:
        console.print(f"Nothing to do, promotion is not frozen: {pointer_line(before)}.", soft_wrap=True)
        return
    console.print(f"Stage [bold]{stage}[/]: {pointer_line(before)}.", soft_wrap=True)
    if not yes:
        typer.confirm("Let promotion go on?", abort=True)
    pointer = store.change(before, unfrozen(before), by_operator(session, why))
    console.print(f"[green]Promotion goes on[/]: {pointer_line(pointer)}.", soft_wrap=True)
