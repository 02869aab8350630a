from __future__ import annotations

import math

import pytest

from slidr.guardrails import Bound, Guardrail, Result, check, decode_results, encode_results
from training.guardrails import GuardrailsUnreadable, stopped_by
from training.guardrails.data import DATA
from training.guardrails.model import MODEL
from training.guardrails.stable import STABLE

DECLARED = (*DATA, *MODEL, *STABLE)


def one(value: float, **bound: float) -> Result:
    (result,) = check(
        [Guardrail(name="g", measures="m", bound=Bound(**bound), why="w", values=lambda v: {"all": v})], value
    )
    return result


def test_every_guardrail_has_its_own_name_a_meaning_a_bound_and_a_reason() -> None:
    assert len({guardrail.name for guardrail in DECLARED}) == len(DECLARED)
    for guardrail in DECLARED:
        assert guardrail.measures, guardrail.name
        assert guardrail.why, guardrail.name
        assert guardrail.bound.low is not None or guardrail.bound.high is not None, guardrail.name


@pytest.mark.parametrize(("value", "passed"), [(0.9, False), (1.0, True), (2.0, True), (2.1, False), (math.nan, False)])
def test_passes_what_is_within_its_bound(value: float, passed: bool) -> None:
    assert one(value, low=1.0, high=2.0).passed is passed


def test_keeps_results_as_json_even_without_a_number() -> None:
    results = (one(3.0, high=2.0), one(math.nan, low=0.0))

    assert decode_results(encode_results(results)) == results
    assert stopped_by(results) == results


def test_gives_no_result_where_nothing_was_to_be_expected() -> None:
    guardrail = Guardrail(name="g", measures="m", bound=Bound(low=1), why="w", values=lambda v: {"all": v})

    assert check([guardrail], math.inf) == ()


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'[{"name": "auc"}]'])
def test_takes_no_other_file_for_results(payload: bytes) -> None:
    with pytest.raises(GuardrailsUnreadable, match="Run the guardrails again"):
        decode_results(payload)
