"""Curves for tests and benchmarks: small ones that hypothesis draws, and large ones that a seed makes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from training.calibration.curve import Curves


def curves(slices: list[list[tuple[int, int]]], *, purchases: int = 50, clicks: int = 400) -> Curves:
    """Each slice by the steps of its curve: (clicks, purchasing clicks) more at each vertex, the first without cost."""
    return Curves(
        starts=np.cumsum([0, *(len(steps) for steps in slices)]),
        threshold=np.concatenate([np.linspace(0.9, 0.1, len(steps)) for steps in slices]).astype(np.float32),
        invalid=np.concatenate([np.cumsum([click for click, _ in steps]) for steps in slices]).astype(np.float64),
        wrong=np.concatenate([np.cumsum([wrong for _, wrong in steps]) for steps in slices]).astype(np.float64),
        covered=np.concatenate([np.cumsum([click for click, _ in steps]) // 2 for steps in slices]).astype(np.float64),
        clicks=np.full(len(slices), float(clicks)),
        purchases=np.full(len(slices), float(purchases)),
        robotic=np.array([sum(click for click, _ in steps) // 2 for steps in slices], dtype=np.float64),
    )


STEP = st.tuples(st.integers(1, 40), st.integers(1, 4))
STEPS = st.builds(lambda first, rest: [(first, 0), *rest], st.integers(0, 20), st.lists(STEP, max_size=4))
SLICES = st.lists(STEPS, min_size=1, max_size=4)


def many_curves(slices: int, *, seed: int) -> Curves:
    """Noisy falling rates of 2 to 47 vertices a slice, 300 to 3,000 purchasing clicks each."""
    draw = np.random.default_rng(seed)
    vertices = draw.integers(2, 48, slices)
    starts = np.concatenate([[0], np.cumsum(vertices)])
    owner = np.repeat(np.arange(slices), vertices)
    wrong = (np.arange(len(owner)) - starts[owner]).astype(np.float64)
    bend = draw.uniform(0.3, 1.5, slices)[owner]
    step = np.floor(draw.exponential(50.0, len(owner)) / (1.0 + wrong) ** bend) + 1.0
    running = np.cumsum(step)
    invalid = running - (running - step)[starts[:-1]][owner]
    purchases = draw.integers(300, 3_000, slices).astype(np.float64)
    ends = invalid[starts[1:] - 1]
    return Curves(
        starts=starts,
        threshold=np.linspace(0.99, 0.01, len(owner), dtype=np.float32),
        invalid=invalid,
        wrong=wrong,
        covered=np.floor(invalid / 3.0),
        clicks=20.0 * purchases + ends,
        purchases=purchases,
        robotic=np.floor(ends / 3.0) + purchases,
    )
