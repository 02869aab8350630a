"""Stacks deploy whole: types that need no behaviour here are recorded, the others behave."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest

from local.cloud.cfn_types import RECORDED_TYPES

from .conftest import Emulator


def deploy(emulator: Emulator, resources: dict[str, Any], outputs: dict[str, Any] | None = None) -> dict[str, str]:
    """Deploy a template; return its outputs."""
    name = f"stack-{uuid.uuid4().hex[:8]}"
    template = {"Resources": resources, "Outputs": {key: {"Value": value} for key, value in (outputs or {}).items()}}
    cloudformation = emulator.client("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    cloudformation.delete_stack(StackName=name)
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def test_every_recorded_type_is_created_and_deleted(emulator: Emulator) -> None:
    resources = {f"R{index}": {"Type": name, "Properties": {}} for index, name in enumerate(RECORDED_TYPES)}

    with_arn = {f"Arn{i}": {"Fn::GetAtt": [f"R{i}", "Arn"]} for i, t in enumerate(RECORDED_TYPES.values()) if t.arn}
    outputs = deploy(emulator, resources, with_arn)

    assert len(outputs) == len(with_arn)
    assert all(value.startswith("arn:aws:") for value in outputs.values())


def test_a_generated_secret_keeps_to_its_settings(emulator: Emulator) -> None:
    settings = {
        "PasswordLength": 64,
        "ExcludePunctuation": True,
        "IncludeSpace": False,
        "GenerateStringKey": "key_base64",
        "SecretStringTemplate": '{"version": 1}',
    }
    secret = {"Type": "AWS::SecretsManager::Secret", "Properties": {"GenerateSecretString": settings}}
    template = {"Resources": {"Secret": secret}, "Outputs": {"Id": {"Value": {"Ref": "Secret"}}}}
    cloudformation = emulator.client("cloudformation")
    cloudformation.create_stack(StackName="secret", TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_create_complete").wait(StackName="secret", WaiterConfig={"Delay": 1})
    (stack,) = cloudformation.describe_stacks(StackName="secret")["Stacks"]

    found = emulator.client("secretsmanager").get_secret_value(SecretId=stack["Outputs"][0]["OutputValue"])

    value = json.loads(found["SecretString"])
    assert value["version"] == 1
    assert len(base64.b64decode(value["key_base64"], validate=True)) == 48


@pytest.mark.parametrize("shards", [1, 3])
def test_a_cache_answers_both_forms_of_its_address_with_the_local_server(emulator: Emulator, shards: int) -> None:
    group = {
        "Type": "AWS::ElastiCache::ReplicationGroup",
        "Properties": {
            "ReplicationGroupDescription": "counters",
            "Engine": "valkey",
            "CacheNodeType": "cache.t4g.micro",
            "NumNodeGroups": shards,
            "ReplicasPerNodeGroup": 1,
            "AutomaticFailoverEnabled": True,
        },
    }
    outputs = deploy(
        emulator,
        {"Cache": group},
        {
            "Primary": {"Fn::GetAtt": ["Cache", "PrimaryEndPoint.Address"]},
            "Cluster": {"Fn::GetAtt": ["Cache", "ConfigurationEndPoint.Address"]},
            "Port": {"Fn::GetAtt": ["Cache", "ConfigurationEndPoint.Port"]},
        },
    )

    assert outputs == {"Primary": "127.0.0.1", "Cluster": "127.0.0.1", "Port": "16390"}


def test_a_deleted_endpoint_stack_ends_its_containers(emulator: Emulator) -> None:
    resources = {
        "Model": {
            "Type": "AWS::SageMaker::Model",
            "Properties": {
                "PrimaryContainer": {"Image": "slidr:1"},
                "ExecutionRoleArn": "arn:aws:iam::000000000000:role/x",
            },
        },
        "Config": {
            "Type": "AWS::SageMaker::EndpointConfig",
            "Properties": {
                "ProductionVariants": [
                    {
                        "VariantName": "main",
                        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
                        "InitialInstanceCount": 1,
                        "InitialVariantWeight": 1.0,
                        "InstanceType": "ml.m5.large",
                    }
                ],
                "Tags": [{"Key": "stage", "Value": "local"}],
            },
        },
        "Endpoint": {
            "Type": "AWS::SageMaker::Endpoint",
            "Properties": {
                "EndpointName": "of-a-stack",
                "EndpointConfigName": {"Fn::GetAtt": ["Config", "EndpointConfigName"]},
            },
        },
    }
    outputs = deploy(emulator, resources, {"Name": {"Fn::GetAtt": ["Endpoint", "EndpointName"]}})

    assert outputs == {"Name": "of-a-stack"}
    listed = emulator.client("sagemaker").list_endpoints(NameContains="of-a-stack")["Endpoints"]
    assert listed == []
