"""The canary: a stable share of the visitors whose clicks the challenger decides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PERSON: Final = b"slidr-canary"
"""Makes the draw independent of every other use of a hash of the same pseudonym (blake2's personalisation)."""
_SPAN: Final = float(1 << 64)


def in_canary(visitors: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Whose clicks the challenger decides, shape (clicks,).

    Each visitor has one place in [0, 1) for ever, evenly spread, and is in where it lies below the share: so a visitor
    stays on one side, and whoever is in at a small share is in at a larger one.

    Args:
        visitors: of each click, a pseudonym: its session's, else its user's, else its IP's, else the click's id.
        share: in [0, 1].

    >>> in_canary(["a", "a", "b"], 0.0).tolist(), in_canary(["a", "b"], 1.0).tolist()
    ([False, False, False], [True, True])
    """
    known = {visitor: place(visitor) < share for visitor in set(visitors)}
    return np.fromiter(map(known.__getitem__, visitors), dtype=np.bool_, count=len(visitors))


def place(visitor: str) -> float:
    """The visitor's place in [0, 1)."""
    digest = hashlib.blake2b(visitor.encode(), digest_size=8, person=_PERSON).digest()
    return int.from_bytes(digest, "big") / _SPAN
