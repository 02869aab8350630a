"""Changes of the pointer by the daily loop: challenger, canary, promotion, and their withdrawal; each one write."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from functions.adapters.serving_state import Change, PointerStore
from slidr.errors import SlidrError
from slidr.pointer import Pointer, challenged, challenger_promoted, matured, promoted, with_canary, withdrawn


class ActionUnknown(SlidrError):
    """The machine asked for a change of the pointer that there is not."""


def point(event: Mapping[str, Any], store: PointerStore, *, now: dt.datetime) -> dict[str, Any]:
    """Change the pointer; the one in force then.

    Args:
        event: `action`, `release_id`, `run`, and what the action needs: `over`, `mature`, `share`, `why`.
        store: of the pointer.
        now: UTC.

    Raises:
        ActionUnknown: no such action.
        PromotionFrozen: nothing may be promoted now.
        PromotionOutdated: the release is not (any more) what the action takes it for.
        ReleaseConflict: somebody else changed the pointer until the attempts ended.
    """
    run = str(event["run"])
    change = Change(who=f"daily-loop {run}", why=str(event.get("why") or run), at=now)
    return dict(msgspec.to_builtins(store.apply(_step(event), change)))


def _step(event: Mapping[str, Any]) -> Callable[[Pointer], Pointer]:
    release, over = str(event["release_id"]), str(event.get("over") or "") or None
    match event["action"]:
        case "challenge":
            return lambda pointer: _challenge(pointer, release, mature=str(event.get("mature") or ""))
        case "canary":
            share = float(event["share"])
            return lambda pointer: with_canary(pointer, share)
        case "promote":
            return lambda pointer: _promote(pointer, release, over=over)
        case "withdraw":
            return lambda pointer: withdrawn(pointer, release)
        case unknown:
            raise ActionUnknown(f"challenge, canary, promote or withdraw is required, came {unknown!r}")


def _challenge(pointer: Pointer, release: str, *, mature: str) -> Pointer:
    """The release in shadow, or in force where nothing is; and a former champion that has matured as stable."""
    after = matured(pointer, mature) if mature else pointer
    return challenged(after, release) if after.champion else promoted(after, release)


def _promote(pointer: Pointer, release: str, *, over: str | None) -> Pointer:
    """The challenger in force. A retry of a promotion whose answer was lost changes nothing."""
    if over is None or pointer.champion == release:
        return pointer  # the first release is in force since it was deployed
    return challenger_promoted(pointer, release, over=over)
