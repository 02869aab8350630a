"""Clicks become the same digests online (clicks and a key) and offline (columns of the archive)."""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np
import pytest

from functions.adapters.counter_calls import decode, encode, library
from slidr.click import Click
from slidr.contract import epoch_ms
from slidr.counter_batch import IDENTIFIERS, CounterBatch, counter_batch, counter_batch_of_columns
from slidr.counters import ENTITIES, RAW_COLUMNS, Caps
from slidr.errors import FeatureMismatch
from slidr.pseudonym import Pseudonymiser, digest64
from tests.counter_histories import NOON_MS, batch_of, hot_key

KEY = Pseudonymiser(bytes(range(32)), version=1)
AT = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
BARE = Click(click_id="bare", at=AT, advertiser="a1", marketplace="de")
FULL = msgspec.structs.replace(
    BARE, click_id="full", user="u", session="s", ip="192.0.2.1", user_agent="Mozilla/5.0", ad="ad1"
)


def known(batch: CounterBatch, row: int) -> set[str]:
    return {name for name, present in zip(IDENTIFIERS, batch.present[row], strict=True) if present}


def value(batch: CounterBatch, row: int, name: str) -> int:
    return int(batch.ids[row, IDENTIFIERS.index(name)])


def test_absence_is_a_flag_and_not_a_digest() -> None:
    batch = counter_batch([BARE, FULL], KEY)
    assert known(batch, 0) == {"advertiser"}
    assert known(batch, 1) == set(IDENTIFIERS)
    assert not batch.ids[~batch.present].any()


def test_online_and_offline_builders_agree() -> None:
    clicks = [BARE, FULL, msgspec.structs.replace(FULL, click_id="c3", ip=None, user="v")]
    tokens = {
        kind: [None if v is None else KEY.token(kind, v) for v in values]
        for kind, values in {
            "user": [c.user for c in clicks],
            "session": [c.session for c in clicks],
            "ip": [c.ip for c in clicks],
            "ua": [c.user_agent for c in clicks],
        }.items()
    }
    offline = counter_batch_of_columns(
        at_ms=np.array([epoch_ms(c.at) for c in clicks]),
        click_id=[c.click_id for c in clicks],
        user=tokens["user"],
        session=tokens["session"],
        ip=tokens["ip"],
        user_agent=tokens["ua"],
        ad=[c.ad for c in clicks],
        advertiser=[c.advertiser for c in clicks],
    )
    online = counter_batch(clicks, KEY)
    for name in ("at_ms", "click_id", "ids", "present"):
        np.testing.assert_array_equal(getattr(online, name), getattr(offline, name))


def test_identifiers_are_the_digests_of_the_tokens() -> None:
    batch = counter_batch([FULL], KEY)
    assert value(batch, 0, "user") == int(KEY.token("user", "u").partition(".")[2][:16], 16)
    assert value(batch, 0, "ad") == int.from_bytes(digest64("ad1"), "big")
    assert int(batch.click_id[0]) == int.from_bytes(digest64("full"), "big")
    assert batch.at_ms.tolist() == [NOON_MS]


def test_another_key_gives_other_digests_of_people_and_the_same_of_ads() -> None:
    one, other = counter_batch([FULL], KEY), counter_batch([FULL], Pseudonymiser(bytes(32), version=2))
    differ = {name for name in IDENTIFIERS if value(one, 0, name) != value(other, 0, name)}
    assert differ == {"user", "session", "ip", "user_agent", "device_fp"}


@pytest.mark.parametrize("without", ["ip", "user_agent"])
def test_device_fingerprint_is_there_where_either_part_is(without: str) -> None:
    part = msgspec.structs.replace(FULL, **{without: None})
    batch = counter_batch([FULL, part, BARE], KEY)
    assert batch.present[:, IDENTIFIERS.index("device_fp")].tolist() == [True, True, False]
    assert value(batch, 0, "device_fp") != value(batch, 1, "device_fp")


def test_device_fingerprint_tells_pairs_apart() -> None:
    clicks = [
        msgspec.structs.replace(
            FULL, click_id=f"{i}.{j}", ip=f"192.0.2.{i}" if i else None, user_agent=f"ua{j}" if j else None
        )
        for i in range(12)
        for j in range(12)
    ]
    batch = counter_batch(clicks, KEY)
    prints = batch.ids[batch.present[:, IDENTIFIERS.index("device_fp")], IDENTIFIERS.index("device_fp")]
    assert len(set(prints.tolist())) == 12 * 12 - 1


def test_batch_without_clicks_is_a_batch() -> None:
    assert counter_batch([], KEY).clicks == 0


def test_refuses_arrays_that_do_not_belong_together() -> None:
    log = hot_key(3, seed=0)
    with pytest.raises(FeatureMismatch, match="click_id must be uint64"):
        CounterBatch(at_ms=log.at_ms, click_id=log.click_id.astype(np.int64), ids=log.ids, present=log.present)
    with pytest.raises(FeatureMismatch, match=r"ids must be uint64 of shape \(2, 7\)"):
        CounterBatch(at_ms=log.at_ms[:2], click_id=log.click_id[:2], ids=log.ids, present=log.present[:2])


def test_calls_go_over_the_wire_as_the_protocol_has_them() -> None:
    batch = batch_of([NOON_MS], [2**64 - 1], [(None, None, None, 0x7B61617D00000000, None, None, None)])
    calls = encode(batch, "count")
    argument = NOON_MS.to_bytes(6, "big") + b"\xff" * 8
    assert calls.keys == [b"d1{aa}\0\0\0\0"]
    assert calls.commands == [
        b"*5\r\n$5\r\nFCALL\r\n$5\r\ncount\r\n$1\r\n1\r\n$10\r\nd1{aa}\0\0\0\0\r\n$14\r\n" + argument + b"\r\n"
    ]


def test_replies_land_in_the_rows_of_the_clicks_that_have_the_entity() -> None:
    batch = batch_of(
        [NOON_MS] * 3, [1, 2, 3], [(None,) * 7, (4, *(None,) * 6), (None, None, None, 5, None, None, None)]
    )
    calls = encode(batch, "count")
    user, device = ENTITIES[0], ENTITIES[3]
    replies = [np.arange(1, 1 + len(entity.columns), dtype="<i4").tobytes() for entity in (user, device)]
    counts = decode(calls, replies)
    assert counts[1, : len(user.columns)].tolist() == list(range(1, 1 + len(user.columns)))
    assert counts[2, -len(device.columns) :].tolist() == list(range(1, 1 + len(device.columns)))
    assert counts[0].tolist() == [-1 if "gap_" in name else 0 for name in RAW_COLUMNS]


def test_library_name_changes_with_what_it_counts() -> None:
    assert library().name != library(Caps(members=9)).name
    assert library().name in library().source.splitlines()[0]


def test_each_entity_has_its_own_keys() -> None:
    assert len({entity.name[0] for entity in ENTITIES}) == len(ENTITIES)
