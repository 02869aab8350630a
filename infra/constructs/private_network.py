"""A network without a way to the internet: isolated subnets and endpoints of the services in use."""

from __future__ import annotations

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra import nag
from infra.constructs.service_role import ServiceRole
from infra.settings import Stage

_SERVICES = {
    "Kinesis": ec2.InterfaceVpcEndpointAwsService.KINESIS_STREAMS,  # verdicts out
    "SageMakerRuntime": ec2.InterfaceVpcEndpointAwsService.SAGEMAKER_RUNTIME,  # scores
    "SecretsManager": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,  # pseudonym key, cache token
    "Sqs": ec2.InterfaceVpcEndpointAwsService.SQS,  # undecided clicks
}
"""What the functions call. Logs, metrics (embedded in logs) and stream reads leave through the Lambda service itself,
and KMS is called by the services, so none of them needs an endpoint."""


class PrivateNetwork(Construct):
    """A VPC whose traffic can reach only itself and this account's resources in a few services."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: Stage, account: str, log_group: logs.ILogGroup
    ) -> None:
        super().__init__(scope, construct_id)
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            create_internet_gateway=False,
            ip_addresses=ec2.IpAddresses.cidr(stage.network_cidr),
            max_azs=stage.zones,
            nat_gateways=0,
            restrict_default_security_group=False,  # needs a custom resource; nothing uses that group
            subnet_configuration=[
                ec2.SubnetConfiguration(name="isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
            ],
        )
        nag.acknowledge(
            self.vpc,
            nag.nist("VPCDefaultSecurityGroupClosed"),
            reason="Nothing uses the default group; closing it takes a custom resource with rights on every group.",
        )
        flow_logs = ServiceRole(self, "FlowLogRole", service="vpc-flow-logs.amazonaws.com")
        self.vpc.add_flow_log(
            "FlowLog",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(log_group, flow_logs),
            traffic_type=ec2.FlowLogTrafficType.ALL,
        )
        own_account = iam.PolicyStatement(
            actions=["*"],
            conditions={"StringEquals": {"aws:PrincipalAccount": account, "aws:ResourceAccount": account}},
            principals=[iam.AnyPrincipal()],
            resources=["*"],
        )
        for name, gateway in (
            ("S3", ec2.GatewayVpcEndpointAwsService.S3),
            ("DynamoDb", ec2.GatewayVpcEndpointAwsService.DYNAMODB),
        ):
            self.vpc.add_gateway_endpoint(name, service=gateway).add_to_policy(own_account)
        endpoints = ec2.SecurityGroup(
            self, "EndpointGroup", vpc=self.vpc, allow_all_outbound=False, description="Interface endpoints"
        )
        endpoints.add_ingress_rule(ec2.Peer.ipv4(stage.network_cidr), ec2.Port.HTTPS, "From inside the network")
        for name, service in _SERVICES.items():
            self.vpc.add_interface_endpoint(
                name, service=service, open=False, private_dns_enabled=True, security_groups=[endpoints]
            ).add_to_policy(own_account)
        if stage.tracing:
            # Trace segments belong to no resource, so a policy about the resource's account would refuse them.
            self.vpc.add_interface_endpoint(
                "XRay",
                service=ec2.InterfaceVpcEndpointAwsService.XRAY,
                open=False,
                private_dns_enabled=True,
                security_groups=[endpoints],
            )
        self.functions_group = ec2.SecurityGroup(
            self, "FunctionsGroup", vpc=self.vpc, allow_all_outbound=False, description="Lambda functions"
        )
        # Gateway endpoints have public addresses; there is no route to any other.
        self.functions_group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "AWS endpoints")
