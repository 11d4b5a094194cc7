"""Scoring: from codes to effects, tree by tree over small blocks of rows.

A block's codes and positions stay in the first-level cache while one tree after the other walks them; within a block
all rows take one step at a time, so that the processor overlaps the steps of different rows (a row's own steps depend
on each other). Leaves point to themselves: every row takes as many steps as the tree is deep, without a branch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_uplift.core.jit import kernel
from spark_uplift.core.splitting import CATEGORICAL
from spark_uplift.core.tree import Tree

_BLOCK = 512


@dataclass(frozen=True)
class PackedForest:
    """A forest as the kernel wants it.

    Attributes
    ----------
    nodes : ndarray of shape (nodes,), dtype=uint64
        ``left child << 32 | feature << 16 | threshold << 8 | missing goes right``. The left child is an absolute row.
    masks : ndarray of shape (nodes, 4), dtype=uint64
        Codes that go left.
    starts, depths : ndarray of shape (trees,), dtype=int64
        First node and depth of each tree.
    by_mask : ndarray of shape (trees,), dtype=bool
        Whether the tree has a split by categories.
    effects : ndarray of shape (nodes, K), dtype=float64
    """

    nodes: npt.NDArray[np.uint64]
    masks: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    depths: npt.NDArray[np.int64]
    by_mask: npt.NDArray[np.bool_]
    effects: npt.NDArray[np.float64]

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return int(self.starts.shape[0])


def pack(trees: list[Tree]) -> PackedForest:
    """Lay trees out for `predict`."""
    starts = np.cumsum([0, *(tree.n_nodes for tree in trees)])[:-1].astype(np.int64)
    words, masks = [], []
    for tree, start in zip(trees, starts, strict=True):
        leaf = tree.is_leaf
        rows = np.arange(tree.n_nodes) + start
        child = np.where(leaf, rows, tree.left_child + start).astype(np.uint64)
        feature = np.where(leaf, 0, tree.feature).astype(np.uint64)
        right = (~tree.missing_left & ~leaf).astype(np.uint64)
        # The threshold of a split by categories is not looked at; it must only stay within its byte.
        threshold = np.where(leaf, 255, np.maximum(tree.threshold, 1)).astype(np.uint64) - right
        words.append(
            (child << np.uint64(32)) | (feature << np.uint64(16)) | (threshold << np.uint64(8)) | right
        )
        masks.append(np.where(leaf[:, None], np.uint64(2**64 - 1), tree.mask))
    return PackedForest(
        nodes=np.concatenate(words),
        masks=np.concatenate(masks),
        starts=starts,
        depths=np.array([tree.depth.max() for tree in trees], np.int64),
        by_mask=np.array([bool(np.any(tree.threshold == CATEGORICAL)) for tree in trees]),
        effects=np.concatenate([tree.effect for tree in trees]),
    )


@kernel
def _descend(codes, first, size, nodes, root, depth, at):  # type: ignore[no-untyped-def]
    for r in range(size):
        at[r] = root
    for _ in range(depth):
        for r in range(size):
            node = nodes[at[r]]
            code = codes[first + r, (node >> np.uint64(16)) & np.uint64(0xFFFF)]
            # A missing value (code 0) that goes right wraps to 255 and so passes every threshold.
            threshold = np.uint8((node >> np.uint64(8)) & np.uint64(0xFF))
            right = np.uint8(code - np.uint8(node & np.uint64(0xFF))) > threshold
            at[r] = (node >> np.uint64(32)) + np.uint64(right)


@kernel
def _descend_by_mask(codes, first, size, nodes, masks, root, depth, at):  # type: ignore[no-untyped-def]
    for r in range(size):
        at[r] = root
    for _ in range(depth):
        for r in range(size):
            node = nodes[at[r]]
            code = codes[first + r, (node >> np.uint64(16)) & np.uint64(0xFFFF)]
            bit = (masks[at[r], code >> 6] >> np.uint64(code & 63)) & np.uint64(1)
            at[r] = (node >> np.uint64(32)) + (np.uint64(1) - bit)


@kernel
def _predict(codes, nodes, masks, starts, depths, by_mask, effects, group, sums):  # type: ignore[no-untyped-def]
    """Add each tree's effect of each row to ``sums[tree // group]``; [groups, n, K], OUT."""
    n, k = codes.shape[0], effects.shape[1]
    at = np.empty(_BLOCK, np.uint64)
    for first in range(0, n, _BLOCK):
        size = min(_BLOCK, n - first)
        for tree in range(starts.shape[0]):
            root = np.uint64(starts[tree])
            if by_mask[tree]:
                _descend_by_mask(codes, first, size, nodes, masks, root, depths[tree], at)
            else:
                _descend(codes, first, size, nodes, root, depths[tree], at)
            g = tree // group
            for r in range(size):
                for t in range(k):
                    sums[g, first + r, t] += effects[at[r], t]


def predict(forest: PackedForest, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the mean effect over the trees.

    Parameters
    ----------
    codes : ndarray of shape (n, F), dtype=uint8

    Returns
    -------
    ndarray of shape (n, K), dtype=float64
        In the outcome's unit. Trees are added in their order, so the result does not depend on blocks or partitions.
    """
    mean: npt.NDArray[np.float64] = predict_groups(forest, codes, forest.n_trees)[0] / forest.n_trees
    return mean


def predict_groups(forest: PackedForest, codes: npt.NDArray[np.uint8], group: int) -> npt.NDArray[np.float64]:
    """Return the summed effects of each group of ``group`` successive trees, ndarray of shape (groups, n, K)."""
    groups = -(-forest.n_trees // group)
    sums = np.zeros((groups, codes.shape[0], forest.effects.shape[1]))
    _predict(
        codes, forest.nodes, forest.masks, forest.starts, forest.depths, forest.by_mask, forest.effects, group, sums
    )  # fmt: skip
    return sums


@kernel
def _squares(codes, nodes, masks, starts, depths, effects, sums):  # type: ignore[no-untyped-def]
    n, k = codes.shape[0], effects.shape[1]
    at = np.empty(_BLOCK, np.uint64)
    for first in range(0, n, _BLOCK):
        size = min(_BLOCK, n - first)
        for tree in range(starts.shape[0]):
            _descend_by_mask(codes, first, size, nodes, masks, np.uint64(starts[tree]), depths[tree], at)
            for r in range(size):
                for t in range(k):
                    sums[first + r, t] += effects[at[r], t] * effects[at[r], t]


def predict_squares(forest: PackedForest, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the summed squared effects over all trees, ndarray of shape (n, K)."""
    sums = np.zeros((codes.shape[0], forest.effects.shape[1]))
    _squares(codes, forest.nodes, forest.masks, forest.starts, forest.depths, forest.effects, sums)
    return sums


@kernel
def _leaves(codes, nodes, masks, root, depth, out):  # type: ignore[no-untyped-def]
    at = np.empty(_BLOCK, np.uint64)
    for first in range(0, codes.shape[0], _BLOCK):
        size = min(_BLOCK, codes.shape[0] - first)
        _descend_by_mask(codes, first, size, nodes, masks, root, depth, at)
        for r in range(size):
            out[first + r] = np.int64(at[r] - root)


def leaves(forest: PackedForest, codes: npt.NDArray[np.uint8], tree: int) -> npt.NDArray[np.int64]:
    """Return the row of the leaf that each unit falls into in one tree, ndarray of shape (n,), dtype=int64."""
    out = np.empty(codes.shape[0], np.int64)
    root = np.uint64(forest.starts[tree])
    _leaves(codes, forest.nodes, forest.masks, root, forest.depths[tree], out)
    return out
