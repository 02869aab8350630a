from __future__ import annotations

import numpy as np

from training.stopping import mean_ivr


def test_mean_ivr_prefers_the_model_that_ranks_robots_above_buyers() -> None:
    bought = np.array([True] * 100 + [False] * 100)
    good = np.concatenate([np.linspace(0, 0.5, 100), np.linspace(0.5, 1, 100)]).astype(np.float32)
    assert mean_ivr(good, bought) > mean_ivr(good[::-1].copy(), bought)
    assert mean_ivr(good, np.zeros(200, dtype=np.bool_)) == 0.0
