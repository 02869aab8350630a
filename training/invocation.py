"""The endpoint's protocol: what an invocation must look like, what it is refused for, what is answered.

Request: `application/x-slidr-features`, little-endian float32, row-major (rows, FEATURE_COUNT), with the header
`X-Amzn-SageMaker-Custom-Attributes: features=<spec hash>;release=<id>;shadow=<id>,<id>`. `release` and `shadow` may be
left out; `rows=<n>` may be added, and is then checked (it catches a matrix of another dtype).

Answer: `application/x-slidr-scores`, little-endian float32, row-major (1 + shadows, rows), with
`X-Amzn-SageMaker-Custom-Attributes: release=<id that scored>;shadow=<ids>`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from slidr.errors import SlidrError
from slidr.features import FEATURE_COUNT, FEATURE_NAMES, SPEC_HASH
from training.artifact import LoadedReleases
from training.mlp_weights import Floats

FEATURES_TYPE: Final = "application/x-slidr-features"
SCORES_TYPE: Final = "application/x-slidr-scores"
ATTRIBUTES_HEADER: Final = "x-amzn-sagemaker-custom-attributes"
MAX_SHADOWS: Final = 3
_KEYS: Final = frozenset({"features", "release", "shadow", "rows"})
_ROW_BYTES: Final = 4 * FEATURE_COUNT
_FLOAT: Final = np.dtype("<f4")


class Refused(SlidrError):
    """An invocation that is not scored. `code` is stable; the answer says what was expected and what came."""

    def __init__(self, status: int, code: str, *, expected: str | int, came: str | int) -> None:
        super().__init__(f"{code}: expected {expected}, came {came}")
        self.status = status
        self.code = code
        self.expected = expected
        self.came = came

    def body(self) -> bytes:
        """The JSON answer."""
        return msgspec.json.encode({"error": self.code, "expected": self.expected, "came": self.came})


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an invocation asks for."""

    release: str = ""
    """Empty: the artifact's champion."""
    shadows: tuple[str, ...] = ()
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Which loaded releases score an invocation."""

    release: str
    shadows: tuple[str, ...]

    def header(self) -> bytes:
        """The answer's custom attributes."""
        return f"release={self.release};shadow={','.join(self.shadows)}".encode("ascii")


def parse_attributes(text: str) -> Attributes:
    """The invocation's custom attributes.

    >>> parse_attributes(f"features={SPEC_HASH};release=r-1;shadow=r-2,r-3")
    Attributes(release='r-1', shadows=('r-2', 'r-3'), rows=None)

    Raises:
        Refused: malformed, unknown or repeated keys, another feature spec, too many shadows.
    """
    parts = [part.partition("=") for part in text.split(";") if part]
    values = {key.strip(): value.strip() for key, _, value in parts}
    if len(values) != len(parts) or not _KEYS.issuperset(values) or not all(separator for _, separator, _ in parts):
        raise Refused(400, "attributes_malformed", expected="features=<spec hash>;release=<id>;shadow=<ids>", came=text)
    if values.get("features") != SPEC_HASH:
        raise Refused(409, "feature_spec_differs", expected=SPEC_HASH, came=values.get("features", ""))
    shadows = tuple(name for name in values.get("shadow", "").split(",") if name)
    if len(shadows) > MAX_SHADOWS:
        raise Refused(400, "too_many_shadows", expected=f"at most {MAX_SHADOWS}", came=len(shadows))
    rows = values.get("rows")
    if rows is not None and not (rows.isascii() and rows.isdigit()):
        raise Refused(400, "attributes_malformed", expected="rows=<count>", came=f"rows={rows}")
    return Attributes(release=values.get("release", ""), shadows=shadows, rows=None if rows is None else int(rows))


def check_content_type(came: str) -> None:
    """Raise Refused unless the body is said to be a feature matrix."""
    if came.partition(";")[0].strip().lower() != FEATURES_TYPE:
        raise Refused(415, "content_type_differs", expected=FEATURES_TYPE, came=came)


def check_length(length: int, *, max_rows: int) -> None:
    """Raise Refused for a body that is longer than `max_rows` rows; cheap, so it is asked before the body is read."""
    if length > max_rows * _ROW_BYTES:
        raise Refused(413, "too_many_rows", expected=f"at most {max_rows} rows", came=f"{length} bytes")


def decode_features(body: bytes, *, rows: int | None = None) -> Floats:
    """The feature matrix, float32, shape (rows, FEATURE_COUNT), over the request's own memory; finite.

    Raises:
        Refused: no whole number of rows, not as many as said, or a value that is not finite.
    """
    if not body or len(body) % _ROW_BYTES:
        expected = f"a multiple of {_ROW_BYTES} bytes: float32, (rows, {FEATURE_COUNT}), at least one row"
        raise Refused(400, "shape_differs", expected=expected, came=f"{len(body)} bytes")
    matrix = np.frombuffer(body, dtype=_FLOAT).reshape(-1, FEATURE_COUNT)
    if rows is not None and rows != len(matrix):
        raise Refused(400, "rows_differ", expected=f"{rows} rows of float32", came=f"{len(matrix)} rows")
    # One finite sum proves every value finite; only a sum that is not (it may have overflowed) is looked into.
    with np.errstate(over="ignore", invalid="ignore"):
        total = matrix.sum()
    if not np.isfinite(total):
        _refuse_unless_finite(matrix)
    return matrix


def _refuse_unless_finite(matrix: Floats) -> None:
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise Refused(
            422,
            "not_finite",
            expected="finite values (what is absent is a zero with a presence flag)",
            came=f"{matrix[row, column]} in row {row}, feature {FEATURE_NAMES[column]}; {len(bad)} in all",
        )


def plan(asked: Attributes, loaded: LoadedReleases) -> Plan:
    """Who scores: the release asked for, else stable, else the champion; with those of the shadows that are loaded.

    A shadow that is repeated, or that is the scoring release itself, is left out.

    Raises:
        Refused: nothing is loaded (503).
    """
    if loaded.champion is None:
        raise Refused(503, "no_release", expected="a deployed release (slidr deploy)", came="an endpoint without one")
    asked_for = asked.release or loaded.champion
    chosen = asked_for if asked_for in loaded.by_id else (loaded.stable or loaded.champion)
    shadows = dict.fromkeys(name for name in asked.shadows if name in loaded.by_id and name != chosen)
    return Plan(release=chosen, shadows=tuple(shadows))
