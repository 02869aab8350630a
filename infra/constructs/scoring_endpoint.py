"""The SageMaker endpoint that scores batches of clicks."""

from __future__ import annotations

from typing import Any

from aws_cdk import Duration, Stack
from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra.constructs.private_bucket import PrivateBucket
from infra.constructs.serving_role import ServingRole
from infra.settings import EndpointSettings, Stage

VARIANT = "AllTraffic"


class ScoringEndpoint(Construct):
    """Model, endpoint configuration and endpoint `slidr-<stage>`, with autoscaling where the stage has room for it.

    The first deploy has no model data: the container answers /ping and refuses to score until `slidr deploy`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        image: str,
        releases: PrivateBucket,
        vpc: ec2.IVpc,
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        settings = stage.endpoint
        self.group = ec2.SecurityGroup(
            self, "ContainersGroup", vpc=vpc, allow_all_outbound=False, description="Serving containers"
        )
        self.group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "Model data, by the S3 gateway endpoint")
        self.name = f"slidr-{stage.name}"
        self.role = ServingRole(
            self, "Role", endpoint_name=self.name, releases=releases, vpc=vpc, group=self.group, key=key
        )
        subnets = [subnet.subnet_id for subnet in vpc.isolated_subnets]
        self.container_environment = {"SLIDR_STAGE": stage.name}
        model = sagemaker.CfnModel(
            self,
            "Model",
            enable_network_isolation=True,
            execution_role_arn=self.role.role_arn,
            primary_container=sagemaker.CfnModel.ContainerDefinitionProperty(
                environment=self.container_environment,
                image=image,
                model_data_url=f"s3://{releases.bucket_name}/{settings.artifact}" if settings.artifact else None,
            ),
            vpc_config=sagemaker.CfnModel.VpcConfigProperty(
                security_group_ids=[self.group.security_group_id], subnets=subnets
            ),
        )
        model.node.add_dependency(self.role)
        variant = production_variant(settings)
        config = sagemaker.CfnEndpointConfig(
            self,
            "Configuration",
            kms_key_id=key.key_arn,  # local NVMe of GPU instances is encrypted in hardware besides
            production_variants=[
                sagemaker.CfnEndpointConfig.ProductionVariantProperty(
                    inference_ami_version=variant.get("InferenceAmiVersion"),
                    container_startup_health_check_timeout_in_seconds=variant[
                        "ContainerStartupHealthCheckTimeoutInSeconds"
                    ],
                    initial_instance_count=variant["InitialInstanceCount"],
                    initial_variant_weight=variant["InitialVariantWeight"],
                    instance_type=variant["InstanceType"],
                    model_name=model.attr_model_name,
                    variant_name=variant["VariantName"],
                )
            ],
        )
        self.endpoint = sagemaker.CfnEndpoint(
            self,
            "Endpoint",
            endpoint_config_name=config.attr_endpoint_config_name,
            endpoint_name=self.name,
            # An update under load keeps the instances that autoscaling has added.
            retain_all_variant_properties=True if settings.autoscaled else None,
        )
        if settings.autoscaled:
            self._autoscale(stage)

    def grant_invoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let `grantee` ask this endpoint for scores."""
        arn = Stack.of(self).format_arn(service="sagemaker", resource="endpoint", resource_name=self.name)
        return iam.Grant.add_to_principal(actions=["sagemaker:InvokeEndpoint"], grantee=grantee, resource_arns=[arn])

    def _autoscale(self, stage: Stage) -> None:
        settings = stage.endpoint
        target = autoscaling.ScalableTarget(
            self,
            "Scaling",
            max_capacity=settings.max_instances,
            min_capacity=settings.min_instances,
            role=iam.Role.from_role_arn(self, "ScalingRole", _scaling_role(Stack.of(self)), mutable=False),
            resource_id=f"endpoint/{self.name}/variant/{VARIANT}",
            scalable_dimension="sagemaker:variant:DesiredInstanceCount",
            service_namespace=autoscaling.ServiceNamespace.SAGEMAKER,
        )
        target.node.add_dependency(self.endpoint)
        target.scale_to_track_metric(
            "Invocations",
            predefined_metric=autoscaling.PredefinedMetric.SAGEMAKER_VARIANT_INVOCATIONS_PER_INSTANCE,
            scale_in_cooldown=Duration.seconds(settings.scale_in_cooldown_s),
            scale_out_cooldown=Duration.seconds(settings.scale_out_cooldown_s),
            target_value=settings.invocations_per_instance_min,
        )


def production_variant(settings: EndpointSettings) -> dict[str, Any]:
    """The endpoint's one variant in the API's form, but for its model: what every configuration of it has."""
    variant: dict[str, Any] = {
        "VariantName": VARIANT,
        "InstanceType": settings.instance_type,
        "InitialInstanceCount": settings.min_instances,
        "InitialVariantWeight": 1.0,
        "ContainerStartupHealthCheckTimeoutInSeconds": settings.startup_timeout_s,
    }
    if settings.has_nvidia_gpu and settings.gpu_ami:
        variant["InferenceAmiVersion"] = settings.gpu_ami
    return variant


def _scaling_role(stack: Stack) -> str:
    """The role that Application Auto Scaling makes for itself; without it CDK would add one that does nothing."""
    name = "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
    place = "aws-service-role/sagemaker.application-autoscaling.amazonaws.com"
    return stack.format_arn(service="iam", region="", resource="role", resource_name=f"{place}/{name}")
