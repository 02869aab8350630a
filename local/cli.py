"""The `slidr` command: its entry point, and how failures are told.

Exit codes: 0 done; 1 a named failure, or a check that did not hold (the message says which); 2 wrong usage; 130 Ctrl-C.
"""

from __future__ import annotations

from typing import Any, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from rich.markup import escape
from typer.core import TyperGroup

from local.commands import (
    backfill,
    backtest,
    billing,
    cloud,
    cost,
    demo,
    deploy,
    explain,
    freeze,
    mapping,
    mode,
    promote,
    redrive,
    releases,
    replay,
    reproduce,
    rollback,
    send,
    train,
    train_day,
    verdicts,
)
from local.console import errors
from slidr.errors import SlidrError

_EPILOG: Final = "Start with: [bold]slidr demo[/]. Every command has --help; docs/cli.md describes them all."


class Commands(TyperGroup):
    """The group of all commands; it tells failures in words instead of tracebacks."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a named failure becomes a message on standard error and exit code 1."""
        try:
            return super().invoke(ctx)
        except SlidrError as failure:
            errors.print(f"[bold red]{type(failure).__name__}[/]: {escape(str(failure))}")
        except NoCredentialsError:
            errors.print(
                "[bold red]No AWS credentials[/]: they are required for a stage on AWS. Pass --profile, set "
                "AWS_PROFILE, or run `aws sso login`; for the cloud on this machine leave --stage out."
            )
        except ClientError as failure:
            errors.print(
                f"[bold red]AWS refused[/]: {escape(str(failure))}. Check the profile's permissions, --stage and "
                "--region; locally see slidr status and slidr logs emulator."
            )
        except BotoCoreError as failure:
            errors.print(
                f"[bold red]AWS does not answer[/]: {escape(str(failure))}. Check the network and --region; locally "
                "see slidr status."
            )
        raise typer.Exit(1)


app = typer.Typer(
    cls=Commands,
    name="slidr",
    help="Real-time detection of robotic ad clicks: run it on this machine or talk to a deployment on AWS.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_CLOUD: Final = "The cloud on this machine"
_TRAFFIC: Final = "Clicks and verdicts"
_MODELS: Final = "Releases"
app.command(rich_help_panel="Start here")(demo.demo)
app.command(rich_help_panel=_CLOUD)(cloud.up)
app.command(rich_help_panel=_CLOUD)(cloud.down)
app.command(rich_help_panel=_CLOUD)(cloud.status)
app.command(rich_help_panel=_CLOUD)(cloud.logs)
app.command(rich_help_panel=_CLOUD)(cost.cost)
app.command(rich_help_panel=_TRAFFIC)(send.send)
app.command(rich_help_panel=_TRAFFIC, name="map")(mapping.map_log)
app.command(rich_help_panel=_TRAFFIC)(backfill.backfill)
app.command(rich_help_panel=_TRAFFIC)(verdicts.verdicts)
app.command(rich_help_panel=_TRAFFIC)(reproduce.reproduce)
app.command(rich_help_panel=_TRAFFIC)(redrive.redrive)
app.command(rich_help_panel=_TRAFFIC)(replay.replay)
app.command(rich_help_panel=_TRAFFIC)(explain.explain)
app.command(rich_help_panel=_TRAFFIC)(billing.billing)
app.command(rich_help_panel=_MODELS)(backtest.backtest)
app.command(rich_help_panel=_MODELS)(train.train)
app.command(rich_help_panel=_MODELS)(train_day.train_day)
app.command(rich_help_panel=_MODELS)(releases.releases)
app.command(rich_help_panel=_MODELS)(deploy.deploy)
app.command(rich_help_panel=_MODELS)(promote.promote)
app.command(rich_help_panel=_MODELS)(rollback.rollback)
app.command(rich_help_panel=_MODELS)(freeze.freeze)
app.command(rich_help_panel=_MODELS)(freeze.unfreeze)
app.command(rich_help_panel=_MODELS)(mode.mode)


if __name__ == "__main__":
    app()
