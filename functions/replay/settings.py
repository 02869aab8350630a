"""Configuration of a replay's functions, written once: the infrastructure fills it, the handlers read it back."""

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
    verdict_stream: str = ""
    undecided_queue_url: str = ""
    topic_arn: str = ""
    profile_days: int = 28
    """How far profiles look back, where features are counted anew."""
    settled_after_s: int = 1_800
    """How long after its end an hour's deliveries are in the lake: then its UNDECIDED clicks are replayed."""

    final_after_h: int = 48
    """How long after its end an hour becomes final for billing."""

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
