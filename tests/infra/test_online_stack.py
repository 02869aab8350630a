from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from functions.prepare_archive.settings import Settings as ArchiveSettings
from functions.score_clicks.settings import Settings as ScoreSettings
from infra.constructs.serving_image import DOCKERFILE
from infra.settings import StageInvalid
from tests.infra.conftest import Synthesised

INTERNET = (
    "AWS::EC2::InternetGateway",
    "AWS::EC2::NatGateway",
    "AWS::EC2::EgressOnlyInternetGateway",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::EC2::Route",
    "AWS::EC2::TransitGatewayAttachment",
    "AWS::EC2::VPCPeeringConnection",
)


@pytest.mark.parametrize("kind", INTERNET)
def test_the_network_has_no_way_to_the_internet(prod: Synthesised, kind: str) -> None:
    assert prod.online.all(kind) == {}


def test_no_subnet_gives_out_public_addresses(prod: Synthesised) -> None:
    subnets = prod.online.all("AWS::EC2::Subnet")
    assert len(subnets) == 2
    assert {subnet["Properties"]["MapPublicIpOnLaunch"] for subnet in subnets.values()} == {False}


def test_endpoints_reach_only_this_account(prod: Synthesised) -> None:
    endpoints = prod.online.all("AWS::EC2::VPCEndpoint")
    services = {json.dumps(endpoint["Properties"]["ServiceName"]).rpartition(".")[2] for endpoint in endpoints.values()}
    assert len(endpoints) == len(services) == 7
    for name, endpoint in endpoints.items():
        if name.startswith("NetworkVpcXRay"):  # trace segments belong to no resource
            assert "PolicyDocument" not in endpoint["Properties"]
            continue
        (statement,) = endpoint["Properties"]["PolicyDocument"]["Statement"]
        account = {"Ref": "AWS::AccountId"}
        assert statement["Condition"] == {
            "StringEquals": {"aws:PrincipalAccount": account, "aws:ResourceAccount": account}
        }


def test_every_function_runs_inside_the_network_on_arm64_in_python_3_13(prod: Synthesised) -> None:
    functions = prod.online.all("AWS::Lambda::Function")
    assert len(functions) == 4
    for function in functions.values():
        properties = function["Properties"]
        assert properties["Architectures"] == ["arm64"]
        assert properties["Runtime"] == "python3.13"
        assert len(properties["VpcConfig"]["SubnetIds"]) == 2
        assert properties["TracingConfig"] == {"Mode": "Active"}
        assert properties["ReservedConcurrentExecutions"] > 0
        assert "LogGroup" in properties["LoggingConfig"]


def test_log_groups_end_and_are_encrypted(prod: Synthesised) -> None:
    groups = prod.online.all("AWS::Logs::LogGroup")
    assert len(groups) == 8
    for group in groups.values():
        assert group["Properties"]["RetentionInDays"] == 90
        assert "KmsKeyId" in group["Properties"]


def mapping(stage: Synthesised) -> dict[str, Any]:
    (only,) = stage.online.all("AWS::Lambda::EventSourceMapping").values()
    properties: dict[str, Any] = only["Properties"]
    return properties


def test_the_event_source_loses_nothing(prod: Synthesised) -> None:
    properties = mapping(prod)
    assert properties["BisectBatchOnFunctionError"] is True
    assert properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert properties["StartingPosition"] == "TRIM_HORIZON"
    assert "Quarantine" in json.dumps(properties["DestinationConfig"]["OnFailure"]["Destination"])
    assert properties["MaximumRetryAttempts"] == 20
    assert properties["MaximumRecordAgeInSeconds"] == 21_600
    assert properties["BatchSize"] == 500
    assert properties["ParallelizationFactor"] == 2


def environment(stage: Synthesised, function: str) -> dict[str, Any]:
    variables: dict[str, Any] = stage.online.named("AWS::Lambda::Function", function)["Properties"]["Environment"][
        "Variables"
    ]
    return variables


def test_functions_read_back_the_settings_that_were_deployed(prod: Synthesised) -> None:
    def texts(function: str) -> dict[str, str]:
        values = environment(prod, function)
        return {key: value if isinstance(value, str) else "0" for key, value in values.items()}

    score = ScoreSettings.from_environment(texts("ScoreClicksFunction"))
    assert (score.endpoint_name, score.cache_tls, score.cache_cluster) == ("slidr-prod", True, True)
    assert score.cache_secret_id is not None
    kinds = [
        ArchiveSettings.from_environment(texts(f"Prepare{name}ArchiveFunction")).record_kind
        for name in ("Click", "Purchase", "Verdict")
    ]
    assert kinds == ["click", "purchase", "verdict"]


def test_a_batch_is_not_cut_off_while_it_waits_for_its_services(synthesise: Callable[..., Synthesised]) -> None:
    with pytest.raises(StageInvalid, match="score_timeout_s must be over 121"):
        synthesise("prod", **{"functions.score_timeout_s": "121"})


def test_the_cache_is_encrypted_asks_for_a_token_and_survives_a_zone(prod: Synthesised) -> None:
    properties = prod.online.named("AWS::ElastiCache::ReplicationGroup", "Cache")["Properties"]
    assert properties["Engine"] == "valkey"
    assert properties["TransitEncryptionEnabled"] is True
    assert properties["AtRestEncryptionEnabled"] is True
    assert "KmsKeyId" in properties
    assert "{{resolve:secretsmanager:" in json.dumps(properties["AuthToken"])
    assert (properties["AutomaticFailoverEnabled"], properties["MultiAZEnabled"]) == (True, True)
    assert (properties["NumNodeGroups"], properties["ReplicasPerNodeGroup"]) == (2, 1)
    parameters = prod.online.named("AWS::ElastiCache::ParameterGroup", "Cache")["Properties"]
    assert parameters["Properties"] == {"cluster-enabled": "yes", "maxmemory-policy": "volatile-ttl"}


def test_only_functions_reach_the_cache(prod: Synthesised) -> None:
    rules = [
        rule["Properties"]
        for name, rule in prod.online.all("AWS::EC2::SecurityGroupIngress").items()
        if name.startswith("CacheGroup")
    ]
    assert [rule["FromPort"] for rule in rules] == [6380]
    assert "NetworkFunctionsGroup" in json.dumps(rules[0]["SourceSecurityGroupId"])
    (group,) = [
        item for name, item in prod.online.all("AWS::EC2::SecurityGroup").items() if name.startswith("CacheGroup")
    ]
    assert "SecurityGroupIngress" not in group["Properties"]


def test_serves_on_two_gpu_instances_and_scales(prod: Synthesised) -> None:
    config = prod.online.named("AWS::SageMaker::EndpointConfig", "Scoring")["Properties"]
    (variant,) = config["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.g5.xlarge", 2)
    assert "KmsKeyId" in config
    target = prod.online.named("AWS::ApplicationAutoScaling::ScalableTarget", "Scoring")["Properties"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 8)
    assert target["ResourceId"] == "endpoint/slidr-prod/variant/AllTraffic"
    policy = prod.online.named("AWS::ApplicationAutoScaling::ScalingPolicy", "Scoring")["Properties"]
    tracking = policy["TargetTrackingScalingPolicyConfiguration"]
    metric = tracking["PredefinedMetricSpecification"]["PredefinedMetricType"]
    assert metric == "SageMakerVariantInvocationsPerInstance"


def test_a_gpu_host_has_a_driver_that_our_torch_can_use_and_a_cpu_host_none(
    prod: Synthesised, synthesise: Callable[..., Synthesised]
) -> None:
    # The service's own choice for ml.g5 is driver 470, CUDA 11.4.
    def ami(stage: Synthesised) -> str | None:
        (variant,) = stage.online.named("AWS::SageMaker::EndpointConfig", "Scoring")["Properties"]["ProductionVariants"]
        return variant.get("InferenceAmiVersion")  # type: ignore[no-any-return]

    assert ami(prod) == "al2023-ami-sagemaker-inference-gpu-4-1"
    assert ami(synthesise("dev")) is None


def test_an_update_keeps_the_instances_that_autoscaling_added(prod: Synthesised) -> None:
    endpoint = prod.online.named("AWS::SageMaker::Endpoint", "Scoring")["Properties"]
    assert endpoint["RetainAllVariantProperties"] is True


def test_more_shards_do_not_replace_the_cache(prod: Synthesised) -> None:
    cache = prod.online.named("AWS::ElastiCache::ReplicationGroup", "Cache")
    assert cache["UpdatePolicy"] == {"UseOnlineResharding": True}


def test_a_click_does_not_wait_for_others(prod: Synthesised, local: Synthesised) -> None:
    assert {mapping(stage)["MaximumBatchingWindowInSeconds"] for stage in (prod, local)} == {0}


def test_the_serving_container_is_isolated_and_starts_without_a_release(prod: Synthesised) -> None:
    model = prod.online.named("AWS::SageMaker::Model", "Scoring")["Properties"]
    assert model["EnableNetworkIsolation"] is True
    assert "ModelDataUrl" not in model["PrimaryContainer"]
    assert len(model["VpcConfig"]["Subnets"]) == 2


def test_serves_on_the_cpu_and_with_an_artifact_where_the_settings_say_so(
    synthesise: Callable[..., Synthesised],
) -> None:
    stage = synthesise(
        "dev",
        **{
            "endpoint.artifact": "artifacts/first/model.tar.gz",
            "endpoint.image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/slidr:1",
            "endpoint.instance_type": "ml.c7i.xlarge",
            "endpoint.max_instances": "1",
        },
    )
    (variant,) = stage.online.named("AWS::SageMaker::EndpointConfig", "Scoring")["Properties"]["ProductionVariants"]
    assert variant["InstanceType"] == "ml.c7i.xlarge"
    assert stage.online.all("AWS::ApplicationAutoScaling::ScalableTarget") == {}
    container = stage.online.named("AWS::SageMaker::Model", "Scoring")["Properties"]["PrimaryContainer"]
    assert "/artifacts/first/model.tar.gz" in json.dumps(container["ModelDataUrl"])
    assert container["Image"] == "123456789012.dkr.ecr.us-east-1.amazonaws.com/slidr:1"
    for role in ("ScoringRole", "TrainingRole"):
        (pulled,) = [
            statement["Resource"]
            for name, statement in stage.statements()
            if name.startswith(role) and "ecr:BatchGetImage" in statement["Action"]
        ]
        assert pulled == "arn:aws:ecr:us-east-1:123456789012:repository/slidr"


def test_archives_every_kind_as_parquet_by_event_hour(prod: Synthesised) -> None:
    deliveries = prod.online.all("AWS::KinesisFirehose::DeliveryStream").values()
    prefixes = {}
    for delivery in deliveries:
        destination = delivery["Properties"]["ExtendedS3DestinationConfiguration"]
        prefixes[delivery["Properties"]["DeliveryStreamName"]] = destination["Prefix"]
        assert destination["DataFormatConversionConfiguration"]["Enabled"] is True
        assert destination["DynamicPartitioningConfiguration"]["Enabled"] is True
        assert "KMSEncryptionConfig" in destination["EncryptionConfiguration"]
        assert destination["CloudWatchLoggingOptions"]["Enabled"] is True
        assert destination["ErrorOutputPrefix"].startswith("failed-deliveries/")
        assert [processor["Type"] for processor in destination["ProcessingConfiguration"]["Processors"]] == ["Lambda"]
    by_hour = "date=!{partitionKeyFromLambda:date}/hour=!{partitionKeyFromLambda:hour}/"
    assert prefixes == {
        f"slidr-prod-{kind}-archive": f"{kind}/{by_hour}" for kind in ("clicks", "purchases", "verdicts")
    }


def test_local_stage_runs_one_plain_cache_node_and_one_model_process(local: Synthesised) -> None:
    cache = local.online.named("AWS::ElastiCache::ReplicationGroup", "Cache")["Properties"]
    assert (cache["NumNodeGroups"], cache["ReplicasPerNodeGroup"]) == (1, 0)
    assert cache["TransitEncryptionEnabled"] is False
    assert "AuthToken" not in cache
    assert "SLIDR_CACHE_SECRET_ID" not in environment(local, "ScoreClicksFunction")
    container = local.online.named("AWS::SageMaker::Model", "Scoring")["Properties"]["PrimaryContainer"]
    assert container["Image"] == "slidr:local"


def test_needs_no_account_and_no_look_up(prod: Synthesised) -> None:
    subnet = next(iter(prod.online.all("AWS::EC2::Subnet").values()))
    assert subnet["Properties"]["AvailabilityZone"] == {"Fn::Select": [0, {"Fn::GetAZs": ""}]}


def test_outputs_are_the_ones_the_command_line_reads(prod: Synthesised) -> None:
    assert prod.online.outputs == {
        "ScoreClicksFunction",
        "EndpointName",
        "CacheAddress",
        "CachePort",
        "ServingRoleArn",
        "TrainingRoleArn",
        "ContainerImage",
    }


def test_the_image_is_built_from_what_its_dockerfile_copies_and_nothing_else(prod: Synthesised) -> None:
    (context,) = [path for path in Path(prod.app.outdir).glob("asset.*") if (path / DOCKERFILE).is_file()]
    copied = {
        source.rstrip("/")
        for line in (context / DOCKERFILE).read_text().splitlines()
        if line.startswith("COPY ")
        for source in line.split()[1:-1]
    }
    assert all((context / source).exists() for source in copied)
    assert {path.name for path in context.iterdir()} == {source.partition("/")[0] for source in copied}
    assert not list(context.rglob("__pycache__"))
