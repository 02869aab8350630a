from __future__ import annotations

import pytest

from infra.app import stage_from_context
from infra.settings import Stage, StageInvalid, load_stage, machine_runtime, stage_names


def test_production_is_the_default_of_every_setting() -> None:
    stage = load_stage("prod")
    assert stage.endpoint.instance_type == "ml.g5.xlarge"
    assert (stage.endpoint.min_instances, stage.endpoint.autoscaled) == (2, True)
    assert (stage.functions.architecture, stage.functions.python) == ("arm64", "3.13")
    assert stage.keep_data
    assert stage.cache.tls
    assert stage.cache.auth
    assert stage.cache.cluster_mode


def test_local_stage_runs_on_this_machine() -> None:
    stage = load_stage("local")
    assert (stage.functions.architecture, stage.functions.python) == machine_runtime()
    assert stage.account == "000000000000"
    assert stage.streams.shards == 1


def test_every_stage_file_loads() -> None:
    assert stage_names() == ("dev", "local", "prod")
    assert all(load_stage(name).name == name for name in stage_names())


def test_takes_overrides_as_the_command_line_gives_them() -> None:
    context = {
        "stage": "prod",
        "endpoint.instance_type": "ml.c7i.xlarge",
        "cache.shards": "4",
        "keep_data": "false",
        "aws:cdk:enable-path-metadata": True,
        "@aws-cdk/core:checkSecretUsage": True,
    }
    stage = stage_from_context(context)
    assert stage.endpoint.instance_type == "ml.c7i.xlarge"
    assert stage.cache.shards == 4
    assert stage.keep_data is False


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"cache.shard": "2"}, "unknown setting cache.'shard'"),
        ({"chache": "2"}, "unknown setting 'chache'"),
        ({"cache": "2"}, "cache is a group"),
        ({"cache.shards": "two"}, r"Expected `int`, got `str` - at `\$.cache.shards`"),
        ({"cache.tls": "false"}, "cache.auth requires cache.tls=true"),
        ({"cache.tls": "false", "cache.auth": "false"}, "must be true on AWS"),
        ({"cache.cluster_mode": "false"}, "cache.shards must be 1"),
        ({"zones": "1"}, "failover crosses zones"),
        ({"streams.shards": "80"}, "score_concurrency must be at least shards x parallelisation = 160"),
        ({"endpoint.instance_type": "g5.xlarge"}, "must start with 'ml.'"),
        ({"endpoint.artifact": "model.tar.gz"}, "must read artifacts/<name>/model.tar.gz"),
        ({"endpoint.max_instances": "1"}, "endpoint.max_instances must be from 2"),
        ({"lake.quarantine_days": "30"}, "lake.quarantine_days must be from 1 to 7, came 30"),
        ({"functions.architecture": "riscv"}, "Invalid enum value 'riscv'"),
        ({"account": "123"}, "account must be 12 digits"),
        ({"log_days": "8"}, "log_days must be one of"),
        ({"network_cidr": "10.0.0.0/28"}, "prefix length must be from 16 to 22"),
        ({"network_cidr": "inside"}, "network_cidr must be like"),
        ({"alarm_email": "nobody"}, "alarm_email must be an e-mail address"),
    ],
)
def test_refuses_what_it_does_not_know(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(StageInvalid, match=message):
        load_stage("prod", overrides)


@pytest.mark.parametrize("name", ["", "Prod", "my_dev", "a" * 25, "dev-", "1st"])
def test_refuses_a_stage_whose_name_cannot_be_part_of_resource_names(name: str) -> None:
    with pytest.raises(ValueError, match="up to 24 small letters"):
        Stage(name=name)


def test_refuses_an_unknown_stage() -> None:
    with pytest.raises(StageInvalid, match="stage must be one of dev, local, prod, came 'production'"):
        stage_from_context({"stage": "production"})
