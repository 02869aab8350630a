"""Who chooses thresholds and who certifies them: clicks are dealt out by person, by a hash that never changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl

from training.calibration.curve import Flags, Floats


def person_of(rows: pl.DataFrame) -> pl.Series:
    """Whose click each row is: its user, else its session, else nobody else's; text that keeps the three apart.

    Args:
        rows: user_token, session_token, click_id.

    >>> rows = pl.DataFrame({"user_token": ["u", None, None], "session_token": ["s", "s", None], "click_id": [*"abc"]})
    >>> person_of(rows).to_list()
    ['user u', 'session s', 'click c']
    """
    kinds = (("user", "user_token"), ("session", "session_token"), ("click", "click_id"))
    # A null token makes a null text, and the first that is not null counts.
    return rows.select(pl.coalesce(pl.format(f"{kind} {{}}", pl.col(column)) for kind, column in kinds)).to_series()


def drawn(keys: Sequence[str], *, purpose: str) -> Floats:
    """A number in [0, 1) for each key, shape (keys,): the same for equal keys and purposes, today and in a year.

    >>> drawn(["a", "b", "a"], purpose="fold").round(3).tolist()
    [0.108, 0.372, 0.108]
    """
    salt = purpose.encode()[:16]
    digests = b"".join(hashlib.blake2b(key.encode(), digest_size=8, person=salt).digest() for key in keys)
    return (np.frombuffer(digests, dtype="<u8") >> np.uint64(11)).astype(np.float64) / 2.0**53


def certifies(person: pl.Series, *, share: float) -> Flags:
    """Which clicks are kept back to certify, shape (clicks,): all clicks of `share` of the persons.

    >>> fold = certifies(pl.Series(["user a", "user b", "user a", "user c"]), share=0.5)
    >>> bool(fold[0] == fold[2])
    True
    """
    persons = person.unique()
    kept = persons.filter(pl.Series(drawn(persons.to_list(), purpose="fold") < share))
    return person.is_in(kept.implode()).to_numpy()
