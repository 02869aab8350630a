from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from infra.bundle import REPOSITORY
from tests.infra.conftest import Synthesised


def test_cfn_lint_finds_nothing(prod: Synthesised) -> None:
    command = Path(sys.executable).parent / "cfn-lint"
    result = subprocess.run(
        [str(command), f"{prod.app.outdir}/*.template.json"],
        cwd=REPOSITORY,  # for .cfnlintrc
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (result.returncode, result.stdout) == (0, "")


def test_every_ignored_rule_has_its_reason() -> None:
    lines = (REPOSITORY / ".cfnlintrc").read_text().splitlines()
    ignored = [index for index, line in enumerate(lines) if line.strip().startswith("- ")]
    assert ignored
    assert all(lines[index - 1].strip().startswith("#") for index in ignored)
