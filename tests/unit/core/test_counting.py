"""Counting many trees' nodes over blocks, and what goes between tasks, reducers and driver."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core import buckets, counting, decisions, frontier, growing
from spark_uplift.core.dtypes import PACKED, UNIT, WEIGHTED
from spark_uplift.core.grower import Grower
from spark_uplift.criteria.registry import CRITERIA
from tests.unit.core.data import Rows, grow, same_trees, spec_of
from tests.unit.core.test_grower import bagged, simulated

GAIN = CRITERIA["gradient"].gain
BAGGED = {"bootstrap": True, "num_trees": 3}
SETTINGS: list[dict[str, Any]] = [
    BAGGED,
    {**BAGGED, "features_per_node": 2, "n_reg": 20.0},
    {**BAGGED, "honest": True, "min_node": 10, "min_arm": 2},
    {"num_trees": 5, "intervals": True, "subsampling_rate": 0.7},
    {**BAGGED, "num_trees": 4, "honest": True, "intervals": True, "min_node": 10, "min_arm": 2},
]
IDS = ["plain", "subset", "honest", "little bags", "honest little bags"]


def counted(grower: Grower, nodes: Any, rows: Rows, pieces: int = 1) -> tuple[counting.Group, np.ndarray]:
    """Return the histograms of a group, added up over pieces of the rows, as a worker would."""
    group = counting.lay_out(grower.trees_so_far({node.tree for node in nodes}), nodes)
    sent = decisions.arrays_from_bytes(decisions.arrays_to_bytes(counting.to_arrays(group)))
    group = counting.from_arrays(sent)
    cells = np.zeros(group.length, np.int64)
    for part in np.array_split(np.random.default_rng(1).permutation(len(rows.arms)), pieces):
        piece = rows.take(part)
        counting.add_block(grower.spec, group, piece.words, piece.units, cells)
    return group, cells


def reduced(
    grower: Grower, nodes: Any, cells: np.ndarray, bound: int
) -> dict[frontier.Key, frontier.Decision]:
    """Decide a group bucket by bucket, with the decisions sent as bytes."""
    found: dict[frontier.Key, list[frontier.Decision]] = {node.key: [] for node in nodes}
    for bucket in buckets.divide(nodes, bound):
        at = bucket.start
        for part in bucket.parts:
            node = nodes[part.slot]
            size = int(node.offsets[part.last] - node.offsets[part.first])
            one = frontier.decide(grower.spec, GAIN, node, cells[at : at + size], part.first, part.last)
            found[node.key] += decisions.from_bytes(
                decisions.to_bytes([one], grower.spec.n_arms), grower.spec.n_arms
            )
            at += size
        assert at == bucket.end
    return {key: frontier.best_of(parts) for key, parts in found.items()}


def fill(grower: Grower, rows: Rows) -> None:
    trees = grower.trees_so_far()
    arrays = counting.leaf_arrays(trees)
    stats = np.zeros((arrays["ends"][-1], grower.spec.n_arms, 5), np.int64)
    for part in np.array_split(np.arange(len(rows.arms)), 3):
        piece = rows.take(part)
        counting.add_leaves(grower.spec, arrays, piece.words, piece.units, stats)
    for number, first, last in zip(trees, arrays["ends"][:-1], arrays["ends"][1:], strict=True):
        grower.estimate(number, stats[first:last])


@pytest.mark.parametrize("layout", [PACKED, UNIT, WEIGHTED])
@pytest.mark.parametrize("settings", SETTINGS, ids=IDS)
def test_passes_over_blocks_grow_the_trees_of_the_fused_kernel(layout: int, settings: dict[str, Any]) -> None:
    rows = simulated(layout, n_arms=3)
    spec = spec_of(rows, **settings)
    grower = Grower(spec, GAIN, max_bytes=40_000)
    while groups := grower.frontier(max_nodes=5):
        nodes = groups[0]
        assert len(nodes) <= 5
        _, cells = counted(grower, nodes, rows, pieces=4)
        grower.apply(reduced(grower, nodes, cells, bound=150))
    if spec.honest:
        fill(grower, rows)
    trees = grow(rows, **settings)
    assert max(tree.n_nodes for tree in trees) > 5
    same_trees(grower.trees(), trees)


@pytest.mark.parametrize("layout", [PACKED, UNIT, WEIGHTED])
def test_a_group_is_counted_as_its_nodes_one_by_one(layout: int) -> None:
    rows = simulated(layout)
    spec = spec_of(rows, **BAGGED, features_per_node=2)
    grower = Grower(spec, GAIN)
    for _ in range(3):
        (nodes,) = grower.frontier()
        group, cells = counted(grower, nodes, rows)
        histograms = np.split(cells, group.ends[1:-1])
        for node, histogram in zip(nodes, histograms, strict=True):
            lanes, members = bagged(rows, spec, node.tree)
            tree = grower.trees_so_far()[node.tree]
            inside = members[_walk(tree, rows.codes)[members] == node.heap]
            expected = frontier.count(node, rows.codes, rows.arms, lanes, inside, spec.n_arms)
            np.testing.assert_array_equal(histogram, expected)
        grower.advance({node.key: h for node, h in zip(nodes, histograms, strict=True)})


def _walk(tree: Any, codes: np.ndarray) -> np.ndarray:
    """Return the heap index of each row's leaf: a row at a time."""
    out = np.zeros(len(codes), np.int64)
    for i, row in enumerate(codes):
        node = 0
        while tree.left_child[node] >= 0:
            code = int(row[tree.feature[node]])
            left = int(tree.mask[node, code >> 6]) >> (code & 63) & 1
            node = int(tree.left_child[node]) + (1 - left)
        out[i] = tree.heap[node]
    return out


@pytest.mark.parametrize("layout", [PACKED, UNIT, WEIGHTED])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_what_is_grown_below_a_node_from_its_rows_alone_is_what_the_whole_tree_has_there(
    layout: int, level: int
) -> None:
    rows = simulated(layout, n_arms=3)
    settings = {**BAGGED, "features_per_node": 2, "n_reg": 20.0}
    spec = spec_of(rows, **settings)
    grower = Grower(spec, GAIN)
    for _ in range(level):
        (nodes,) = grower.frontier()
        _, cells = counted(grower, nodes, rows)
        grower.apply(reduced(grower, nodes, cells, bound=10**6))
    (nodes,) = grower.frontier()
    group = counting.lay_out(grower.trees_so_far(), nodes)
    bags: dict[int, list[np.ndarray]] = {slot: [] for slot in range(len(nodes))}
    for part in np.array_split(np.arange(len(rows.arms)), 3):
        piece = rows.take(part)
        for words, places in counting.gather_block(spec, group, piece.words, piece.units):
            for slot in np.unique(places).tolist():
                bags[slot].append(words[places == slot].copy())
    for slot, node in enumerate(nodes):
        reference = np.zeros(spec.n_arms) if node.reference is None else node.reference
        below = growing.grow_below(np.concatenate(bags[slot]), spec, GAIN, node.tree, node.heap, reference)
        grower.graft(node.tree, below)
    same_trees(grower.trees(), grow(rows, **settings))


def test_growing_goes_on_from_a_kept_state() -> None:
    rows = simulated(WEIGHTED)
    settings = {**BAGGED, "features_per_node": 2}
    spec = spec_of(rows, **settings)
    first = Grower(spec, GAIN)
    kept = []
    while groups := first.frontier():
        kept.append(decisions.arrays_to_bytes(first.state()))
        _, cells = counted(first, groups[0], rows)
        first.apply(reduced(first, groups[0], cells, 10**6))
    kept.append(decisions.arrays_to_bytes(first.state()))
    trees = grow(rows, **settings)
    for state in kept:
        again = Grower(spec, GAIN)
        again.restore(decisions.arrays_from_bytes(state))
        while groups := again.frontier():
            _, cells = counted(again, groups[0], rows)
            again.apply(reduced(again, groups[0], cells, 10**6))
        same_trees(again.trees(), trees)


def test_rows_that_changed_between_two_passes_are_noticed() -> None:
    rows = simulated(PACKED)
    grower = Grower(spec_of(rows, **BAGGED), GAIN)
    (nodes,) = grower.frontier()
    _, cells = counted(grower, nodes, rows)
    grower.apply(reduced(grower, nodes, cells, 10**6))
    (nodes,) = grower.frontier()
    _, cells = counted(grower, nodes, rows.take(slice(1, None)))
    with pytest.raises(
        ValueError, match=r"must be those that its parent sent there: \d+ in all. Got \d+ instead"
    ):
        reduced(grower, nodes, cells, 10**6)
    other = growing.grow_below(rows.words[:50].copy(), grower.spec, GAIN, *nodes[0].key, np.zeros(2))
    with pytest.raises(ValueError, match="the rows changed between two passes"):
        grower.graft(nodes[0].tree, other)


def test_parts_of_a_node_that_hold_other_rows_are_noticed() -> None:
    rows = simulated(PACKED)
    grower = Grower(spec_of(rows), GAIN)
    ((node,),) = grower.frontier()
    _, cells = counted(grower, (node,), rows)
    one = frontier.decide(grower.spec, GAIN, node, cells)
    _, cells = counted(grower, (node,), rows.take(slice(5, None)))
    other = frontier.decide(grower.spec, GAIN, node, cells)
    with pytest.raises(ValueError, match="must hold the same rows"):
        frontier.best_of([one, other])
    with pytest.raises(ValueError, match="Got none"):
        frontier.best_of([])


@given(
    widths=st.lists(st.lists(st.integers(2, 40), min_size=3, max_size=3), min_size=1, max_size=8),
    bound=st.integers(1, 400),
)
@settings(max_examples=60, deadline=None)
def test_buckets_cover_every_cell_once_within_the_bound(widths: list[list[int]], bound: int) -> None:
    nodes = tuple(
        frontier.OpenNode(0, 1 + i, np.arange(3), np.cumsum([0, *sizes]), None, None)
        for i, sizes in enumerate(widths)
    )
    found = buckets.divide(nodes, bound)
    assert [b.start for b in found] == [0, *(b.end for b in found[:-1])]
    assert found[-1].end == sum(map(sum, widths))
    parts = [part for bucket in found for part in bucket.parts]
    assert [f for part in parts for f in range(part.first, part.last)] == [0, 1, 2] * len(nodes)
    assert [part.slot for part in parts] == sorted(part.slot for part in parts)
    for bucket in found:
        alone = len(bucket.parts) == 1 and bucket.parts[0].last - bucket.parts[0].first == 1
        assert bucket.end - bucket.start <= bound or alone


def test_a_kept_state_holds_plain_arrays_only() -> None:
    harmful = decisions.arrays_to_bytes({"x": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        decisions.arrays_from_bytes(harmful)
