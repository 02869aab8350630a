"""Each stage is built and synthesised once a session; templates are read as plain dictionaries."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "18,20")  # read once, when jsii starts

from aws_cdk import App
from constructs import IConstruct

from infra import nag
from infra.app import build
from infra.bundle import FUNCTIONS, REPOSITORY
from infra.settings import load_stage

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A synthesised stack."""

    content: dict[str, Any]

    def all(self, kind: str) -> dict[str, Resource]:
        """Every resource of a type, by logical id."""
        return {name: item for name, item in self.content["Resources"].items() if item["Type"] == kind}

    def named(self, kind: str, start: str) -> Resource:
        """The one resource of a type whose logical id starts so."""
        found = [item for name, item in self.all(kind).items() if name.startswith(start)]
        assert len(found) == 1, f"{kind} {start}: {len(found)} found"
        return found[0]

    @property
    def outputs(self) -> set[str]:
        """Keys of the outputs that are not exports."""
        return {key for key in self.content["Outputs"] if not key.startswith("Exports")}


@dataclass(frozen=True, slots=True)
class Synthesised:
    """The stacks of a stage."""

    app: App
    data: Template
    online: Template
    training: Template
    operations: Template

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every statement of every policy of a role, with the policy's logical id."""
        for template in (self.data, self.online, self.training, self.operations):
            for name, policy in template.all("AWS::IAM::Policy").items():
                for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                    yield name, statement


@pytest.fixture(scope="session")
def synthesise(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Synthesised]:
    """Build and synthesise a stage with stand-ins for the bundles."""

    def make(stage_name: str, **overrides: str) -> Synthesised:
        work = tmp_path_factory.mktemp(stage_name)
        bundles = {function: work / function for function in FUNCTIONS}
        for directory in bundles.values():
            directory.mkdir()
            (directory / "handler.py").write_text("")
        app = App(
            builtin_cloud_formation_validation=False,  # seconds of loading; test_templates.py runs cfn-lint instead
            context=json.loads((REPOSITORY / "cdk.json").read_text())["context"],
            outdir=str(work / "cdk.out"),
        )
        stage = load_stage(stage_name, overrides)
        data, online, training, operations = build(app, stage, bundles=bundles)
        assembly = app.synth()
        return Synthesised(
            app=app,
            data=Template(assembly.get_stack_by_name(data.stack_name).template),
            online=Template(assembly.get_stack_by_name(online.stack_name).template),
            training=Template(assembly.get_stack_by_name(training.stack_name).template),
            operations=Template(assembly.get_stack_by_name(operations.stack_name).template),
        )

    return make


@pytest.fixture(scope="session")
def prod(synthesise: Callable[..., Synthesised]) -> Synthesised:
    return synthesise("prod")


@pytest.fixture(scope="session")
def local(synthesise: Callable[..., Synthesised]) -> Synthesised:
    return synthesise("local")


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """A stage built with every acknowledgement held back, and what was held back: rule and construct path."""

    findings: list[tuple[str, str]]
    acknowledgements: list[tuple[str, str, str]]


@pytest.fixture(scope="session")
def unacknowledged(synthesise: Callable[..., Synthesised]) -> dict[str, Unacknowledged]:
    def without_acknowledgements(stage: str) -> Unacknowledged:
        held: list[tuple[str, str, str]] = []

        def hold(construct: IConstruct, rule: str, reason: str) -> None:
            held.append((rule, construct.node.path, reason))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nag, "record", hold)
            made = synthesise(stage)
        return Unacknowledged(findings=nag.findings(made.app), acknowledgements=held)

    return {stage: without_acknowledgements(stage) for stage in ("prod", "local")}
