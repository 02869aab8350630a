"""`slidr promote`: put the challenger in force."""

from __future__ import annotations

from typing import Annotated

import typer

from functions.adapters.serving_state import PointerStore
from local.commands.options import Profile, Region, Stage, Why, Yes
from local.commands.releases import pointer_line
from local.console import console
from local.promotion import promote as promote_challenger
from local.promotion import promotion
from local.session import Session


def promote(
    release_id: Annotated[str, typer.Argument(metavar="RELEASE", help="Id of the challenger (slidr releases).")],
    *,
    why: Why,
    yes: Yes = False,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Put the challenger in force: one conditional, audited write of the pointer, in effect within seconds.

    The endpoint has it loaded already, so nothing is rolled out; the former champion stays loaded. Refuses where
    promotion is frozen, where the release is not the challenger, and where the endpoint does not hold it. Of two
    promotions at the same time one succeeds.

    [bold]Examples[/]

      slidr deploy r-8e25fc9bab63e1e0 --challenger    first: load it, score in shadow
      slidr promote r-8e25fc9bab63e1e0 --why "a day in shadow, churn 0.4%"
      slidr promote r-8e25fc9bab63e1e0 --why "weekly" --yes --stage prod --profile ads
    """
    session = Session(stage=stage, profile=profile, region=region)
    before = PointerStore(session.client("dynamodb"), session.outputs.control_table).read()
    promotion(session, before, release_id, over=before.champion)
    console.print(f"Stage [bold]{stage}[/]: champion {before.champion or 'none'} -> {release_id}.")
    if not yes:
        typer.confirm("Promote it?", abort=True)
    pointer = promote_challenger(session, release_id, over=before.champion, why=why)
    console.print(f"[green]Promoted[/]: {pointer_line(pointer)}. Functions read it within seconds.", soft_wrap=True)
