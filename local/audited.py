"""Who changes the control table from the command line, for its audit."""

from __future__ import annotations

import datetime as dt
import getpass

from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.serving_state import Change
from local.session import Session


def by_operator(session: Session, why: str) -> Change:
    """A change by who is at the keyboard, now."""
    return Change(who=_operator(session), why=why, at=dt.datetime.now(dt.UTC))


def _operator(session: Session) -> str:
    if session.is_local:
        return f"local:{getpass.getuser()}"
    try:
        return str(session.client("sts").get_caller_identity()["Arn"])
    except (ClientError, BotoCoreError):
        return f"unknown:{getpass.getuser()}"
