"""Small experiments for the metric tests."""

from __future__ import annotations

import numpy as np


def experiment(seed=0, n=300, ties=False, binary=True, share=0.5):
    """y, treated (0/1), score; with `ties` the score has eight values."""
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    treated = (rng.random(n) < share).astype(int)
    y = (
        (rng.random(n) < 0.2 + 0.3 * treated * x).astype(float)
        if binary
        else 1 + x + treated * x + rng.normal(size=n)
    )
    score = x + 0.3 * rng.normal(size=n)
    return y, treated, np.floor(score * 6) if ties else score
