"""Intervals of single predictions from trees grown in little bags.

Trees come in groups that share a half-sample. The variance of a group's mean over groups holds the sampling variance
that is wanted plus Monte Carlo noise, ``within / trees a group``, which is subtracted (Athey, Tibshirani & Wager 2019,
*Generalized random forests*, §4.1). The plain difference may be negative with few trees; as in grf it is then replaced
by the posterior mean of a non-negative variance under a flat prior, of a normal with that mean and the difference's own
standard error ("objective Bayes").
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def group_sizes(n_trees: int, size: int) -> npt.NDArray[np.int64]:
    """Return the number of trees of each little bag: ``size``, and what is left in the last one."""
    groups = -(-n_trees // size)
    return np.minimum(size, n_trees - size * np.arange(groups)).astype(np.int64)


def little_bags(
    sums: F64, squares: F64, size: int | npt.NDArray[np.int64], level: float
) -> tuple[F64, F64, F64]:
    """Return (effect, lower, upper), each of shape (n, K).

    Parameters
    ----------
    sums : ndarray of shape (groups, n, K), dtype=float64
        Summed effects of the trees of each group.
    squares : ndarray of shape (n, K), dtype=float64
        Summed squared effects over all trees.
    size : int or ndarray of shape (groups,), dtype=int64
        Trees a group; an array where the groups differ, see `group_sizes`.
    level : float
        Coverage of the interval, in (0, 1).
    """
    groups = sums.shape[0]
    sizes = np.broadcast_to(np.asarray(size, np.float64), (groups,))[:, None, None]
    means = sums / sizes
    effect = sums.sum(axis=0) / sizes.sum()
    between = ((means - effect) ** 2).sum(axis=0) / max(1, groups - 1)
    within = (squares - (sizes * means**2).sum(axis=0)) / max(1.0, (sizes - 1).sum())
    noise = np.maximum(within, 0.0) * np.mean(1.0 / sizes)
    variance = _non_negative(between - noise, np.maximum(between, noise) * math.sqrt(2.0 / max(1, groups)))
    from scipy import special  # 12 MB that a worker without intervals does not need

    half = special.ndtri(0.5 + level / 2.0) * np.sqrt(variance)
    return effect, effect - half, effect + half


def _non_negative(estimate: F64, error: F64) -> F64:
    """Return E[v | v > 0] for v normal around ``estimate`` with standard deviation ``error``."""
    from scipy import special

    safe = np.where(error > 0.0, error, 1.0)
    z = estimate / safe
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    ratio = density / np.maximum(special.ndtr(z), 1e-300)
    mean = np.where(z > -30.0, estimate + safe * ratio, safe / np.maximum(-z, 1.0))
    return np.where(error > 0.0, np.maximum(mean, 0.0), np.maximum(estimate, 0.0))
