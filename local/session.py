"""Which AWS a command talks to, local or a real account, and what a stage's stacks say of themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from slidr.errors import SlidrError

LOCAL_STAGE: Final = "local"
STATE_VARIABLE: Final = "SLIDR_STATE"


class StageNotDeployed(SlidrError):
    """A stage's stacks are missing, incomplete, or cannot be read."""


def state_directory() -> Path:
    """Where the local cloud keeps its files: `SLIDR_STATE`, else `.slidr` here."""
    return Path(os.environ.get(STATE_VARIABLE, ".slidr")).absolute()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The outputs of a stage's stacks, by the names that infra gives them (ClickStream -> click_stream)."""

    click_stream: str
    purchase_stream: str
    verdict_stream: str
    lake_bucket: str
    lake_key: str
    release_bucket: str
    quarantine_bucket: str
    control_table: str
    profile_table: str
    undecided_queue_url: str
    pseudonym_secret: str
    score_clicks_function: str
    endpoint_name: str
    serving_role_arn: str
    training_role_arn: str
    container_image: str
    release_machine_arn: str
    schedule_name: str
    model_package_group: str
    roll_back_function: str
    alarm_prefix: str
    dashboard_name: str
    replay_machine_arn: str
    hours_machine_arn: str

    @classmethod
    def of(cls, values: Mapping[str, str], *, stage: str) -> Outputs:
        """The outputs from their CloudFormation names.

        Raises:
            StageNotDeployed: one is missing.
        """
        names = {field.name: _output_name(field.name) for field in fields(cls)}
        missing = sorted(output for output in names.values() if output not in values)
        if missing:
            raise StageNotDeployed(
                f"the stacks of stage {stage} must have the outputs {', '.join(missing)}, they are missing. "
                f"Deploy this commit's stacks: {_how_to_deploy(stage)}"
            )
        return cls(**{name: values[output] for name, output in names.items()})


def _output_name(field: str) -> str:
    """The CloudFormation output that fills a field.

    >>> _output_name("lake_bucket")
    'LakeBucket'
    """
    return "".join(part.capitalize() for part in field.split("_"))


def _how_to_deploy(stage: str) -> str:
    return "slidr up" if stage == LOCAL_STAGE else f"node_modules/.bin/cdk deploy --all -c stage={stage}"


@dataclass(frozen=True)
class Session:
    """One command's connection: clients on demand, outputs read once."""

    stage: str = LOCAL_STAGE
    profile: str | None = None
    region: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether this is the cloud on this machine."""
        return self.stage == LOCAL_STAGE

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    @cached_property
    def _cloud(self) -> Any:
        from local.cloud.lifecycle import connect  # noqa: PLC0415 - not needed on AWS

        return connect(state_directory())

    @cached_property
    def _boto(self) -> Any:
        import boto3  # noqa: PLC0415 - 0.2 s that --help should not pay
        from botocore.exceptions import ProfileNotFound  # noqa: PLC0415

        try:
            session = boto3.session.Session(profile_name=self.profile, region_name=self.region)
        except ProfileNotFound as failure:
            raise StageNotDeployed(
                f"a profile of your AWS configuration is required, came --profile {self.profile}. "
                "`aws configure list-profiles` lists them."
            ) from failure
        if session.region_name is None:
            raise StageNotDeployed("a region is required: pass --region, or set AWS_REGION or the profile's region")
        return session

    def client(self, service: str) -> Any:
        """A boto3 client of `service` where the stage lives."""
        if service not in self._clients:
            self._clients[service] = (self._cloud if self.is_local else self._boto).client(service)
        return self._clients[service]

    @cached_property
    def region_name(self) -> str:
        """The AWS region in use."""
        return str(self.client("cloudformation").meta.region_name)

    @cached_property
    def endpoint_url(self) -> str | None:
        """Where all of AWS answers; None for AWS itself."""
        return str(self._cloud.endpoint_url) if self.is_local else None

    def environment(self) -> dict[str, str]:
        """Variables that point other AWS tools and SDKs at the same place."""
        if self.is_local:
            return dict(self._cloud.environment())
        chosen = {"AWS_REGION": self.region_name, "AWS_DEFAULT_REGION": self.region_name}
        return chosen | ({"AWS_PROFILE": self.profile} if self.profile else {})

    def flush_deliveries(self) -> None:
        """Have the lake hold what was delivered so far: at once here; on AWS Firehose writes at its own interval."""
        if self.is_local:
            self._cloud.flush_deliveries()

    @cached_property
    def outputs(self) -> Outputs:
        """What the stage's stacks say of themselves, read from CloudFormation (locally through the same API).

        Raises:
            StageNotDeployed: a stack is missing or access is denied.
            CloudNotRunning: the local cloud is not up.
        """
        from botocore.exceptions import ClientError  # noqa: PLC0415

        values: dict[str, str] = {}
        for part in ("data", "online", "training", "operations"):
            stack = f"slidr-{self.stage}-{part}"
            try:
                described = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
            except ClientError as failure:
                raise StageNotDeployed(
                    f"the stack {stack} must be deployed and readable, came: {failure}. "
                    f"Deploy it ({_how_to_deploy(self.stage)}), or check --stage, --profile and --region."
                ) from failure
            for output in described[0].get("Outputs", []) if described else []:
                values[output["OutputKey"]] = output["OutputValue"]
        return Outputs.of(values, stage=self.stage)
