"""`slidr deploy`: put a published release in force."""

from __future__ import annotations

from typing import Annotated

import typer

from local.commands.options import Profile, Region, Stage
from local.console import Steps, console
from local.rollout import apply, planned
from local.session import Session
from slidr.pointer import Pointer


def deploy(
    release_id: Annotated[str, typer.Argument(metavar="RELEASE", help="Id of a published release (r-...).")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    stable: Annotated[
        bool, typer.Option("--stable", help="Name it the stable release too, where there is none yet.")
    ] = False,
    why: Annotated[str, typer.Option(help="The reason, for the audit.")] = "slidr deploy",
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Put a release in force: load it on every endpoint instance, then move the pointer.

    The endpoint is updated first and keeps serving meanwhile; the pointer moves by one conditional, audited write when
    every instance has the release. Where anything fails, what served before goes on serving.

    [bold]Examples[/]

      slidr deploy r-a2147e14e74d0265
      slidr deploy r-a2147e14e74d0265 --stage prod --profile ads --why "weekly retrain"
    """
    session = Session(stage=stage, profile=profile, region=region)
    rollout = planned(session, release_id, name_stable=stable)
    console.print(f"Stage [bold]{stage}[/]: champion {rollout.before.champion or 'none'} -> {release_id}.")
    if not yes:
        typer.confirm("Deploy it?", abort=True)
    steps = Steps()
    with steps.step("roll out the release") as step:
        pointer = apply(session, rollout, why=why)
        step.result = pointer_line(pointer)


def pointer_line(pointer: Pointer) -> str:
    """The pointer in one line."""
    return f"champion {pointer.champion}, stable {pointer.stable or 'none'}, generation {pointer.generation}"
