"""What a guardrail is, what it gives, and how its results are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

import msgspec

from slidr.errors import SlidrError

Severity = Literal["stop", "warn"]
Scope = Literal["all", "slice", "hour", "feature", "column"]
Summary = TypeVar("Summary")

GUARDRAILS_FILE: Final = "guardrails.json"
"""Name of the results beside a release."""
ALL: Final = "all"
"""The one scope of a guardrail that looks at all traffic."""


class GuardrailsUnreadable(SlidrError):
    """The kept results of guardrails are missing, empty or not such results: nothing may be promoted on them."""


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """The closed interval that a value must lie in; an end that is None is open."""

    low: float | None = None
    high: float | None = None

    def holds(self, value: float) -> bool:
        """Whether the value is within; no number never is.

        >>> Bound(low=0.5).holds(0.5), Bound(high=2.0).holds(3.0), Bound().holds(math.nan)
        (True, False, False)
        """
        return not math.isnan(value) and (self.low is None or value >= self.low) and (
            self.high is None or value <= self.high
        )  # fmt: skip


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One measured value of one guardrail."""

    name: str
    scope: str
    """What was looked at: "all", a slice's name, "13:00" or "13:00-15:59", a feature, a column."""
    value: float | None
    """None where there is no number, which never passes."""
    bound: Bound
    passed: bool
    severity: Severity

    @property
    def says(self) -> str:
        """The result in a few words.

        >>> Result(name="late_clicks", scope="all", value=0.4, bound=Bound(high=0.05), passed=False,
        ...        severity="stop").says
        'late_clicks, all: 0.4, must be at most 0.05'
        """
        low, high = self.bound.low, self.bound.high
        ends = [f"at least {low:g}" if low is not None else "", f"at most {high:g}" if high is not None else ""]
        came = "no number" if self.value is None else f"{self.value:.4g}"
        return f"{self.name}, {self.scope}: {came}, must be {' and '.join(filter(None, ends))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail(Generic[Summary]):
    """One declared check over a summary of type `Summary`."""

    name: str
    measures: str
    """What its value is, in words."""
    bound: Bound
    why: str
    """Where the bound comes from."""
    values: Callable[[Summary], Mapping[str, float]]
    """The value of each scope; none where the summary cannot tell."""
    severity: Severity = "stop"
    scope: Scope = "all"


def check(guardrails: Iterable[Guardrail[Summary]], summary: Summary) -> tuple[Result, ...]:
    """Every value of every guardrail, in the order in which they are declared.

    >>> size = Guardrail(name="size", measures="items", bound=Bound(low=1), why="", values=lambda s: {ALL: len(s)})
    >>> [result.passed for result in check([size], "text")], [result.passed for result in check([size], "")]
    ([True], [False])
    """
    return tuple(
        Result(
            name=guardrail.name,
            scope=scope,
            value=None if math.isnan(value) else float(value),
            bound=guardrail.bound,
            passed=guardrail.bound.holds(value),
            severity=guardrail.severity,
        )
        for guardrail in guardrails
        for scope, value in guardrail.values(summary).items()
        if not math.isinf(value)  # nothing was to be expected there: no result
    )


def stopped_by(results: Iterable[Result]) -> tuple[Result, ...]:
    """The results that stop a release."""
    return tuple(result for result in results if not result.passed and result.severity == "stop")


def encode_results(results: Sequence[Result]) -> bytes:
    """The results as JSON, for `guardrails.json`.

    >>> kept = Result(name="late_clicks", scope="all", value=0.0, bound=Bound(high=0.05), passed=True, severity="stop")
    >>> decode_results(encode_results([kept])) == (kept,)
    True
    """
    return msgspec.json.format(msgspec.json.encode(results))


def decode_results(payload: bytes) -> tuple[Result, ...]:
    """Results from JSON.

    Raises:
        GuardrailsUnreadable: they are none, or not such results.
    """
    try:
        results = msgspec.json.decode(payload, type=tuple[Result, ...])
    except msgspec.DecodeError as failure:
        raise GuardrailsUnreadable(
            f"{GUARDRAILS_FILE} must hold results, came: {failure}. Run the guardrails again."
        ) from failure
    if not results:
        raise GuardrailsUnreadable(f"{GUARDRAILS_FILE} must hold results, came none. Run the guardrails again.")
    return results
