"""Watching the verdicts of a run come in, in the background, until every click that was sent has its outcome."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from typing import Final, Self

from local.accounting import Accounting, SentRecord, account, payload_digest, rejects_of
from local.commands.verdicts import decode_entry
from local.session import Session
from local.stream_following import StreamFollowing
from local.stream_reader import Start, StreamReader
from slidr.ledger import Ledger, LedgerEntry

_CHECK_S: Final = 1.0
_CLOCK_SKEW: Final = dt.timedelta(seconds=5)
"""Streams stamp arrivals by clocks of their own."""
STALL_S: Final = 60.0
"""Without a single new verdict for so long, what is missing is taken to be lost."""


class DecidedClicks:
    """The ledger of what is decided from now on. A context manager: leaving it ends the reader."""

    def __init__(self, session: Session, *, since: dt.datetime) -> None:
        self._session = session
        self._since = since - _CLOCK_SKEW
        reader = StreamReader(session.client("kinesis"), session.outputs.verdict_stream, Start(at=self._since))
        self._following = StreamFollowing(reader, self._take)
        self.ledger: Ledger[LedgerEntry] = Ledger()
        self.records = 0
        """Verdict records read, redelivered ones included."""

    def __enter__(self) -> Self:
        self._following.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._following.__exit__()

    def _take(self, records: list[bytes]) -> None:
        self.records += len(records)
        self.ledger.add(decode_entry(data) for data in records)

    def wait_for(
        self,
        sent: Sequence[SentRecord],
        *,
        stall_s: float = STALL_S,
        on_progress: Callable[[int], None] = lambda _decided: None,
    ) -> Accounting:
        """Wait until every record has an outcome, or nothing has come for `stall_s`; returns the accounting."""
        seen, last_s = -1, time.monotonic()
        while True:
            self._following.check()
            decided = len(self.ledger)
            if decided != seen:
                on_progress(decided - max(seen, 0))
                seen, last_s, rejected = decided, time.monotonic(), set[bytes]()
            else:  # verdicts have paused: what is missing may have been rejected
                rejected = self._rejected()
            accounting = account(sent, decided=self.ledger, rejected=rejected)
            if not accounting.missing or time.monotonic() - last_s > stall_s:
                return account(sent, decided=self.ledger, rejected=self._rejected())
            time.sleep(_CHECK_S)

    def _rejected(self) -> set[bytes]:
        rejects = rejects_of(
            self._session.client("s3"),
            self._session.outputs.quarantine_bucket,
            stream=self._session.outputs.click_stream,
            since=self._since,
        )
        return {payload_digest(reject.payload_base64) for reject in rejects}
