"""A tree as flat arrays, in one canonical order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.core.tree_kernel import (
    DEPTH,
    HEAP,
    LEFT_CHILD,
    NODE_FEATURE,
    NODE_MISSING_LEFT,
    NODE_THRESHOLD,
)


@dataclass(frozen=True)
class Tree:
    """One tree; rows are nodes, ordered by heap index (the root 1, children 2i and 2i + 1).

    Attributes
    ----------
    heap : ndarray of shape (nodes,), dtype=int64
    feature : ndarray of shape (nodes,), dtype=int32
        -1 for a leaf.
    threshold : ndarray of shape (nodes,), dtype=int16
        Codes up to it go left; -1 for a split by categories.
    missing_left : ndarray of shape (nodes,), dtype=bool
    mask : ndarray of shape (nodes, 4), dtype=uint64
        The codes that go left, as bits.
    left_child : ndarray of shape (nodes,), dtype=int64
        Row of the left child (the right child is the next row); -1 for a leaf.
    gain : ndarray of shape (nodes,), dtype=float64
    stats : ndarray of shape (nodes, arms, 5), dtype=int64
        Statistics that the effects come from: of the estimation half when honest.
    effect : ndarray of shape (nodes, K), dtype=float64
        Shrunk effect of each treatment, in the outcome's unit.
    """

    heap: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.int16]
    missing_left: npt.NDArray[np.bool_]
    mask: npt.NDArray[np.uint64]
    left_child: npt.NDArray[np.int64]
    gain: npt.NDArray[np.float64]
    stats: npt.NDArray[np.int64]
    effect: npt.NDArray[np.float64]

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return int(self.heap.shape[0])

    @property
    def is_leaf(self) -> npt.NDArray[np.bool_]:
        """Which nodes are leaves."""
        return self.left_child < 0

    @property
    def depth(self) -> npt.NDArray[np.int64]:
        """Depth of each node; the root's is 0."""
        return np.floor(np.log2(self.heap)).astype(np.int64)


def canonical_order(ints: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the order of nodes by heap index."""
    return np.argsort(ints[:, HEAP], kind="stable")


def from_kernel(
    ints: npt.NDArray[np.int64],
    masks: npt.NDArray[np.uint64],
    gains: npt.NDArray[np.float64],
    stats: npt.NDArray[np.int64],
) -> Tree:
    """Return a tree without effects yet (zeros) from a kernel's output arrays, put in canonical order."""
    order = canonical_order(ints)
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    child = ints[order, LEFT_CHILD]
    leaf = child < 0
    return Tree(
        heap=ints[order, HEAP].copy(),
        feature=np.where(leaf, -1, ints[order, NODE_FEATURE]).astype(np.int32),
        threshold=np.where(leaf, 0, ints[order, NODE_THRESHOLD]).astype(np.int16),
        missing_left=np.where(leaf, False, ints[order, NODE_MISSING_LEFT] == 1),
        mask=np.where(leaf[:, None], np.uint64(0), masks[order]),
        left_child=np.where(leaf, -1, rank[np.where(leaf, 0, child)]),
        gain=np.where(leaf, 0.0, gains[order]),
        stats=stats[order].copy(),
        effect=np.zeros((order.size, stats.shape[1] - 1)),
    )


def to_arrays(trees: Mapping[int, Tree]) -> dict[str, npt.NDArray[Any]]:
    """Return trees as named arrays, one after the other, with ``numbers`` and the ``sizes`` in nodes."""
    listed = list(trees.values())
    joined = {f.name: np.concatenate([getattr(tree, f.name) for tree in listed]) for f in fields(Tree)}
    sizes = np.array([tree.n_nodes for tree in listed], np.int64)
    return {"numbers": np.array(list(trees), np.int64), "sizes": sizes, **joined}


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[int, Tree]:
    """Return the trees that `to_arrays` was given."""
    ends = np.cumsum(arrays["sizes"])
    return {
        number: Tree(**{f.name: arrays[f.name][end - size : end] for f in fields(Tree)})
        for number, size, end in zip(
            arrays["numbers"].tolist(), arrays["sizes"].tolist(), ends.tolist(), strict=True
        )
    }


__all__ = ["DEPTH", "Tree", "canonical_order", "from_arrays", "from_kernel", "to_arrays"]
