"""Pseudonyms join what belongs together under one key, and nothing else."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from slidr.pseudonym import Pseudonymiser, token_digest, truncated_ip

KEY = bytes(range(32))


def test_a_token_is_the_keyed_hash_with_the_key_version() -> None:
    expected = hmac.new(KEY, b"user\x00ada", hashlib.sha256).hexdigest()[:32]

    assert Pseudonymiser(KEY, version=3).token("user", "ada") == f"3.{expected}"


def test_the_same_value_of_another_kind_or_key_gives_another_token() -> None:
    token = Pseudonymiser(KEY, version=1).token("user", "ada")

    assert Pseudonymiser(KEY, version=1).token("session", "ada") != token
    assert Pseudonymiser(bytes(32), version=1).token("user", "ada") != token


def test_refuses_a_short_key() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes is required, came 16"):
        Pseudonymiser(bytes(16), version=1)


def test_the_counter_digest_is_the_head_of_the_hash() -> None:
    token = Pseudonymiser(KEY, version=12).token("ip", "192.0.2.1")

    assert token_digest(token).hex() == token.removeprefix("12.")[:16]


def test_truncates_addresses_to_their_network() -> None:
    assert truncated_ip("203.0.113.200") == "203.0.113.0/24"
    assert truncated_ip("2001:db8:aaaa:bbbb::1") == "2001:db8:aaaa::/48"
