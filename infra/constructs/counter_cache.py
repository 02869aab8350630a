"""ElastiCache for Valkey: where the counters live."""

from __future__ import annotations

from aws_cdk import CfnUpdatePolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra import nag
from infra.settings import Stage


class CounterCache(Construct):
    """A Valkey replication group that only the given client group can reach.

    Memory pressure evicts the keys nearest to their expiry (docs/decisions/0020-cache-engine-and-eviction.md).
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        vpc: ec2.IVpc,
        clients: ec2.ISecurityGroup,
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        settings = stage.cache
        self.auth_secret = self._auth_secret(key) if settings.auth else None
        group = ec2.SecurityGroup(self, "Group", vpc=vpc, allow_all_outbound=False, description="Counter cache")
        group.add_ingress_rule(clients, ec2.Port.tcp(settings.port), "Lambda functions")
        clients.add_egress_rule(group, ec2.Port.tcp(settings.port), "Counter cache")
        subnets = elasticache.CfnSubnetGroup(
            self, "Subnets", description="Isolated subnets", subnet_ids=[net.subnet_id for net in vpc.isolated_subnets]
        )
        parameters = elasticache.CfnParameterGroup(
            self,
            "Parameters",
            cache_parameter_group_family=f"valkey{settings.engine_version.partition('.')[0]}",
            description="SLIDR counters",
            properties={
                "cluster-enabled": "yes" if settings.cluster_mode else "no",
                "maxmemory-policy": "volatile-ttl",
            },
        )
        failover = settings.replicas > 0
        self.replication_group = elasticache.CfnReplicationGroup(
            self,
            "Valkey",
            at_rest_encryption_enabled=True,
            auth_token=self.auth_secret.secret_value.unsafe_unwrap() if self.auth_secret else None,
            auto_minor_version_upgrade=True,
            automatic_failover_enabled=failover or settings.cluster_mode,
            cache_node_type=settings.node_type,
            cache_parameter_group_name=parameters.ref,
            cache_subnet_group_name=subnets.ref,
            cluster_mode="enabled" if settings.cluster_mode else "disabled",
            engine="valkey",
            engine_version=settings.engine_version,
            kms_key_id=key.key_arn,
            multi_az_enabled=failover,
            num_node_groups=settings.shards,
            port=settings.port,
            replicas_per_node_group=settings.replicas,
            replication_group_description="SLIDR counters",
            security_group_ids=[group.security_group_id],
            snapshot_retention_limit=0,
            transit_encryption_enabled=settings.tls,
        )
        if settings.cluster_mode:
            # Without it CloudFormation replaces the group, and so drops every counter, when the shards change.
            self.replication_group.cfn_options.update_policy = CfnUpdatePolicy(use_online_resharding=True)
        nag.acknowledge(
            self.replication_group,
            nag.nist("ElastiCacheRedisClusterAutomaticBackup"),
            reason="Counters rebuild themselves from the stream within 24 hours, and a snapshot's fork stalls scoring "
            "(measured: 24 ms at 1.2 GB).",
        )
        if stage.is_local:
            nag.acknowledge(
                self.replication_group,
                tuple(f"{nag.SOLUTIONS}{rule}" for rule in ("AEC3", "AEC4", "AEC6")),
                reason="The local cloud's cache is one Valkey process on the loopback interface, built without TLS.",
            )
        if settings.cluster_mode:
            self.address = self.replication_group.attr_configuration_end_point_address
            self.port = self.replication_group.attr_configuration_end_point_port
        else:
            self.address = self.replication_group.attr_primary_end_point_address
            self.port = self.replication_group.attr_primary_end_point_port

    def _auth_secret(self, key: kms.IKey) -> secretsmanager.Secret:
        secret = secretsmanager.Secret(
            self,
            "AuthToken",
            description="AUTH token of the counter cache",
            encryption_key=key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                exclude_punctuation=True, include_space=False, password_length=64
            ),
        )
        nag.acknowledge(
            secret,
            (f"{nag.SOLUTIONS}SMG4", f"{nag.NIST_R5}SecretsManagerRotationEnabled"),
            reason="A timer would cut running functions off: the cache's token and its readers change together, by a "
            "deployment. It is of use only inside the network.",
        )
        return secret
