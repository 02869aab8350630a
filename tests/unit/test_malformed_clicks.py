from __future__ import annotations

import pytest

from slidr.click import parse_click
from slidr.errors import InvalidClick
from slidr.schema import REJECT_REASONS
from tests.malformed_clicks import KINDS, MalformedClick, malformed_clicks

RECORDS = malformed_clicks(2 * len(KINDS), seed=3)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.kind)
def test_parser_rejects_every_kind_for_its_reason(record: MalformedClick) -> None:
    with pytest.raises(InvalidClick) as failure:
        parse_click(record.event.payload, arrived_ms=1_795_435_200_000)
    assert failure.value.reason == record.reason


def test_kinds_are_many_cover_every_reason_and_no_two_records_are_alike() -> None:
    assert len({record.kind for record in RECORDS}) == len(KINDS) == 30
    assert {record.reason for record in RECORDS} == set(REJECT_REASONS)
    assert len({record.event.payload for record in RECORDS}) == len(RECORDS)
    assert len({record.event.key for record in RECORDS}) == len(RECORDS)
    assert not any(b"\n" in record.event.payload for record in RECORDS)


def test_the_same_seed_gives_the_same_records() -> None:
    assert malformed_clicks(40, seed=3) == malformed_clicks(40, seed=3) != malformed_clicks(40, seed=4)
