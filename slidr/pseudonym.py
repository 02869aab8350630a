"""Keyed pseudonyms: nothing personal in clear past the enrichment step (rule 9).

A token is `<key version>.<32 hex digits>`: HMAC-SHA256 of kind and value, cut to 128 bits. Source: RFC 2104.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import Final

_CACHE_LIMIT: Final = 100_000


class Pseudonymiser:
    """Turns personal identifiers into tokens under one key; the same value gives the same token for that key."""

    def __init__(self, key: bytes, *, version: int) -> None:
        if len(key) < 32:
            raise ValueError(f"a pseudonym key of at least 32 bytes is required, came {len(key)}")
        self._key = key
        self.version = version
        self._prefix = f"{version}."
        self._tokens: dict[tuple[str, str], str] = {}

    def token(self, kind: str, value: str) -> str:
        """The token of `value` as a `kind` ("user", "session", "ip", "ua").

        >>> Pseudonymiser(bytes(32), version=1).token("user", "ada")
        '1.db2df5c3ace6303e232bee436d09e856'
        """
        token = self._tokens.get((kind, value))
        if token is None:
            if len(self._tokens) >= _CACHE_LIMIT:
                self._tokens.clear()
            message = f"{kind}\x00{value}".encode("utf-8", "surrogatepass")
            token = self._prefix + hmac.digest(self._key, message, hashlib.sha256)[:16].hex()
            self._tokens[kind, value] = token
        return token


def truncated_ip(ip: str) -> str:
    """The /24 (IPv4) or /48 (IPv6) network of an address: what the archive may keep of it.

    >>> truncated_ip("192.0.2.77"), truncated_ip("2001:db8:1:2::3")
    ('192.0.2.0/24', '2001:db8:1::/48')
    """
    bits = 24 if ipaddress.ip_address(ip).version == 4 else 48
    return str(ipaddress.ip_network(f"{ip}/{bits}", strict=False))


def digest64(text: str) -> bytes:
    """Eight bytes that stand for an identifier inside the counters (64-bit BLAKE2b).

    >>> digest64("click-1").hex()
    'bd4543980ae9a9d3'
    """
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def token_digest(token: str) -> bytes:
    """The first eight bytes of a token's HMAC: how a pseudonym enters the counters, online and offline.

    >>> token_digest("1.db2df5c3ace6303e232bee436d09e856").hex()
    'db2df5c3ace6303e'
    """
    return bytes.fromhex(token.partition(".")[2][:16])
