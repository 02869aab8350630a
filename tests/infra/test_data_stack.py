from __future__ import annotations

import json

import pytest

from infra.glue_columns import glue_columns
from slidr.archive import ArchivedClick, ArchivedPurchase
from slidr.verdict import Verdict
from tests.infra.conftest import Resource, Synthesised

STATEFUL = (
    "AWS::DynamoDB::Table",
    "AWS::KMS::Key",
    "AWS::Kinesis::Stream",
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
    "AWS::SecretsManager::Secret",
)


@pytest.mark.parametrize("kind", STATEFUL)
def test_keeps_what_holds_state_when_the_stack_goes(prod: Synthesised, kind: str) -> None:
    resources = prod.data.all(kind)
    assert resources
    for name, resource in resources.items():
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain"), name


def test_local_stage_leaves_nothing_behind(local: Synthesised) -> None:
    kept = [
        name
        for template in (local.data, local.online)
        for name, resource in template.content["Resources"].items()
        if resource.get("DeletionPolicy") == "Retain" and resource["Type"] != "AWS::Logs::LogStream"
    ]  # a log stream goes with its group
    assert kept == []


def test_protects_tables_from_deletion_and_can_go_back_in_time(prod: Synthesised) -> None:
    tables = prod.data.all("AWS::DynamoDB::Table")
    assert len(tables) == 2
    for table in tables.values():
        properties = table["Properties"]
        assert properties["DeletionProtectionEnabled"] is True
        assert properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
        assert properties["SSESpecification"]["SSEType"] == "KMS"
        assert properties["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


@pytest.mark.parametrize(("table", "key"), [("Control", "name"), ("Profiles", "key")])
def test_tables_have_the_keys_that_the_functions_read_by(prod: Synthesised, table: str, key: str) -> None:
    properties = prod.data.named("AWS::DynamoDB::Table", table)["Properties"]
    assert properties["KeySchema"] == [{"AttributeName": key, "KeyType": "HASH"}]
    assert properties["AttributeDefinitions"] == [{"AttributeName": key, "AttributeType": "S"}]


def test_streams_are_encrypted_with_our_key_scale_by_themselves_and_keep_a_week(prod: Synthesised) -> None:
    streams = prod.data.all("AWS::Kinesis::Stream")
    assert len(streams) == 3
    for stream in streams.values():
        properties = stream["Properties"]
        assert properties["StreamEncryption"]["EncryptionType"] == "KMS"
        assert properties["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}
        assert properties["RetentionPeriodHours"] == 168


def test_local_streams_keep_one_order(local: Synthesised) -> None:
    assert {stream["Properties"]["ShardCount"] for stream in local.data.all("AWS::Kinesis::Stream").values()} == {1}


def buckets(stage: Synthesised) -> dict[str, Resource]:
    return {
        name: stage.data.named("AWS::S3::Bucket", name) for name in ("AccessLogs", "Lake", "Releases", "Quarantine")
    }


def test_no_bucket_can_be_public_or_read_without_tls(prod: Synthesised) -> None:
    for name, bucket in buckets(prod).items():
        assert bucket["Properties"]["PublicAccessBlockConfiguration"] == {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        }
        policy = json.dumps(prod.data.named("AWS::S3::BucketPolicy", f"{name}Policy")["Properties"]["PolicyDocument"])
        assert '"aws:SecureTransport": "false"' in policy, name


def test_buckets_are_logged_and_encrypted_with_our_keys(prod: Synthesised) -> None:
    keys = {}
    for name in ("Lake", "Releases", "Quarantine"):
        properties = buckets(prod)[name]["Properties"]
        assert "DestinationBucketName" in properties["LoggingConfiguration"], name
        (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        keys[name] = json.dumps(rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"])
    assert keys["Lake"] == keys["Releases"] != keys["Quarantine"]


def expiries(stage: Synthesised, bucket: str) -> dict[str, tuple[int | None, str]]:
    rules = buckets(stage)[bucket]["Properties"]["LifecycleConfiguration"]["Rules"]
    return {rule["Id"]: (rule.get("ExpirationInDays"), rule.get("Prefix", "")) for rule in rules}


def test_raw_records_are_gone_after_a_week_wherever_they_lie(prod: Synthesised) -> None:
    assert expiries(prod, "Quarantine")["erase"] == (7, "")
    assert "VersioningConfiguration" not in buckets(prod)["Quarantine"]["Properties"]
    assert expiries(prod, "Lake")["erase-failed-deliveries"] == (7, "failed-deliveries/")


def test_the_lake_is_erased_in_the_end_and_releases_are_versioned(prod: Synthesised) -> None:
    assert expiries(prod, "Lake")["erase"] == (400, "")
    assert "erase" not in expiries(prod, "Releases")
    assert buckets(prod)["Releases"]["Properties"]["VersioningConfiguration"] == {"Status": "Enabled"}


def test_the_pseudonym_key_is_generated_once_and_the_generator_stays_as_it_is(prod: Synthesised) -> None:
    # A change here makes CloudFormation generate a new key: all counters and joins are lost. See design rule 9.
    properties = prod.data.named("AWS::SecretsManager::Secret", "PseudonymKey")["Properties"]
    assert properties["GenerateSecretString"] == {
        "ExcludePunctuation": True,
        "GenerateStringKey": "key_base64",
        "IncludeSpace": False,
        "PasswordLength": 64,
        "SecretStringTemplate": '{"version": 1}',
    }


def test_undecided_clicks_wait_two_weeks_and_poison_goes_aside(prod: Synthesised) -> None:
    queues = prod.data.all("AWS::SQS::Queue")
    assert {queue["Properties"]["MessageRetentionPeriod"] for queue in queues.values()} == {1_209_600}
    assert all("KmsMasterKeyId" in queue["Properties"] for queue in queues.values())
    waiting = [queue for queue in queues.values() if "RedrivePolicy" in queue["Properties"]]
    assert [queue["Properties"]["RedrivePolicy"]["maxReceiveCount"] for queue in waiting] == [5]


@pytest.mark.parametrize(
    ("table", "record"), [("clicks", ArchivedClick), ("purchases", ArchivedPurchase), ("verdicts", Verdict)]
)
def test_lake_tables_have_the_columns_of_the_types(prod: Synthesised, table: str, record: type) -> None:
    (found,) = [
        item["Properties"]["TableInput"]
        for item in prod.data.all("AWS::Glue::Table").values()
        if item["Properties"]["TableInput"]["Name"] == table
    ]
    columns = [(column["Name"], column["Type"]) for column in found["StorageDescriptor"]["Columns"]]
    assert columns == list(glue_columns(record))
    assert [key["Name"] for key in found["PartitionKeys"]] == ["date", "hour"]


def test_outputs_are_the_ones_the_command_line_reads(prod: Synthesised) -> None:
    assert prod.data.outputs == {
        "ClickStream",
        "PurchaseStream",
        "VerdictStream",
        "LakeBucket",
        "LakeKey",
        "ReleaseBucket",
        "QuarantineBucket",
        "ControlTable",
        "ProfileTable",
        "UndecidedQueueUrl",
        "PseudonymSecret",
    }
