"""The role of training jobs, and of the processing jobs that build their datasets."""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_kms as kms
from constructs import Construct

from infra.constructs.private_bucket import PrivateBucket
from infra.constructs.sagemaker_role import SageMakerRole
from slidr.billing import BILLING

TRAINING: Final = "training/"
"""Prefix of the lake with the datasets that jobs read and the models that they write."""
REPLAYS: Final = "replays/"
"""Prefix of the lake where replays keep what they find."""
RECORDS: Final = ("clicks/", "purchases/", "verdicts/")
"""Prefixes of the lake that datasets are built from, pseudonymised; verdicts hold the features that serving saw."""


class TrainingRole(SageMakerRole):
    """What SageMaker does for `slidr train`: fetch records or a dataset, store what the job made.

    It cannot publish a release.
    """

    def __init__(self, scope: Construct, construct_id: str, *, lake: PrivateBucket, lake_key: kms.IKey) -> None:
        super().__init__(scope, construct_id, log_group="/aws/sagemaker/TrainingJobs")
        self.write_logs("/aws/sagemaker/ProcessingJobs")
        for prefix in (TRAINING, REPLAYS, BILLING, *RECORDS):
            lake.grant_get(self, prefix=prefix)
        for prefix in (TRAINING, REPLAYS, BILLING):
            lake.grant_add(self, prefix=prefix)
        lake_key.grant(self, "kms:Encrypt")  # asked for where the job's output names a key
