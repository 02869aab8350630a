"""Settings of the functions: what the infrastructure writes is what the handler reads."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.environment import SettingsInvalid
from functions.prepare_archive.settings import Settings as ArchiveSettings
from functions.score_clicks.settings import Settings


def any_settings(**changes: object) -> Settings:
    values: dict[str, object] = {
        "stage": "test",
        "verdict_stream": "verdicts",
        "quarantine_bucket": "quarantine",
        "undecided_queue_url": "https://queue",
        "control_table": "control",
        "profile_table": "profiles",
        "release_bucket": "releases",
        "endpoint_name": "slidr-test",
        "cache_host": "localhost",
        "pseudonym_secret_id": "key",
    }
    return Settings(**{**values, **changes})  # type: ignore[arg-type]


@given(
    host=st.text(min_size=1),
    port=st.integers(1, 65_535),
    tls=st.booleans(),
    cluster=st.booleans(),
    secret=st.none() | st.text(),
)
def test_environment_gives_the_settings_back(
    host: str, port: int, tls: bool, cluster: bool, secret: str | None
) -> None:
    settings = any_settings(
        cache_host=host, cache_port=port, cache_tls=tls, cache_cluster=cluster, cache_secret_id=secret
    )
    assert Settings.from_environment(settings.to_environment()) == settings


def test_archive_environment_gives_the_settings_back() -> None:
    settings = ArchiveSettings(
        stage="test",
        record_kind="purchase",
        quarantine_bucket="quarantine",
        pseudonym_secret_id="key",  # noqa: S106 - a name
    )
    assert ArchiveSettings.from_environment(settings.to_environment()) == settings


def test_longest_batch_adds_up_every_wait() -> None:
    quick = any_settings(
        connect_timeout_ms=0,
        store_timeout_ms=0,
        profile_timeout_ms=0,
        cache_timeout_ms=0,
        endpoint_connect_timeout_ms=0,
        endpoint_read_timeout_ms=0,
        endpoint_attempts=1,
        publish_deadline_ms=0,
    )
    pauses_s = 6  # before the second try of each of six reads
    assert quick.longest_batch_s == pauses_s
    for name, times in {
        "connect_timeout_ms": 2 * 6 + 2,
        "store_timeout_ms": 2 * 4 + 2,
        "profile_timeout_ms": 2 * 2 + 1,
        "cache_timeout_ms": 10,
        "endpoint_connect_timeout_ms": 1,
        "endpoint_read_timeout_ms": 1,
        "publish_deadline_ms": 2,
    }.items():
        assert dataclasses.replace(quick, **{name: 1_000}).longest_batch_s == pauses_s + times
    assert dataclasses.replace(quick, endpoint_attempts=4).longest_batch_s == pauses_s + 1 + 2 + 4


def test_names_the_missing_variable() -> None:
    environ = any_settings().to_environment()
    del environ["SLIDR_ENDPOINT_NAME"]
    with pytest.raises(SettingsInvalid, match="SLIDR_ENDPOINT_NAME is required"):
        Settings.from_environment(environ)


@pytest.mark.parametrize(("name", "value"), [("SLIDR_CACHE_PORT", "six"), ("SLIDR_CACHE_TLS", "True")])
def test_names_the_variable_of_a_wrong_form(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=name):
        Settings.from_environment({**any_settings().to_environment(), name: value})


def test_refuses_an_unknown_record_kind() -> None:
    environ = {
        "SLIDR_STAGE": "test",
        "SLIDR_RECORD_KIND": "refund",
        "SLIDR_QUARANTINE_BUCKET": "quarantine",
        "SLIDR_PSEUDONYM_SECRET_ID": "key",
    }
    with pytest.raises(SettingsInvalid, match="click, purchase, verdict"):
        ArchiveSettings.from_environment(environ)
