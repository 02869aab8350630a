"""The pointer: the one item that says which releases serve; changed only by conditional write on its generation."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

POINTER_ITEM: Final = "pointer"
"""Name of the pointer's item in the control table."""


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """Which releases serve. It names only releases that every serving fleet has loaded."""

    champion: str | None = None
    """The release in force; None before the first deployment."""
    stable: str | None = None
    challenger: str | None = None
    """Scores in shadow."""
    canary_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    frozen: bool = False
    """While true, nothing is promoted."""
    generation: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Grows by one with every change; the condition of the write."""

    @property
    def shadows(self) -> tuple[str, ...]:
        """The releases to score in shadow, in order."""
        return (self.challenger,) if self.challenger and self.challenger != self.champion else ()


def promoted(pointer: Pointer, champion: str) -> Pointer:
    """The pointer after `champion` takes over. Promotion never writes stable.

    >>> promoted(Pointer(champion="a", challenger="b", generation=3), "b")
    Pointer(champion='b', stable=None, challenger=None, canary_share=0.0, frozen=False, generation=4)
    """
    challenger = None if pointer.challenger == champion else pointer.challenger
    return msgspec.structs.replace(
        pointer, champion=champion, challenger=challenger, canary_share=0.0, generation=pointer.generation + 1
    )
