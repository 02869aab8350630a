"""The weights of the scoring network as plain arrays, their file, and the standardisation they carry. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from slidr.errors import ReleaseInvalid
from slidr.features import FEATURES, SPEC_HASH, Feature

Floats = NDArray[np.float32]

HIDDEN: Final = (256, 128)
"""Widths of the two hidden layers."""
CLIP: Final = 10.0
"""Standardised features are held in [-CLIP, CLIP], so that every finite input has a finite score."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MlpWeights:
    """Everything the network computes with, float32. F = features, A and B = the hidden widths.

    score = sigmoid(head . relu(second . relu(first . z))), where z = clip((t(x) - mean) * inverse_scale) and
    t(x) = log(1 + max(x, 0)) in the columns that log1p names, x elsewhere.
    """

    log1p: NDArray[np.bool_]  # (F,)
    mean: Floats  # (F,) of t(x) in training
    inverse_scale: Floats  # (F,) 0 where the column was constant in training
    first_weight: Floats  # (A, F)
    first_bias: Floats  # (A,)
    second_weight: Floats  # (B, A)
    second_bias: Floats  # (B,)
    head_weight: Floats  # (1, B)
    head_bias: Floats  # (1,)

    def __post_init__(self) -> None:
        a, f = self.first_weight.shape
        b = self.second_weight.shape[0]
        shapes = {
            "log1p": (f,), "mean": (f,), "inverse_scale": (f,),
            "first_bias": (a,), "second_weight": (b, a), "second_bias": (b,),
            "head_weight": (1, b), "head_bias": (1,),
        }  # fmt: skip
        for name, shape in shapes.items():
            came = getattr(self, name)
            if came.shape != shape:
                raise ReleaseInvalid(
                    f"{name} must have shape {shape}, however: {name}.shape={came.shape}. Train again."
                )
        for name in _TENSORS:
            came = getattr(self, name)
            wanted = np.bool_ if name == "log1p" else np.float32
            if came.dtype != wanted or not np.isfinite(came).all():
                raise ReleaseInvalid(f"{name} must be finite {np.dtype(wanted)}, came {came.dtype} or not finite.")

    @property
    def features(self) -> int:
        """How many feature columns the network reads."""
        return int(self.mean.shape[0])


_TENSORS: Final = tuple(field.name for field in fields(MlpWeights))


def log1p_mask(features: Sequence[Feature] = FEATURES) -> NDArray[np.bool_]:
    """Which columns enter the network as log(1 + x), bool, shape (features,).

    >>> bool(log1p_mask()[0]), bool(log1p_mask()[1])  # user.present is a flag, user.n_10s is a count
    (False, True)
    """
    return np.array([feature.transform == "log1p" for feature in features], dtype=np.bool_)


def standardisation(features: Floats, *, chunk: int = 65_536) -> tuple[Floats, Floats]:
    """Mean and scale (standard deviation) of each transformed column of raw training features.

    Args:
        features: raw features, float32, shape (clicks, FEATURE_COUNT), as `slidr.features.assemble` gives them.
        chunk: rows transformed at once, so that a large matrix is not copied whole.

    Returns:
        mean, scale: float32, shape (FEATURE_COUNT,). A constant column has scale exactly 0; `Mlp` turns that into
        inverse scale 0, so that a column never seen to vary in training cannot move a score later.
    """
    mask = log1p_mask()
    total = np.zeros(features.shape[1])
    shifted_square = np.zeros(features.shape[1])
    pivot = _transformed(features[:1], mask)[0].astype(np.float64)  # near the mean: keeps the variance exact
    constant = np.ones(features.shape[1], dtype=np.bool_)
    for start in range(0, len(features), chunk):
        values = _transformed(features[start : start + chunk], mask).astype(np.float64) - pivot
        total += values.sum(axis=0)
        shifted_square += (values**2).sum(axis=0)
        constant &= (values == 0.0).all(axis=0)
    centre = total / len(features)
    variance = np.maximum(shifted_square / len(features) - centre**2, 0.0)
    scale = np.where(constant, 0.0, np.sqrt(variance))
    return (pivot + centre).astype(np.float32), scale.astype(np.float32)


def _transformed(features: Floats, mask: NDArray[np.bool_]) -> Floats:
    # log(1 + x), not log1p: the same rounding in every backend
    return np.where(mask, np.log(np.float32(1.0) + np.maximum(features, np.float32(0.0))), features)


def save_weights(weights: MlpWeights) -> bytes:
    """The safetensors file: equal weights give equal bytes (the release id hangs on them)."""
    tensors = {name: np.ascontiguousarray(getattr(weights, name)) for name in _TENSORS}
    payload: bytes = safetensors.numpy.save(tensors, metadata={"feature_spec": SPEC_HASH})  # one key: order is not kept
    return payload


def load_weights(payload: bytes) -> MlpWeights:
    """Weights from a safetensors file.

    Raises:
        ReleaseInvalid: not such a file, or a tensor is missing, unknown, misshapen or not finite.
    """
    try:
        tensors = safetensors.numpy.load(payload)
    except safetensors.SafetensorError as failure:
        raise ReleaseInvalid(f"the weights must be a safetensors file, came: {failure}. Publish it again.") from failure
    if set(tensors) != set(_TENSORS):
        raise ReleaseInvalid(f"the weights must hold {sorted(_TENSORS)}, came {sorted(tensors)}. Publish it again.")
    return MlpWeights(**tensors)
