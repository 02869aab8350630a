"""`python -m infra.lock`: pin each function's packages, with hashes, in `functions/<name>/requirements.lock`.

The direct packages stand in `requirements.in`; versions follow constraints.txt, so a function runs what the
tests ran. What the Lambda runtime has (boto3 and its own packages) stays out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from infra.bundle import FUNCTIONS, REPOSITORY, BundleInvalid

RUNTIME_HAS: Final = ("boto3", "botocore", "s3transfer", "urllib3", "python-dateutil", "six")

_HEADER: Final = "# Made by `python -m infra.lock` from requirements.in; the Lambda runtime has boto3 and botocore.\n"


def lock(function: str) -> Path:
    """Resolve one function's packages and write its lock.

    Raises:
        BundleInvalid: pip-compile found no resolution.
    """
    directory = REPOSITORY / "functions" / function
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "requirements.lock"
        command = [
            *(sys.executable, "-m", "piptools", "compile", "--quiet", "--generate-hashes", "--strip-extras"),
            *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links"),
            *("--no-allow-unsafe", *(f"--unsafe-package={name}" for name in RUNTIME_HAS)),
            *(f"--constraint={REPOSITORY / 'constraints.txt'}", f"--output-file={made}", "requirements.in"),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)  # noqa: S603
        if result.returncode:
            raise BundleInvalid(f"pip-compile could not lock {function}: {result.stderr.strip()[-800:]}")
        pinned = made.read_text("utf-8").partition("\n# ")[0].strip()
    target = directory / "requirements.lock"
    target.write_text(f"{_HEADER}{pinned}\n", "utf-8")
    return target


if __name__ == "__main__":
    for name in FUNCTIONS:
        sys.stdout.write(f"{lock(name).relative_to(REPOSITORY)}\n")
