"""Level by level with counting left to others gives the fused kernel's trees, to the bit."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from spark_uplift.core import frontier, histogram, prediction
from spark_uplift.core.dtypes import LANES, PACKED, UNIT, WEIGHTED
from spark_uplift.core.grower import Grower
from spark_uplift.core.growing import ForestSpec
from spark_uplift.criteria.registry import CRITERIA
from tests.unit.core.data import Rows, grow, rows_of, same_trees, spec_of

GAIN = CRITERIA["gradient"].gain


def simulated(layout: int, n_arms: int = 2, n: int = 1500) -> Rows:
    rng = np.random.default_rng(layout + 10 * n_arms)
    x = rng.normal(size=(n, 3))
    x[rng.random((n, 3)) < 0.1] = np.nan
    city = rng.choice(["a", "b", "c", "d", None], n, p=[0.3, 0.3, 0.2, 0.15, 0.05]).tolist()
    arms = rng.integers(0, n_arms, n)
    lift = np.where(np.nan_to_num(x[:, 0]) > 0, 0.3, -0.1) + np.array(
        [0.3 if c == "c" else 0.0 for c in city]
    )
    y = (rng.random(n) < np.clip(0.3 + lift * (arms > 0) / np.maximum(arms, 1), 0, 1)).astype(float)
    if layout == UNIT:
        y += rng.normal(size=n)
    weight = rng.integers(1, 5, n) if layout == WEIGHTED else None
    columns = {"x0": x[:, 0], "x1": x[:, 1], "x2": x[:, 2], "city": city}
    rows = rows_of(columns, arms, y, weight, max_bins=16)
    assert rows.grid.layout == layout
    return rows


def bagged(rows: Rows, spec: ForestSpec, tree: int, estimate: bool = False) -> tuple[np.ndarray, np.ndarray]:
    copies = frontier.bag_copies(spec, tree, rows.units, estimate=estimate)
    return rows.lanes * copies[:, None], np.flatnonzero(copies)


def grow_by_level(
    rows: Rows, spec: ForestSpec, gain: Any = GAIN, parts: int = 3, decided: bool = False, **settings: Any
) -> Grower:
    """Grow with the seam: rows in parts, histograms added, in groups."""
    grower = Grower(spec, gain, **settings)
    while groups := grower.frontier():
        assert groups
        for group in groups:
            shapes = grower.trees_so_far()
            counted = {}
            for node in group:
                assert pickle.loads(pickle.dumps(node)).key == node.key
                lanes, members = bagged(rows, spec, node.tree)
                tree = shapes[node.tree]
                at = tree.heap[prediction.leaves(prediction.pack([tree]), rows.codes, 0)]
                mine = members[at[members] == node.heap]
                counted[node.key] = sum(
                    frontier.count(node, rows.codes, rows.arms, lanes, mine[part::parts], spec.n_arms)
                    for part in range(parts)
                )
            if decided:  # whoever holds the histograms decides, only the decisions travel
                grower.apply({n.key: frontier.decide(spec, gain, n, counted[n.key]) for n in group})
            else:
                grower.advance(counted)
    if spec.honest:
        for number, tree in grower.trees_so_far().items():
            lanes, members = bagged(rows, spec, number, estimate=True)
            at = prediction.leaves(prediction.pack([tree]), rows.codes, 0)
            lane_sums = np.zeros((tree.n_nodes, spec.n_arms, lanes.shape[1]), np.int64)
            np.add.at(lane_sums, (at[members], rows.arms[members].astype(np.int64)), lanes[members])
            layout = spec.grid.layout
            leaf_stats = [
                histogram.totals(sums.ravel(), 1, spec.n_arms, layout, int(spec.grid.binary), LANES[layout])
                for sums in lane_sums
            ]
            grower.estimate(number, np.stack(leaf_stats))
    return grower


@pytest.mark.parametrize("layout", [PACKED, UNIT, WEIGHTED])
@pytest.mark.parametrize("n_arms", [2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bootstrap": True, "num_trees": 3, "n_reg": 20.0, "shrinkage": 50.0},
        {"bootstrap": True, "num_trees": 3, "features_per_node": 2},
        {"bootstrap": True, "num_trees": 2, "honest": True, "shrinkage": 50.0, "min_node": 10, "min_arm": 2},
        {"subsampling_rate": 0.7, "num_trees": 5, "intervals": True, "features_per_node": 2},
    ],
    ids=["plain", "bootstrap", "subset", "honest", "little bags"],
)
def test_it_grows_the_trees_of_the_fused_kernel(layout: int, n_arms: int, settings: dict[str, Any]) -> None:
    rows = simulated(layout, n_arms)
    trees = grow(rows, **settings)
    assert max(tree.n_nodes for tree in trees) > 6
    same_trees(grow_by_level(rows, spec_of(rows, **settings)).trees(), trees)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_grows_the_same_way(criterion: str) -> None:
    rows = simulated(WEIGHTED)
    gain = CRITERIA[criterion].gain
    trees = grow(rows, criterion, max_depth=3)
    same_trees(grow_by_level(rows, spec_of(rows, max_depth=3), gain, decided=True).trees(), trees)


def test_the_memory_bound_does_not_change_the_trees() -> None:
    rows = simulated(PACKED)
    spec = spec_of(rows, num_trees=3, bootstrap=True)
    trees = grow(rows, num_trees=3, bootstrap=True)
    one = Grower(spec, GAIN).frontier()[0][0]
    for max_bytes in (1, 2 * one.histogram_bytes, 10**9):
        groups = Grower(spec, GAIN, max_bytes=max_bytes).frontier()
        assert [len(group) for group in groups] == {1: [1, 1, 1], 10**9: [3]}.get(max_bytes, [2, 1])
        same_trees(grow_by_level(rows, spec, max_bytes=max_bytes).trees(), trees)


def test_some_trees_of_a_forest_are_those_of_the_whole() -> None:
    rows = simulated(UNIT)
    settings = {"num_trees": 4, "bootstrap": True, "features_per_node": 2}
    spec = spec_of(rows, **settings)
    trees = grow(rows, **settings)
    same_trees(grow_by_level(rows, spec, trees=[3, 1]).trees(), [trees[1], trees[3]])


def test_a_part_of_the_frontier_may_be_advanced() -> None:
    rows = simulated(PACKED)
    spec = spec_of(rows, num_trees=2, bootstrap=True)
    grower = Grower(spec, GAIN)
    (group,) = grower.frontier()
    lanes, members = bagged(rows, spec, 1)
    grower.advance({(1, 1): frontier.count(group[1], rows.codes, rows.arms, lanes, members, 2)})
    keys = [node.key for group in grower.frontier() for node in group]
    assert keys[0] == (0, 1)
    assert set(keys[1:]) <= {(1, 2), (1, 3)}
    assert grower.trees_so_far()[0].n_nodes == 1
    assert grower.trees_so_far()[1].n_nodes == 3


def test_no_depth_gives_root_only_trees_with_the_average_effect() -> None:
    rows = simulated(PACKED)
    spec = spec_of(rows, max_depth=0)
    same_trees(grow_by_level(rows, spec).trees(), grow(rows, max_depth=0))


def test_a_node_is_decided_once() -> None:
    rows = simulated(PACKED)
    grower = Grower(spec_of(rows), GAIN)
    with pytest.raises(ValueError, match=r"must be in the frontier. Got \(tree, heap\) = \(0, 2\)"):
        grower.advance({(0, 2): np.zeros(1, np.int64)})
    with pytest.raises(
        ValueError, match=r"histogram of node \(0, 1\) must have the shape .* Got \(3,\) instead"
    ):
        grower.advance({(0, 1): np.zeros(3, np.int64)})


def test_trees_are_not_given_before_they_are_grown() -> None:
    rows = simulated(PACKED)
    grower = Grower(spec_of(rows), GAIN)
    with pytest.raises(ValueError, match="Tree 0 must be grown to its end"):
        grower.trees()


def test_an_honest_tree_needs_its_other_half() -> None:
    rows = simulated(PACKED)
    honest, plain = spec_of(rows, honest=True, max_depth=1), spec_of(rows, max_depth=1)
    grower = Grower(honest, GAIN)
    (node,) = grower.frontier()[0]
    grower.advance({node.key: frontier.count(node, rows.codes, rows.arms, rows.lanes, np.arange(1500), 2)})
    with pytest.raises(ValueError, match="honest tree 0 must be given its statistics"):
        grower.trees()
    with pytest.raises(ValueError, match="statistics of tree 0 must have the shape"):
        grower.estimate(0, np.zeros((1, 2, 5), np.int64))
    del plain
