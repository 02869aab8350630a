"""Scorers: one release's network on one device. A row's score never depends on the batch that it came in."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np
import onnxruntime

from slidr.errors import SlidrError
from training.mlp_weights import Floats, MlpWeights
from training.onnx_graph import INPUT, OUTPUT, to_onnx

Device = Literal["cpu", "cuda"]

CPU_TILE: Final = 64
CUDA_TILE: Final = 1024
_ROWS_AT_ONCE: Final = 131_072
"""Of a whole log: what lies between the layers takes a kilobyte and more a row. Requests are far smaller."""
_NVIDIA: Final = Path("/dev/nvidiactl")


class RowsNotIndependent(SlidrError):
    """On this hardware a row's score changes with its batch, so verdicts could not be reproduced."""


class Scorer(Protocol):
    """Scores clicks with one release."""

    @property
    def backend(self) -> str:
        """Library, device and tile, as logged at load."""

    def score(self, features: Floats) -> Floats:
        """Scores in [0, 1], float32, shape (clicks,), of raw features, float32, C-ordered, (clicks, features)."""
        ...


class OnnxScorer:
    """ONNX Runtime on the CPU.

    One thread: two split the rows by their number, which changes the last bit of some scores; and plain run():
    binding memory for each new batch shape costs more than the copy that it saves. Both measured in
    docs/decisions/0004-cpu-scoring-backend.md.
    """

    def __init__(self, weights: MlpWeights, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # a spinning pool would eat the core that reads the sockets
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(to_onnx(weights), options, providers=["CPUExecutionProvider"])
        self.backend = f"onnxruntime {onnxruntime.__version__} cpu"

    def score(self, features: Floats) -> Floats:
        """See Scorer."""
        parts = [features[start : start + _ROWS_AT_ONCE] for start in range(0, max(len(features), 1), _ROWS_AT_ONCE)]
        runs = [self._session.run([OUTPUT], {INPUT: part})[0] for part in parts]  # (clicks, 1) each
        scores: Floats = runs[0] if len(runs) == 1 else np.concatenate(runs)
        return scores.reshape(-1)


class TorchScorer:
    """Torch on a CUDA device (or on the CPU, to compare)."""

    def __init__(self, weights: MlpWeights, *, device: Device = "cuda") -> None:
        import torch  # noqa: PLC0415 - seconds and 200 MB that a CPU endpoint does without

        from training.model import Mlp  # noqa: PLC0415

        self._torch = torch
        self._device = torch.device(device)
        self._net = Mlp.from_weights(weights).to(self._device)
        self.backend = f"torch {torch.__version__} {device}"

    def score(self, features: Floats) -> Floats:
        """See Scorer."""
        torch = self._torch
        with torch.inference_mode():
            # a copy: the request's bytes are read-only, which torch.from_numpy warns of
            batch = torch.tensor(features).to(self._device)
            scores: Floats = torch.sigmoid(self._net(batch)).cpu().numpy()
        return scores


class TiledScorer:
    """Runs another scorer on tiles of a fixed number of rows, padded with zeros: one shape, one kernel, equal bits."""

    def __init__(self, inner: Scorer, *, rows: int, features: int) -> None:
        self._inner = inner
        self._tile = np.zeros((rows, features), dtype=np.float32)
        self.backend = f"{inner.backend}, tiles of {rows}"

    def score(self, features: Floats) -> Floats:
        """See Scorer."""
        rows = len(self._tile)
        scores = np.empty(len(features), dtype=np.float32)
        for start in range(0, len(features), rows):
            part = features[start : start + rows]
            self._tile[: len(part)] = part
            self._tile[len(part) :] = 0.0
            scores[start : start + len(part)] = self._inner.score(self._tile)[: len(part)]
        return scores


def open_scorer(weights: MlpWeights, device: Device) -> Scorer:
    """The fastest scorer of `device` whose rows are independent on this very machine (checked here, in milliseconds).

    Raises:
        RowsNotIndependent: not even fixed tiles give a row the same bits at every position.
    """
    if device == "cuda":
        candidates: list[Scorer] = [_tiled(TorchScorer(weights, device="cuda"), CUDA_TILE, weights)]
    else:
        plain = OnnxScorer(weights)
        candidates = [plain, _tiled(plain, CPU_TILE, weights)]
    for scorer in candidates:
        if rows_are_independent(scorer, weights.features):
            return scorer
    raise RowsNotIndependent(
        f"a row must score to the same bits in every batch, but it does not with {candidates[-1].backend}. "
        "Serve on another instance type, or file this hardware as an issue."
    )


def rows_are_independent(scorer: Scorer, features: int) -> bool:
    """Whether probe rows score to the same bits in small batches of every size, in large ones, and when shifted."""
    # Kernels take rows in blocks of up to 16 with special cases for the rest; large batches may be split by threads.
    probe = np.random.default_rng(0).gamma(0.3, 50.0, size=(520, features)).astype(np.float32)
    whole = scorer.score(probe)
    spans = [(0, n) for n in (*range(1, 49), 64, 127, 257, 500)] + [(shift, shift + 64) for shift in range(1, 32)]
    return all(np.array_equal(scorer.score(probe[start:end]), whole[start:end]) for start, end in spans)


def find_device(wanted: Literal["auto", "cpu", "cuda"]) -> Device:
    """`cuda` where it is asked for, or where `auto` finds a usable NVIDIA device; else `cpu`."""
    if wanted != "auto":
        return wanted
    if not _NVIDIA.exists():
        return "cpu"
    import torch  # noqa: PLC0415 - only where there is a driver to ask

    return "cuda" if torch.cuda.is_available() else "cpu"


def _tiled(scorer: Scorer, rows: int, weights: MlpWeights) -> Scorer:
    return TiledScorer(scorer, rows=rows, features=weights.features)
