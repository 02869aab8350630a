"""`slidr up`, `down`, `status`, `logs`: the cloud on this machine, and the state of a stage on AWS."""

from __future__ import annotations

import datetime as dt
import time
from collections import deque
from pathlib import Path
from typing import Annotated, Final

import typer

from local.cloud.stream_title import stream_title
from local.commands.options import Profile, Region, Stage
from local.console import Steps, console, listing
from local.session import LOCAL_STAGE, Session, state_directory
from slidr.errors import SlidrError

_POLL_S: Final = 0.3
_TRAINING_LOGS: Final = "/aws/sagemaker/TrainingJobs"
"""CloudWatch's one log group of all training jobs of an account."""


class OnlyLocal(SlidrError):
    """The command is about the cloud on this machine."""


def up(stage: Stage = LOCAL_STAGE, profile: Profile = None, region: Region = None) -> None:
    """Start the cloud on this machine and deploy the stacks to it.

    Starts a Valkey server and the AWS endpoint, and deploys the same CDK app that goes to AWS. A cloud that runs is
    kept and deployed to again. Everything it writes is under ./.slidr (or $SLIDR_STATE).

    [bold]Examples[/]

      slidr up
      slidr up && slidr send --simulate 1 && slidr verdicts
    """
    _only_local("up", stage, profile, region)
    endpoint_url = bring_up(Steps())
    console.print(f"The cloud runs; AWS answers at {endpoint_url}. Next: [bold]slidr train[/], or [bold]slidr demo[/].")


def bring_up(steps: Steps) -> str:
    """Start the local cloud, each part a step; returns where AWS answers."""
    from local.cloud.lifecycle import start  # noqa: PLC0415 - AWS commands need none of it

    current: list[tuple[str, float]] = []
    with console.status("starting the cloud") as spinner:

        def report(title: str) -> None:
            _end_step(steps, current)
            current.append((title, time.monotonic()))
            spinner.update(title)

        cloud = start(state_directory(), report=report)
        _end_step(steps, current)
    return cloud.endpoint_url


def _end_step(steps: Steps, current: list[tuple[str, float]]) -> None:
    if current:
        title, began = current.pop()
        steps.note(title, seconds=time.monotonic() - began)


def down(stage: Stage = LOCAL_STAGE, profile: Profile = None, region: Region = None) -> None:
    """Stop the cloud on this machine; nothing is left behind but its logs.

    Works after a crash too: every process of the last start is found by its mark.

    [bold]Example[/]

      slidr down
    """
    _only_local("down", stage, profile, region)
    from local.cloud.lifecycle import stop  # noqa: PLC0415

    ended = stop(state_directory())
    console.print(f"{len(ended)} processes ended." if ended else "Nothing was running.")


def status(stage: Stage = LOCAL_STAGE, profile: Profile = None, region: Region = None) -> None:
    """Health in one screen: what runs, who decides, what the last minutes were like, which alarms are on, what waits.

    Exit code 1 if a part is not well. Alarms are shown and do not change it: they look back some minutes.

    [bold]Examples[/]

      slidr status
      slidr status --stage prod --profile ads
    """
    rows = (
        _local_status() if stage == LOCAL_STAGE else _aws_status(Session(stage=stage, profile=profile, region=region))
    )
    if not rows:
        console.print("The cloud does not run. Start it: [bold]slidr up[/].")
        raise typer.Exit(1)
    table = listing("", "part", "", "detail")
    for part, well, detail in rows:
        table.add_row(part, "[green]well[/]" if well else "[red]not well[/]", detail)
    console.print(table)
    _show_health(Session(stage=stage, profile=profile, region=region))
    if not all(well for _, well, _ in rows):
        raise typer.Exit(1)


def _show_health(session: Session) -> None:
    """What the stage's own stores say; nothing where its stacks are not deployed or do not answer."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    from local.commands.health_view import shown  # noqa: PLC0415
    from local.health import health  # noqa: PLC0415

    try:
        console.print(shown(health(session, now=dt.datetime.now(dt.UTC)), stage=session.stage))
    except (SlidrError, BotoCoreError, ClientError) as failure:
        console.print(f"[red]What decides clicks cannot be told[/]: {failure}", soft_wrap=True)


def _local_status() -> list[tuple[str, bool, str]]:
    from local.cloud.lifecycle import status as local_status  # noqa: PLC0415

    return [(part.part, part.healthy, part.detail) for part in local_status(state_directory()).parts]


def _aws_status(session: Session) -> list[tuple[str, bool, str]]:
    rows = []
    for part in ("data", "online", "training", "operations"):
        name = f"slidr-{session.stage}-{part}"
        stack = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        rows.append((f"stack {name}", stack["StackStatus"].endswith("E_COMPLETE"), stack["StackStatus"]))
    endpoint = session.client("sagemaker").describe_endpoint(EndpointName=session.outputs.endpoint_name)
    state = endpoint["EndpointStatus"]
    rows.append((f"endpoint {endpoint['EndpointName']}", state == "InService", endpoint.get("FailureReason") or state))
    mappings = session.client("lambda").list_event_source_mappings(FunctionName=session.outputs.score_clicks_function)
    for mapping in mappings["EventSourceMappings"]:
        result = mapping.get("LastProcessingResult", "")
        name = f"event source {stream_title(mapping['EventSourceArn'])}"
        rows.append((name, not result.startswith("PROBLEM"), result))
    return rows


def logs(
    component: Annotated[
        str | None, typer.Argument(help="Whose log (a part of the name will do); none lists what there is.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the log grows.")] = False,
    last: Annotated[int, typer.Option(min=1, help="Lines to begin with.")] = 40,
    stage: Stage = LOCAL_STAGE,
    profile: Profile = None,
    region: Region = None,
) -> None:
    """What a part says: the emulator, cdk, a function, an endpoint, a training job.

    [bold]Examples[/]

      slidr logs                              which logs there are
      slidr logs score-clicks --follow        what the Lambda says
      slidr logs cdk --last 200
      slidr logs score-clicks --stage dev     from CloudWatch Logs
    """
    if stage != LOCAL_STAGE:
        _cloudwatch_logs(Session(stage=stage, profile=profile, region=region), component, follow=follow, last=last)
        return
    folder = state_directory() / "logs"
    found = sorted(path for path in folder.glob("**/*.log") if component is None or _spelt_alike(component, path.stem))
    if component is None:
        for path in found:
            console.print(f"{path.stem}  [dim]{path.stat().st_size:,} bytes[/]")
        if not found:
            console.print(f"No logs in {folder}. Start the cloud: [bold]slidr up[/].")
        return
    if not found:
        raise OnlyLocal(f"a component with a log is required, came {component!r}; `slidr logs` lists them")
    _tail(found, last=last, follow=follow)


def _spelt_alike(component: str, name: str) -> bool:
    return component.lower().replace("-", "").replace("_", "") in name.lower().replace("-", "").replace("_", "")


def _tail(paths: list[Path], *, last: int, follow: bool) -> None:
    offsets: dict[Path, int] = {}
    for path in paths:
        content = path.read_bytes()
        offsets[path] = len(content)
        _write(path, content.splitlines()[-last:], named=len(paths) > 1)
    while follow:
        time.sleep(_POLL_S)
        for path in paths:
            size = path.stat().st_size if path.exists() else 0
            if size < offsets[path]:
                offsets[path] = 0  # a new launch began the file again
            if size > offsets[path]:
                with path.open("rb") as file:
                    file.seek(offsets[path])
                    content = file.read()
                offsets[path] += len(content)
                _write(path, content.splitlines(), named=len(paths) > 1)


def _write(path: Path, lines: list[bytes], *, named: bool) -> None:
    for line in lines:
        text = line.decode("utf-8", "replace")
        console.print(f"{path.stem}: {text}" if named else text, markup=False, soft_wrap=True)


def _cloudwatch_logs(session: Session, component: str | None, *, follow: bool, last: int) -> None:
    client = session.client("logs")
    groups = [
        group["logGroupName"]
        for page in client.get_paginator("describe_log_groups").paginate()
        for group in page["logGroups"]
        if f"slidr-{session.stage}" in group["logGroupName"] or group["logGroupName"] == _TRAINING_LOGS
    ]
    chosen = [name for name in groups if component is not None and _spelt_alike(component, name)]
    if not chosen:
        for name in groups:
            console.print(name)
        return
    since_ms = dict.fromkeys(chosen, int(time.time() * 1000) - 3_600_000)
    while True:
        for name in chosen:
            pages = client.get_paginator("filter_log_events").paginate(
                logGroupName=name, startTime=since_ms[name]
            )  # the oldest first, in pages that may be empty
            for event in deque((event for page in pages for event in page["events"]), maxlen=last):
                since_ms[name] = event["timestamp"] + 1
                console.print(event["message"].rstrip(), markup=False, soft_wrap=True)
        if not follow:
            return
        time.sleep(2.0)


def _only_local(command: str, stage: str, profile: str | None, region: str | None) -> None:
    if stage != LOCAL_STAGE or profile or region:
        raise OnlyLocal(
            f"`slidr {command}` is about the cloud on this machine, came --stage {stage} --profile {profile} --region "
            f"{region}. On AWS: node_modules/.bin/cdk deploy --all -c stage={stage} (or cdk destroy)."
        )
