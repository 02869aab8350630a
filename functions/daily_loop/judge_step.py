"""Whether guardrails let a run go on: their kept results, read by the machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from functions.adapters.lake import Lake
from slidr.errors import SlidrError
from slidr.guardrails import GuardrailsUnreadable, Result, decode_results, stopped_by


class GuardrailsStopped(SlidrError):
    """A guardrail's value is out of its bound: the release goes no further, the champion serves on."""


def judge(lake: Lake, keys: Sequence[str]) -> dict[str, Any]:
    """What the results of guardrails come to.

    Raises:
        GuardrailsStopped: one of them stops the release.
        GuardrailsUnreadable: results are missing, empty or malformed: nothing may be promoted on them.
    """
    return verdict_of(result for key in keys for result in results_of(lake, key))


def results_of(lake: Lake, key: str) -> tuple[Result, ...]:
    """The results in an object.

    Raises:
        GuardrailsUnreadable: there are none.
    """
    content = lake.find(key)
    if content is None:
        raise GuardrailsUnreadable(f"results of guardrails are required in {lake.uri(key)}, there is no such object.")
    return decode_results(content)


def verdict_of(results: Iterable[Result]) -> dict[str, Any]:
    """How many passed, and what the others say.

    Raises:
        GuardrailsStopped: one of them stops the release.
    """
    every = list(results)
    if stopping := stopped_by(every):
        raise GuardrailsStopped("; ".join(one.says for one in stopping))
    return {
        "passed": sum(one.passed for one in every),
        "warned": [one.says for one in every if not one.passed],
    }
