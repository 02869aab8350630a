"""AWS Signature Version 4 of a POST whose path and headers need no encoding: all that an endpoint's invocation needs.

Botocore's signer takes any request, and five times as long; the tests hold this one against it.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import datetime as dt
import hmac
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


def signed_headers(
    target: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    credentials: ReadOnlyCredentials,
    scope: tuple[str, str],
    at: dt.datetime,
) -> dict[str, str]:
    """What to send with a POST: `headers`, the time, the session's token and the signature of all of them.

    Args:
        target: path, of characters that URLs leave as they are.
        headers: names in lower case, Host among them; values without blanks around them or in a row.
        body: all of it.
        credentials: of whom to sign for, with a session token or without.
        scope: region and service.
        at: the time of sending, UTC. AWS takes it for five minutes.

    >>> from botocore.credentials import ReadOnlyCredentials
    >>> sent = signed_headers("/", {"host": "a"}, b"", credentials=ReadOnlyCredentials("id", "secret", None),
    ...                       scope=("eu-west-1", "sagemaker"), at=dt.datetime(2026, 11, 23, tzinfo=dt.UTC))
    >>> sorted(sent), sent["authorization"][:61]
    (['authorization', 'host', 'x-amz-date'], 'AWS4-HMAC-SHA256 Credential=id/20261123/eu-west-1/sagemaker/a')
    """
    moment = at.strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "x-amz-date": moment}
    if credentials.token:
        sent["x-amz-security-token"] = credentials.token
    names = sorted(sent)
    request = "\n".join(
        ("POST", target, "", *(f"{name}:{sent[name]}" for name in names), "", ";".join(names), sha256(body).hexdigest())
    )
    day, terms = moment[:8], "/".join((moment[:8], *scope, "aws4_request"))
    text = "\n".join((_ALGORITHM, moment, terms, sha256(request.encode()).hexdigest()))
    signature = hmac.digest(_key(credentials.secret_key, day, *scope), text.encode(), "sha256").hex()
    sent["authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{terms}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return sent


@lru_cache(maxsize=8)
def _key(secret: str, *terms: str) -> bytes:
    """The key of one day, region and service."""
    key = f"AWS4{secret}".encode()
    for term in (*terms, "aws4_request"):
        key = hmac.digest(key, term.encode(), "sha256")
    return key
