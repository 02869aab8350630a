"""Malformed records among good ones through the deployed local stack: every one rejected for its reason, no click lost.

`python -m benchmarks malformed`. The stacks are deployed by `cdk`, a small release is trained on them; the records go
through Kinesis, the event source, the function, Valkey and the endpoint, and are counted on the verdict stream and in
the reject store.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from benchmarks.deployed import deployed, simulated_clicks
from benchmarks.harness import Measured
from slidr.ledger import Ledger
from slidr.verdict import Decision
from tests.cloud.journey import spread
from tests.malformed_clicks import malformed_clicks

GOOD: Final = 10_000
MALFORMED: Final = 1_000
SEED: Final = 20_261_125

FIGURES: Final = {
    "good": "good clicks sent, simulated",
    "malformed": "malformed records sent, spread evenly among them",
    "kinds": "kinds of malformed records",
    "verdicts": "distinct good clicks with a verdict",
    "rejects": "malformed records in the reject store, each counted once",
    "wrong_reasons": "rejects whose reason is not the one of their kind",
    "undecided": "good clicks whose verdict is UNDECIDED",
    "lost": "records with neither a verdict nor a reject",
}


def measure() -> Measured:
    """Send 10,000 good clicks and 1,000 malformed records and account for each."""
    records = malformed_clicks(MALFORMED, seed=SEED)
    reasons = {record.event.payload: record.reason for record in records}
    kinds = {record.event.payload: record.kind for record in records}
    good = simulated_clicks(GOOD)
    with deployed() as cloud:
        accounting = cloud.decide(spread([record.event for record in records], among=good))
        verdicts = list(Ledger(cloud.verdicts(good)))
        rejects = {reject.payload_base64: reject.reason for reject in cloud.rejects(r.event for r in records)}
    right = Counter(kinds[payload] for payload, reason in rejects.items() if reason == reasons[payload])
    figures = {
        "good": len({click.key for click in good}),
        "malformed": len(reasons),
        "kinds": len(set(kinds.values())),
        "verdicts": len(verdicts),
        "rejects": len(rejects),
        "wrong_reasons": len(rejects) - right.total(),
        "undecided": sum(verdict.decision is Decision.UNDECIDED for verdict in verdicts),
        "lost": len(accounting.missing),
    }
    wanted = figures | {"good": GOOD, "malformed": MALFORMED, "verdicts": GOOD, "rejects": MALFORMED,
                        "wrong_reasons": 0, "undecided": 0, "lost": 0}  # fmt: skip
    missed = [f"{name} must be {wanted[name]:,}, it is {value:,}" for name, value in figures.items()
              if value != wanted[name]]  # fmt: skip
    if not accounting.holds:
        missed.append(str(accounting))
    sent = Counter(kinds.values())
    reason_of = {record.kind: record.reason for record in records}
    return Measured(
        figures=figures,
        rows=[
            {"kind": kind, "reason": reason_of[kind], "sent": sent[kind], "rejected for it": right[kind]}
            for kind in sorted(sent, key=lambda kind: (reason_of[kind], kind))
        ],
        notes=[str(accounting)],
        missed=missed,
    )
