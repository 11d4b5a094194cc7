"""Growing a forest level by level, with the counting left to others: the maths apart from the engine (design
E6).

ALGORITHM
    ::

        grower = Grower(spec, gain)
        while groups := grower.frontier():
            for group in groups:
                grower.advance({node.key: histogram_of(node) for node in group})
        trees = grower.trees()

    `Grower.frontier` says which nodes need counting, cut into groups whose histograms fit a memory bound.
    Anybody counts: `core.frontier.count` in one process, many workers whose histograms are added on a
    cluster. `Grower.advance` decides with the kernel that `core.tree_kernel` uses too, so both grow the same
    trees to the bit. Where histograms should not come to the driver, whoever holds the merged histogram calls
    `core.frontier.decide` and only its `Decision` travels, to `Grower.apply`.

COST
    A pass per group. The driver holds the trees so far (about 150 bytes a node) and no histograms.

Which rows are in a node is a function of the trees so far: walk `Grower.trees_so_far` with
`core.prediction.leaves`. How often a row counts is `core.frontier.bag_copies`. So nothing has to be kept
between passes, and any of them can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.core import decisions, sampling, splitting, tree_kernel
from spark_uplift.core import histogram as histograms
from spark_uplift.core.dtypes import MASK_WORDS
from spark_uplift.core.frontier import F64, I64, ROOT, Decision, Key, OpenNode, decide, may_split
from spark_uplift.core.growing import ForestSpec, draws_of, with_effects
from spark_uplift.core.tree import Tree, from_kernel

GROUP_BYTES = 256 * 2**20
"""Default bound of the histograms that one pass counts."""


@dataclass(frozen=True)
class _Node:
    stats: I64
    split: Decision | None


_NO_MASK = np.zeros(MASK_WORDS, np.uint64)
_NO_REFERENCE = np.zeros(0)


def _split_of(below: Tree, row: int) -> Decision | None:
    """Return a row of a grown tree as a decision, None for a leaf."""
    child = int(below.left_child[row])
    if child < 0:
        return None
    return Decision(
        stats=below.stats[row],
        left=below.stats[child],
        reference=_NO_REFERENCE,  # its children are decided already
        found=True,
        gain=float(below.gain[row]),
        feature=int(below.feature[row]),
        threshold=int(below.threshold[row]),
        missing_left=bool(below.missing_left[row]),
        mask=below.mask[row],
    )


def _leaf(stats: I64) -> Decision:
    return Decision(stats, np.zeros_like(stats), _NO_REFERENCE, False, 0.0, -1, 0, False, _NO_MASK)


class Grower:
    """The state of a forest that is grown level by level.

    Parameters
    ----------
    spec : ForestSpec
        Its ``prior`` must hold the average effects of all training rows.
    gain : C callback
        The criterion's gain.
    trees : iterable of int, optional
        Numbers of the trees to grow; all of them by default.
    max_bytes : int
        Bound of the histograms of one group. A group has at least one node, however large.
    """

    def __init__(
        self,
        spec: ForestSpec,
        gain: Callable[..., Any],
        trees: Iterable[int] | None = None,
        *,
        max_bytes: int = GROUP_BYTES,
    ) -> None:
        self.spec = spec
        self.gain = gain
        self.max_bytes = max_bytes
        numbers = range(spec.num_trees) if trees is None else trees
        self._done: dict[int, dict[int, _Node]] = {tree: {} for tree in sorted(numbers)}
        self._keys = {tree: draws_of(spec, tree).features for tree in self._done}
        self._open = {(tree, ROOT): self._open_node(tree, ROOT, None, None) for tree in self._done}
        self._estimates: dict[int, I64] = {}

    def _open_node(self, tree: int, heap: int, stats: I64 | None, reference: F64 | None) -> OpenNode:
        spec = self.spec
        wanted = min(spec.features_per_node, spec.n_features)
        features = np.zeros(wanted, np.int64)
        scratch = np.zeros(spec.n_features, np.uint64)
        sampling.choose_features(self._keys[tree], heap, spec.n_features, wanted, features, scratch)
        offsets = histograms.offsets(spec.n_codes[features], spec.n_arms, spec.grid.layout)
        return OpenNode(tree, heap, features, offsets, stats, reference)

    def frontier(self, max_nodes: int | None = None) -> list[tuple[OpenNode, ...]]:
        """Return the nodes to be counted next, in groups within the memory bound; none when the forest is
        grown.

        Parameters
        ----------
        max_nodes : int, optional
            Bound of the nodes of a group.

        They are ordered by (depth, tree, heap): the nodes of a level come together, as one pass can count
        them.
        """
        waiting = sorted(self._open.values(), key=lambda node: (node.heap.bit_length(), node.tree, node.heap))
        groups: list[tuple[OpenNode, ...]] = []
        group: list[OpenNode] = []
        size = 0
        for node in waiting:
            full = max_nodes is not None and len(group) >= max_nodes
            if group and (full or size + node.histogram_bytes > self.max_bytes):
                groups.append(tuple(group))
                group, size = [], 0
            group.append(node)
            size += node.histogram_bytes
        return [*groups, tuple(group)] if group else groups

    def advance(self, counted: Mapping[Key, I64]) -> None:
        """Split nodes by their histograms.

        Parameters
        ----------
        counted : mapping of (tree, heap) to ndarray of shape (node.offsets[-1],), dtype=int64
            Histograms over all rows of a node. Any part of the frontier will do.

        Raises
        ------
        ValueError
            When a node is not in the frontier, or a histogram has another length than the node's.
        """
        for key, histogram in counted.items():
            length = int(self._waiting(key).offsets[-1])
            if histogram.shape != (length,):
                raise ValueError(
                    f"The histogram of node {key} must have the shape ({length},). "
                    f"Got {histogram.shape} instead."
                )
        self.apply({key: decide(self.spec, self.gain, self._open[key], counted[key]) for key in counted})

    def apply(self, decided: Mapping[Key, Decision]) -> None:
        """Split nodes as others have decided, see `decide`.

        Raises
        ------
        ValueError
            When a node is not in the frontier.
        """
        for key in decided:
            self._waiting(key)
        for (tree, heap), decision in decided.items():
            del self._open[tree, heap]
            self._done[tree][heap] = _Node(decision.stats, decision if decision.found else None)
            if not decision.found:
                continue
            for side, stats in enumerate((decision.left, decision.stats - decision.left)):
                self._add_child(tree, 2 * heap + side, stats, decision)

    def _waiting(self, key: Key) -> OpenNode:
        if key not in self._open:
            raise ValueError(
                f"A node to advance must be in the frontier. Got (tree, heap) = {key} instead. "
                "Hint: each node is decided once; ask frontier() again."
            )
        return self._open[key]

    def _add_child(self, tree: int, heap: int, stats: I64, parent: Decision) -> None:
        if not may_split(self.spec, heap, stats):
            self._done[tree][heap] = _Node(stats, None)
            return
        reference = np.zeros(self.spec.n_arms)
        splitting.smoothed_means(stats, parent.stats, parent.reference, self.spec.params(), reference)
        self._open[tree, heap] = self._open_node(tree, heap, stats, reference)

    def graft(self, tree: int, below: Tree) -> None:
        """Put what somebody grew below a node of the frontier in the node's place, see `growing.grow_below`.

        Raises
        ------
        ValueError
            When its first node is not in the frontier, or holds other rows.
        """
        node = self._waiting((tree, int(below.heap[0])))
        if node.stats is not None and not np.array_equal(node.stats, below.stats[0]):
            raise ValueError(
                f"What is grown below node {node.key} must hold the node's rows, {int(node.stats[:, 0].sum())} in all. "
                f"Got {int(below.stats[0, :, 0].sum())} instead; the rows changed between two passes over them."
            )
        del self._open[node.key]
        for row, heap in enumerate(below.heap.tolist()):
            self._done[tree][heap] = _Node(below.stats[row], _split_of(below, row))

    def trees_so_far(self, numbers: Iterable[int] | None = None) -> dict[int, Tree]:
        """Return the trees as they are, by their numbers, without effects; nodes of the frontier are leaves.

        Route rows with them. A tree whose root is not decided yet is a leaf without statistics.

        Parameters
        ----------
        numbers : iterable of int, optional
            These trees only.
        """
        waiting: dict[int, list[OpenNode]] = {tree: [] for tree in self._done}
        for node in self._open.values():
            waiting[node.tree].append(node)
        wanted = self._done if numbers is None else sorted(numbers)
        return {tree: self._tree(tree, waiting[tree]) for tree in wanted}

    def _tree(self, tree: int, waiting: Iterable[OpenNode] = ()) -> Tree:
        done = self._done[tree]
        found = {heap: node.stats for heap, node in done.items()}
        for open_node in waiting:
            unknown = np.zeros((self.spec.n_arms, 5), np.int64)
            found[open_node.heap] = unknown if open_node.stats is None else open_node.stats
        row = {heap: i for i, heap in enumerate(sorted(found))}
        ints = np.zeros((len(row), tree_kernel.NODE_INTS), np.int64)
        masks = np.zeros((len(row), MASK_WORDS), np.uint64)
        gains = np.zeros(len(row))
        for heap, i in row.items():
            split = done[heap].split if heap in done else None
            ints[i] = heap, heap.bit_length() - 1, -1, 0, 0, -1
            if split is not None:
                ints[i, 2:] = split.feature, split.threshold, split.missing_left, row[2 * heap]
                masks[i] = split.mask
                gains[i] = split.gain
        return from_kernel(ints, masks, gains, np.stack([found[heap] for heap in row]))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return all that `restore` needs to go on from here, as named arrays."""
        n_arms = self.spec.n_arms
        done = [(tree, heap, node) for tree, nodes in self._done.items() for heap, node in nodes.items()]
        splits = [node.split or _leaf(node.stats) for _, _, node in done]
        waiting = list(self._open.values())
        unknown = np.zeros((n_arms, 5), np.int64)
        return {
            "done": np.array([(tree, heap) for tree, heap, _ in done], np.int64).reshape(-1, 2),
            "decisions": np.frombuffer(decisions.to_bytes(splits, n_arms), np.uint8),
            "open": np.array([node.key for node in waiting], np.int64).reshape(-1, 2),
            "known": np.array([node.stats is not None for node in waiting], np.bool_),
            "stats": np.array([unknown if n.stats is None else n.stats for n in waiting]).reshape(
                -1, n_arms, 5
            ),
            "reference": np.array(
                [np.zeros(n_arms) if n.reference is None else n.reference for n in waiting]
            ).reshape(-1, n_arms),
        }

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from what `state` returned, with the same specification."""
        found = decisions.from_bytes(state["decisions"].tobytes(), self.spec.n_arms)
        for (tree, heap), decision in zip(state["done"].tolist(), found, strict=True):
            self._done[tree][heap] = _Node(decision.stats, decision if decision.found else None)
        self._open = {}
        for i, (tree, heap) in enumerate(state["open"].tolist()):
            known = bool(state["known"][i])
            self._open[tree, heap] = self._open_node(
                tree, heap, state["stats"][i] if known else None, state["reference"][i] if known else None
            )

    def estimate(self, tree: int, stats: I64) -> None:
        """Hand in the statistics of an honest tree's other half.

        Parameters
        ----------
        tree : int
        stats : ndarray of shape (nodes, arms, 5), dtype=int64
            In the order of the grown tree's nodes. Only the leaves' rows are looked at: an inner node is the
            sum of its children.

        Raises
        ------
        ValueError
            When the tree is not grown to its end, or the shape is not the tree's.
        """
        grown = self._grown(tree)
        if stats.shape != grown.stats.shape:
            raise ValueError(
                f"The statistics of tree {tree} must have the shape {grown.stats.shape}. "
                f"Got {stats.shape} instead."
            )
        filled = np.where(grown.is_leaf[:, None, None], stats, 0)
        for node in range(grown.n_nodes - 1, -1, -1):
            child = grown.left_child[node]
            if child >= 0:
                filled[node] = filled[child] + filled[child + 1]
        self._estimates[tree] = filled

    def _grown(self, tree: int) -> Tree:
        if any(number == tree for number, _ in self._open):
            raise ValueError(
                f"Tree {tree} must be grown to its end. Hint: advance() until frontier() is empty."
            )
        return self._tree(tree)

    def trees(self) -> list[Tree]:
        """Return the grown trees with their effects, in the order of their numbers.

        Raises
        ------
        ValueError
            When nodes are still to be counted, or an honest tree lacks the statistics of its other half.
        """
        grown = []
        for number in self._done:
            tree = self._grown(number)
            if self.spec.honest:
                if number not in self._estimates:
                    raise ValueError(
                        f"The honest tree {number} must be given its statistics. Hint: see estimate()."
                    )
                tree = replace(tree, stats=self._estimates[number])
            grown.append(with_effects(tree, self.spec))
        return grown
