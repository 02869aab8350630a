"""What the counters eat: clicks as arrays of 64-bit digests, the same online (a batch) and offline (a whole log)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidr.click import Click
from slidr.contract import epoch_ms
from slidr.errors import FeatureMismatch
from slidr.pseudonym import Pseudonymiser, digest64, token_digest

Ids = NDArray[np.uint64]
Flags = NDArray[np.bool_]

IDENTIFIERS: Final = ("user", "session", "ip", "device_fp", "user_agent", "ad", "advertiser")
"""Columns of `CounterBatch.ids`: the keys of the entities and the members counted with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterBatch:
    """Clicks in the order in which they are applied to the counters.

    Raises:
        FeatureMismatch: a shape or dtype is not as below.

    >>> CounterBatch(at_ms=np.array([5]), click_id=np.array([7], dtype=np.uint64),
    ...              ids=np.zeros((1, 7), dtype=np.uint64), present=np.zeros((1, 7), dtype=np.bool_)).clicks
    1
    """

    at_ms: NDArray[np.int64]
    """Event time, epoch milliseconds, shape (clicks,)."""
    click_id: Ids
    """`digest64` of the click_id, as an unsigned big-endian integer, shape (clicks,)."""
    ids: Ids
    """Identifiers as unsigned big-endian integers, shape (clicks, len(IDENTIFIERS)); ignored where not present."""
    present: Flags
    """Which identifiers a click has, shape (clicks, len(IDENTIFIERS))."""

    def __post_init__(self) -> None:
        clicks = len(self.at_ms)
        wanted: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
            "at_ms": (np.int64, (clicks,)),
            "click_id": (np.uint64, (clicks,)),
            "ids": (np.uint64, (clicks, len(IDENTIFIERS))),
            "present": (np.bool_, (clicks, len(IDENTIFIERS))),
        }
        for name, (dtype, shape) in wanted.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape:
                raise FeatureMismatch(
                    f"{name} must be {np.dtype(dtype).name} of shape {shape}, "
                    f"however: {name}.dtype={array.dtype}, {name}.shape={array.shape}. "
                    "Build it with counter_batch or counter_batch_of_columns."
                )

    @property
    def clicks(self) -> int:
        """How many clicks there are."""
        return len(self.at_ms)

    def rows(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> CounterBatch:
        """Some of the clicks, in the order given."""
        return CounterBatch(
            at_ms=self.at_ms[rows], click_id=self.click_id[rows], ids=self.ids[rows], present=self.present[rows]
        )


def counter_batch(clicks: Sequence[Click], pseudonymiser: Pseudonymiser) -> CounterBatch:
    """A batch from parsed clicks (online); nothing personal in clear leaves this function."""

    def tokens(kind: str, values: Iterable[str | None]) -> list[str | None]:
        return [None if value is None else pseudonymiser.token(kind, value) for value in values]

    return counter_batch_of_columns(
        at_ms=np.fromiter((epoch_ms(click.at) for click in clicks), dtype=np.int64, count=len(clicks)),
        click_id=[click.click_id for click in clicks],
        user=tokens("user", (click.user for click in clicks)),
        session=tokens("session", (click.session for click in clicks)),
        ip=tokens("ip", (click.ip for click in clicks)),
        user_agent=tokens("ua", (click.user_agent for click in clicks)),
        ad=[click.ad for click in clicks],
        advertiser=[click.advertiser for click in clicks],
    )


def counter_batch_of_columns(
    *,
    at_ms: NDArray[np.int64],
    click_id: Sequence[str],
    user: Sequence[str | None],
    session: Sequence[str | None],
    ip: Sequence[str | None],
    user_agent: Sequence[str | None],
    ad: Sequence[str | None],
    advertiser: Sequence[str | None],
) -> CounterBatch:
    """A log from columns as the click archive has them (offline): the same numbers as `counter_batch` gives.

    Args:
        at_ms: event time, epoch milliseconds.
        click_id: in clear.
        user: pseudonym tokens; so are `session`, `ip` and `user_agent`.
        session: see `user`.
        ip: see `user`.
        user_agent: see `user`.
        ad: in clear.
        advertiser: in clear.
    """
    clicks = len(at_ms)
    ids = np.zeros((clicks, len(IDENTIFIERS)), dtype=np.uint64)
    present = np.zeros((clicks, len(IDENTIFIERS)), dtype=np.bool_)
    columns: tuple[tuple[str, Sequence[str | None], Callable[[str], int]], ...] = (
        ("user", user, _token_number),
        ("session", session, _token_number),
        ("ip", ip, _token_number),
        ("user_agent", user_agent, _token_number),
        ("ad", ad, _text_number),
        ("advertiser", advertiser, _text_number),
    )
    for name, values, number in columns:
        column = IDENTIFIERS.index(name)
        # One digest a distinct value: clicks of one batch share advertisers, agents, addresses.
        numbers = {value: 0 if value is None else number(value) for value in set(values)}
        ids[:, column] = np.fromiter(map(numbers.__getitem__, values), dtype=np.uint64, count=clicks)
        present[:, column] = [value is not None for value in values] if None in numbers else True
    ip_column, agent_column = IDENTIFIERS.index("ip"), IDENTIFIERS.index("user_agent")
    fingerprint_column = IDENTIFIERS.index("device_fp")
    present[:, fingerprint_column] = present[:, ip_column] | present[:, agent_column]
    fingerprints = device_fingerprints(
        ids[:, ip_column], ids[:, agent_column], present[:, ip_column], present[:, agent_column]
    )
    ids[:, fingerprint_column] = np.where(present[:, fingerprint_column], fingerprints, np.uint64(0))
    return CounterBatch(
        at_ms=np.asarray(at_ms, dtype=np.int64),
        click_id=np.frombuffer(b"".join(map(digest64, click_id)), dtype=">u8").astype(np.uint64),
        ids=ids,
        present=present,
    )


def device_fingerprints(ip: Ids, user_agent: Ids, ip_present: Flags, agent_present: Flags) -> Ids:
    """The key of each pair of IP and user agent, mixed from their pseudonyms: the archive has nothing else.

    Source: the finaliser of splitmix64 (Steele, Lea, Flood 2014), a bijection of 64-bit integers.

    >>> one, two, yes = np.array([1], dtype=np.uint64), np.array([2], dtype=np.uint64), np.array([True])
    >>> bool(device_fingerprints(one, two, yes, yes) == device_fingerprints(two, one, yes, yes))
    False
    """
    mixed = _mix(np.where(ip_present, ip, np.uint64(0)) + (ip_present + np.uint64(1)))
    return _mix(mixed ^ np.where(agent_present, user_agent, np.uint64(0)) + (agent_present + np.uint64(1)))


def _mix(x: Ids) -> Ids:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _token_number(token: str) -> int:
    return int.from_bytes(token_digest(token), "big")


@lru_cache(maxsize=65_536)
def _text_number(text: str) -> int:
    return int.from_bytes(digest64(text), "big")
