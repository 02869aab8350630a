"""The scoring network as an ONNX graph, built node by node: small, readable, and no torch needed to serve it."""

from __future__ import annotations

from typing import Final

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from training.mlp_weights import CLIP, MlpWeights

INPUT: Final = "features"
OUTPUT: Final = "scores"


def to_onnx(weights: MlpWeights) -> bytes:
    """A serialised ONNX model: `features` float32 (clicks, F) -> `scores` float32 (clicks, 1) in [0, 1]."""
    constants = {
        "zero": np.float32(0.0),
        "one": np.float32(1.0),
        "low": np.float32(-CLIP),
        "high": np.float32(CLIP),
        "log1p": weights.log1p,
        "mean": weights.mean,
        "inverse_scale": weights.inverse_scale,
        "first_weight": weights.first_weight.T,
        "first_bias": weights.first_bias,
        "second_weight": weights.second_weight.T,
        "second_bias": weights.second_bias,
        "head_weight": weights.head_weight.T,
        "head_bias": weights.head_bias,
    }
    nodes = [
        helper.make_node("Max", [INPUT, "zero"], ["counts"]),
        helper.make_node("Add", ["counts", "one"], ["shifted"]),
        helper.make_node("Log", ["shifted"], ["logs"]),
        helper.make_node("Where", ["log1p", "logs", INPUT], ["transformed"]),
        helper.make_node("Sub", ["transformed", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "inverse_scale"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "low", "high"], ["standardised"]),
        helper.make_node("Gemm", ["standardised", "first_weight", "first_bias"], ["first"]),
        helper.make_node("Relu", ["first"], ["first_relu"]),
        helper.make_node("Gemm", ["first_relu", "second_weight", "second_bias"], ["second"]),
        helper.make_node("Relu", ["second"], ["second_relu"]),
        helper.make_node("Gemm", ["second_relu", "head_weight", "head_bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], [OUTPUT]),
    ]
    graph = helper.make_graph(
        nodes,
        "slidr_mlp",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["clicks", weights.features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["clicks", 1])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised
