"""Names that whoever tells a metric and whoever looks at it share."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

SCORING: Final = "score_clicks"
"""The dimension `service` of what score_clicks tells."""
HOURLY: Final = "hourly"
"""The same of what is told of matured clicks."""


class Role(StrEnum):
    """Why a release decides, or would: a dimension of metrics on verdicts."""

    CHAMPION = "champion"
    STABLE = "stable"
    CHALLENGER = "challenger"


DECIDING: Final = (Role.CHAMPION, Role.STABLE)
"""Roles whose verdicts count for all traffic but a canary's."""


def namespace(stage: str) -> str:
    """The namespace of a stage's metrics.

    >>> namespace("dev"), namespace("")
    ('SLIDR/dev', 'SLIDR')
    """
    return f"SLIDR/{stage}" if stage else "SLIDR"


def alarms_of(role: Role) -> str:
    """How the names of a role's alarms begin, behind the stage's prefix.

    >>> alarms_of(Role.CHAMPION)
    'Champion-'
    """
    return f"{role.capitalize()}-"
