"""cdk-nag at every synthesis: three rule packs, and acknowledgements that each give their reason.

An acknowledgement stands beside the construct it is about and covers nothing else. Tests fail on a finding that
is not acknowledged and on an acknowledgement that no finding needs any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aws_cdk import Acknowledgment, App, Stack, Token, Validations
from cdk_nag import AwsSolutionsChecks, NagPack, NIST80053R4Checks, NIST80053R5Checks
from constructs import IConstruct

PACKS: Final[tuple[type[AwsSolutionsChecks | NIST80053R4Checks | NIST80053R5Checks], ...]] = (
    AwsSolutionsChecks,
    NIST80053R4Checks,
    NIST80053R5Checks,
)
SOLUTIONS: Final = "AwsSolutions-"
NIST_R4: Final = "NIST.800.53.R4-"
NIST_R5: Final = "NIST.800.53.R5-"
NIST: Final = (NIST_R4, NIST_R5)


def check_at_synthesis(app: App) -> None:
    """Run every pack when `app` is synthesised; a finding stops it."""
    Validations.of(app).add_plugins(*(pack(app, verbose=True) for pack in PACKS))


def findings(app: App) -> list[tuple[str, str]]:
    """Rule and construct path of every finding that is not acknowledged, sorted; needs no synthesis."""
    packs: list[NagPack] = [pack(app) for pack in PACKS]
    return sorted(
        (violation.rule_name, resource.construct_path or "")
        for pack in packs
        for violation in pack.validate_scope(app).violations
        for resource in violation.violating_resources
    )


def acknowledge(construct: IConstruct, rules: str | Iterable[str], *, reason: str) -> None:
    """Accept findings of `rules` on one construct, and say why.

    Args:
        construct: the finding's own construct, or the nearest one around it.
        rules: full rule ids, such as "AwsSolutions-KDF1" or "AwsSolutions-IAM5[Resource::*]".
        reason: what makes the finding harmless, or the alternative worse.
    """
    for rule in [rules] if isinstance(rules, str) else rules:
        record(construct, rule, reason)


def nist(rule: str) -> tuple[str, ...]:
    """The rule's id in both NIST packs.

    >>> nist("LambdaDLQ")
    ('NIST.800.53.R4-LambdaDLQ', 'NIST.800.53.R5-LambdaDLQ')
    """
    return tuple(f"{pack}{rule}" for pack in NIST)


def wildcard_resource(stack: Stack, arn: str) -> str:
    """The rule id of an IAM5 finding on one resource, an account's token written as cdk-nag writes it."""
    return f"{SOLUTIONS}IAM5[Resource::{arn.replace(stack.account, _account(stack))}]"


def _account(stack: Stack) -> str:
    return "<AWS::AccountId>" if Token.is_unresolved(stack.account) else stack.account


def record(construct: IConstruct, rule: str, reason: str) -> None:
    """Write one acknowledgement into the construct's metadata."""
    Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))
