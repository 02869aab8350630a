"""The scoring endpoint: one invocation a batch, binary float32, behind a circuit breaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pybreaker import CircuitBreaker, CircuitBreakerError

from functions.adapters.signed_invocations import InvokesEndpoints
from slidr.errors import ScoringUnavailable
from slidr.features import FEATURE_COUNT, SPEC_HASH, Floats

CONTENT_TYPE: Final = "application/x-slidr-features"
ACCEPT: Final = "application/x-slidr-scores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What the endpoint answered for a batch."""

    release_id: str
    """The release that scored; its thresholds decide (rule 5)."""
    scores: Floats
    """In [0, 1], shape (clicks,); NaN where the endpoint's value was not a score."""
    shadows: Mapping[str, Floats]
    """Scores of the releases in shadow, by release id; a release that is not loaded is missing."""


def endpoint_config(*, connect_timeout_ms: int, read_timeout_ms: int, attempts: int) -> Config:
    """Client settings: short timeouts, and retries out of botocore's standard-mode quota, so that they cannot storm."""
    return Config(
        connect_timeout=connect_timeout_ms / 1000,
        read_timeout=read_timeout_ms / 1000,
        retries={"mode": "standard", "total_max_attempts": attempts},
        tcp_keepalive=True,
        user_agent="slidr",  # botocore's own is put together twice a request: a tenth of what it does for one
    )


class Endpoint:
    """Scores feature matrices on SageMaker.

    After `breaker` opens, calls fail at once until its reset time, when one probe decides. Its state lives as long as
    the warm function.
    """

    def __init__(self, client: InvokesEndpoints, name: str, *, breaker: CircuitBreaker) -> None:
        self._client = client
        self._name = name
        self._breaker = breaker

    def score(self, features: Floats, *, release_id: str, shadows: Sequence[str] = ()) -> Scores:
        """Score a batch, float32, shape (clicks, FEATURE_COUNT), finite, with the release and the shadows asked for.

        Raises:
            ScoringUnavailable: no answer in time, an error, an answer of the wrong form, or the circuit is open.
        """
        if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] != FEATURE_COUNT:
            raise ValueError(f"float32 (clicks, {FEATURE_COUNT}) is required, came {features.dtype} {features.shape}")
        try:
            scores: Scores = self._breaker.call(self._invoke, features, release_id, shadows)
        except CircuitBreakerError as failure:
            cause = failure.__cause__ or failure
            raise ScoringUnavailable(f"the endpoint {self._name} is left alone for a while: {cause}") from failure
        return scores

    def _invoke(self, features: Floats, release_id: str, shadows: Sequence[str]) -> Scores:
        try:
            answer = self._client.invoke_endpoint(
                EndpointName=self._name,
                ContentType=CONTENT_TYPE,
                Accept=ACCEPT,
                CustomAttributes=(
                    f"features={SPEC_HASH};release={release_id};shadow={','.join(shadows)};rows={len(features)}"
                ),
                Body=np.ascontiguousarray(features, dtype="<f4").tobytes(),
            )
            body = answer["Body"].read()
        except (ClientError, BotoCoreError) as failure:
            raise ScoringUnavailable(
                f"the endpoint {self._name} must score {len(features)} rows, however: {failure}"
            ) from failure
        return _read_scores(body, answer.get("CustomAttributes", ""), rows=len(features))


def _read_scores(body: bytes, attributes: str, *, rows: int) -> Scores:
    values: dict[str, Any] = dict(part.partition("=")[::2] for part in attributes.split(";"))
    release_id = values.get("release", "")
    shadows = [name for name in values.get("shadow", "").split(",") if name]
    expected = 4 * (1 + len(shadows)) * rows
    if not release_id or len(body) != expected:
        raise ScoringUnavailable(
            f"an answer with release=<id> and {expected} bytes for {rows} rows and {len(shadows)} shadows is required, "
            f"came {len(body)} bytes with {attributes!r}; check that endpoint and function are of one version"
        )
    matrix = np.frombuffer(body, dtype="<f4").reshape(1 + len(shadows), rows).astype(np.float32)
    with np.errstate(invalid="ignore"):
        matrix[~((matrix >= 0.0) & (matrix <= 1.0))] = np.nan  # no score is better than a false one (rule 6)
    return Scores(release_id=release_id, scores=matrix[0], shadows=dict(zip(shadows, matrix[1:], strict=True)))
