"""Seam: GenerateSecretString of AWS::SecretsManager::Secret, with all of its settings and a cryptographic source.

ministack's own ignores ExcludePunctuation and its like, and draws from `random`.
"""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Mapping
from typing import Any

from local.cloud import seams

_CLASSES = {
    "ExcludeUppercase": string.ascii_uppercase,
    "ExcludeLowercase": string.ascii_lowercase,
    "ExcludeNumbers": string.digits,
    "ExcludePunctuation": string.punctuation,
}


def _is_true(value: object) -> bool:
    return str(value).lower() == "true"


def generate_password(settings: Mapping[str, Any]) -> str:
    """Return a password by CloudFormation's GenerateSecretString settings.

    Source: CloudFormation template reference, AWS::SecretsManager::Secret GenerateSecretString.

    >>> generate_password({"PasswordLength": 40, "ExcludePunctuation": "true"}).isalnum()
    True
    """
    excluded = set(settings.get("ExcludeCharacters") or "")
    classes = [letters for name, letters in _CLASSES.items() if not _is_true(settings.get(name, False))]
    if _is_true(settings.get("IncludeSpace", False)):
        classes.append(" ")
    classes = [kept for letters in classes if (kept := "".join(letter for letter in letters if letter not in excluded))]
    length = int(settings.get("PasswordLength", 32))
    each = classes if _is_true(settings.get("RequireEachIncludedType", True)) else []
    drawn = [secrets.choice(letters) for letters in each]
    drawn += [secrets.choice("".join(classes)) for _ in range(length - len(drawn))]
    secrets.SystemRandom().shuffle(drawn)
    return "".join(drawn)


def secret_string(properties: Mapping[str, Any]) -> str:
    """Return the value of a secret as a template gives it, or has it generated."""
    given: str | None = properties.get("SecretString")
    settings = properties.get("GenerateSecretString")
    if given or settings is None:
        return given or ""
    password = generate_password(settings)
    template = settings.get("SecretStringTemplate")
    return json.dumps({**json.loads(template), settings["GenerateStringKey"]: password}) if template else password


def install() -> None:
    """Generate the secrets of stacks as the service does."""
    seams.replace("services.cloudformation.provisioners._sm_secret_string", secret_string)
