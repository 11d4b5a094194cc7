"""Shapley values by their definition: every subset of features, the conditional expectation tree by tree."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from spark_uplift.core.tree import Tree


def goes_left(tree: Tree, node: int, code: int) -> bool:
    if tree.threshold[node] < 0:
        return int(tree.mask[node, code // 64]) >> (code % 64) & 1 == 1
    return bool(tree.missing_left[node]) if code == 0 else code <= tree.threshold[node]


def expected(
    tree: Tree, codes: Sequence[int], known: Collection[int], node: int = 0
) -> npt.NDArray[np.float64]:
    """Return EXPVALUE of Lundberg, Erion & Lee 2018, Algorithm 1, float64 of shape (K,)."""
    left = int(tree.left_child[node])
    if left < 0:
        return tree.effect[node]
    feature = int(tree.feature[node])
    if feature in known:
        return expected(tree, codes, known, left if goes_left(tree, node, int(codes[feature])) else left + 1)
    rows = [int(tree.stats[child, :, 0].sum()) for child in (node, left, left + 1)]
    share = rows[1] / rows[0] if rows[0] > 0 else 0.5
    return share * expected(tree, codes, known, left) + (1.0 - share) * expected(tree, codes, known, left + 1)


def contributions(
    trees: Sequence[Tree], codes: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (base, values), float64 of shapes (K,) and (n, F, K)."""
    n, n_features = codes.shape
    k = trees[0].effect.shape[1]
    values = np.zeros((n, n_features, k))

    def game(row: Sequence[int], known: Collection[int]) -> npt.NDArray[np.float64]:
        return np.mean([expected(tree, row, known) for tree in trees], axis=0)

    for r, row in enumerate(codes):
        for i in range(n_features):
            others = [j for j in range(n_features) if j != i]
            for size in range(n_features):
                weight = (
                    math.factorial(size) * math.factorial(n_features - size - 1) / math.factorial(n_features)
                )
                for known in combinations(others, size):
                    values[r, i] += weight * (game(row, {*known, i}) - game(row, known))
    return game(codes[0], ()), values
