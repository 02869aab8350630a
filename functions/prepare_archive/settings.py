"""Configuration of prepare_archive, written once: the infrastructure fills it, the handler reads it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from functions.environment import SettingsInvalid, environment_of, settings_from

RecordKind = Literal["click", "purchase", "verdict"]
RECORD_KINDS: Final[tuple[RecordKind, ...]] = get_args(RecordKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one prepare_archive function transforms, and where its rejects go."""

    stage: str
    record_kind: RecordKind
    quarantine_bucket: str
    """Bucket of the reject store; only purchases are rejected here."""
    pseudonym_secret_id: str
    """Secret with the JSON {"version": 1, "key_base64": "..."}; not read for verdicts."""

    def __post_init__(self) -> None:
        if self.record_kind not in RECORD_KINDS:
            raise SettingsInvalid(f"record_kind must be one of {', '.join(RECORD_KINDS)}, came {self.record_kind!r}")

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
