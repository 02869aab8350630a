"""SageMaker containers as processes of the image's own entry point, with a directory in place of /opt/ml.

The entry point finds that directory in SLIDR_OPT_ML; inside it everything is where SageMaker puts it.
Source: SageMaker developer guide, "Use your own inference code" and "How Amazon SageMaker AI runs your training
image".
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.cloud.children import ChildOptions, start_child, stop_child
from local.cloud.gateway import ACCESS_KEY, REGION, SECRET_KEY, endpoint_url
from local.cloud.s3_uri import extract_archive
from slidr.errors import SlidrError

DEFAULT_COMMAND = (sys.executable, "-m", "training.container.entrypoint")
_REPOSITORY = Path(__file__).parents[2]
_PING_LIMIT_S = 120.0
_PING_EVERY_S = 0.05


class ContainerFailed(SlidrError):
    """A SageMaker container ended, or did not answer, when it should have run."""


@dataclass(frozen=True, slots=True)
class ContainerHost:
    """Where containers run and what the image's entry point is on this machine."""

    state: Path
    command: tuple[str, ...] = DEFAULT_COMMAND

    def opt_ml(self, name: str) -> Path:
        """Return a new directory that stands for /opt/ml of one container."""
        parent = self.state / "opt-ml"
        parent.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(dir=parent, prefix=f"{name[:40]}-"))
        for part in ("model", "input/config", "input/data", "output/data"):
            (directory / part).mkdir(parents=True)
        return directory

    def log(self, name: str) -> Path:
        """Return the log file of a container."""
        path = self.state / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def start(
        self, arguments: Sequence[str], *, opt_ml: Path, environment: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start the entry point with `arguments` ("serve" or "train")."""
        return self.start_command([*self.command, *arguments], opt_ml=opt_ml, environment=environment, log=log)

    def start_command(
        self, command: Sequence[str], *, opt_ml: Path, environment: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start any command in a container's surroundings."""
        with log.open("ab") as output:
            return start_child(
                command,
                ChildOptions(
                    environment={
                        **_machine_variables(),
                        "AWS_ENDPOINT_URL": endpoint_url(),
                        "AWS_REGION": REGION,
                        "AWS_DEFAULT_REGION": REGION,
                        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                        "AWS_EC2_METADATA_DISABLED": "true",
                        "SLIDR_OPT_ML": str(opt_ml),
                        "SM_MODEL_DIR": str(opt_ml / "model"),
                        **environment,
                    },
                    directory=opt_ml,
                    output=output,
                ),
            )


def _machine_variables() -> dict[str, str]:
    """Return this machine's variables, without those that would point a container elsewhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "SLIDR_", "GATEWAY_"))}
    path = os.pathsep.join(part for part in (str(_REPOSITORY), os.environ.get("PYTHONPATH", "")) if part)
    return {**kept, "PYTHONPATH": path}


def command_from(text: str | None) -> tuple[str, ...]:
    """Read a command line, or return the image's entry point."""
    return tuple(shlex.split(text)) if text else DEFAULT_COMMAND


def free_port() -> int:
    """Return a TCP port that is free on the loopback interface now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass(frozen=True, slots=True)
class ServingContainer:
    """A model server that answered /ping."""

    process: subprocess.Popen[bytes]
    port: int

    def stop(self) -> None:
        """End the server."""
        stop_child(self.process)

    @property
    def runs(self) -> bool:
        """Whether the process is alive."""
        return self.process.poll() is None


def start_serving(
    host: ContainerHost, name: str, *, model_data_url: str | None, environment: Mapping[str, str]
) -> ServingContainer:
    """Start a model server and wait until it answers /ping.

    Raises:
        ContainerFailed: it ended, or did not answer in time.
    """
    opt_ml = host.opt_ml(name)
    if model_data_url:
        extract_archive(model_data_url, opt_ml / "model")
    port = free_port()
    log = host.log(f"endpoint-{name}")
    process = host.start(
        ["serve"], opt_ml=opt_ml, environment={**environment, "SAGEMAKER_BIND_TO_PORT": str(port)}, log=log
    )
    deadline = time.monotonic() + _PING_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ContainerFailed(
                f"the serving container must answer /ping; it ended with status {process.returncode}: see {log}"
            )
        if _answers_ping(port):
            return ServingContainer(process, port)
        time.sleep(_PING_EVERY_S)
    stop_child(process)
    raise ContainerFailed(
        f"the serving container did not pass the ping health check within {_PING_LIMIT_S:.0f} s: see {log}"
    )


def _answers_ping(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as answer:
            healthy: bool = answer.status == 200
            return healthy
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
