"""Growing a tree by recursion over lists of rows, and its effects from the definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import WEIGHTED
from spark_uplift.core.growing import ForestSpec
from tests.oracles import histogram, splitting
from tests.oracles.splitting import Candidate, Data, Gain

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Node:
    """A grown node; ``split`` is None for a leaf."""

    stats: I64
    split: Candidate | None


def grow(
    spec: ForestSpec, data: Data, rows: Sequence[int], features_of: Callable[[int], Sequence[int]], gain: Gain
) -> dict[int, Node]:
    """Return the nodes of a tree by heap index. ``features_of(heap)`` are the features a node may split on."""
    nodes: dict[int, Node] = {}

    def visit(heap: int, mine: Sequence[int], reference: F64) -> None:
        stats = histogram.statistics(spec.grid, data.arms, data.lanes, mine, spec.n_arms)
        split = None
        if heap < 2**spec.max_depth and splitting.large_enough(spec, stats, 2):
            split = splitting.best_split(spec, data, mine, features_of(heap), reference, gain)
        nodes[heap] = Node(stats, split)
        if split is None:
            return
        for side in (0, 1):
            child = [r for r in mine if (data.codes[r, split.feature] in split.left) == (side == 0)]
            own = histogram.statistics(spec.grid, data.arms, data.lanes, child, spec.n_arms)
            visit(2 * heap + side, child, splitting.smoothed_means(spec, own, stats, reference))

    root = histogram.statistics(spec.grid, data.arms, data.lanes, rows, spec.n_arms)
    visit(1, rows, splitting.root_means(spec, root))
    return nodes


def effects(spec: ForestSpec, stats: dict[int, I64]) -> dict[int, F64]:
    """Return the shrunk effects of all nodes, by heap index, from their statistics."""
    out: dict[int, F64] = {}
    for heap in sorted(stats):
        table = splitting.sums(spec, stats[heap])
        rows = table[:, 0].copy()
        if spec.grid.layout == WEIGHTED:
            square = stats[heap][:, 4] * spec.grid.square_weight_unit
            rows = np.array([w * w / q if q > 0 else 0.0 for w, q in zip(table[:, 0], square, strict=True)])
        above = np.array(spec.prior) if heap == 1 else out[heap // 2]
        found = above.copy()
        for t in range(1, spec.n_arms):
            if rows[0] > 0 and rows[t] > 0:
                raw = table[t, 1] / table[t, 0] - table[0, 1] / table[0, 0]
                effective = 4 * rows[0] * rows[t] / (rows[0] + rows[t])
                trust = 1.0 if heap == 1 else effective / (effective + spec.shrinkage)
                found[t - 1] = trust * raw + (1 - trust) * above[t - 1]
        out[heap] = found
    return out
