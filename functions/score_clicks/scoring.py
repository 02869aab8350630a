"""One batch of clicks, from stream records to durable outcomes."""

from __future__ import annotations

from collections import Counter

from functions.score_clicks.enrichment import enrich
from functions.score_clicks.judgement import judge
from functions.score_clicks.outcome import Outcome
from functions.score_clicks.publishing import publish
from functions.score_clicks.records import StreamRecords
from functions.score_clicks.services import Services
from slidr.click import ParsedClicks, parse_clicks
from slidr.contract import epoch_ms
from slidr.verdict import Decision


def score_clicks(records: StreamRecords, services: Services) -> Outcome:
    """Decide every click of a batch and make every outcome durable.

    A record that breaks the contract is rejected. A dependency that fails leaves clicks UNDECIDED. Only what cannot be
    stored is delivered again, from `Outcome.retry_from`.
    """
    parsed = parse_clicks(records.payloads, arrived_ms=records.arrived_ms)
    if not parsed.clicks:
        retry_from, problems = publish(records, parsed, [], services)
        return Outcome(
            records=len(records.payloads), rejects=_reject_reasons(parsed), retry_from=retry_from, problems=problems
        )
    arrived_ms = [records.arrived_ms[position] for position in parsed.positions]
    enriched = enrich(parsed.clicks, services)
    decided_at = services.now()
    judged = judge(enriched, arrived_ms=arrived_ms, decided_at=decided_at, services=services)
    retry_from, problems = publish(records, parsed, judged.verdicts, services)
    return Outcome(
        records=len(records.payloads),
        rejects=_reject_reasons(parsed),
        retry_from=retry_from,
        decisions=Counter(verdict.decision for verdict in judged.verdicts),
        undecided=Counter(verdict.reasons[0] for verdict in judged.verdicts if verdict.decision is Decision.UNDECIDED),
        late=int(enriched.late.sum()),
        crawlers=int(enriched.crawlers.sum()),
        unbilled=sum(not verdict.billable for verdict in judged.verdicts),
        waited_ms=[epoch_ms(decided_at) - arrived for arrived in arrived_ms],
        release_id=judged.release_id,
        asked_release_id=judged.asked_release_id,
        shadow=judged.shadow,
        roles=judged.roles,
        problems=(*enriched.problems, *judged.problems, *problems),
    )


def _reject_reasons(parsed: ParsedClicks) -> Counter[str]:
    return Counter(error.reason for _, error in parsed.rejects)
