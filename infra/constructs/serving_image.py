"""The container image of the endpoint: built from this repository, or one that exists already."""

from __future__ import annotations

import re
from typing import Final

from aws_cdk import IgnoreMode
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.bundle import REPOSITORY
from infra.settings import Stage, StageInvalid

DOCKERFILE: Final = "training/container/Dockerfile"
_CONTEXT: Final = ["*", "!constraints.txt", "!slidr", "!training", "**/__pycache__"]
"""What the image is built from, by .dockerignore's rules: everything else would change its hash for nothing."""


class ServingImage(Construct):
    """`uri` is the image; synthesis only hashes its sources, Docker runs at deploy time."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage) -> None:
        super().__init__(scope, construct_id)
        self._asset: ecr_assets.DockerImageAsset | None = None
        self.uri = stage.endpoint.image
        if not self.uri:
            if not (REPOSITORY / DOCKERFILE).is_file():
                raise StageInvalid(
                    f"{DOCKERFILE} is required to build the image, or set endpoint.image to an image's URI"
                )
            self._asset = ecr_assets.DockerImageAsset(
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
            self.uri = self._asset.image_uri

    def grant_pull(self, grantee: iam.IGrantable) -> None:
        """Let `grantee` pull the image; an image given by URI brings its own repository policy."""
        if self._asset is not None:
            self._asset.repository.grant_pull(grantee)


def is_graviton(instance_type: str) -> bool:
    """Whether the instance type has an arm64 processor.

    >>> is_graviton("ml.c7g.large"), is_graviton("ml.g5.xlarge"), is_graviton("ml.c7i.large")
    (True, False, False)
    """
    return re.fullmatch(r"ml\.[a-z]+\d+g[a-z]*\..+", instance_type) is not None
