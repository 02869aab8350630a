"""Configuration of the daily loop's functions, written once: the infrastructure fills it, the handlers read it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from functions.environment import environment_of, settings_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the steps find what they need; a function is given what it needs, the rest is empty."""

    stage: str
    lake_bucket: str = ""
    release_bucket: str = ""
    control_table: str = ""
    profile_table: str = ""
    endpoint_name: str = ""
    variant_name: str = ""
    topic_arn: str = ""
    """Where the outcome of a run is told."""
    training_days: int = 10
    profile_days: int = 28
    """How far profiles look back."""
    fpr_budget: str = "0.01"
    """Of false positives, a number in (0, 1)."""
    least_invocations: int = 1_000
    """That the endpoint must have answered while the candidate was in shadow, for its latency to be judged; 0: no
    traffic is required."""
    lease_s: int = 21_600
    """After so long a run that died gives way."""
    instance_type: str = ""
    """Of training and processing jobs: what a step costs is told by it."""

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
