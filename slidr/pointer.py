"""The pointer: the one item that says which releases serve; changed only by conditional write on its generation.

Its changes are pure here. One that changes nothing returns the pointer as it came, at its generation: nothing to write.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from slidr.errors import PromotionFrozen, PromotionOutdated, RollbackImpossible

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

    @property
    def named(self) -> tuple[str, ...]:
        """The releases that it names, each once: every serving fleet must hold them.

        >>> Pointer(champion="b", stable="a", challenger="b").named
        ('b', 'a')
        """
        return tuple(dict.fromkeys(name for name in (self.champion, self.stable, self.challenger) if name))


def promoted(pointer: Pointer, champion: str) -> Pointer:
    """The pointer after `champion` takes over. Promotion never writes stable.

    Raises:
        PromotionFrozen: nothing may be promoted now.

    >>> promoted(Pointer(champion="a", challenger="b", generation=3), "b")
    Pointer(champion='b', stable=None, challenger=None, canary_share=0.0, frozen=False, generation=4)
    """
    if pointer.frozen:
        raise PromotionFrozen(
            f"a pointer that is not frozen is required to put {champion} in force, it is frozen at generation "
            f"{pointer.generation} (by a rollback or an operator). Find out why (slidr releases --history), then slidr "
            "unfreeze."
        )
    challenger = None if pointer.challenger == champion else pointer.challenger
    return _next(pointer, champion=champion, challenger=challenger, canary_share=0.0)


def challenger_promoted(pointer: Pointer, challenger: str, *, over: str | None) -> Pointer:
    """The pointer after `challenger` takes over from the champion `over` that it was compared with.

    However often it is tried, it succeeds once: afterwards the release is champion and challenger no more.

    Raises:
        PromotionFrozen: nothing may be promoted now.
        PromotionOutdated: another release is the challenger, or another champion serves.

    >>> challenger_promoted(Pointer(champion="a", challenger="b"), "b", over="a").champion
    'b'
    """
    if pointer.challenger != challenger or pointer.champion != over or challenger == over:
        raise PromotionOutdated(
            f"{challenger} must be the challenger of the champion {over or 'none'}, however the pointer (generation "
            f"{pointer.generation}) has challenger {pointer.challenger or 'none'} and champion "
            f"{pointer.champion or 'none'}. slidr releases shows who serves; slidr deploy RELEASE --challenger makes a "
            "challenger."
        )
    return promoted(pointer, challenger)


def challenged(pointer: Pointer, challenger: str | None) -> Pointer:
    """The pointer with `challenger` in shadow, on no share of the clicks yet; None for no challenger.

    Raises:
        PromotionOutdated: it is the champion already, or there is no champion to be compared with.

    >>> challenged(Pointer(champion="a", challenger="b", canary_share=0.1), "c")
    Pointer(champion='a', stable=None, challenger='c', canary_share=0.0, frozen=False, generation=1)
    """
    if challenger is not None and pointer.champion in {None, challenger}:
        raise PromotionOutdated(
            f"a challenger needs a champion other than itself, came {challenger} where the champion is "
            f"{pointer.champion or 'none'}. slidr releases shows the releases; slidr deploy puts the first in force."
        )
    if pointer.challenger == challenger:
        return pointer
    return _next(pointer, challenger=challenger, canary_share=0.0)


def matured(pointer: Pointer, release: str) -> Pointer:
    """The pointer with a former champion as stable: its served interval has matured and passed. Nothing else does that.

    Raises:
        PromotionFrozen: after a rollback nobody knows yet which release is to be trusted.

    >>> matured(Pointer(champion="c", stable="a"), "b").stable
    'b'
    """
    if pointer.stable == release:
        return pointer
    if pointer.frozen:
        raise PromotionFrozen(f"a pointer that is not frozen is required for {release} to become stable, it is frozen.")
    return _next(pointer, stable=release)


def withdrawn(pointer: Pointer, challenger: str) -> Pointer:
    """The pointer without `challenger` in shadow, and with no canary; as it was where another one, or none, is.

    >>> withdrawn(Pointer(champion="a", challenger="b", canary_share=0.1), "b").canary_share
    0.0
    """
    if pointer.challenger != challenger or pointer.champion == challenger:
        return pointer
    return _next(pointer, challenger=None, canary_share=0.0)


def with_canary(pointer: Pointer, share: float) -> Pointer:
    """The pointer with the challenger deciding a share of the clicks, in [0, 1].

    Raises:
        PromotionFrozen: frozen, and the share is not 0.
        PromotionOutdated: there is no challenger to give a share to.

    >>> with_canary(Pointer(champion="a", challenger="b"), 0.05).canary_share
    0.05
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"a canary share in [0, 1] is required, came {share}")
    if share and pointer.frozen:
        raise PromotionFrozen(f"a pointer that is not frozen is required for a canary share of {share}, it is frozen.")
    if share and not pointer.shadows:
        raise PromotionOutdated(f"a challenger is required for a canary share of {share}, the pointer names none.")
    return pointer if pointer.canary_share == share else _next(pointer, canary_share=share)


def frozen(pointer: Pointer) -> Pointer:
    """The pointer with promotion frozen. What serves goes on serving.

    >>> frozen(frozen(Pointer(champion="a"))) == frozen(Pointer(champion="a"))
    True
    """
    return pointer if pointer.frozen else _next(pointer, frozen=True)


def unfrozen(pointer: Pointer) -> Pointer:
    """The pointer with promotion allowed again.

    >>> unfrozen(Pointer(frozen=True, generation=4))
    Pointer(champion=None, stable=None, challenger=None, canary_share=0.0, frozen=False, generation=5)
    """
    return _next(pointer, frozen=False) if pointer.frozen else pointer


def rolled_back(pointer: Pointer, *, bad: str | None) -> Pointer:
    """The pointer after the champion `bad` gives way to stable: canary share 0, promotion frozen.

    Stable stays named: it is champion and stable until a later champion has matured.

    Raises:
        RollbackImpossible: there is no stable release, `bad` is stable itself, or another champion serves by now.

    >>> rolled_back(Pointer(champion="b", stable="a", challenger="c", canary_share=0.1, generation=6), bad="b")
    Pointer(champion='a', stable='a', challenger='c', canary_share=0.0, frozen=True, generation=7)
    """
    if pointer.champion != bad or bad is None:
        raise RollbackImpossible(
            f"the champion must be {bad} to be rolled back, it is {pointer.champion or 'none'} at generation "
            f"{pointer.generation}. Somebody was first; look again whether it is well."
        )
    if pointer.stable is None or pointer.stable == bad:
        raise RollbackImpossible(
            f"a stable release other than the champion {bad} is required to roll back to, the pointer names "
            f"{pointer.stable or 'none'}. If the trouble goes on with stable, the input is at fault: slidr mode "
            "--kill-switch on bills every click, and a person looks."
        )
    challenger = None if pointer.challenger == pointer.stable else pointer.challenger
    return _next(pointer, champion=pointer.stable, challenger=challenger, canary_share=0.0, frozen=True)


def releases_to_load(before: Pointer, after: Pointer) -> tuple[str, ...]:
    """What every serving fleet must hold while the pointer goes from `before` to `after`, each once.

    Both pointers' releases: until the write, and where it fails, `before` is in force on the new fleet too; serving
    reads the pointer only every few seconds; and a former champion may become stable.

    >>> releases_to_load(Pointer(champion="b", stable="a"), Pointer(champion="c", stable="a"))
    ('c', 'a', 'b')
    """
    return tuple(dict.fromkeys((*after.named, *before.named)))


def _next(pointer: Pointer, **changes: str | float | bool | None) -> Pointer:
    return msgspec.structs.replace(pointer, **changes, generation=pointer.generation + 1)
