"""A node of a forest that is grown level by level: what to count of it, and how to decide it (design E6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.core import histogram as histograms
from spark_uplift.core import splitting, tree_kernel
from spark_uplift.core.dtypes import LANES, MASK_WORDS
from spark_uplift.core.growing import ForestSpec, draws_of
from spark_uplift.core.jit import kernel

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Key = tuple[int, int]

ROOT = tree_kernel.ROOT


@dataclass(frozen=True)
class OpenNode:
    """A node whose best split is wanted: all that is needed to count it and to decide it.

    Attributes
    ----------
    tree, heap : int
        Number of the tree and heap index of the node (the root 1, children 2i and 2i + 1).
    features : ndarray of shape (m,), dtype=int64
        The features to count, ascending.
    offsets : ndarray of shape (m + 1,), dtype=int64
        Where the cells of each of them begin in the node's histogram, and its length.
    stats : ndarray of shape (arms, 5), dtype=int64, or None
        The node's statistics; None at the root, whose histogram tells them.
    reference : ndarray of shape (arms,), dtype=float64, or None
        The node's smoothed means; None at the root.
    """

    tree: int
    heap: int
    features: I64
    offsets: I64
    stats: I64 | None
    reference: F64 | None

    @property
    def key(self) -> Key:
        """(tree, heap)."""
        return self.tree, self.heap

    @property
    def histogram_bytes(self) -> int:
        """Size of the node's histogram."""
        return 8 * int(self.offsets[-1])

    def empty_histogram(self) -> I64:
        """Return zeros of the histogram's shape, ndarray of shape (offsets[-1],), dtype=int64."""
        return np.zeros(int(self.offsets[-1]), np.int64)


@dataclass(frozen=True)
class Decision:
    """The outcome of looking for a node's best split.

    Attributes
    ----------
    stats, left : ndarray of shape (arms, 5), dtype=int64
        Statistics of the node and of its left child.
    reference : ndarray of shape (arms,), dtype=float64
        The node's smoothed means.
    found : bool
        Whether any split is better than none. The following attributes mean nothing if not.
    gain : float
    feature, threshold : int
        The threshold is a code, or -1 for a split by categories.
    missing_left : bool
    mask : ndarray of shape (4,), dtype=uint64
        Codes that go left.
    """

    stats: I64
    left: I64
    reference: F64
    found: bool
    gain: float
    feature: int
    threshold: int
    missing_left: bool
    mask: npt.NDArray[np.uint64]


def decide(
    spec: ForestSpec,
    gain: Callable[..., Any],
    node: OpenNode,
    histogram: I64,
    first: int = 0,
    last: int | None = None,
) -> Decision:
    """Find the best split of a node from its histogram, or from the part of it that covers some of its features.

    Parameters
    ----------
    spec : ForestSpec
    gain : C callback
        The criterion's gain.
    node : OpenNode
    histogram : ndarray of shape (node.offsets[last] - node.offsets[first],), dtype=int64
        Sums over all rows of the node, in the order [feature, bin, arm, lane].
    first, last : int
        Look at ``node.features[first:last]`` only. The best of several parts is `best_of` their decisions.

    Returns
    -------
    Decision

    Raises
    ------
    ValueError
        When the histogram does not hold the rows that the split above sent here.
    """
    params = spec.params()
    features = node.features[first:last]
    offsets = node.offsets[first : first + features.size + 1] - node.offsets[first]
    n_bins = int(spec.n_codes[features[0]])
    stats = histograms.totals(
        histogram, n_bins, spec.n_arms, params.layout, params.binary, LANES[params.layout]
    )
    if node.stats is None or node.reference is None:
        reference = np.zeros(spec.n_arms)
        splitting.root_means(stats, params, reference)
    elif np.array_equal(stats, node.stats):
        reference = node.reference
    else:
        raise ValueError(
            f"The rows of node {node.key} must be those that its parent sent there: {int(node.stats[:, 0].sum())} in "
            f"all. Got {int(stats[:, 0].sum())} instead; the rows changed between two passes over them."
        )
    out = np.zeros(4, np.int64)
    mask = np.zeros(MASK_WORDS, np.uint64)
    left = np.zeros((spec.n_arms, 5), np.int64)
    value = 0.0
    if may_split(spec, node.heap, stats):
        value = splitting.best_split(
            histogram, features, offsets, spec.n_codes, spec.categorical, stats, reference, params, gain,
            out, mask, left,
        )  # fmt: skip
    return Decision(
        stats=stats,
        left=left,
        reference=reference,
        found=bool(out[splitting.FOUND]),
        gain=float(value),
        feature=int(out[splitting.FEATURE]),
        threshold=int(out[splitting.THRESHOLD]),
        missing_left=bool(out[splitting.MISSING_LEFT]),
        mask=mask,
    )


def best_of(decisions: Iterable[Decision]) -> Decision:
    """Return the decision with the largest gain, the first of equals.

    Given the decisions of a node's parts in the order of their features this is the decision of the whole node: only a
    strictly larger gain replaces an earlier one there too.

    Raises
    ------
    ValueError
        When the parts disagree about the node's rows.
    """
    best: Decision | None = None
    for decision in decisions:
        if best is None:
            best = decision
        elif not np.array_equal(best.stats, decision.stats):
            raise ValueError("The parts of a node must hold the same rows. Got different sums instead.")
        elif decision.found and (not best.found or decision.gain > best.gain):
            best = decision
    if best is None:
        raise ValueError("The best of several decisions must be one of them. Got none.")
    return best


def count(
    node: OpenNode,
    codes: npt.NDArray[np.uint8],
    arms: npt.NDArray[np.uint8],
    lanes: I64,
    rows: I64,
    n_arms: int,
) -> I64:
    """Return the histogram of a node over some of its rows.

    Parameters
    ----------
    node : OpenNode
    codes : ndarray of shape (n, F), dtype=uint8
    arms : ndarray of shape (n,), dtype=uint8
    lanes : ndarray of shape (n, L), dtype=int64
        Multiplied by the rows' copies in the tree's bag, see `bag_copies`.
    rows : ndarray, dtype=int64
        Which rows are in the node (rows with no copies may be among them: they add nothing).
    n_arms : int
    """
    out = node.empty_histogram()
    histograms.add_rows(codes, arms, lanes, rows, node.features, node.offsets, n_arms, out)
    return out


@kernel
def _copies(units, bag_key, thresholds, group_key, grouped, half_key, half, out):  # type: ignore[no-untyped-def]
    for i in range(units.shape[0]):
        out[i] = tree_kernel.row_copies(units[i], bag_key, thresholds, group_key, grouped, half_key, half)


def bag_copies(spec: ForestSpec, tree: int, units: npt.NDArray[np.uint64], *, estimate: bool = False) -> I64:
    """Return how often each row counts in a tree, ndarray of shape (n,), dtype=int64.

    Parameters
    ----------
    units : ndarray of shape (n,), dtype=uint64
        Hash of each row's unit (or cluster).
    estimate : bool
        For an honest tree, the half that fills the leaves in place of the half that shapes the tree.
    """
    draws = draws_of(spec, tree)
    half = tree_kernel.ALL
    if spec.honest:
        half = tree_kernel.ESTIMATE if estimate else tree_kernel.SHAPE
    out = np.zeros(units.shape[0], np.int64)
    _copies(units, draws.bag, draws.thresholds, draws.group, draws.grouped, draws.half, half, out)
    return out


def may_split(spec: ForestSpec, heap: int, stats: I64) -> bool:
    """Say whether a node is shallow and large enough for its best split to be looked for."""
    depth = heap.bit_length() - 1
    return depth < spec.max_depth and bool(splitting.large_enough(stats, spec.params(), 2))
