"""The CDK app: `cdk synth -c stage=prod`, or any other stage of `infra/stages/`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from aws_cdk import App, Environment, Tags

from infra.bundle import FUNCTIONS, bundle, platform_of
from infra.data_stack import DataStack
from infra.nag import check_at_synthesis
from infra.online_stack import OnlineStack
from infra.operations_stack import OperationsStack
from infra.settings import Stage, load_stage
from infra.training_stack import TrainingStack
from slidr.errors import SlidrError


def build(
    app: App, stage: Stage, *, bundles: Mapping[str, Path]
) -> tuple[DataStack, OnlineStack, TrainingStack, OperationsStack]:
    """Add a stage's stacks to `app`."""
    where = Environment(account=stage.account or None, region=stage.region)
    prefix = f"slidr-{stage.name}"
    data = DataStack(app, f"{prefix}-data", stage=stage, env=where, termination_protection=stage.keep_data)
    online = OnlineStack(app, f"{prefix}-online", stage=stage, data=data, bundles=bundles, env=where)
    training = TrainingStack(
        app, f"{prefix}-training", stage=stage, data=data, online=online, bundles=bundles, env=where
    )
    operations = OperationsStack(
        app,
        f"{prefix}-operations",
        stage=stage,
        data=data,
        online=online,
        training=training,
        bundles=bundles,
        env=where,
    )
    Tags.of(app).add("project", "slidr")
    Tags.of(app).add("stage", stage.name)
    return data, online, training, operations


def stage_from_context(context: Mapping[str, object]) -> Stage:
    """The stage that `-c stage=... -c key=value` asks for; `dev` where nothing is asked.

    The tool's own keys hold a colon or start with an @; every other key must be a setting.
    """
    given = {key: value for key, value in context.items() if ":" not in key and not key.startswith("@")}
    name = str(given.pop("stage", "dev"))
    return load_stage(name, given)


def main() -> None:
    """Synthesise."""
    app = App()
    stage = stage_from_context(app.node.get_all_context())
    if stage.is_local:
        # Loading the built-in template validator takes longer than all the rest; stages on AWS keep it.
        app = App(builtin_cloud_formation_validation=False)
    platform = platform_of(stage.functions, native=stage.is_local)
    build(app, stage, bundles={function: bundle(function, platform) for function in FUNCTIONS})
    check_at_synthesis(app)
    app.synth()


if __name__ == "__main__":
    try:
        main()
    except SlidrError as failure:
        sys.exit(f"{type(failure).__name__}: {failure}")
