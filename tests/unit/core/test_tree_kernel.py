"""The fused kernel against a recursive twin, and its parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core import frontier, growing, records, sampling, tree_kernel
from spark_uplift.core.dtypes import PACKED, UNIT, WEIGHTED
from spark_uplift.core.growing import ForestSpec
from spark_uplift.criteria.registry import CRITERIA
from tests.oracles import histogram as histogram_oracle
from tests.oracles import tree as oracle
from tests.oracles.splitting import Data
from tests.unit.core.data import Rows, grow, rows_of, spec_of
from tests.unit.core.test_splitting import gain_of, random_rows

LAYOUTS = [PACKED, UNIT, WEIGHTED]


def features_of(spec: ForestSpec, tree: int) -> Any:
    key = growing.draws_of(spec, tree).features

    def chosen(heap: int) -> list[int]:
        out = np.zeros(min(spec.features_per_node, spec.n_features), np.int64)
        sampling.choose_features(
            key, heap, spec.n_features, out.size, out, np.zeros(spec.n_features, np.uint64)
        )
        return out.tolist()

    return chosen


@given(
    layout=st.sampled_from(LAYOUTS),
    n_arms=st.sampled_from([2, 2, 3]),
    n=st.integers(60, 300),
    subset=st.sampled_from([1, 2, 3]),
    bootstrap=st.booleans(),
    honest=st.booleans(),
    n_reg=st.sampled_from([0.0, 10.0]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=50, deadline=None)
def test_it_grows_the_tree_of_its_recursive_twin(
    layout: int, n_arms: int, n: int, subset: int, bootstrap: bool, honest: bool, n_reg: float, seed: int
) -> None:
    rows = random_rows(layout, n_arms, n, seed)
    options: dict[str, Any] = {
        "features_per_node": subset,
        "bootstrap": bootstrap,
        "honest": honest,
        "n_reg": n_reg,
    }
    options |= {"min_node": 12, "min_arm": 2, "max_depth": 3, "shrinkage": 20.0, "seed": seed}
    spec = spec_of(rows, **options)
    (tree,) = grow(rows, **options)
    copies = frontier.bag_copies(spec, 0, rows.units)
    data = Data(rows.codes, rows.arms, rows.lanes * copies[:, None])
    members = np.flatnonzero(copies).tolist()
    twin = oracle.grow(spec, data, members, features_of(spec, 0), gain_of("gradient", spec))
    gains = sorted(node.split.gain for node in twin.values() if node.split is not None)
    if tree.heap.tolist() != sorted(twin):  # only a tie, to rounding, may be decided the other way
        pytest.fail(f"other nodes: {tree.heap.tolist()}, {sorted(twin)}; gains {gains}")
    shape = {heap: node.stats for heap, node in twin.items()}
    if honest:
        shape = routed(rows, spec, tree, twin)
    effects = oracle.effects(spec, shape)
    for i, heap in enumerate(tree.heap.tolist()):
        split = twin[heap].split
        np.testing.assert_array_equal(tree.stats[i], shape[heap])
        np.testing.assert_allclose(tree.effect[i], effects[heap], rtol=1e-9, atol=1e-12)
        assert tree.is_leaf[i] == (split is None)
        if split is not None:
            assert tree.feature[i] == split.feature
            assert tree.gain[i] == pytest.approx(split.gain, rel=1e-9)


def routed(rows: Rows, spec: ForestSpec, tree: Any, twin: dict[int, oracle.Node]) -> dict[int, Any]:
    """Statistics of the other half of an honest tree."""
    copies = frontier.bag_copies(spec, 0, rows.units, estimate=True)
    members: dict[int, list[int]] = {heap: [] for heap in twin}
    for r in np.flatnonzero(copies):
        heap = 1
        members[heap].append(r)
        while (split := twin[heap].split) is not None:
            heap = 2 * heap + (0 if rows.codes[r, split.feature] in split.left else 1)
            members[heap].append(r)
    lanes = rows.lanes * copies[:, None]
    return {
        heap: histogram_oracle.statistics(spec.grid, rows.arms, lanes, mine, spec.n_arms)
        for heap, mine in members.items()
    }


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("settings_", [{"bootstrap": True}, {"honest": True}, {"intervals": True}, {}])
def test_a_bag_holds_the_copies_of_its_rows(layout: int, settings_: dict[str, Any]) -> None:
    rows = random_rows(layout, 2, 400, 1)
    spec = spec_of(rows, **settings_)
    draws = growing.draws_of(spec, 5)
    half = tree_kernel.SHAPE if spec.honest else tree_kernel.ALL
    words = rows.words
    before = words.copy()
    bag = np.empty_like(words)
    at = records.code_words(3)
    m, total = tree_kernel.fill_bag(
        words,
        rows.units,
        draws.bag,
        draws.thresholds,
        draws.group,
        draws.grouped,
        draws.half,
        half,
        layout,
        at,
        bag,
    )
    copies = frontier.bag_copies(spec, 5, rows.units)
    np.testing.assert_array_equal(words, before)
    assert (m, total) == (np.count_nonzero(copies), copies.sum())
    np.testing.assert_array_equal(bag[:m].view(np.uint8).reshape(m, -1)[:, 1], copies[copies > 0])
    stats = np.zeros((2, 5), np.int64)
    tree_kernel.sum_run(bag, bag.view(np.uint8), 0, m, layout, int(spec.grid.binary), at, stats)
    everybody, lanes = range(400), rows.lanes * copies[:, None]
    np.testing.assert_array_equal(
        stats, histogram_oracle.statistics(spec.grid, rows.arms, lanes, everybody, 2)
    )


def test_honest_halves_share_no_unit_and_cover_all() -> None:
    rows = random_rows(PACKED, 2, 2000, 1)
    spec = spec_of(rows, honest=True)
    shape = frontier.bag_copies(spec, 3, rows.units)
    estimate = frontier.bag_copies(spec, 3, rows.units, estimate=True)
    np.testing.assert_array_equal(shape + estimate, 1)
    assert 900 < shape.sum() < 1100


def test_the_trees_of_a_little_bag_share_a_half_sample() -> None:
    rows = random_rows(PACKED, 2, 2000, 1)
    spec = spec_of(rows, intervals=True, num_trees=8, subsampling_rate=0.5)
    bags = [frontier.bag_copies(spec, tree, rows.units) > 0 for tree in range(8)]
    for group in (bags[:4], bags[4:]):
        assert 900 < np.any(group, axis=0).sum() < 1000  # 1 - 0.5**4 of a half
    first, second = np.any(bags[:4], axis=0), np.any(bags[4:], axis=0)
    assert np.mean(first & second) == pytest.approx(np.mean(first) * np.mean(second), abs=0.03)


@pytest.mark.parametrize("n_features", [3, 12, 20])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_splitting_a_run_keeps_every_record_on_its_side(n_features: int, layout: int) -> None:
    rng = np.random.default_rng(n_features)
    n = 500
    codes = rng.integers(0, 255, (n, n_features)).astype(np.uint8)
    lanes = (
        1 + (rng.integers(-9, 9, (n, 1)) << 32)
        if layout == PACKED
        else rng.integers(0, 99, (n, 2 * layout + 1))
    )
    words = records.pack(codes, np.zeros(n, np.uint8), lanes, layout)
    mask = rng.integers(0, 2**64, 4, dtype=np.uint64)
    goes_left = np.array([int(mask[c // 64]) >> (c % 64) & 1 for c in range(256)], bool)
    mixed = words.copy()
    scratch = np.zeros(256, np.uint8)
    border = tree_kernel.split_run(mixed, mixed.view(np.uint8), 50, 450, n_features - 1, mask, scratch)
    after, _, _ = records.unpack(mixed, n_features, layout)
    assert np.all(goes_left[after[50:border, -1]])
    assert not np.any(goes_left[after[border:450, -1]])
    np.testing.assert_array_equal(mixed[:50], words[:50])
    np.testing.assert_array_equal(mixed[450:], words[450:])
    assert sorted(map(tuple, mixed.tolist())) == sorted(map(tuple, words.tolist()))


def test_large_whole_outcomes_keep_their_value() -> None:
    # 60,000 does not fit the 16 bits of a packed record.
    rng = np.random.default_rng(0)
    arms = rng.integers(0, 2, 400)
    y = np.where(arms == 1, 60_000.0, 100.0)
    rows = rows_of({"x": rng.normal(size=400)}, arms, y, squares=False)
    (tree,) = grow(rows, max_depth=0)
    assert tree.effect.tolist() == [[59_900.0]]


def test_a_cluster_drawn_many_times_fits_its_tree() -> None:
    # All rows share a unit: a bag holds all of them, up to twenty times; minimum sizes count the copies.
    rng = np.random.default_rng(0)
    n = 600
    columns = {f"x{j}": rng.normal(size=n) for j in range(4)}
    arms, y = rng.integers(0, 2, n), rng.normal(size=n)
    rows = rows_of(columns, arms, y, units=np.zeros(n, np.uint64))
    options: dict[str, Any] = {
        "bootstrap": True,
        "num_trees": 60,
        "max_depth": 12,
        "min_node": 30,
        "min_arm": 1,
    }
    spec = spec_of(rows, **options)
    trees = grow(rows, **options)
    for number, tree in enumerate(trees):
        copies = int(frontier.bag_copies(spec, number, rows.units)[0])
        assert tree.stats[0, :, 0].sum() == copies * n
        assert tree.n_nodes <= growing.node_capacity(spec, copies * n)
        if copies:
            leaves = tree.stats[tree.is_leaf]
            np.testing.assert_array_equal(leaves.sum(axis=0), tree.stats[0])
            assert leaves[:, :, 0].sum(axis=1).min() >= 30
    assert max(int(tree.stats[0, :, 0].sum()) for tree in trees) >= 4 * n


@pytest.mark.parametrize("name", CRITERIA)
def test_children_add_up_to_their_parent(name: str) -> None:
    rows = random_rows(WEIGHTED, 3, 900, 3)
    (tree,) = grow(rows, name, bootstrap=True)
    for i in np.flatnonzero(~tree.is_leaf):
        left = tree.left_child[i]
        np.testing.assert_array_equal(tree.stats[left] + tree.stats[left + 1], tree.stats[i])
        assert tree.heap[left] == 2 * tree.heap[i]
        assert tree.heap[left + 1] == 2 * tree.heap[i] + 1
        assert tree.gain[i] > 0
