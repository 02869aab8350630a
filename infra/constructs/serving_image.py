"""The container image of the endpoint: built from this repository, or one that exists already."""

from __future__ import annotations

import re
from typing import Final

from aws_cdk import IgnoreMode, Stack
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.bundle import REPOSITORY
from infra.settings import Stage, StageInvalid

DOCKERFILE: Final = "training/container/Dockerfile"
_CONTEXT: Final = ["*", "!constraints.txt", "!slidr", "!training", "**/__pycache__"]
"""What the image is built from, by .dockerignore's rules: everything else would change its hash for nothing."""

_ECR_URI: Final = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([^:@]+)")


class ServingImage(Construct):
    """`uri` is the image; synthesis only hashes its sources, Docker runs at deploy time."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage) -> None:
        super().__init__(scope, construct_id)
        self.uri = stage.endpoint.image
        if self.uri:
            self._repository = self._repository_of(self.uri)
        else:
            if not (REPOSITORY / DOCKERFILE).is_file():
                raise StageInvalid(
                    f"{DOCKERFILE} is required to build the image, or set endpoint.image to an image's URI"
                )
            asset = ecr_assets.DockerImageAsset(
                self,
                "Asset",
                directory=str(REPOSITORY),
                display_name="slidr-serving",
                exclude=_CONTEXT,
                file=DOCKERFILE,
                ignore_mode=IgnoreMode.DOCKER,
                platform=(
                    ecr_assets.Platform.LINUX_ARM64
                    if is_graviton(stage.endpoint.instance_type)
                    else ecr_assets.Platform.LINUX_AMD64
                ),
            )
            self.uri = asset.image_uri
            self._repository = asset.repository

    def grant_pull(self, grantee: iam.IGrantable) -> None:
        """Let `grantee` pull the image, wherever it is in ECR; another account's repository must allow it too."""
        if self._repository is not None:
            self._repository.grant_pull(grantee)

    def _repository_of(self, uri: str) -> ecr.IRepository | None:
        found = _ECR_URI.match(uri)
        if found is None:
            return None  # the local stage's image is a process
        account, region, name = found.groups()
        arn = Stack.of(self).format_arn(
            service="ecr", account=account, region=region, resource="repository", resource_name=name
        )
        return ecr.Repository.from_repository_attributes(self, "Given", repository_arn=arn, repository_name=name)


def is_graviton(instance_type: str) -> bool:
    """Whether the instance type has an arm64 processor.

    >>> is_graviton("ml.c7g.large"), is_graviton("ml.g5.xlarge"), is_graviton("ml.c7i.large")
    (True, False, False)
    """
    return re.fullmatch(r"ml\.[a-z]+\d+g[a-z]*\..+", instance_type) is not None
