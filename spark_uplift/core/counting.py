"""Counting many nodes of many trees over a block of rows: what one task of a ``data_parallel`` pass does.

ALGORITHM
    Tree by tree, in short runs of rows: draw how often each row is in the bag, keep those that are, walk them down the
    tree so far, all of them one step at a time (the processor overlaps the steps of different rows), and add those that
    end in a node of the group to its histogram. Nothing is remembered of a row between passes.

COST
    per row and tree a draw; per row in the bag a step a level so far; per row in an open node an update a feature. Rows
    of leaves are never added, trees without a node in the group are not looked at. Memory: the group's histograms.

The sums are integers, so the histograms of any parts of the rows add up to those of all, in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.core import prediction, tree_kernel
from spark_uplift.core.buckets import Part
from spark_uplift.core.dtypes import PACKED
from spark_uplift.core.frontier import OpenNode
from spark_uplift.core.growing import ForestSpec, draws_of
from spark_uplift.core.jit import inlined, kernel
from spark_uplift.core.records import CODES_AT, code_words
from spark_uplift.core.sampling import copies, draw
from spark_uplift.core.tree import Tree
from spark_uplift.core.tree_kernel import takes

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_RUN = 512  # rows that take a step together: their records stay in the first-level cache


@dataclass(frozen=True)
class Group:
    """Nodes to be counted together, laid out for the kernels.

    Attributes
    ----------
    numbers : tuple of int
        The trees that hold them, ascending.
    routes : PackedForest
        These trees so far.
    slots : ndarray of shape (rows of routes,), dtype=int64
        Place of each tree node in the group, -1 for all others.
    features : ndarray of shape (nodes, m), dtype=int64
        Features counted in each node of the group.
    bases : ndarray of shape (nodes, m), dtype=int64
        Where the cells of each of them begin.
    ends : ndarray of shape (nodes + 1,), dtype=int64
        Where each node's histogram begins, when they lie node after node, and the length of all.
    """

    numbers: tuple[int, ...]
    routes: prediction.PackedForest
    slots: I64
    features: I64
    bases: I64
    ends: I64

    @property
    def length(self) -> int:
        """Cells of all histograms."""
        return int(self.ends[-1])


def lay_out(
    trees: Mapping[int, Tree], nodes: tuple[OpenNode, ...], parts: Sequence[Part] | None = None
) -> Group:
    """Lay a group of open nodes out for counting.

    Parameters
    ----------
    trees : mapping of int to Tree
        The trees so far, see `Grower.trees_so_far`; at least those of the nodes.
    nodes : tuple of OpenNode
        The group.
    parts : sequence of Part, optional
        The order in which the nodes' features lie in memory; by default node after node.
    """
    numbers = tuple(sorted({node.tree for node in nodes}))
    routes = prediction.pack([trees[number] for number in numbers])
    first = dict(zip(numbers, routes.starts, strict=True))
    slots = np.full(routes.nodes.shape[0], -1, np.int64)
    for slot, node in enumerate(nodes):
        row = int(np.searchsorted(trees[node.tree].heap, node.heap))
        slots[first[node.tree] + row] = slot
    ends = np.cumsum([0, *(int(node.offsets[-1]) for node in nodes)]).astype(np.int64)
    bases = np.stack([node.offsets[:-1] for node in nodes]) + ends[:-1, None]
    at = 0
    for part in parts or ():
        offsets = nodes[part.slot].offsets
        bases[part.slot, part.first : part.last] = offsets[part.first : part.last] - offsets[part.first] + at
        at += int(offsets[part.last] - offsets[part.first])
    return Group(
        numbers=numbers,
        routes=routes,
        slots=slots,
        features=np.stack([node.features for node in nodes]),
        bases=bases,
        ends=ends,
    )


def to_arrays(group: Group) -> dict[str, npt.NDArray[Any]]:
    """Return the group as named arrays, for the way to a worker."""
    routes = group.routes
    return {
        "numbers": np.array(group.numbers, np.int64),
        "nodes": routes.nodes,
        "masks": routes.masks if routes.by_mask.any() else routes.masks[:0],
        "starts": routes.starts,
        "depths": routes.depths,
        "by_mask": routes.by_mask,
        "slots": group.slots,
        "features": group.features.astype(np.int16),
        "bases": group.bases,
        "ends": group.ends,
    }


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> Group:
    """Return the group that `to_arrays` was given, all but the effects, which counting does not look at."""
    nodes, by_mask = arrays["nodes"], arrays["by_mask"]
    routes = prediction.PackedForest(
        nodes=nodes,
        masks=arrays["masks"],
        starts=arrays["starts"],
        depths=arrays["depths"],
        by_mask=by_mask,
        effects=np.empty((0, 0)),
    )
    return Group(
        numbers=tuple(arrays["numbers"].tolist()),
        routes=routes,
        slots=arrays["slots"],
        features=arrays["features"].astype(np.int64),
        bases=arrays["bases"],
        ends=arrays["ends"],
    )


@inlined
def _draw_run(  # type: ignore[no-untyped-def]
    units, first, last, bag_key, thresholds, group_key, grouped, half_key, half, draws, rows, counts
):
    """Write the rows of a run that are in the bag, and their copies, to ``rows`` and ``counts`` (OUT).

    The draws are a loop of their own, without a branch, for the processor to do several at once.
    """
    size = last - first
    for k in range(size):
        draws[k] = draw(bag_key, units[first + k])
    m = 0
    if not grouped and half == 0:
        for k in range(size):
            count = copies(draws[k], thresholds)
            rows[m] = first + k
            counts[m] = count
            m += count > 0
        return m
    for k in range(size):
        unit = units[first + k]
        member = takes(half, half_key, unit)
        if grouped and member:
            member = (draw(group_key, unit) >> np.uint64(63)) == np.uint64(0)
        count = copies(draws[k], thresholds) if member else 0
        rows[m] = first + k
        counts[m] = count
        m += count > 0
    return m


@inlined
def _walk_run(octets, rows, m, nodes, masks, by_mask, root, depth, at):  # type: ignore[no-untyped-def]
    """Write where each row ends in the tree to ``at`` (OUT). Leaves point to themselves."""
    for k in range(m):
        at[k] = root
    if by_mask:
        for _ in range(depth):
            for k in range(m):
                node = nodes[at[k]]
                code = octets[rows[k], CODES_AT + ((node >> np.uint64(16)) & np.uint64(0xFFFF))]
                bit = (masks[at[k], code >> 6] >> np.uint64(code & 63)) & np.uint64(1)
                at[k] = (node >> np.uint64(32)) + (np.uint64(1) - bit)
        return
    for _ in range(depth):
        for k in range(m):
            node = nodes[at[k]]
            code = octets[rows[k], CODES_AT + ((node >> np.uint64(16)) & np.uint64(0xFFFF))]
            # A missing value (code 0) that goes right wraps to 255 and so passes every threshold.
            threshold = np.uint8((node >> np.uint64(8)) & np.uint64(0xFF))
            right = np.uint8(code - np.uint8(node & np.uint64(0xFF))) > threshold
            at[k] = (node >> np.uint64(32)) + np.uint64(right)


@kernel
def _count_tree(  # type: ignore[no-untyped-def]
    words, octets, units, bag_key, thresholds, group_key, grouped, half_key, half, layout, code_words_,
    nodes, masks, by_mask, root, depth, slots, features, bases, n_arms, histogram,
):  # fmt: skip
    """Add a block's rows to the histograms of one tree's open nodes (OUT)."""
    n, m_features = words.shape[0], features.shape[1]
    n_lanes = words.shape[1] - code_words_
    rows, counts = np.empty(_RUN, np.int64), np.empty(_RUN, np.int64)
    at, draws = np.empty(_RUN, np.uint64), np.empty(_RUN, np.uint64)
    for first in range(0, n, _RUN):
        last = min(first + _RUN, n)
        m = _draw_run(
            units, first, last, bag_key, thresholds, group_key, grouped, half_key, half, draws, rows, counts
        )
        _walk_run(octets, rows, m, nodes, masks, by_mask, root, depth, at)
        for k in range(m):
            slot = slots[at[k]]
            if slot < 0:
                continue
            i, count = rows[k], counts[k]
            if layout == PACKED:
                word = words[i, 0]
                outcome = np.int64(np.int16((word >> np.uint64(16)) & np.uint64(0xFFFF)))
                value = count + ((count * outcome) << 32)
                arm = np.int64(word & np.uint64(0xFF))
                for j in range(m_features):
                    code = np.int64(octets[i, CODES_AT + features[slot, j]])
                    histogram[bases[slot, j] + code * n_arms + arm] += value
            else:
                arm = np.int64(octets[i, 0])
                for j in range(m_features):
                    code = np.int64(octets[i, CODES_AT + features[slot, j]])
                    cell = bases[slot, j] + (code * n_arms + arm) * n_lanes
                    for lane in range(n_lanes):
                        histogram[cell + lane] += count * np.int64(words[i, code_words_ + lane])


def _frozen(words: U64, units: U64) -> tuple[U64, Any, U64]:
    """Return read-only views of a block and of its bytes: Arrow's memory is read-only, which to numba is a type."""
    words, units = words.view(), units.view()
    words.flags.writeable = units.flags.writeable = False
    return words, words.view(np.uint8), units


def _members(spec: ForestSpec, tree: int, half: int) -> tuple[Any, ...]:
    draws = draws_of(spec, tree)
    return draws.bag, draws.thresholds, draws.group, draws.grouped, draws.half, half


def add_block(spec: ForestSpec, group: Group, words: U64, units: U64, histogram: I64) -> None:
    """Add a block of rows to a group's histograms.

    Parameters
    ----------
    words : ndarray of shape (n, record_words), dtype=uint64
        The rows, see `spark_uplift.core.records`.
    units : ndarray of shape (n,), dtype=uint64
        Hash of each row's unit (or cluster).
    histogram : ndarray of shape (group.length,), dtype=int64
        OUT, added to.
    """
    words, octets, units = _frozen(words, units)
    half = tree_kernel.SHAPE if spec.honest else tree_kernel.ALL
    at, layout, routes = code_words(spec.n_features), spec.grid.layout, group.routes
    for k, number in enumerate(group.numbers):
        _count_tree(
            words, octets, units, *_members(spec, number, half), layout, at,
            routes.nodes, routes.masks, bool(routes.by_mask[k]), np.uint64(routes.starts[k]), int(routes.depths[k]),
            group.slots, group.features, group.bases, spec.n_arms, histogram,
        )  # fmt: skip


@kernel
def _gather_tree(  # type: ignore[no-untyped-def]
    words, octets, units, bag_key, thresholds, group_key, grouped, half_key, half, layout, code_words_,
    nodes, masks, by_mask, root, depth, slots, out, places,
):  # fmt: skip
    """Write the bag's records that end in a node of the group to ``out``, and the nodes' slots to ``places`` (OUT)."""
    n, n_words = words.shape
    rows, counts = np.empty(_RUN, np.int64), np.empty(_RUN, np.int64)
    at, draws = np.empty(_RUN, np.uint64), np.empty(_RUN, np.uint64)
    found = 0
    for first in range(0, n, _RUN):
        last = min(first + _RUN, n)
        m = _draw_run(
            units, first, last, bag_key, thresholds, group_key, grouped, half_key, half, draws, rows, counts
        )
        _walk_run(octets, rows, m, nodes, masks, by_mask, root, depth, at)
        for k in range(m):
            slot = slots[at[k]]
            if slot < 0:
                continue
            i, count = rows[k], counts[k]
            for word in range(n_words):
                out[found, word] = words[i, word]
            out[found, 0] = (out[found, 0] & ~np.uint64(0xFF00)) | (np.uint64(count) << np.uint64(8))
            if layout != PACKED:
                for word in range(code_words_, n_words):
                    out[found, word] = np.uint64(count * np.int64(words[i, word]))
            places[found] = slot
            found += 1
    return found


def gather_block(spec: ForestSpec, group: Group, words: U64, units: U64) -> Iterator[tuple[U64, I64]]:
    """Yield, tree by tree, the block's records in the nodes of the group, with their copies in the tree's bag.

    Yields
    ------
    (ndarray of shape (m, record_words), dtype=uint64; ndarray of shape (m,), dtype=int64)
        The records as `tree_kernel.fill_bag` writes them, and the place of each one's node in the group.
    """
    words, octets, units = _frozen(words, units)
    half = tree_kernel.SHAPE if spec.honest else tree_kernel.ALL
    at, layout, routes = code_words(spec.n_features), spec.grid.layout, group.routes
    out, places = np.empty(words.shape, np.uint64), np.empty(len(words), np.int64)
    for k, number in enumerate(group.numbers):
        found = _gather_tree(
            words, octets, units, *_members(spec, number, half), layout, at,
            routes.nodes, routes.masks, bool(routes.by_mask[k]), np.uint64(routes.starts[k]), int(routes.depths[k]),
            group.slots, out, places,
        )  # fmt: skip
        if found:
            yield out[:found], places[:found]


def leaf_arrays(trees: Mapping[int, Tree]) -> dict[str, npt.NDArray[Any]]:
    """Return what `add_leaves` must know of grown trees, as named arrays: their nodes one after the other."""
    sizes = [tree.n_nodes for tree in trees.values()]
    return {
        "numbers": np.array(list(trees), np.int64),
        "ends": np.cumsum([0, *sizes]).astype(np.int64),
        "feature": np.concatenate([tree.feature for tree in trees.values()]),
        "left_child": np.concatenate([tree.left_child for tree in trees.values()]),
        "masks": np.concatenate([tree.mask for tree in trees.values()]),
    }


def add_leaves(
    spec: ForestSpec, arrays: Mapping[str, npt.NDArray[Any]], words: U64, units: U64, stats: I64
) -> None:
    """Add the rows of a block that fill the leaves of honest trees.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        See `leaf_arrays`.
    stats : ndarray of shape (nodes of all trees, arms, 5), dtype=int64
        OUT, added to.
    """
    words, octets, units = _frozen(words, units)
    ends = arrays["ends"].tolist()
    for k, number in enumerate(arrays["numbers"].tolist()):
        nodes = slice(ends[k], ends[k + 1])
        ints = np.zeros((ends[k + 1] - ends[k], tree_kernel.NODE_INTS), np.int64)
        ints[:, tree_kernel.NODE_FEATURE] = arrays["feature"][nodes]
        ints[:, tree_kernel.LEFT_CHILD] = arrays["left_child"][nodes]
        found = np.zeros((len(ints), spec.n_arms, 5), np.int64)
        tree_kernel.fill_leaves(
            words, octets, units, *_members(spec, number, tree_kernel.ESTIMATE), spec.grid.layout,
            int(spec.grid.binary), code_words(spec.n_features), ints, arrays["masks"][nodes], len(ints), found,
        )  # fmt: skip
        stats[nodes] += found
