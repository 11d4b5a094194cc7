"""Deciding how training is divided: the strategy, memory bounds, and when a node is small enough for one task.

Nothing here changes a forest, only how long it takes and how much memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_uplift.core.frontier import OpenNode
from spark_uplift.core.growing import ForestSpec

BROADCAST_BYTES = 256 * 2**20
"""Blocks up to this size are meant for ``tree_parallel`` (design E5)."""

TASK_BYTES = 2**30
"""A task of a pass reads no more than about so many bytes of packed rows."""

TREE_PARALLEL, DATA_PARALLEL = "tree_parallel", "data_parallel"
STRATEGIES = ("auto", TREE_PARALLEL, DATA_PARALLEL)

# Measured on one core (docs/scaling.md): nanoseconds a row.
_DRAW_NS = 4.0  # every row of the data, for each tree of a pass
_COUNT_NS = 10.0  # a row of an open node: walk and histogram
_SHIP_NS = 450.0  # a row of an open node: gather, shuffle, lay side by side
_GROW_NS = 6.0  # a row and level in the fused kernel
_PASS_NS = 0.6e9  # a pass, whatever it counts: scheduling, start, shuffle, collect


_BUCKETS = 4  # a slot


@dataclass(frozen=True)
class Limits:
    """Bounds of a pass.

    Attributes
    ----------
    slots : int
        Tasks that run at once.
    tasks : int
        Tasks of a pass; what is shuffled grows with it.
    group_bytes, group_nodes : int
        Histograms that a task holds, and nodes that the driver sends, in one pass.
    reduce_bytes : int
        What a reducer receives for a bucket, from all tasks.
    small_rows : int
        Nodes of up to so many rows may be finished in one task; 0: none.
    siblings : bool
        Count only the smaller of two siblings, where nodes look at all features and Spark can keep rows.
    """

    slots: int
    tasks: int
    group_bytes: int = 256 * 2**20
    group_nodes: int = 65_536
    reduce_bytes: int = 64 * 2**20
    small_rows: int = 200_000
    siblings: bool = True

    @classmethod
    def of(cls, slots: int, block_bytes: int = 0) -> Limits:
        """Return the limits of a cluster with that many task slots.

        What is shuffled grows with the tasks, so there are few. But a cluster that grows on demand has few slots when
        it is asked: tasks of a GiB of packed rows let it grow.
        """
        return cls(slots=slots, tasks=max(2 * slots, -(-block_bytes // TASK_BYTES)))

    def bucket_bytes(self, group_bytes: int) -> int:
        """Return the bound of a bucket.

        What all tasks send of it fits a reducer; and there are several a slot, since Spark's hash puts some of them
        on one reducer.
        """
        fits = self.reduce_bytes // self.tasks
        return max(8, min(fits, -(-group_bytes // (_BUCKETS * self.slots))))


def choose(strategy: str, block_bytes: int) -> tuple[str, str]:
    """Return the strategy to use and the reason, for the log.

    Parameters
    ----------
    strategy : {"auto", "tree_parallel", "data_parallel"}
    block_bytes : int
        Size of all packed rows.
    """
    size, bound = f"{block_bytes / 2**20:,.1f} MiB of packed rows", f"{BROADCAST_BYTES / 2**20:.0f} MiB"
    fits = block_bytes <= BROADCAST_BYTES
    if strategy == "auto":
        chosen = TREE_PARALLEL if fits else DATA_PARALLEL
        return chosen, f"{size}, {'within' if fits else 'more than'} the {bound} that a worker is to hold"
    advice = ""
    if strategy == TREE_PARALLEL and not fits:
        advice = f"; more than the {bound} that a worker is to hold, 'auto' would take {DATA_PARALLEL}"
    return strategy, f"as set; {size}{advice}"


def node_rows(node: OpenNode, limits: Limits, unknown: int | None = None) -> int:
    """Return how many rows (copies in the bag) a node holds; a root's are not known yet."""
    if node.stats is None:
        return limits.small_rows if unknown is None else unknown
    return int(node.stats[:, 0].sum())


def small_trees(nodes: Iterable[OpenNode], spec: ForestSpec, rows: int, limits: Limits) -> set[int]:
    """Return the trees whose open nodes are all small and cheaper to finish in one task each than to count on.

    Sending a row costs more than counting it a few times; it pays when many levels are left, when a tree has few rows
    left (counting draws for all rows of the data), or when no other tree needs the passes.
    """
    if limits.small_rows <= 0:
        return set()
    left: dict[int, list[OpenNode]] = defaultdict(list)
    for node in nodes:
        left[node.tree].append(node)
    small, send, count = set(), 0.0, 0.0
    for tree, opened in left.items():
        sizes = [node_rows(node, limits, rows) for node in opened]
        if max(sizes) > limits.small_rows:
            continue
        levels = spec.max_depth - min(node.heap.bit_length() for node in opened) + 1
        sending = sum(sizes) * (_SHIP_NS + _GROW_NS * levels) + rows * _DRAW_NS
        counting = levels * (rows * _DRAW_NS + sum(sizes) * _COUNT_NS)
        small.add(tree)
        send, count = send + sending, count + counting
    if len(small) == len(left):  # no pass is needed any more
        levels = spec.max_depth - min(n.heap.bit_length() for opened in left.values() for n in opened) + 1
        count += levels * _PASS_NS * limits.slots
    return small if send < count else set()


def bunches(sizes: list[int], limits: Limits) -> npt.NDArray[np.int64]:
    """Divide nodes into bunches of about equal rows, each for one task: at most ``small_rows`` or a single node.

    Returns
    -------
    ndarray of shape (nodes,), dtype=int64
        Number of each node's bunch.
    """
    bound = max(1, min(limits.small_rows, -(-sum(sizes) // limits.tasks)))
    out = np.zeros(len(sizes), np.int64)
    bunch = held = 0
    for i, size in enumerate(sizes):
        if held and held + size > bound:
            bunch, held = bunch + 1, 0
        out[i] = bunch
        held += size
    return out
