"""A role for one service or function."""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import nag


class ServiceRole(iam.Role):
    """A role that one AWS service assumes; its policy is written by grants and lives and dies with it."""

    def __init__(self, scope: Construct, construct_id: str, *, service: str, managed_policy: str | None = None) -> None:
        super().__init__(
            scope,
            construct_id,
            assumed_by=iam.ServicePrincipal(service),
            managed_policies=(
                [iam.ManagedPolicy.from_aws_managed_policy_name(managed_policy)] if managed_policy else None
            ),
        )
        acknowledge_inline_policy(self)


def acknowledge_inline_policy(role: iam.IRole) -> None:
    """Say why a role's policy is inline."""
    nag.acknowledge(
        role,
        nag.nist("IAMNoInlinePolicy"),
        reason="Grants write this policy for exactly one role; as a managed policy it could be attached elsewhere.",
    )
