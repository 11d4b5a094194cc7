"""Scoring row by row, tree by tree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spark_uplift.core.tree import Tree


def leaf_of(tree: Tree, codes: Sequence[int]) -> int:
    """Return the row of the leaf that a unit falls into, by its splits' words: categories, thresholds, missing."""
    node = 0
    while tree.left_child[node] >= 0:
        code = int(codes[tree.feature[node]])
        if tree.threshold[node] < 0:
            left = int(tree.mask[node, code // 64]) >> (code % 64) & 1 == 1
        elif code == 0:
            left = bool(tree.missing_left[node])
        else:
            left = code <= tree.threshold[node]
        node = int(tree.left_child[node]) + (0 if left else 1)
    return node


def predict(trees: Sequence[Tree], codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the mean effect over the trees, float64 of shape (n, K)."""
    return np.array([np.mean([tree.effect[leaf_of(tree, row)] for tree in trees], axis=0) for row in codes])
