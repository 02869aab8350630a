"""Configuration of score_clicks, written once: the infrastructure fills it, the handler reads it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from functions.environment import environment_of, settings_from

READ_ATTEMPTS: Final = 2
"""Tries of a request to DynamoDB, S3 or Secrets Manager. What is published has a deadline instead, and one try each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where score_clicks finds its services, and how long it waits for them."""

    stage: str
    verdict_stream: str
    """Name of the Kinesis stream of verdicts."""
    quarantine_bucket: str
    """Bucket of the reject store."""
    undecided_queue_url: str
    control_table: str
    """Table that holds the pointer and the policy."""
    profile_table: str
    release_bucket: str
    endpoint_name: str
    cache_host: str
    """Configuration endpoint in cluster mode, primary endpoint otherwise."""
    cache_port: int = 6379
    cache_tls: bool = True
    cache_cluster: bool = True
    cache_secret_id: str | None = None
    """Secret whose string is the cache's auth token; None where the cache asks for none (local)."""
    pseudonym_secret_id: str
    """Secret with the JSON {"version": 1, "key_base64": "..."}."""

    endpoint_connect_timeout_ms: int = 500
    endpoint_read_timeout_ms: int = 2_000
    endpoint_attempts: int = 2
    """Tries of one invocation in all, at least 2: a lean one, then the SDK's, whose retries draw on its retry quota."""
    breaker_failures: int = 5
    """Failed invocations in a row after which the circuit opens."""
    breaker_reset_ms: int = 10_000
    """How long the circuit stays open before one probe is let through."""
    cache_timeout_ms: int = 1_000
    """Longest silence of a cache node, connecting or answering."""
    connect_timeout_ms: int = 1_000
    """Of every service but the endpoint and the cache."""
    store_timeout_ms: int = 5_000
    """Read timeout of one request to S3, Kinesis, SQS or Secrets Manager."""
    profile_timeout_ms: int = 1_000
    """Read timeout of one DynamoDB request of profiles."""
    profile_cache_s: int = 300
    """How long a profile (or its absence) is kept in memory."""
    profile_cache_keys: int = 50_000
    pointer_cache_s: int = 3
    """How long the pointer and the policy are used without reading them again."""
    pointer_max_age_s: int = 900
    """How long the last known pointer serves while it cannot be read (rule 6)."""
    publish_deadline_ms: int = 15_000
    """How long publishing a batch is retried before the stream is asked to deliver it again."""

    @property
    def longest_batch_s(self) -> float:
        """How long a first batch waits in all when every service falls silent, each at its worst moment.

        The function's timeout must be longer: a batch that is cut off reports nothing of what it made durable.
        """
        connect_s, store_s = self.connect_timeout_ms / 1000, self.store_timeout_ms / 1000
        profile_s, deadline_s = self.profile_timeout_ms / 1000, self.publish_deadline_ms / 1000
        store = _with_retries(READ_ATTEMPTS, connect_s + store_s)
        table = _with_retries(READ_ATTEMPTS, connect_s + profile_s)
        endpoint_s = (self.endpoint_connect_timeout_ms + self.endpoint_read_timeout_ms) / 1000
        return sum(
            (
                2 * store,  # secrets
                10 * self.cache_timeout_ms / 1000,  # five sendings, a new map of the cluster between them
                profile_s + table,  # profiles: what stays unprocessed is asked for until a deadline
                table,  # pointer and policy
                _with_retries(self.endpoint_attempts, endpoint_s),
                2 * store,  # release, rejects
                2 * (deadline_s + connect_s + store_s),  # queue, verdicts: the last try may begin at the deadline
            )
        )

    def to_environment(self) -> dict[str, str]:
        """The function's environment variables."""
        return environment_of(self)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """The inverse of `to_environment`.

        Raises:
            SettingsInvalid: a variable is missing or has the wrong form.
        """
        return settings_from(cls, environ)


def _with_retries(attempts: int, wait_s: float) -> float:
    """The longest that botocore's standard mode takes: between tries it waits up to 1, 2, 4 ... 20 s."""
    return attempts * wait_s + sum(min(2.0**retry, 20.0) for retry in range(attempts - 1))
