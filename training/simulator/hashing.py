"""Stable attributes by hashing: an actor's address, device or habits follow from its number, without any state."""

from __future__ import annotations

from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_A: Final = np.uint64(0xBF58476D1CE4E5B9)
_B: Final = np.uint64(0x94D049BB133111EB)


def scrambled(words: Words) -> Words:
    """The splitmix64 finaliser of each word: equal in, equal out, otherwise as good as random.

    Source: Steele, Lea, Flood (2014), Fast splittable pseudorandom number generators.
    """
    x = words + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _A
    x = (x ^ (x >> np.uint64(27))) * _B
    return x ^ (x >> np.uint64(31))


def mixed(words: Words, *others: Words | int | str) -> Words:
    """One word for each tuple (word, others...); the order of the others matters.

    >>> numbers = np.arange(3, dtype=np.uint64)
    >>> bool((mixed(numbers, "ip") == mixed(numbers, "device")).any())
    False
    """
    x = scrambled(np.atleast_1d(words))
    for other in others:
        word = crc32(other.encode()) if isinstance(other, str) else other
        x = scrambled(x ^ scrambled(np.atleast_1d(np.asarray(word, dtype=np.uint64))))
    return x


def unit(words: Words) -> NDArray[np.float64]:
    """Each word as a number in [0, 1), uniform if the words are."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
