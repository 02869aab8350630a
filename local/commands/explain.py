"""`slidr explain`: why a click was decided as it was."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Final

import typer

from local.commands.options import Profile, Region, Stage
from local.console import console, facts, listing
from local.explaining import Told, told_of
from local.session import Session
from slidr.hours import hour_of
from slidr.verdict import Verdict

_SHOWN: Final = 12


def explain(
    click_id: Annotated[str, typer.Argument(metavar="CLICK_ID", help="Of the click.")],
    *,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="When it happened, where it is older than two weeks.")
    ] = None,
    features: Annotated[int, typer.Option("--features", min=0, help="How many features to show.")] = _SHOWN,
    stage: Stage = "local",
    profile: Profile = None,
    region: Region = None,
) -> None:
    """Explain a verdict: its reasons, the features that moved the score most, and the score given again as proof.

    Features are for operators: an advertiser is told the reason codes. How far a feature moved the score is in
    units of its logit, from the average click of training to this one; the parts add up to all of it.

    Exit code 1 where the score does not come out the same.

    [bold]Examples[/]

      slidr explain 01JD3N6Q0V
      slidr explain 01JD3N6Q0V --at 2026-11-02T14:25Z --features 30 --stage prod
    """
    session = Session(stage=stage, profile=profile, region=region)
    session.flush_deliveries()
    told = told_of(session, click_id, at=_instant(at))
    verdict = told.in_force
    console.print(facts(f"Click {click_id}", [*_verdict_rows(verdict), *_click_rows(told), *_score_rows(told)]))
    history = listing("Records of the ledger", "decided", "kind", "verdict", "score", "release", "reasons")
    for one in told.records:
        history.add_row(
            f"{one.decided_at:%Y-%m-%d %H:%M:%S}", one.kind, one.decision.value, _number(one.score),
            one.release_id or "none", ", ".join(one.reasons) or "none",
        )  # fmt: skip
    console.print(history)
    if told.explanation is not None and features:
        table = listing("What moved the score", "feature", "value", "deviations", "moved the logit by")
        for part in told.explanation.parts[:features]:
            table.add_row(part.feature, f"{part.value:,.4g}", f"{part.deviations:+.1f}", f"{part.moved:+.3f}")
        rest = sum(part.moved for part in told.explanation.parts[features:])
        table.add_row("[dim]all others[/]", "", "", f"{rest:+.3f}")
        console.print(table)
    if told.again is not None and not told.same:
        raise typer.Exit(1)


def _verdict_rows(verdict: Verdict) -> list[tuple[str, str]]:
    billed = "billed" if verdict.billable else "not billed"
    return [
        ("verdict", f"{verdict.decision.value}, {verdict.mode.value} mode: {billed}"),
        ("reasons", ", ".join(verdict.reasons) or "none"),
        ("score, threshold", f"{_number(verdict.score)}, {_number(verdict.threshold)}"),
        ("slice", verdict.slice),
        ("release", verdict.release_id or "none"),
        ("happened, decided", f"{verdict.at:%Y-%m-%d %H:%M:%S}, {verdict.decided_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("advertiser", f"{verdict.advertiser} in {verdict.marketplace}"),
        ("cost", f"{verdict.cost_micros / 1e6:,.2f} {verdict.currency}"),
        ("crawler list, late", f"{'yes' if verdict.givt else 'no'}, {'yes' if verdict.late else 'no'}"),
    ]


def _click_rows(told: Told) -> list[tuple[str, str]]:
    if told.click is None:
        return [("archive", "the click is not in the archive (yet)")]
    wanted = ("user_token", "session_token", "ip_token", "ua_token", "device", "logged_in", "ad", "placement")
    return [(name.replace("_", " "), str(told.click[name] if told.click[name] is not None else "none"))
            for name in wanted]  # fmt: skip


def _score_rows(told: Told) -> list[tuple[str, str]]:
    if told.again is None:
        return [("scored again", "nothing to score: no features of this spec were logged, or no release scored")]
    same = "the same, to the bit" if told.same else "NOT THE SAME: on another backend it may differ by 0.00001"
    rows = [("scored again", f"{_number(told.again)}: {same}")]
    if told.explanation is not None:
        said = told.explanation
        sums = f"{said.logit:+.3f}; of the average click {said.average_logit:+.3f}; unexplained {said.gap:+.4f}"
        rows.append(("logit", sums))
    return rows


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6f}"


def _instant(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise typer.BadParameter(f"--at takes a time with its zone, such as 2026-11-23T14:25Z, came {text!r}")
    return hour_of(at)
