"""The network: what it computes, on every backend, and its file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slidr.errors import ReleaseInvalid
from slidr.features import FEATURE_COUNT, FEATURE_NAMES, FEATURES
from training.mlp_weights import HIDDEN, load_weights, log1p_mask, save_weights, standardisation
from training.model import Mlp
from training.scoring import OnnxScorer, TorchScorer

from .conftest import AnyRows, AnyWeights

FINITE = hnp.arrays(np.float32, (3, FEATURE_COUNT), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
TRAINED = Mlp(
    *standardisation(np.random.default_rng(3).gamma(0.3, 50, (400, FEATURE_COUNT)).astype(np.float32)), seed=5
)
ONNX = OnnxScorer(TRAINED.to_weights())
TORCH = TorchScorer(TRAINED.to_weights(), device="cpu")


@settings(max_examples=60, deadline=None)
@given(FINITE)
def test_scores_of_any_finite_input_are_finite_and_equal_on_torch_and_onnx_runtime(features: np.ndarray) -> None:
    by_onnx, by_torch = ONNX.score(features), TORCH.score(features)

    assert np.isfinite(by_onnx).all()
    assert ((by_onnx >= 0) & (by_onnx <= 1)).all()
    assert np.abs(by_onnx - by_torch).max() <= 1e-5


def test_backends_agree_on_traffic_like_rows(any_rows: AnyRows) -> None:
    features = any_rows(2_000)
    by_onnx, by_torch = ONNX.score(features), TORCH.score(features)

    assert np.abs(by_onnx - by_torch).max() <= 1e-5
    assert by_onnx.std() > 0.01


def test_agrees_with_the_formula_in_double_precision(any_rows: AnyRows, any_weights: AnyWeights) -> None:
    w, x = any_weights(), any_rows(50).astype(np.float64)
    z = np.where(w.log1p, np.log1p(np.maximum(x, 0)), x)
    z = np.clip((z - w.mean) * w.inverse_scale, -10, 10)
    hidden = np.maximum(z @ w.first_weight.T.astype(np.float64) + w.first_bias, 0)
    hidden = np.maximum(hidden @ w.second_weight.T.astype(np.float64) + w.second_bias, 0)
    expected = 1 / (1 + np.exp(-(hidden @ w.head_weight.T.astype(np.float64) + w.head_bias)))[:, 0]

    np.testing.assert_allclose(OnnxScorer(w).score(x.astype(np.float32)), expected, atol=1e-5)


def test_column_that_was_constant_in_training_never_moves_a_score(any_rows: AnyRows) -> None:
    column = FEATURE_NAMES.index("user.n_10s")
    training = any_rows(300)
    training[:, column] = 4.0
    mean, scale = standardisation(training)
    scorer = OnnxScorer(Mlp(mean, scale, seed=1).to_weights())
    seen, unseen = any_rows(20, seed=1), any_rows(20, seed=1)
    unseen[:, column] = 5_000.0

    assert scale[column] == 0.0
    np.testing.assert_array_equal(scorer.score(seen), scorer.score(unseen))


def test_column_that_varied_in_training_moves_scores(any_rows: AnyRows) -> None:
    column = FEATURE_NAMES.index("user.n_10s")
    seen, moved = any_rows(20, seed=1), any_rows(20, seed=1)
    moved[:, column] += 500.0

    assert (ONNX.score(seen) != ONNX.score(moved)).any()


def test_standardisation_is_the_mean_and_deviation_of_the_transformed_columns(any_rows: AnyRows) -> None:
    features = any_rows(5_000) + np.float32(3.0)
    transformed = np.where(log1p_mask(), np.log1p(features.astype(np.float64)), features.astype(np.float64))
    mean, scale = standardisation(features, chunk=700)

    np.testing.assert_allclose(mean, transformed.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scale, transformed.std(axis=0), rtol=1e-5)


def test_transforms_the_columns_that_the_feature_spec_says() -> None:
    mask = log1p_mask()

    assert [bool(flag) for flag in mask] == [feature.transform == "log1p" for feature in FEATURES]
    assert mask.any()
    assert not mask.all()


def test_same_seed_gives_the_same_network_and_leaves_the_global_generator_alone() -> None:
    ones = np.ones(FEATURE_COUNT, np.float32)
    before = torch.random.get_rng_state()
    first, again, other = (save_weights(Mlp(ones, ones, seed=seed).to_weights()) for seed in (7, 7, 8))

    assert first == again
    assert first != other
    assert torch.equal(before, torch.random.get_rng_state())


def test_weights_survive_the_file_and_the_module_to_the_bit(any_weights: AnyWeights, any_rows: AnyRows) -> None:
    weights = any_weights()
    again = Mlp.from_weights(load_weights(save_weights(weights))).to_weights()

    for field in dataclasses.fields(weights):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(weights, field.name))
    np.testing.assert_array_equal(OnnxScorer(again).score(any_rows(9)), OnnxScorer(weights).score(any_rows(9)))


def test_equal_weights_give_equal_bytes(any_weights: AnyWeights) -> None:
    payload = save_weights(any_weights())

    assert {save_weights(load_weights(payload)) for _ in range(20)} == {payload}


@pytest.mark.parametrize("change", ["not_a_file", "missing", "unknown", "misshapen", "not_finite", "other_dtype"])
def test_refuses_a_weights_file_that_is_not_one_network(change: str, any_weights: AnyWeights) -> None:
    tensors = safetensors.numpy.load(save_weights(any_weights()))
    match change:
        case "missing":
            del tensors["head_bias"]
        case "unknown":
            tensors["fourth_weight"] = tensors["head_bias"]
        case "misshapen":
            tensors["second_weight"] = tensors["second_weight"][:, :-1].copy()
        case "not_finite":
            tensors["first_weight"][0, 0] = np.nan
        case "other_dtype":
            tensors["mean"] = tensors["mean"].astype(np.float64)
    payload = b"not safetensors" if change == "not_a_file" else safetensors.numpy.save(tensors)

    with pytest.raises(ReleaseInvalid):
        load_weights(payload)


def test_module_has_the_shape_of_the_design() -> None:
    layers = [(layer.in_features, layer.out_features) for layer in (TRAINED.first, TRAINED.second, TRAINED.head)]

    assert layers == [(FEATURE_COUNT, HIDDEN[0]), (HIDDEN[0], HIDDEN[1]), (HIDDEN[1], 1)]
    with pytest.raises(ValueError, match="must have shape"):
        Mlp(np.ones(3, np.float32), np.ones(3, np.float32))
