"""Seam: CloudFormation resource types that ministack lacks and that need no behaviour on one machine.

They are recorded and answer the attributes that templates ask for; nothing is created. What must behave like the
service is not here but in a module of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from local.cloud import seams
from local.cloud.gateway import ACCOUNT, REGION

Attributes = tuple[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class RecordedType:
    """A resource type that is only recorded: the property that names it, else a prefix, and its ARN's form."""

    prefix: str
    name_property: str | None = None
    arn: str | None = None  # with {id}
    attributes: Mapping[str, str] | None = None  # GetAtt name -> value, with {id}


RECORDED_TYPES: Mapping[str, RecordedType] = {
    "AWS::ApplicationAutoScaling::ScalableTarget": RecordedType(
        "target", arn=f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/{{id}}"
    ),
    "AWS::ApplicationAutoScaling::ScalingPolicy": RecordedType(
        "policy", arn=f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:scalingPolicy:{{id}}"
    ),
    "AWS::EC2::FlowLog": RecordedType("fl"),
    "AWS::EC2::NetworkAcl": RecordedType("acl"),
    "AWS::EC2::NetworkAclEntry": RecordedType("aclentry"),
    "AWS::EC2::SubnetNetworkAclAssociation": RecordedType("aclassoc"),
    "AWS::EC2::SecurityGroupIngress": RecordedType("sgr"),
    "AWS::EC2::SecurityGroupEgress": RecordedType("sgr"),
    "AWS::EC2::EIP": RecordedType("eipalloc"),
    "AWS::EC2::NatGateway": RecordedType("nat"),
    "AWS::ElastiCache::ServerlessCache": RecordedType("cache", "ServerlessCacheName"),
    "AWS::IAM::ServiceLinkedRole": RecordedType("role"),
    "AWS::KMS::ReplicaKey": RecordedType("key", arn=f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{{id}}"),
    "AWS::Kinesis::ResourcePolicy": RecordedType("policy"),
    "AWS::Kinesis::StreamConsumer": RecordedType(
        "consumer", "ConsumerName", arn=f"arn:aws:kinesis:{REGION}:{ACCOUNT}:consumer/{{id}}"
    ),
    "AWS::Lambda::CodeSigningConfig": RecordedType("csc"),
    "AWS::SecretsManager::ResourcePolicy": RecordedType("policy"),
    "AWS::SecretsManager::RotationSchedule": RecordedType("rotation"),
    "AWS::SQS::QueueInlinePolicy": RecordedType("policy"),
    "AWS::Budgets::Budget": RecordedType("budget"),
    "AWS::CloudTrail::Trail": RecordedType("trail", "TrailName"),
    "AWS::CloudWatch::AnomalyDetector": RecordedType("detector"),
    "AWS::XRay::Group": RecordedType("group", "GroupName"),
}


def _handlers(recorded: RecordedType) -> dict[str, Callable[..., Any]]:
    def attributes(identity: str) -> Attributes:
        known = {
            "Id": identity,
            **{key: value.format(id=identity) for key, value in (recorded.attributes or {}).items()},
        }
        if recorded.arn:
            known["Arn"] = recorded.arn.format(id=identity)
        return identity, known

    def create(_logical_id: str, properties: dict[str, Any], _stack: str) -> Attributes:
        named = properties.get(recorded.name_property) if recorded.name_property else None
        return attributes(named or f"{recorded.prefix}-{uuid.uuid4().hex[:17]}")

    def update(physical_id: str, _old: dict[str, Any], _new: dict[str, Any], _stack: str) -> Attributes:
        return attributes(physical_id)

    def delete(_physical_id: str, _properties: dict[str, Any]) -> None:
        return

    return {"create": create, "update": update, "delete": delete}


def install() -> None:
    """Register the recorded types that ministack has no handler for."""
    known = seams.reach("services.cloudformation.provisioners._RESOURCE_HANDLERS")
    for name, recorded in RECORDED_TYPES.items():
        known.setdefault(name, _handlers(recorded))
    cache_attributes = seams.replace(
        "services.cloudformation.provisioners._ec_rg_attrs",
        lambda rg_id: _both_endpoints(cache_attributes(rg_id)),
    )


def _both_endpoints(attributes: dict[str, str]) -> dict[str, str]:
    """Answer both forms of a cache's address: locally, cluster mode or not, there is the one Valkey server."""
    primary, cluster = "PrimaryEndPoint", "ConfigurationEndPoint"
    held = primary if f"{primary}.Address" in attributes else cluster
    both = {
        f"{name}.{part}": attributes[f"{held}.{part}"]
        for name in (primary, cluster, "ReaderEndPoint")
        for part in ("Address", "Port")
        if f"{held}.{part}" in attributes
    }
    return {**both, **attributes}
