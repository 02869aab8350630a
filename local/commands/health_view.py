"""The health of a stage, for the screen."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.markup import escape

from local.console import facts, listing, milliseconds, percent
from local.health import LOOKED_BACK, Health, Recent


def shown(health: Health, *, stage: str) -> RenderableType:
    """Who decides, the last minutes, the alarms, what waits."""
    tables: list[RenderableType] = [
        facts(f"Who decides ({stage})", _serving(health)),
        facts(f"The last {LOOKED_BACK.seconds // 60} minutes", _recent(health.recent)),
        facts("What waits", _waiting(health)),
    ]
    if health.alarms_on:
        table = listing("Alarms that are on (docs/runbook.md has each)", "alarm", "since", "why")
        for alarm in health.alarms_on:
            table.add_row(f"[red]{alarm.name}[/]", f"{alarm.since:%m-%d %H:%M:%S}", escape(alarm.reason[:120]))
        tables.append(table)
    else:
        tables.append(f"[green]No alarm is on[/], of {health.alarms}.")
    return Group(*tables)


def _serving(health: Health) -> list[tuple[str, str]]:
    pointer, policy = health.pointer, health.policy
    since = f", since {health.champion_since:%Y-%m-%d %H:%M}" if health.champion_since else ""
    canary = f", {pointer.canary_share:.1%} of the sessions" if pointer.canary_share else ""
    modes = f"{policy.default.value} by default, {len(policy.modes)} said otherwise"
    return [
        ("champion", f"{pointer.champion or '[yellow]none: every click is UNDECIDED[/]'}{since}"),
        ("stable", pointer.stable or "[yellow]none: nothing to roll back to[/]"),
        ("challenger", f"{pointer.challenger or 'none'}{canary}"),
        ("promotion", "[red]frozen[/] (slidr releases --history says why)" if pointer.frozen else "allowed"),
        ("billing", "[red]kill switch on: every click is billed[/]" if policy.kill_switch else modes),
    ]


def _recent(recent: Recent) -> list[tuple[str, str]]:
    expected = "" if math.isnan(recent.expected_invalid) else f", expected {recent.expected_invalid:.2%}"
    latency = ", ".join(f"{name} {milliseconds(value)}" for name, value in recent.latency_ms.items())
    return [
        ("decided", f"{recent.decided:,}"),
        ("INVALID", f"{percent(recent.invalid)}{expected}"),
        ("UNDECIDED, rejected", f"{recent.undecided:,}, {recent.rejects:,}"),
        ("arrival to verdict", latency or "none to measure"),
        ("behind the stream", milliseconds(recent.behind_ms)),
    ]


def _waiting(health: Health) -> list[tuple[str, str]]:
    final = f"{health.final_until:%Y-%m-%d %H:%M}" if health.final_until else "no hour yet"
    return [
        ("UNDECIDED clicks", f"{health.waiting:,} on the queue"),
        ("daily loop", health.last_run or "has never run"),
        ("replay", health.last_replay or "has never run"),
        ("billing is final until", final),
    ]
