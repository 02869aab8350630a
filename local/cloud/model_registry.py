"""SageMaker's Model Registry, which ministack does not have: groups of versioned model packages with an approval."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Refused = Callable[[str], Exception]


@dataclass(slots=True)
class ModelRegistry:
    """The packages of one account and region, by group."""

    refused: Refused
    """Makes the service's ValidationException of a message."""
    _groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    _packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    _by_token: dict[str, str] = field(default_factory=dict)

    def operations(self, prefix: str) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        """The operations by name; `prefix` begins the ARNs, up to the account."""
        return {
            "CreateModelPackageGroup": lambda asked: self._create_group(asked, prefix),
            "DescribeModelPackageGroup": lambda asked: self._group(asked["ModelPackageGroupName"]),
            "DeleteModelPackageGroup": self._delete_group,
            "CreateModelPackage": lambda asked: self._create_package(asked, prefix),
            "DescribeModelPackage": lambda asked: self._package(asked["ModelPackageName"]),
            "UpdateModelPackage": self._update_package,
            "ListModelPackages": self._list_packages,
        }

    def _create_group(self, asked: dict[str, Any], prefix: str) -> dict[str, Any]:
        name = asked["ModelPackageGroupName"]
        if name in self._groups:
            raise self.refused(f"Model Package Group already exists: {prefix}:model-package-group/{name}")
        arn = f"{prefix}:model-package-group/{name}"
        self._groups[name] = {
            **asked,
            "ModelPackageGroupArn": arn,
            "ModelPackageGroupStatus": "Completed",
            "CreationTime": time.time(),
        }
        return {"ModelPackageGroupArn": arn}

    def _group(self, name: str) -> dict[str, Any]:
        name = name.rpartition("/")[2]
        if name not in self._groups:
            raise self.refused(f"ModelPackageGroup {name} does not exist.")
        return self._groups[name]

    def _delete_group(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = self._group(asked["ModelPackageGroupName"])["ModelPackageGroupName"]
        if any(package["ModelPackageGroupName"] == name for package in self._packages.values()):
            raise self.refused(f"ModelPackageGroup {name} cannot be deleted since it contains model packages.")
        del self._groups[name]
        return {}

    def _create_package(self, asked: dict[str, Any], prefix: str) -> dict[str, Any]:
        group = self._group(asked["ModelPackageGroupName"])["ModelPackageGroupName"]
        token = asked.get("ClientToken", "")
        if token and token in self._by_token:
            return {"ModelPackageArn": self._by_token[token]}
        version = 1 + max(
            (one["ModelPackageVersion"] for one in self._packages.values() if one["ModelPackageGroupName"] == group),
            default=0,
        )
        arn = f"{prefix}:model-package/{group}/{version}"
        self._packages[arn] = {
            "ModelApprovalStatus": "PendingManualApproval",
            **{key: value for key, value in asked.items() if key not in ("ClientToken", "Tags")},
            "ModelPackageGroupName": group,
            "ModelPackageArn": arn,
            "ModelPackageVersion": version,
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
            "CreationTime": time.time(),
        }
        if token:
            self._by_token[token] = arn
        return {"ModelPackageArn": arn}

    def _package(self, name: str) -> dict[str, Any]:
        if name not in self._packages:
            raise self.refused(f"ModelPackage {name} does not exist.")
        return self._packages[name]

    def _update_package(self, asked: dict[str, Any]) -> dict[str, Any]:
        package = self._package(asked["ModelPackageArn"])
        package.update({key: value for key, value in asked.items() if key != "ModelPackageArn"})
        package["LastModifiedTime"] = time.time()
        return {"ModelPackageArn": package["ModelPackageArn"]}

    def _list_packages(self, asked: dict[str, Any]) -> dict[str, Any]:
        group, status = asked.get("ModelPackageGroupName", ""), asked.get("ModelApprovalStatus")
        shown = (
            "ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn", "ModelPackageDescription",
            "ModelPackageStatus", "ModelApprovalStatus", "CreationTime",
        )  # fmt: skip
        found = [
            {key: value for key, value in package.items() if key in shown}
            for package in self._packages.values()
            if group.rpartition("/")[2] in ("", package["ModelPackageGroupName"])
            and status in (None, package["ModelApprovalStatus"])
        ]
        found.sort(key=lambda one: one["ModelPackageVersion"], reverse=asked.get("SortOrder") != "Ascending")
        return {"ModelPackageSummaryList": found[: int(asked.get("MaxResults", 100))]}
