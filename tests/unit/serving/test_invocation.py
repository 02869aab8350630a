"""The protocol: what an invocation may ask for, and what each refusal says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from slidr.features import FEATURE_COUNT, SPEC_HASH
from training.artifact import LoadedReleases
from training.invocation import (
    Attributes,
    Plan,
    Refused,
    check_content_type,
    check_length,
    decode_features,
    parse_attributes,
    plan,
)

from .conftest import AnyRows

ROW = 4 * FEATURE_COUNT


def loaded(champion: str | None, stable: str | None, *ids: str) -> LoadedReleases:
    return LoadedReleases(champion=champion, stable=stable, by_id=dict.fromkeys(ids))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"features={SPEC_HASH}", Attributes()),
        (f"features={SPEC_HASH};release=;shadow=", Attributes()),
        (f" features = {SPEC_HASH} ;release=r-1;rows=12", Attributes(release="r-1", rows=12)),
        (f"shadow=r-2,r-3,r-4;features={SPEC_HASH}", Attributes(shadows=("r-2", "r-3", "r-4"))),
    ],
)
def test_reads_what_an_invocation_asks_for(text: str, expected: Attributes) -> None:
    assert parse_attributes(text) == expected


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("", 409, "feature_spec_differs"),
        ("release=r-1", 409, "feature_spec_differs"),
        ("features=0000000000000000", 409, "feature_spec_differs"),
        (f"features={SPEC_HASH};colour=red", 400, "attributes_malformed"),
        (f"features={SPEC_HASH};features={SPEC_HASH}", 400, "attributes_malformed"),
        (f"features={SPEC_HASH};release", 400, "attributes_malformed"),
        (f"features={SPEC_HASH};rows=many", 400, "attributes_malformed"),
        (f"features={SPEC_HASH};rows=-1", 400, "attributes_malformed"),
        (f"features={SPEC_HASH};shadow=a,b,c,d", 400, "too_many_shadows"),
    ],
)
def test_refuses_attributes_by_name(text: str, status: int, code: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse_attributes(text)

    assert (refusal.value.status, refusal.value.code) == (status, code)
    assert set(json.loads(refusal.value.body())) == {"error", "expected", "came"}


def test_refusal_of_another_feature_spec_names_both() -> None:
    with pytest.raises(Refused) as refusal:
        parse_attributes("features=0123")

    assert json.loads(refusal.value.body()) == {"error": "feature_spec_differs", "expected": SPEC_HASH, "came": "0123"}


@pytest.mark.parametrize("came", ["application/x-slidr-features", "Application/X-SLIDR-Features; v=1"])
def test_takes_feature_matrices(came: str) -> None:
    check_content_type(came)


@pytest.mark.parametrize("came", ["", "application/json", "application/x-npy", "application/x-slidr-features2"])
def test_refuses_other_content_types(came: str) -> None:
    with pytest.raises(Refused, match="content_type_differs") as refusal:
        check_content_type(came)
    assert (refusal.value.status, refusal.value.came) == (415, came)


def test_refuses_more_rows_than_it_may_hold() -> None:
    check_length(10 * ROW, max_rows=10)
    with pytest.raises(Refused, match="too_many_rows") as refusal:
        check_length(10 * ROW + 1, max_rows=10)
    assert refusal.value.status == 413


def test_decodes_the_matrix_without_copying(any_rows: AnyRows) -> None:
    rows = any_rows(7)
    body = rows.tobytes()
    decoded = decode_features(body, rows=7)

    np.testing.assert_array_equal(decoded, rows)
    assert decoded.dtype == np.float32
    assert np.shares_memory(decoded, np.frombuffer(body, dtype=np.uint8))


@pytest.mark.parametrize("length", [0, 1, ROW - 1, ROW + 4, 3 * ROW - 4])
def test_refuses_a_body_that_is_no_whole_number_of_rows(length: int) -> None:
    with pytest.raises(Refused, match="shape_differs") as refusal:
        decode_features(bytes(length))
    assert refusal.value.status == 400
    assert str(FEATURE_COUNT) in str(refusal.value.expected)
    assert refusal.value.came == f"{length} bytes"


def test_refuses_another_dtype_where_the_rows_were_told(any_rows: AnyRows) -> None:
    with pytest.raises(Refused, match="rows_differ"):
        decode_features(any_rows(4).astype(np.float64).tobytes(), rows=4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 3])
def test_refuses_what_is_not_finite_and_says_where(value: float, row: int, any_rows: AnyRows) -> None:
    rows = any_rows(4)
    rows[row, 1] = value

    with pytest.raises(Refused, match="not_finite") as refusal:
        decode_features(rows.tobytes())
    assert refusal.value.status == 422
    assert f"row {row}, feature user.n_10s" in str(refusal.value.came)


def test_refuses_infinities_that_cancel(any_rows: AnyRows) -> None:
    rows = any_rows(2)
    rows[0, 1], rows[1, 1] = np.inf, -np.inf

    with pytest.raises(Refused, match="not_finite"):
        decode_features(rows.tobytes())


def test_takes_finite_values_whose_sum_overflows() -> None:
    rows = np.full((2, FEATURE_COUNT), np.float32(3e38))

    np.testing.assert_array_equal(decode_features(rows.tobytes()), rows)


@pytest.mark.parametrize(
    ("asked", "has", "expected"),
    [
        (Attributes(), loaded("a", "b", "a", "b"), Plan("a", ())),
        (Attributes(release="b"), loaded("a", "b", "a", "b"), Plan("b", ())),
        (Attributes(release="x"), loaded("a", "b", "a", "b"), Plan("b", ())),
        (Attributes(release="x"), loaded("a", None, "a"), Plan("a", ())),
        (Attributes(release="a", shadows=("c", "x", "b")), loaded("a", "b", "a", "b", "c"), Plan("a", ("c", "b"))),
        (Attributes(release="a", shadows=("b", "b", "a")), loaded("a", "b", "a", "b"), Plan("a", ("b",))),
        (Attributes(release="x", shadows=("b",)), loaded("a", "b", "a", "b"), Plan("b", ())),
    ],
)
def test_plans_who_scores(asked: Attributes, has: LoadedReleases, expected: Plan) -> None:
    assert plan(asked, has) == expected


def test_answers_503_without_a_release() -> None:
    with pytest.raises(Refused, match="no_release") as refusal:
        plan(Attributes(), LoadedReleases())
    assert refusal.value.status == 503


def test_header_names_who_scored() -> None:
    assert Plan("r-1", ("r-2", "r-3")).header() == b"release=r-1;shadow=r-2,r-3"
