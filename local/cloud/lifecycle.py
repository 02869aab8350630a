"""Start, stop and look at the local cloud of one state directory (`./.slidr`).

    cloud = start(Path(".slidr"))
    cloud.outputs["slidr-local-data"]["ClickStream"]
    stop(Path(".slidr"))

One daemon (the emulator) owns every other process: Valkey, the functions' environments, the model servers. They end
with it, by the kernel's help, however it ends; it ends itself when the command that starts the cloud dies half-way.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import boto3

from local.cloud.children import MARK, stop_child
from local.cloud.containers import free_port
from local.cloud.deployment import CdkApp, Deployment, Outputs, aws_environment, read_outputs
from local.cloud.gateway import ACCESS_KEY, REGION, SECRET_KEY
from local.cloud.processes import end, marked, recall, remember, start_daemon
from local.cloud.stream_title import stream_title
from slidr.errors import SlidrError

_START_LIMIT_S = 60.0
_LOCAL_STAGE = CdkApp(context={"stage": "local"})
# What a launch writes, besides its logs; removed when it ends and before another begins.
_OF_A_LAUNCH = ("run", "tmp", "lambda", "opt-ml", "valkey", "cdk.out", "cdk-home", "outputs.json")


class CloudNotStarted(SlidrError):
    """The local cloud did not come up; what had been started is ended again."""


class CloudNotRunning(SlidrError):
    """An operation needs the local cloud, which is not running."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a launch decided: its mark and its ports."""

    mark: str
    port: int
    valkey_port: int


@dataclass(frozen=True, slots=True)
class Cloud:
    """A running local cloud."""

    state: Path
    endpoint_url: str
    valkey_port: int
    outputs: Outputs = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Variables that point AWS clients and tools at this cloud."""
        return aws_environment(self.endpoint_url)

    def client(self, service: str) -> Any:
        """Return a boto3 client of `service` at this cloud."""
        return boto3.session.Session().client(
            service,  # type: ignore[call-overload]  # the name is not a literal here
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def flush_deliveries(self) -> int:
        """Write what Firehose still buffers to S3 now; return how many objects that made."""
        written: int = json.loads(_ask(self.endpoint_url, "/_slidr/flush", timeout_s=120))["objects"]
        return written


@dataclass(frozen=True, slots=True)
class Health:
    """Whether one part of the local cloud is well; `detail` says how, or what is wrong."""

    part: str
    healthy: bool
    detail: str


@dataclass(frozen=True, slots=True)
class CloudStatus:
    """The health of every part; `running` is false when there is no local cloud at all."""

    running: bool
    parts: tuple[Health, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether the cloud runs and every part is well."""
        return self.running and all(part.healthy for part in self.parts)


def _nothing(_: str) -> None:
    return


def start(
    state: Path,
    *,
    app: CdkApp | None = _LOCAL_STAGE,
    buffer_interval_s: float = 5.0,
    container_command: str | None = None,
    report: Callable[[str], None] = _nothing,
) -> Cloud:
    """Bring the local cloud of `state` up and deploy `app` to it (None: nothing).

    A healthy cloud is kept and only deployed to; what a crashed one left is ended first. `report` is told each step.

    Raises:
        CloudNotStarted: the emulator did not come up.
        DeploymentFailed: cdk failed. In both cases nothing is left running.
    """
    state = state.absolute()
    running = _running(state)
    if running is None:
        stop(state)
        _clean(state, "logs")
    launch = running or Launch(uuid.uuid4().hex, free_port(), free_port())
    cloud = Cloud(state, f"http://127.0.0.1:{launch.port}", launch.valkey_port)
    synthesis = None
    try:
        if app is not None:
            deployment = Deployment(app, cloud.endpoint_url, state)
            synthesis = deployment.synthesise()
        if running is None:
            report("starting the emulator and Valkey")
            _start_emulator(cloud, launch, buffer_interval_s, container_command)
            report(f"the emulator answers at {cloud.endpoint_url}")
        if synthesis is not None:
            report("synthesising and deploying the stacks")
            cloud = Cloud(state, cloud.endpoint_url, launch.valkey_port, deployment.deploy(synthesis))
    except BaseException:  # Ctrl-C too: nothing may be left behind
        if synthesis is not None:
            stop_child(synthesis)
        if running is None:
            stop(state)
        raise
    _ready(state).touch()
    return cloud


def _start_emulator(cloud: Cloud, launch: Launch, buffer_interval_s: float, container_command: str | None) -> None:
    run = cloud.state / "run"
    run.mkdir(parents=True, exist_ok=True)
    (run / "launch.json").write_text(json.dumps(asdict(launch)))
    log = cloud.state / "logs" / "emulator.log"
    command = [
        *(sys.executable, "-m", "local.cloud.emulator", "--port", str(launch.port)),
        *("--valkey-port", str(launch.valkey_port), "--start-valkey", "--state-dir", str(cloud.state)),
        *(
            "--buffer-interval",
            str(buffer_interval_s),
            "--launcher",
            str(os.getpid()),
            "--ready-file",
            str(_ready(cloud.state)),
        ),
        *(("--container-command", container_command) if container_command else ()),
    ]
    daemon = start_daemon(command, environment={**os.environ, MARK: launch.mark}, log=log)
    remember(run / "emulator.json", daemon)
    deadline = time.monotonic() + _START_LIMIT_S
    while not _answers(cloud.endpoint_url):
        if daemon.process is None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise CloudNotStarted(f"the emulator must answer at {cloud.endpoint_url}, it does not ({log}):\n{tail}")
        time.sleep(0.05)


def stop(state: Path) -> list[int]:
    """End every process of the local cloud of `state`, and of what a crash left; return their pids. Logs stay."""
    state = state.absolute()
    ended: list[int] = []
    for name in ("emulator", "valkey"):
        daemon = recall(state / "run" / f"{name}.json")
        if daemon is not None and daemon.process is not None:
            ended += end([daemon.process])
    launch = _launch(state)
    if launch is not None:
        ended += end(marked(launch.mark))
    _clean(state, *_OF_A_LAUNCH)
    return ended


def connect(state: Path) -> Cloud:
    """Return the running local cloud of `state`.

    Raises:
        CloudNotRunning: there is none.
    """
    state = state.absolute()
    launch = _running(state)
    if launch is None:
        raise CloudNotRunning(f"the local cloud of {state} is required, it is not running: run `slidr up`")
    return Cloud(state, f"http://127.0.0.1:{launch.port}", launch.valkey_port, read_outputs(state))


def status(state: Path) -> CloudStatus:
    """Say of every process, stack, endpoint and event source mapping whether it is well."""
    state = state.absolute()
    launch = _launch(state)
    daemon = recall(state / "run" / "emulator.json")
    if launch is None or daemon is None:
        return CloudStatus(running=False)
    cloud = Cloud(state, f"http://127.0.0.1:{launch.port}", launch.valkey_port)
    alive = daemon.process is not None and _answers(cloud.endpoint_url)
    parts = [Health("emulator", alive, f"pid {daemon.pid}, {cloud.endpoint_url}" if alive else "does not answer")]
    if alive:
        parts += _inside(cloud.endpoint_url)
        parts += _services(cloud)
    return CloudStatus(running=True, parts=tuple(parts))


def _inside(endpoint_url: str) -> list[Health]:
    """Ask the emulator about the processes that it owns."""
    return [Health(**part) for part in json.loads(_ask(endpoint_url, "/_slidr/processes", timeout_s=10))]


def _services(cloud: Cloud) -> list[Health]:
    parts = [
        Health(f"stack {stack['StackName']}", stack["StackStatus"].endswith("E_COMPLETE"), stack["StackStatus"])
        for stack in cloud.client("cloudformation").describe_stacks()["Stacks"]
    ]
    sagemaker = cloud.client("sagemaker")
    for listed in sagemaker.list_endpoints()["Endpoints"]:
        endpoint = sagemaker.describe_endpoint(EndpointName=listed["EndpointName"])
        detail = endpoint.get("FailureReason") or endpoint["EndpointStatus"]
        well = endpoint["EndpointStatus"] == "InService" and "FailureReason" not in endpoint
        parts.append(Health(f"endpoint {endpoint['EndpointName']}", well, detail))
    for mapping in cloud.client("lambda").list_event_source_mappings()["EventSourceMappings"]:
        result = mapping.get("LastProcessingResult", "")
        name = f"event source {stream_title(mapping['EventSourceArn'])}"
        parts.append(Health(name, not result.startswith("PROBLEM"), result))
    return parts


def _ask(endpoint_url: str, path: str, *, timeout_s: float) -> bytes:
    """Return what the emulator answers to a GET of `path`; OSError when it does not answer."""
    connection = http.client.HTTPConnection(endpoint_url.removeprefix("http://"), timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _answers(endpoint_url: str) -> bool:
    try:
        return bool(_ask(endpoint_url, "/_slidr/processes", timeout_s=5))
    except (OSError, http.client.HTTPException):
        return False


def _ready(state: Path) -> Path:
    return state / "run" / "ready"


def _launch(state: Path) -> Launch | None:
    try:
        return Launch(**json.loads((state / "run" / "launch.json").read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None


def _running(state: Path) -> Launch | None:
    """Return the launch whose emulator is alive, answers and was started to the end."""
    launch, daemon = _launch(state), recall(state / "run" / "emulator.json")
    if launch is None or daemon is None or daemon.process is None or not _ready(state).exists():
        return None
    return launch if _answers(f"http://127.0.0.1:{launch.port}") else None


def _clean(state: Path, *names: str) -> None:
    for name in names:
        path = state / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
