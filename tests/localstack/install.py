"""Installs LocalStack's host mode into a virtual environment of its own: `python -m tests.localstack.install`.

Does nothing where it stands already. Where it cannot be had (no Python >= 3.12, no npm, no package index) it says why,
leaves that in a file for the tests to skip with, and ends well: the tests need not have it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FOLDER = ROOT / ".venv-localstack"
PYTHON = FOLDER / "bin" / "python"
FILES = FOLDER / "files"
"""Where LocalStack keeps its files, the Kinesis server it gets by npm among them."""
INSTALLED = FOLDER / ".installed"
REASON = FOLDER / ".unavailable"
LEAST = (3, 12)


def is_installed() -> bool:
    return INSTALLED.exists() and INSTALLED.read_text() == REQUIREMENTS.read_text()


def python_to_use() -> Path | None:
    """A Python that is new enough and runs (a shim may be there and refuse)."""
    named = [shutil.which(f"python3.{minor}") for minor in (13, 12, 14)]
    pyenv = Path.home() / ".pyenv" / "versions"
    found = [*filter(None, named), *sorted(map(str, pyenv.glob("3.1[234].*/bin/python"))), sys.executable]
    question = f"import sys, venv; sys.exit(sys.version_info[:2] < {LEAST})"
    for path in found:
        if subprocess.run([path, "-c", question], capture_output=True, check=False).returncode == 0:
            return Path(path)
    return None


def environment() -> dict[str, str]:
    """That of LocalStack's own commands: its files in this folder, no account of anybody's, no call home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LOCALSTACK_"))}
    ours = {"FILESYSTEM_ROOT": str(FILES), "OVERRIDE_IN_DOCKER": "0", "DISABLE_EVENTS": "1"}
    return {**kept, **ours, "SKIP_SSL_CERT_DOWNLOAD": "1", "DNS_ADDRESS": "0"}


def install() -> None:
    """Raise a RuntimeError that says what is missing."""
    python = python_to_use()
    if python is None:
        raise RuntimeError(f"Python >= {'.'.join(map(str, LEAST))} is required and none was found")
    if shutil.which("npm") is None:
        raise RuntimeError("npm is required (LocalStack's Kinesis is a Node program) and was not found")
    shutil.rmtree(FOLDER, ignore_errors=True)
    _run("making a virtual environment", str(python), "-m", "venv", str(FOLDER))
    pip = (str(PYTHON), "-m", "pip", "install", "--quiet", "--no-compile")
    _run("installing the packages", *pip, "--no-deps", "--requirement", str(REQUIREMENTS))
    _run("getting Kinesis", str(PYTHON), "-m", "localstack.cli.lpm", "install", "kinesis-mock")
    INSTALLED.write_text(REQUIREMENTS.read_text())


def _run(doing: str, *command: str) -> None:
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise RuntimeError(f"{doing} ended with {done.returncode}: {' '.join(last)}")


def main() -> None:
    if is_installed():
        return
    print("Installing LocalStack's host mode (a minute or two the first time) ...", flush=True)
    try:
        install()
    except RuntimeError as missing:
        FOLDER.mkdir(exist_ok=True)
        REASON.write_text(str(missing))
        print(f"LocalStack is not installed, its tests will be skipped: {missing}")


if __name__ == "__main__":
    main()
