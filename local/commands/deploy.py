"""`slidr deploy`: put a published release in force."""

from __future__ import annotations

from typing import Annotated

import typer

from local.commands.options import Profile, Region, Stage, Yes
from local.commands.releases import pointer_line
from local.console import Steps, console
from local.rollout import apply, planned
from local.session import Session
from slidr.audit import differences


def deploy(
    release_id: Annotated[str, typer.Argument(metavar="RELEASE", help="Id of a published release (r-...).")],
    *,
    yes: Yes = False,
    challenger: Annotated[
        bool, typer.Option("--challenger", help="Only score in shadow, until slidr promote puts it in force.")
    ] = False,
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

      slidr deploy r-8e25fc9bab63e1e0
      slidr deploy r-8e25fc9bab63e1e0 --challenger
      slidr deploy r-8e25fc9bab63e1e0 --stage prod --profile ads --why "weekly retrain"
    """
    session = Session(stage=stage, profile=profile, region=region)
    rollout = planned(session, release_id, name_stable=stable, as_challenger=challenger)
    changes = "; ".join(differences(rollout.before, rollout.after))
    console.print(f"Stage [bold]{stage}[/]: {changes or f'champion {release_id} again'}.", soft_wrap=True)
    if not yes:
        typer.confirm("Deploy it?", abort=True)
    steps = Steps()
    with steps.step("roll out the release") as step:
        pointer = apply(session, rollout, why=why)
        step.result = pointer_line(pointer)
    if challenger:
        console.print(f"Next: watch [bold]slidr verdicts[/], then [bold]slidr promote {release_id} --why ...[/]")
