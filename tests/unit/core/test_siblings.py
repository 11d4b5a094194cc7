"""The smaller sibling is counted, the other is the parent minus it: the same histograms, bucket by bucket."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spark_uplift.core import buckets, counting, frontier, siblings
from spark_uplift.core.dtypes import PACKED, UNIT, WEIGHTED
from spark_uplift.core.grower import Grower
from tests.unit.core.data import Rows, grow, same_trees, spec_of
from tests.unit.core.test_counting import GAIN
from tests.unit.core.test_grower import simulated


def reduced(
    grower: Grower, nodes: Any, plan: siblings.Plan, counted: np.ndarray, held: list[np.ndarray]
) -> tuple[dict[frontier.Key, frontier.Decision], list[np.ndarray]]:
    """What all reducers return: decisions, and the cells of each output bucket."""
    found: dict[frontier.Key, list[frontier.Decision]] = {node.key: [] for node in nodes}
    kept: dict[int, np.ndarray] = {}
    for number, reduction in enumerate(plan.reductions):
        sums = counted[reduction.start : reduction.end]
        for bucket, steps in reduction.outputs:
            pieces = []
            for step in steps:
                cells = sums[step.counted : step.counted + step.size]
                if step.parent >= 0:
                    cells = held[number][step.parent : step.parent + step.size] - cells
                node = nodes[step.slot]
                found[node.key].append(frontier.decide(grower.spec, GAIN, node, cells, step.first, step.last))
                pieces.append(cells)
            kept[bucket] = np.concatenate(pieces)
    assert sorted(kept) == list(range(len(plan.kept)))
    return {key: frontier.best_of(parts) for key, parts in found.items()}, [kept[i] for i in range(len(kept))]


def count(grower: Grower, plan: siblings.Plan, rows: Rows) -> np.ndarray:
    trees = grower.trees_so_far({node.tree for node in plan.counted})
    group = counting.lay_out(trees, plan.counted, plan.parts)
    cells = np.zeros(group.length, np.int64)
    counting.add_block(grower.spec, group, rows.words, rows.units, cells)
    return cells


@pytest.mark.parametrize("layout", [PACKED, UNIT, WEIGHTED])
@pytest.mark.parametrize("bound", [1, 100, 700, 10**6])
def test_the_same_trees_from_half_of_the_counting(layout: int, bound: int) -> None:
    rows = simulated(layout, n_arms=3, n=2500)
    settings = {"bootstrap": True, "num_trees": 3, "max_depth": 5, "min_node": 10}
    grower = Grower(spec_of(rows, **settings), GAIN)
    held: list[np.ndarray] = []
    kept: tuple[siblings.Held, ...] = ()
    counted = every = 0
    while groups := grower.frontier():
        (nodes,) = groups
        plan = siblings.below(nodes, kept, bound) if kept else None
        if plan is None:
            plan = siblings.plain(nodes, buckets.divide(nodes, bound))
        counted, every = counted + len(plan.counted), every + len(nodes)
        decided, held = reduced(grower, nodes, plan, count(grower, plan, rows), held)
        kept = plan.kept
        grower.apply(decided)
    same_trees(grower.trees(), grow(rows, **settings))
    assert every / 2 < counted < 0.75 * every


def test_the_smaller_sibling_is_counted_and_the_left_one_of_equals() -> None:
    def node(heap: int, rows: int) -> frontier.OpenNode:
        stats = np.zeros((2, 5), np.int64)
        stats[0, 0] = rows
        return frontier.OpenNode(0, heap, np.arange(1), np.array([0, 4]), stats, np.zeros(2))

    nodes = (node(4, 10), node(5, 7), node(6, 9), node(8, 3), node(9, 3))
    assert siblings.smaller(nodes).tolist() == [False, True, True, True, False]


def test_without_the_parents_everything_is_counted() -> None:
    rows = simulated(PACKED)
    grower = Grower(spec_of(rows, num_trees=2), GAIN)
    ((first, second),) = grower.frontier()
    kept = siblings.plain((first,), buckets.divide((first,), 10**6)).kept
    cells = count(grower, siblings.plain((first, second), buckets.divide((first, second), 10**6)), rows)
    both = {n.key: h for n, h in zip((first, second), np.split(cells, 2), strict=True)}
    grower.advance(both)
    (nodes,) = grower.frontier()
    assert siblings.below(nodes, kept, 10**6) is None
