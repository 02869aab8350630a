"""Settings as environment variables: written once by the infrastructure, read back exactly by the function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Final, TypeVar

from slidr.errors import SlidrError

PREFIX: Final = "SLIDR_"
SettingsT = TypeVar("SettingsT")


class SettingsInvalid(SlidrError):
    """An environment variable that a function needs is missing, or its value has the wrong form."""


def variable(field_name: str) -> str:
    """The environment variable of a settings field.

    >>> variable("cache_host")
    'SLIDR_CACHE_HOST'
    """
    return PREFIX + field_name.upper()


def environment_of(settings: Any) -> dict[str, str]:
    """One variable a field of the dataclass `settings`; a field that is None has none."""
    values = ((field.name, getattr(settings, field.name)) for field in fields(settings))
    return {variable(name): _text(value) for name, value in values if value is not None}


def settings_from(kind: type[SettingsT], environ: Mapping[str, str]) -> SettingsT:
    """The inverse of `environment_of`: fields of type str, int, bool, or str | None.

    Raises:
        SettingsInvalid: a variable without a default is missing, or a value has the wrong form.
    """
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # every settings class is a dataclass
        name = variable(field.name)
        text = environ.get(name)
        if text is None:
            if field.default is MISSING:
                raise SettingsInvalid(
                    f"environment variable {name} is required by {kind.__module__}, came none; "
                    "deploy the function with Settings(...).to_environment()"
                )
            continue
        values[field.name] = _value(text, str(field.type), name)
    return kind(**values)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _value(text: str, annotation: str, name: str) -> object:
    if annotation == "int":
        try:
            return int(text)
        except ValueError as failure:
            raise SettingsInvalid(f"environment variable {name} must be an integer, came {text!r}") from failure
    if annotation == "bool":
        if text not in {"true", "false"}:
            raise SettingsInvalid(f"environment variable {name} must be true or false, came {text!r}")
        return text == "true"
    return text
