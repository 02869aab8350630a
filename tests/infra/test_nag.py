from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from infra import nag
from infra.bundle import REPOSITORY
from tests.infra.conftest import Synthesised, Unacknowledged


def test_leaves_no_finding_unacknowledged(prod: Synthesised, local: Synthesised) -> None:
    assert nag.findings(prod.app) == []
    assert nag.findings(local.app) == []


def test_every_acknowledgement_still_has_its_finding_in_some_stage(unacknowledged: dict[str, Unacknowledged]) -> None:
    found = {(rule, path.replace(stage, "")) for stage, made in unacknowledged.items() for rule, path in made.findings}
    acknowledged = {
        (rule, path.replace(stage, ""))
        for stage, made in unacknowledged.items()
        for rule, path, _ in made.acknowledgements
    }
    stale = [
        (rule, path)
        for rule, path in sorted(acknowledged)
        if not any(rule == other and f"{at}/".startswith(f"{path}/") for other, at in found)
    ]
    assert stale == []


def test_acknowledgements_stand_on_one_construct_and_give_a_reason(unacknowledged: dict[str, Unacknowledged]) -> None:
    for made in unacknowledged.values():
        assert made.acknowledgements
        for rule, path, reason in made.acknowledgements:
            assert path.count("/") >= 1, f"{rule} is acknowledged for the whole of {path}"
            assert len(reason) >= 50, f"{rule} at {path}: {reason!r} is no reason"


def test_a_finding_stops_the_synthesis() -> None:
    program = textwrap.dedent("""
        from aws_cdk import App, Stack, aws_sqs
        from infra.nag import check_at_synthesis
        app = App()
        aws_sqs.Queue(Stack(app, "Bare"), "Plain")
        check_at_synthesis(app)
        app.synth()
    """)
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env={**os.environ, "CDK_VALIDATION": "false"},  # the built-in validator, not ours
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode != 0
    assert "SQS" in result.stdout + result.stderr
