"""Growing the trees of a forest over rows in memory: what one ``tree_parallel`` task does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spark_uplift.core import estimation, sampling, tree_kernel
from spark_uplift.core.dtypes import FixedPoint, TreeParams
from spark_uplift.core.records import code_words
from spark_uplift.core.tree import Tree, from_kernel

# A little bag: this many trees share a half-sample, so that the variance between bags can be told from the Monte Carlo
# noise within them (Athey, Tibshirani & Wager 2019, §4.1; grf's ci.group.size has the same meaning).
LITTLE_BAG_TREES = 4


@dataclass(frozen=True)
class ForestSpec:
    """Everything but the data that decides what a forest looks like.

    Attributes
    ----------
    n_codes : ndarray of shape (F,), dtype=int64
        Number of codes of each feature, "missing" included.
    categorical : ndarray of shape (F,), dtype=bool
    n_arms : int
        Control and treatments.
    grid : FixedPoint
    features_per_node : int
    intervals : bool
        Grow trees in little bags on half-samples.
    prior : tuple of float
        Average effect of each treatment on all training rows, for a bag that misses an arm.
    """

    n_codes: npt.NDArray[np.int64]
    categorical: npt.NDArray[np.bool_]
    n_arms: int
    grid: FixedPoint
    num_trees: int
    max_depth: int
    min_node: int
    min_arm: int
    n_reg: float
    shrinkage: float
    normalization: int
    features_per_node: int
    bootstrap: bool
    subsampling_rate: float
    honest: bool
    intervals: bool
    seed: int
    prior: tuple[float, ...]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.n_codes.shape[0])

    def params(self) -> TreeParams:
        """Return what kernels need of this."""
        grid = self.grid
        return TreeParams(
            n_arms=self.n_arms,
            layout=grid.layout,
            binary=int(grid.binary),
            weight_unit=grid.weight_unit,
            wy_unit=grid.outcome_unit,
            wyy_unit=grid.square_unit,
            ww_unit=grid.square_weight_unit,
            max_depth=self.max_depth,
            min_node=self.min_node,
            min_arm=self.min_arm,
            n_reg=float(self.n_reg),
            normalization=self.normalization,
            features_per_node=self.features_per_node,
        )


def with_prior(spec: ForestSpec, stats: npt.NDArray[np.int64]) -> ForestSpec:
    """Return the specification with the average effects of all rows as the prior of bags that miss an arm.

    Parameters
    ----------
    stats : ndarray of shape (arms, 5), dtype=int64
        Of all training rows.
    """
    grid = spec.grid
    effects = estimation.average_effects(stats, weight_unit=grid.weight_unit, wy_unit=grid.outcome_unit)
    return replace(spec, prior=tuple(float(x) for x in effects))


@dataclass(frozen=True)
class Draws:
    """The streams of one tree: which units it takes, how often, and in which half."""

    bag: np.uint64
    group: np.uint64
    grouped: bool
    half: np.uint64
    thresholds: npt.NDArray[np.uint64]
    features: np.uint64


def draws_of(spec: ForestSpec, tree: int) -> Draws:
    """Return the streams of tree number ``tree``."""
    return Draws(
        bag=sampling.stream_key(spec.seed, sampling.BOOTSTRAP, tree),
        group=sampling.stream_key(spec.seed, sampling.BAG, tree // LITTLE_BAG_TREES),
        grouped=spec.intervals,
        half=sampling.stream_key(spec.seed, sampling.HONEST, tree),
        thresholds=sampling.count_thresholds(spec.bootstrap, spec.subsampling_rate),
        features=sampling.stream_key(spec.seed, sampling.FEATURES, tree),
    )


def node_capacity(spec: ForestSpec, rows: int) -> int:
    """Return an upper bound of a tree's nodes: its depth's, or what the minimum node size leaves room for."""
    by_depth = 2 ** (spec.max_depth + 1) - 1
    by_rows = 2 * (rows // max(1, spec.min_node, spec.min_arm * spec.n_arms)) + 3
    return int(min(by_depth, by_rows))


def grow_trees(
    words: npt.NDArray[np.uint64],
    units: npt.NDArray[np.uint64],
    spec: ForestSpec,
    gain: Callable[..., Any],
    trees: Iterable[int],
) -> Iterator[tuple[int, Tree]]:
    """Grow whole trees over rows in memory.

    Parameters
    ----------
    words : ndarray of shape (n, record_words), dtype=uint64
        The rows, see `spark_uplift.core.records`. Not changed.
    units : ndarray of shape (n,), dtype=uint64
        Hash of each row's unit (or cluster).
    gain : C callback
        The criterion's gain.
    trees : iterable of int
        Numbers of the trees to grow.

    Yields
    ------
    (int, Tree)
        The tree's number, and the tree.
    """
    bag = np.empty_like(words)
    for tree in trees:
        yield tree, _grow_tree(words, units, spec, gain, tree, bag)


def _grow_tree(
    words: npt.NDArray[np.uint64],
    units: npt.NDArray[np.uint64],
    spec: ForestSpec,
    gain: Callable[..., Any],
    tree: int,
    bag: npt.NDArray[np.uint64],
) -> Tree:
    params = spec.params()
    draws = draws_of(spec, tree)
    at = code_words(spec.n_features)
    half = tree_kernel.SHAPE if spec.honest else tree_kernel.ALL
    members = (draws.bag, draws.thresholds, draws.group, draws.grouped, draws.half)
    m, rows = tree_kernel.fill_bag(words, units, *members, half, params.layout, at, bag)
    # minimum sizes count copies, of which a bag may hold many more than records
    grown = _grow_from(
        bag, m, spec, gain, draws, tree_kernel.ROOT, np.zeros(spec.n_arms), node_capacity(spec, rows)
    )
    if spec.honest:
        tree_kernel.fill_leaves(
            words, words.view(np.uint8), units, *members, tree_kernel.ESTIMATE, params.layout, params.binary, at,
            grown.ints, grown.masks, len(grown.ints), grown.stats,
        )  # fmt: skip
    return with_effects(from_kernel(grown.ints, grown.masks, grown.gains, grown.stats), spec)


class Nodes(NamedTuple):
    """What `tree_kernel.grow` writes, cut to the nodes that there are."""

    ints: npt.NDArray[np.int64]
    masks: npt.NDArray[np.uint64]
    gains: npt.NDArray[np.float64]
    stats: npt.NDArray[np.int64]


def _grow_from(
    bag: npt.NDArray[np.uint64],
    m: int,
    spec: ForestSpec,
    gain: Callable[..., Any],
    draws: Draws,
    heap: int,
    reference: npt.NDArray[np.float64],
    capacity: int,
) -> Nodes:
    ints = np.zeros((capacity, tree_kernel.NODE_INTS), np.int64)
    masks = np.zeros((capacity, 4), np.uint64)
    gains = np.zeros(capacity)
    stats = np.zeros((capacity, spec.n_arms, 5), np.int64)
    nodes = tree_kernel.grow(
        bag, bag.view(np.uint8), m, code_words(spec.n_features), spec.n_features, spec.n_codes, spec.categorical,
        draws.features, heap, reference, spec.params(), gain, ints, masks, gains, stats,
    )  # fmt: skip
    return Nodes(ints[:nodes], masks[:nodes], gains[:nodes], stats[:nodes])


def grow_below(
    bag: npt.NDArray[np.uint64],
    spec: ForestSpec,
    gain: Callable[..., Any],
    tree: int,
    heap: int,
    reference: npt.NDArray[np.float64],
) -> Tree:
    """Grow what is below one node of a tree, from the records of the node alone.

    Parameters
    ----------
    bag : ndarray of shape (n, record_words), dtype=uint64
        The node's records with their copies in the tree's bag, see `tree_kernel.fill_bag`. Reordered.
    heap : int
        The node's heap index.
    reference : ndarray of shape (arms,), dtype=float64
        Its smoothed means; not looked at for the root.

    Returns
    -------
    Tree
        Without effects; its first row is the node.
    """
    copies = int((bag[:, 0] >> np.uint64(8) & np.uint64(0xFF)).sum()) if len(bag) else 0
    below = spec.max_depth - (heap.bit_length() - 1)
    capacity = min(node_capacity(spec, copies), 2 ** (below + 1) - 1)
    return from_kernel(
        *_grow_from(bag, len(bag), spec, gain, draws_of(spec, tree), heap, reference, capacity)
    )


def with_effects(tree: Tree, spec: ForestSpec) -> Tree:
    """Return the tree with the effects of its nodes filled in from its statistics."""
    effect = estimation.effects(
        tree.left_child,
        tree.stats,
        layout=spec.grid.layout,
        weight_unit=spec.grid.weight_unit,
        wy_unit=spec.grid.outcome_unit,
        ww_unit=spec.grid.square_weight_unit,
        shrinkage=spec.shrinkage,
        prior=np.asarray(spec.prior, np.float64),
    )
    return replace(tree, effect=effect)
