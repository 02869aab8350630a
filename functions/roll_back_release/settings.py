"""Configuration of roll_back_release, written once: the infrastructure fills it, the handler reads it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from functions.environment import environment_of, settings_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Which alarms it answers, and where."""

    stage: str
    control_table: str
    topic_arn: str
    model_alarm: str
    """Name of the composite alarm that blames the champion."""
    stable_alarm: str
    infrastructure_alarm: str
    fpr_alarm: str
    alarm_prefix: str
    """Of all alarms of the stage: those that are on are the evidence."""
    dashboard_url: str = ""

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
