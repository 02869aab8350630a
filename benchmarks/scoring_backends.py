"""Which library scores a batch fastest on the CPU: microseconds a call, by backend, threads and rows.

All contenders take turns in every round (a stall of the machine hits them alike), in a shuffled order. A figure is the
median of one round's calls; the table gives the least, the middle and the largest of those medians. `floor` is a pure
spin of the CPU: where it moves, so does all the rest.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from typing import Final

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # with two, stalls of 20 ms and more

import numpy as np
import onnxruntime
import torch

from benchmarks.harness import Measured
from slidr.features import FEATURE_COUNT
from training.mlp_weights import CLIP, Floats, MlpWeights, standardisation
from training.model import Mlp
from training.onnx_graph import INPUT, OUTPUT, to_onnx
from training.scoring import CPU_TILE, OnnxScorer, TiledScorer, TorchScorer, rows_are_independent

FIGURES: Final = {
    "us_1_rows": "microseconds to score one click, ONNX Runtime as served, middle of the rounds",
    "us_500_rows": "microseconds to score 500 clicks, the same",
}
FLOOR: Final = "floor: spin"
SERVED: Final = "ORT run(), 1 thread"
CALLS: Final = 150
ROUNDS: Final = 7
ROWS = (1, 16, 128, 500)
Score = Callable[[Floats], Floats]


class _Called:
    """A scorer over a function, so that the row check can be asked of every contender."""

    backend = "function"

    def __init__(self, score: Score) -> None:
        self.score = score


def onnx_bound(weights: MlpWeights, threads: int = 1) -> Score:
    """Bound to the batch's own memory and to a new output, at every call: batch sizes change all the time."""
    session = _session(weights, threads)
    binding = session.io_binding()

    def score(features: Floats) -> Floats:
        scores = np.empty(len(features), dtype=np.float32)
        binding.bind_input(INPUT, "cpu", 0, np.float32, features.shape, features.ctypes.data)
        binding.bind_output(OUTPUT, "cpu", 0, np.float32, (len(features), 1), scores.ctypes.data)
        session.run_with_iobinding(binding)
        return scores

    return score


def onnx_bound_once(weights: MlpWeights) -> Score:
    """Bound once to buffers of one size, as if every batch had it: the least that ONNX Runtime can take."""
    session = _session(weights, 1)
    buffers: dict[int, tuple[Floats, Floats, object]] = {}

    def score(features: Floats) -> Floats:
        rows = len(features)
        if rows not in buffers:
            source, scores = np.empty_like(features), np.empty((rows, 1), dtype=np.float32)
            binding = session.io_binding()
            binding.bind_input(INPUT, "cpu", 0, np.float32, features.shape, source.ctypes.data)
            binding.bind_output(OUTPUT, "cpu", 0, np.float32, (rows, 1), scores.ctypes.data)
            buffers[rows] = source, scores, binding
        source, scores, binding = buffers[rows]
        source[:] = features
        session.run_with_iobinding(binding)
        return scores[:, 0].copy()

    return score


def _session(weights: MlpWeights, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(to_onnx(weights), options, providers=["CPUExecutionProvider"])


def numpy_score(weights: MlpWeights) -> Score:
    first, second, head = (
        np.ascontiguousarray(w.T) for w in (weights.first_weight, weights.second_weight, weights.head_weight)
    )
    one, zero = np.float32(1), np.float32(0)

    def score(features: Floats) -> Floats:
        z = np.where(weights.log1p, np.log(one + np.maximum(features, zero)), features)
        z = np.clip((z - weights.mean) * weights.inverse_scale, -CLIP, CLIP)
        hidden = np.maximum(z @ first + weights.first_bias, zero)
        hidden = np.maximum(hidden @ second + weights.second_bias, zero)
        scores: Floats = one / (one + np.exp(-(hidden @ head + weights.head_bias)))
        return scores[:, 0]

    return score


def torch_score(weights: MlpWeights, threads: int) -> Score:
    scorer = TorchScorer(weights, device="cpu")

    def score(features: Floats) -> Floats:
        torch.set_num_threads(threads)
        return scorer.score(features)

    return score


def spin(_: Floats) -> Floats:
    total = 0
    for i in range(2_000):
        total += i
    return np.zeros(total and 1, dtype=np.float32)


def median_us(score: Score, features: Floats, calls: int) -> float:
    times = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        score(features)
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1000


def measure() -> Measured:
    rng = np.random.default_rng(0)
    data = rng.gamma(0.3, 50.0, size=(max(ROWS), FEATURE_COUNT)).astype(np.float32)
    weights = Mlp(*standardisation(data), seed=1).to_weights()
    plain = OnnxScorer(weights)
    contenders: dict[str, Score] = {
        FLOOR: spin,
        SERVED: plain.score,
        "ORT run(), 2 threads": OnnxScorer(weights, threads=2).score,
        f"ORT run(), tiles of {CPU_TILE}": TiledScorer(plain, rows=CPU_TILE, features=FEATURE_COUNT).score,
        "ORT io-binding": onnx_bound(weights),
        "ORT io-binding, fixed shape": onnx_bound_once(weights),
        "numpy, 1 thread": numpy_score(weights),
        "torch, 1 thread": torch_score(weights, 1),
        "torch, 2 threads": torch_score(weights, 2),
    }
    batches = {rows: np.ascontiguousarray(data[:rows]) for rows in ROWS}
    medians: dict[tuple[str, int], list[float]] = {}
    for _ in range(ROUNDS):
        for rows, features in batches.items():
            for name, score in random.sample(sorted(contenders.items()), k=len(contenders)):
                median_us(score, features, 10)
                medians.setdefault((name, rows), []).append(median_us(score, features, CALLS))
    middle = {case: statistics.median(values) for case, values in medians.items()}
    served = {f"us_{rows}_rows": (SERVED, rows) for rows in (1, max(ROWS))}
    return Measured(
        figures={name: middle[case] for name, case in served.items()},
        spread={name: (min(medians[case]), max(medians[case])) for name, case in served.items()},
        floors={"spin_us": middle[FLOOR, 1]},
        rows=[
            {
                "backend": name,
                **{f"{rows} rows": _three(medians[name, rows]) for rows in ROWS},
                "same bits in every batch": "-"
                if score is spin
                else rows_are_independent(_Called(score), FEATURE_COUNT),
            }
            for name, score in contenders.items()
        ],
        notes=[f"{FEATURE_COUNT} features; us a call: least / middle / largest of {ROUNDS} medians of {CALLS} calls"],
    )


def _three(values: list[float]) -> str:
    return f"{min(values):.1f} / {statistics.median(values):.1f} / {max(values):.1f}"
