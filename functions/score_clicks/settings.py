"""Configuration of score_clicks, written once: the infrastructure fills it, the handler reads it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from functions.environment import environment_of, settings_from


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
    """Tries of one invocation in all; retries draw on botocore's retry quota."""
    breaker_failures: int = 5
    """Failed invocations in a row after which the circuit opens."""
    breaker_reset_ms: int = 10_000
    """How long the circuit stays open before one probe is let through."""
    cache_timeout_ms: int = 1_000
    """Longest silence of a cache node, connecting or answering."""
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
