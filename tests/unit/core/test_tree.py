"""Trees in their canonical order."""

from __future__ import annotations

import numpy as np

from spark_uplift.core.tree import canonical_order, from_kernel
from spark_uplift.core.tree_kernel import NODE_INTS


def test_nodes_are_ordered_by_heap_whatever_the_order_of_creation() -> None:
    # heap, depth, feature, threshold, missing left, left child
    ints = np.array(
        [
            [1, 0, 2, 7, 1, 3],
            [6, 2, -1, 0, 0, -1],
            [7, 2, -1, 0, 0, -1],
            [2, 1, -1, 9, 1, -1],
            [3, 1, 0, -1, 0, 1],
        ]
    )
    assert ints.shape[1] == NODE_INTS
    masks = np.arange(20, dtype=np.uint64).reshape(5, 4)
    stats = np.arange(50).reshape(5, 2, 5)
    tree = from_kernel(ints, masks, np.arange(5.0), stats)
    assert canonical_order(ints).tolist() == [0, 3, 4, 1, 2]
    assert tree.heap.tolist() == [1, 2, 3, 6, 7]
    assert tree.depth.tolist() == [0, 1, 1, 2, 2]
    assert tree.left_child.tolist() == [1, -1, 3, -1, -1]
    assert tree.is_leaf.tolist() == [False, True, False, True, True]
    assert tree.n_nodes == 5
    # what a leaf holds in passing is not part of it
    assert tree.feature.tolist() == [2, -1, 0, -1, -1]
    assert tree.threshold.tolist() == [7, 0, -1, 0, 0]
    assert tree.missing_left.tolist() == [True, False, False, False, False]
    assert tree.gain.tolist() == [0, 0, 4, 0, 0]
    assert tree.mask[1].tolist() == [0, 0, 0, 0]
    np.testing.assert_array_equal(tree.stats, stats[[0, 3, 4, 1, 2]])
    assert tree.effect.shape == (5, 1)


def test_depths_of_deep_nodes() -> None:
    heaps = [1, 2**29, 2**30 - 1, 2**30, 2**31 - 1]
    ints = np.array([[heap, 0, -1, 0, 0, -1] for heap in heaps])
    tree = from_kernel(ints, np.zeros((5, 4), np.uint64), np.zeros(5), np.zeros((5, 2, 5), np.int64))
    assert tree.depth.tolist() == [heap.bit_length() - 1 for heap in heaps]
