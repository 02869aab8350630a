"""A log group with an end to its keeping, encrypted with a key of ours."""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.constructs.private_bucket import removal_policy
from infra.settings import Stage

_RETENTION: Final = {
    1: logs.RetentionDays.ONE_DAY,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    731: logs.RetentionDays.TWO_YEARS,
}
"""`Stage.log_days` to the service's choices."""


class PrivateLogGroup(logs.LogGroup):
    """A CloudWatch log group with the stage's retention."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage, key: kms.IKey) -> None:
        super().__init__(
            scope,
            construct_id,
            encryption_key=key,
            removal_policy=removal_policy(keep=stage.keep_data),
            retention=_RETENTION[stage.log_days],
        )
