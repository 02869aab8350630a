"""Rows that the network trains on a second, beside a naive Dataset and DataLoader loop and LightGBM's fit.

All on one thread, in processor time, on the same rows: numbers as heavy-tailed as the features. The loop is the one
that a tutorial shows: a Dataset that gives a row, a DataLoader that shuffles and collates, the network on raw features.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

import lightgbm
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.harness import Measured
from slidr.features import FEATURE_COUNT
from training.baselines import LEAVES
from training.hyperparameters import Hyperparameters
from training.mlp_weights import standardisation
from training.model import Mlp
from training.train import multiplies_bfloat16, optimiser_of, run_epoch

FIGURES: Final = {
    "rows_per_s_f32": "rows trained a second in float32, training/train.py's epoch",
    "rows_per_s_mixed": "the same with products in bfloat16",
    "ratio_vs_naive_loop": "the faster of the two over the naive loop (goal: 5)",
    "ratio_vs_lightgbm": "LightGBM's seconds for a whole fit over the network's: 100 trees, 14 epochs",
}
ROUNDS: Final = 3
ROWS: Final = 65_536
SLOW_ROWS: Final = 16_384
"""Of the loops that may take long; whole batches of the same rows."""
TREES: Final = 100
GOAL: Final = 5.0
CHOSEN: Final = Hyperparameters()


class Rows(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Raw features, label and weight, row by row."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> None:
        self.columns = tuple(torch.from_numpy(column) for column in (features, labels, weights))

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, Tensor]:
        features, labels, weights = self.columns
        return features[row], labels[row], weights[row]


def measure() -> Measured:
    """Every contender in every round; a figure is the median."""
    torch.set_num_threads(1)
    draw = np.random.default_rng(7)
    features = draw.gamma(0.3, 50.0, size=(ROWS, FEATURE_COUNT)).astype(np.float32)
    labels = (draw.random(ROWS) < 0.8).astype(np.float32)
    weights = draw.gamma(1.0, 1.0, ROWS).astype(np.float32)
    contenders: dict[str, tuple[int, Callable[[], None]]] = {
        "rows_per_s_f32": (ROWS, _epoch(features, labels, weights, rows=ROWS, mixed=False)),
        "rows_per_s_mixed": (SLOW_ROWS, _epoch(features, labels, weights, rows=SLOW_ROWS, mixed=True)),
        "naive loop": (SLOW_ROWS, _naive(features[:SLOW_ROWS], labels[:SLOW_ROWS], weights[:SLOW_ROWS])),
        "LightGBM": (ROWS, lambda: _trees(features, labels, weights)),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, (rows, run) in contenders.items():
            start = time.process_time()
            run()
            rates[name].append(rows / (time.process_time() - start))
    median = {name: statistics.median(measured) for name, measured in rates.items()}
    spread = {name: (min(measured), max(measured)) for name, measured in rates.items()}
    best = [max(one, other) for one, other in zip(rates["rows_per_s_f32"], rates["rows_per_s_mixed"], strict=True)]
    ratios = {
        "ratio_vs_naive_loop": [one / other for one, other in zip(best, rates["naive loop"], strict=True)],
        "ratio_vs_lightgbm": [one / CHOSEN.epochs / other for one, other in zip(best, rates["LightGBM"], strict=True)],
    }
    figures = {name: rate for name, rate in median.items() if name in FIGURES}
    figures |= {name: statistics.median(measured) for name, measured in ratios.items()}
    missed = []
    if figures["ratio_vs_naive_loop"] < GOAL:
        missed.append(f"{GOAL:g} times the naive loop, is {figures['ratio_vs_naive_loop']:.1f}")
    auto = "mixed" if multiplies_bfloat16(torch.device("cpu")) else "f32"
    return Measured(
        figures=figures,
        spread={name: ends for name, ends in spread.items() if name in FIGURES}
        | {name: (min(measured), max(measured)) for name, measured in ratios.items()},
        floors={
            "naive Dataset and DataLoader loop, rows/s": median["naive loop"],
            f"LightGBM, {TREES} trees of {LEAVES} leaves, rows/s of the whole fit": median["LightGBM"],
        },
        notes=[
            f"one thread, on the CPU; batches of {CHOSEN.batch_rows:,}; {ROUNDS} rounds, interleaved",
            f"{ROWS:,} rows; {SLOW_ROWS:,} for the naive loop and for mixed",
            f"precision=auto takes {auto} here: it goes by the processor's bfloat16 instructions",
        ],
        missed=missed,
    )


def _epoch(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray, *, rows: int, mixed: bool
) -> Callable[[], None]:
    """One pass as `fit` makes it: standardised before, indexed into."""
    net = Mlp(*standardisation(features), seed=1)
    optimiser = optimiser_of(net, CHOSEN)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda _: 1.0)
    with torch.no_grad():
        x = net.standardise(torch.from_numpy(features[:rows]))
    data = x, torch.from_numpy(labels[:rows]), torch.from_numpy(weights[:rows])
    order = torch.Generator().manual_seed(1)

    def run() -> None:
        batches = torch.split(torch.randperm(rows, generator=order), CHOSEN.batch_rows)
        run_epoch(net, optimiser, schedule, data, batches, mixed=mixed)

    return run


def _naive(features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Callable[[], None]:
    net = Mlp(*standardisation(features), seed=1)
    optimiser = optimiser_of(net, CHOSEN)
    loader = DataLoader(Rows(features, labels, weights), batch_size=CHOSEN.batch_rows, shuffle=True)

    def run() -> None:
        loss_sum = 0.0
        for x, y, w in loader:
            loss = (nn.functional.binary_cross_entropy_with_logits(net(x), y, reduction="none") * w).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss_sum += loss.item()

    return run


def _trees(features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> None:
    settings = {"objective": "binary", "num_leaves": LEAVES, "num_threads": 1, "force_row_wise": True, "verbosity": -1}
    lightgbm.train(settings, lightgbm.Dataset(features, label=labels, weight=weights), num_boost_round=TREES)
