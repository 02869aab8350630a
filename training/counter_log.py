"""Clicks of the lake as what the counters eat: slidr/counter_batch.py and slidr/features.py for whole tables."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from slidr.counter_batch import IDENTIFIERS, CounterBatch, device_fingerprints
from slidr.features import DEVICES, ClickContext, minute_of_week_in
from slidr.pseudonym import digest64

_TOKENS: Final = {"user": "user_token", "session": "session_token", "ip": "ip_token", "user_agent": "ua_token"}
_DIGITS: Final = 32
"""Hex digits of a token, behind its key's version."""
_TEXTS: Final = ("ad", "advertiser")


def counter_log(clicks: pl.DataFrame) -> CounterBatch:
    """The clicks, in their order: the numbers that `slidr.counter_batch.counter_batch` gives of the same clicks.

    Args:
        clicks: in the lake's form.
    """
    numbers = clicks.select(
        *(_token_numbers(clicks[column]).alias(name) for name, column in _TOKENS.items()),
        *(_text_numbers(clicks[name]).alias(name) for name in _TEXTS),
    )
    ids = np.zeros((len(clicks), len(IDENTIFIERS)), dtype=np.uint64)
    present = np.zeros((len(clicks), len(IDENTIFIERS)), dtype=np.bool_)
    for name in numbers.columns:
        column = IDENTIFIERS.index(name)
        ids[:, column] = numbers[name].fill_null(0).to_numpy()
        present[:, column] = numbers[name].is_not_null().to_numpy()
    ip, agent, fingerprint = (IDENTIFIERS.index(name) for name in ("ip", "user_agent", "device_fp"))
    present[:, fingerprint] = present[:, ip] | present[:, agent]
    mixed = device_fingerprints(ids[:, ip], ids[:, agent], present[:, ip], present[:, agent])
    ids[:, fingerprint] = np.where(present[:, fingerprint], mixed, np.uint64(0))
    return CounterBatch(
        at_ms=clicks["at"].dt.epoch("ms").to_numpy(),
        click_id=np.frombuffer(b"".join(map(digest64, clicks["click_id"])), dtype=">u8").astype(np.uint64),
        ids=ids,
        present=present,
    )


def click_context(clicks: pl.DataFrame) -> ClickContext:
    """What the features of the clicks need besides counts.

    Args:
        clicks: in the lake's form.
    """
    zones = clicks["time_zone"].cast(pl.String).unique().to_list()
    at_ms = clicks["at"].dt.epoch("ms").to_numpy()
    return ClickContext(
        minute_of_week=minute_of_week_in(zones, _places(clicks["time_zone"], zones).astype(np.int64), at_ms),
        logged_in=clicks["logged_in"].to_numpy(),
        device=_places(clicks["device"], [device.value for device in DEVICES]).astype(np.int8),
    )


def _places(values: pl.Series, among: list[str]) -> NDArray[np.unsignedinteger]:
    return values.cast(pl.String).cast(pl.Enum(among)).to_physical().to_numpy()


def _token_numbers(tokens: pl.Series) -> pl.Series:
    """`token_digest` of each token as an unsigned big-endian integer; null for null."""
    digits = tokens.str.tail(_DIGITS)
    high, low = (digits.str.slice(start, 8).str.to_integer(base=16, dtype=pl.UInt64) for start in (0, 8))
    return high * 2**32 + low


def _text_numbers(texts: pl.Series) -> pl.Series:
    """`digest64` of each text as an unsigned big-endian integer, each distinct text once; null for null."""
    known = {text: int.from_bytes(digest64(text), "big") for text in texts.unique() if text is not None}
    return texts.replace_strict(list(known), pl.Series(list(known.values()), dtype=pl.UInt64), default=None)
