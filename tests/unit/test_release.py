"""A release is its decision content: the id follows the content, and nothing else."""

from __future__ import annotations

import msgspec
import pytest

from slidr.errors import ReleaseInvalid
from slidr.release import Release, check_id, decode_release, encode_release, release_id
from slidr.slices import SliceMap, Thresholds


def any_release(**changes: object) -> Release:
    release = Release(
        weights_sha256="ab" * 32,
        feature_spec="0123456789abcdef",
        slices=SliceMap(),
        thresholds=Thresholds(default=0.9, by_slice={"device=mobile|logged_in=true": 0.8, "device=other": 0.7}),
        lists={"crawlers": "cd" * 32},
        expected_ivr=tuple(hour / 1000 for hour in range(168)),
    )
    return msgspec.structs.replace(release, **changes)


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "00" * 32},
        {"feature_spec": "fedcba9876543210"},
        {"slices": SliceMap(columns=("device",))},
        {"thresholds": Thresholds(default=0.91)},
        {"lists": {"crawlers": "00" * 32}},
        {"expected_ivr": (0.5,) * 168},
    ],
    ids=lambda change: next(iter(change)),
)
def test_id_changes_with_each_part_of_the_decision_content(change: dict[str, object]) -> None:
    assert release_id(any_release(**change)) != release_id(any_release())


def test_id_does_not_depend_on_the_order_of_slices() -> None:
    forwards = Thresholds(default=0.9, by_slice={"a": 0.1, "b": 0.2})
    backwards = Thresholds(default=0.9, by_slice={"b": 0.2, "a": 0.1})

    assert release_id(any_release(thresholds=forwards)) == release_id(any_release(thresholds=backwards))


def test_survives_its_file() -> None:
    assert decode_release(encode_release(any_release())) == any_release()


def test_refuses_a_bundle_that_was_changed_after_publication() -> None:
    published = release_id(any_release())

    with pytest.raises(ReleaseInvalid, match="was changed"):
        check_id(any_release(thresholds=Thresholds(default=0.1)), published)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b'{"weights_sha256": 1}', b"\xff"])
def test_refuses_bytes_that_are_no_release(payload: bytes) -> None:
    with pytest.raises(ReleaseInvalid, match="Publish it again"):
        decode_release(payload)


def test_refuses_a_week_that_is_not_168_hours() -> None:
    payload = encode_release(any_release()).replace(b"[0.0,0.001,", b"[0.0,")

    with pytest.raises(ReleaseInvalid, match="168 hours, came 167"):
        decode_release(payload)


def test_refuses_slices_by_a_column_that_clicks_do_not_have() -> None:
    with pytest.raises(ReleaseInvalid, match="slice columns"):
        SliceMap(columns=("device", "age"))
