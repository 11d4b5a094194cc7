"""From the statistics of nodes to effects: chained shrinkage, and what a leaf does that misses an arm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import WEIGHTED
from spark_uplift.core.jit import kernel


@kernel
def _effects(left_child, stats, weight_unit, wy_unit, ww_unit, weighted, shrinkage, prior, out):  # type: ignore[no-untyped-def]
    nodes, n_arms = stats.shape[0], stats.shape[1]
    rows = np.zeros(n_arms)
    means = np.zeros(n_arms)
    parent = np.full(nodes, -1, np.int64)
    for node in range(nodes):
        if left_child[node] >= 0:
            parent[left_child[node]] = node
            parent[left_child[node] + 1] = node
    for node in range(nodes):
        for arm in range(n_arms):
            weight = stats[node, arm, 1] * weight_unit
            rows[arm] = weight
            if weighted and stats[node, arm, 4] > 0:
                rows[arm] = weight * weight / (stats[node, arm, 4] * ww_unit)
            means[arm] = stats[node, arm, 2] * wy_unit / weight if weight > 0.0 else 0.0
        for t in range(n_arms - 1):
            above = prior[t] if parent[node] < 0 else out[parent[node], t]
            if rows[0] <= 0.0 or rows[t + 1] <= 0.0:
                out[node, t] = above
                continue
            raw = means[t + 1] - means[0]
            if parent[node] < 0 or shrinkage == 0.0:
                out[node, t] = raw
                continue
            effective = 4.0 * rows[0] * rows[t + 1] / (rows[0] + rows[t + 1])
            out[node, t] = (effective * raw + shrinkage * above) / (effective + shrinkage)


def effects(
    left_child: npt.NDArray[np.int64],
    stats: npt.NDArray[np.int64],
    *,
    layout: int,
    weight_unit: float,
    wy_unit: float,
    ww_unit: float,
    shrinkage: float,
    prior: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the effect of every treatment in every node.

    ``effect = (n_eff * raw + shrinkage * parent's effect) / (n_eff + shrinkage)``, from the root down, with
    ``n_eff = 4 n_c n_t / (n_c + n_t)`` effective rows (equal arms of n/2 rows each count n). The root is not shrunk, so
    a tree of one node predicts the average effect. It is the *effect* that is shrunk, never the arms' rates: shrinking
    rates by equal pseudo-counts pulls the rarer arm harder and the "effect" becomes minus the baseline. A node that
    misses an arm takes its parent's effect: pairing the parent's rate of one arm with the node's own rate of the other
    would again put the baseline into the effect. The root falls back on ``prior``.

    Parameters
    ----------
    left_child : ndarray of shape (nodes,), dtype=int64
        Row of the left child, the right one next to it; -1 for a leaf. Parents come before their children.
    stats : ndarray of shape (nodes, arms, 5), dtype=int64
    prior : ndarray of shape (K,), dtype=float64
        Effects to use where the root misses an arm.

    Returns
    -------
    ndarray of shape (nodes, K), dtype=float64
        In the outcome's unit.
    """
    out: npt.NDArray[np.float64] = np.zeros((stats.shape[0], stats.shape[1] - 1))
    _effects(
        left_child, stats, weight_unit, wy_unit, ww_unit, layout == WEIGHTED, float(shrinkage), prior, out
    )  # fmt: skip
    return out


def average_effects(
    stats: npt.NDArray[np.int64], *, weight_unit: float, wy_unit: float
) -> npt.NDArray[np.float64]:
    """Return the difference in means of every treatment to control, ndarray of shape (K,); 0 where an arm is missing.

    Parameters
    ----------
    stats : ndarray of shape (arms, 5), dtype=int64
    """
    weight = stats[:, 1] * weight_unit
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(weight > 0, stats[:, 2] * wy_unit / weight, np.nan)
    effect: npt.NDArray[np.float64] = np.nan_to_num(mean[1:] - mean[0], nan=0.0)
    return effect
