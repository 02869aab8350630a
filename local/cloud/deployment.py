"""Deploying the project's CDK app to the local cloud, by the real `cdk` command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.cloud.children import ChildOptions, start_child
from local.cloud.gateway import ACCESS_KEY, ACCOUNT, REGION, SECRET_KEY
from slidr.errors import SlidrError

REPOSITORY = Path(__file__).parents[2]
_TAIL_LINES = 40
Outputs = Mapping[str, Mapping[str, str]]


class DeploymentFailed(SlidrError):
    """The `cdk` command line ended with an error; the message holds the end of its output."""


@dataclass(frozen=True, slots=True)
class CdkApp:
    """A CDK app: where it is, the command that synthesises it, and its context."""

    directory: Path = REPOSITORY
    command: str = f"{sys.executable} -m infra.app"
    context: Mapping[str, str] | None = None


def aws_environment(endpoint_url: str) -> dict[str, str]:
    """Return the variables that point every AWS client and tool at the local cloud, whatever this shell's own are."""
    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment of an app to the emulator at `endpoint_url`; files and log go below `state`."""

    app: CdkApp
    endpoint_url: str
    state: Path

    def synthesise(self) -> subprocess.Popen[bytes]:
        """Start `cdk synth`; it needs no emulator and may run while that starts."""
        return self._start(
            "synth", "--all", "--quiet", "--app", self.app.command, "--output", str(self._assembly), *self._context()
        )

    def deploy(self, synthesis: subprocess.Popen[bytes]) -> Outputs:
        """Bootstrap the account, wait for the synthesis and deploy every stack; return the outputs by stack.

        Raises:
            DeploymentFailed: a step failed.
        """
        bootstrapped = self.state / "run" / "bootstrapped"
        if not bootstrapped.exists():
            # Away from the app's cdk.json: with an app, cdk synthesises it once more only to look for environments.
            bootstrap = self._start("bootstrap", f"aws://{ACCOUNT}/{REGION}", directory=bootstrapped.parent)
            self._finish("bootstrap", bootstrap)
            bootstrapped.touch()
        self._finish("synth", synthesis)
        written = self.state / "outputs.json"
        written.unlink(missing_ok=True)
        self._finish(
            "deploy",
            self._start(
                *("deploy", "--all", "--app", str(self._assembly), "--require-approval", "never"),
                *("--method", "direct", "--concurrency", "4", "--outputs-file", str(written)),
            ),
        )
        return read_outputs(self.state)

    @property
    def _assembly(self) -> Path:
        return self.state / "cdk.out"

    def log(self, step: str) -> Path:
        """Return the file of everything that `cdk <step>` printed."""
        return self.state / "logs" / f"cdk-{step}.log"

    def _context(self) -> list[str]:
        return [part for key, value in (self.app.context or {}).items() for part in ("--context", f"{key}={value}")]

    def _start(self, *arguments: str, directory: Path | None = None) -> subprocess.Popen[bytes]:
        log = self.log(arguments[0])
        log.parent.mkdir(parents=True, exist_ok=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CDK_"))}
        with log.open("wb") as output:
            output.write(f"$ cdk {' '.join(arguments)}\n".encode())
            output.flush()
            return start_child(
                [str(self._command()), *arguments, "--no-notices", "--no-version-reporting", "--ci"],
                ChildOptions(
                    environment={
                        **kept,
                        **aws_environment(self.endpoint_url),
                        "CDK_HOME": str(self.state / "cdk-home"),
                        "CDK_DISABLE_CLI_TELEMETRY": "true",
                        "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
                        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
                    },
                    directory=directory or self.app.directory,
                    output=output,
                ),
            )

    @staticmethod
    def _command() -> Path:
        command = REPOSITORY / "node_modules" / ".bin" / "cdk"
        if not command.exists():
            raise DeploymentFailed(f"the CDK command line is required at {command}, it is not there: run `npm ci`")
        return command

    def _finish(self, step: str, process: subprocess.Popen[bytes]) -> None:
        if process.wait():
            log = self.log(step)
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
            raise DeploymentFailed(f"`cdk {step}` ended with status {process.returncode} ({log}):\n{tail}")


def read_outputs(state: Path) -> Outputs:
    """Return the outputs of the deployed stacks; empty when nothing is deployed.

    Those that only carry a value from one stack to another are CDK's own, and left out.
    """
    written = state / "outputs.json"
    outputs: dict[str, dict[str, str]] = json.loads(written.read_text()) if written.is_file() else {}
    return {
        stack: {name: value for name, value in values.items() if not name.startswith("ExportsOutput")}
        for stack, values in outputs.items()
    }
