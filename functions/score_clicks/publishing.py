"""Makes the outcomes of a batch durable, in an order that a retry can repeat without loss or contradiction."""

from __future__ import annotations

from collections.abc import Sequence

from functions.adapters.reject_store import Reject
from functions.adapters.undecided_queue import UndecidedClick
from functions.score_clicks.records import StreamRecords
from functions.score_clicks.services import Services
from slidr.click import ParsedClicks
from slidr.contract import from_epoch_ms
from slidr.errors import PublishFailed
from slidr.verdict import Decision, Verdict


def publish(
    records: StreamRecords, parsed: ParsedClicks, verdicts: Sequence[Verdict], services: Services
) -> tuple[int | None, tuple[str, ...]]:
    """Queue the undecided clicks, publish the verdicts, store the rejects.

    The queue comes first: an UNDECIDED verdict is never without its queue entry, while an entry of a click that a
    retry decides is harmless (replay finds it decided). After a failure at some record, later steps leave that record
    and those behind it alone; the stream delivers them again. Rejects come last, so each is stored once.

    Returns:
        The index of the first record whose outcome is not durable (None where all are), and what went wrong.
    """
    end = len(records.payloads)
    problems: list[str] = []

    undecided = [
        (position, verdict)
        for position, verdict in zip(parsed.positions, verdicts, strict=True)
        if verdict.decision is Decision.UNDECIDED
    ]
    try:
        if undecided:
            services.undecided.send([_undecided_click(records, *pair) for pair in undecided])
    except PublishFailed as failure:
        end = undecided[failure.first_failed][0]
        problems.append(str(failure))

    ready = [verdict for position, verdict in zip(parsed.positions, verdicts, strict=True) if position < end]
    try:
        if ready:
            services.verdicts.publish(ready)
    except PublishFailed as failure:
        end = parsed.positions[failure.first_failed]
        problems.append(str(failure))

    rejects = [(position, error) for position, error in parsed.rejects if position < end]
    try:
        if rejects:
            services.rejects.store(
                [_reject(records, position, reason=error.reason, detail=error.detail) for position, error in rejects]
            )
    except PublishFailed as failure:
        end = rejects[failure.first_failed][0]
        problems.append(str(failure))

    return (end if end < len(records.payloads) else None), tuple(problems)


def _undecided_click(records: StreamRecords, position: int, verdict: Verdict) -> UndecidedClick:
    return UndecidedClick(
        click_id=verdict.click_id,
        at=verdict.at,
        arrived_at=verdict.arrived_at,
        stream=records.stream,
        shard=records.shards[position],
        sequence=records.sequences[position],
        reasons=verdict.reasons,
    )


def _reject(records: StreamRecords, position: int, *, reason: str, detail: str) -> Reject:
    return Reject(
        reason=reason,
        detail=detail,
        stream=records.stream,
        shard=records.shards[position],
        sequence=records.sequences[position],
        arrived_at=from_epoch_ms(records.arrived_ms[position]),
        payload_base64=records.payloads[position],
    )
