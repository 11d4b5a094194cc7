"""The search for a policy tree, held against trying every tree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.policy.tree_search import Counting, Grower, Layout, Spec
from tests.oracles.policy_tree import best_value

I64 = npt.NDArray[np.int64]


@dataclass
class Case:
    """Rows of a small experiment in codes."""

    spec: Spec
    codes: npt.NDArray[np.uint8]
    arm: I64
    gains: I64

    def take(self, order: I64) -> Case:
        return Case(self.spec, self.codes[order], self.arm[order], self.gains[order])


def case(seed: int, n: int = 120, **changes: Any) -> Case:
    """Random rows: two numbers with missing values, a yes-or-no, and rewards that depend on them."""
    rng = np.random.default_rng(seed)
    given: dict[str, Any] = {
        "n_codes": (5, 4, 3), "categorical": (False, False, True), "treatments": 2, "counted": 3,
        "max_depth": 2, "min_node": 8, "min_arm": 2,
    }  # fmt: skip
    spec = Spec(**{**given, **changes})
    codes = np.stack([rng.integers(0, c, n) for c in spec.n_codes], axis=1).astype(np.uint8)
    arm = rng.integers(0, spec.counted, n)
    signal = np.where((codes[:, [0]] > 2) ^ (codes[:, [1]] > 1), 1.0, -1.0) * (1 + np.arange(spec.treatments))
    gains = np.rint(40 * signal + rng.normal(0, 100, (n, spec.treatments))).astype(np.int64)
    return Case(spec, codes, arm, gains)


def grown(rows: Case, parts: int = 1) -> Grower:
    """Grow a tree, the rows in several parts."""
    grower = Grower(rows.spec)
    while grower.open:
        counting = Counting.of(grower)
        total = counting.empty()
        for part in np.array_split(np.arange(rows.codes.shape[0]), parts):
            cells = counting.empty()
            counting.add(rows.codes[part], rows.arm[part], rows.gains[part], cells)
            total += cells
        grower.add(total.reshape(len(grower.open), -1, total.shape[1]))
    return grower


def decisions(grower: Grower, codes: npt.NDArray[np.uint8]) -> I64:
    """Return the action of each row, a step at a time."""
    found = []
    for row in codes:
        node = grower.nodes[1]
        while node.left is not None:
            node = grower.nodes[2 * node.heap + (0 if node.left[row[node.feature]] else 1)]
        found.append(node.action(grower.spec.treatments))
    return np.array(found, np.int64)


def worth(rows: Case, actions: I64) -> int:
    given = np.concatenate([np.zeros((len(actions), 1), np.int64), rows.gains], axis=1)
    return int(given[np.arange(len(actions)), actions].sum())


def value(rows: Case, grower: Grower) -> int:
    """Return what the tree is worth on its rows, prices taken off."""
    splits = sum(node.left is not None for node in grower.nodes.values())
    return worth(rows, decisions(grower, rows.codes)) - splits * rows.spec.price


def oracle(rows: Case, depth: int) -> int:
    spec = rows.spec
    return best_value(
        rows.codes, spec.n_codes, spec.categorical, rows.arm, spec.counted, rows.gains, depth,
        spec.min_node, spec.min_arm, spec.price,
    )  # fmt: skip


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_trees_up_to_depth_two_are_the_best_there_are(depth: int, seed: int) -> None:
    rows = case(seed, max_depth=depth, price=(0, 150, 600)[seed % 3])
    assert value(rows, grown(rows)) == oracle(rows, depth)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(4, 60),
    min_node=st.integers(1, 12),
    min_arm=st.integers(0, 4),
    treatments=st.integers(1, 3),
)
def test_any_limits_are_kept_and_the_best_tree_is_found(
    seed: int, n: int, min_node: int, min_arm: int, treatments: int
) -> None:
    rows = case(seed, n, n_codes=(4, 3, 3), min_node=min_node, min_arm=min_arm, treatments=treatments)
    grower = grown(rows)
    assert value(rows, grower) == oracle(rows, 2)
    if len(grower.nodes) > 1:
        for node in grower.nodes.values():
            counts = node.sums[treatments:]
            assert counts.sum() >= min_node
            assert counts.min() >= min_arm


@pytest.mark.parametrize("depth", [3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_a_deeper_tree_is_worth_at_least_as_much(seed: int, depth: int) -> None:
    rows = case(seed, 600)
    deep = replace(rows, spec=replace(rows.spec, max_depth=depth))
    assert value(rows, grown(deep)) >= value(rows, grown(rows)) == oracle(rows, 2)
    assert max(grown(deep).nodes) < 2 ** (depth + 1)


def test_an_interaction_without_main_effects_is_found() -> None:
    """Greedy trees fail here: no first split gains anything by itself."""
    codes = np.array([[a, b] for a in (1, 2) for b in (1, 2)] * 25, np.uint8)
    gains = np.where(codes[:, :1] == codes[:, 1:], 10, -10).astype(np.int64)
    spec = Spec((3, 3), (False, False), 1, 1, 2, 1, 1)
    rows = Case(spec, codes, np.zeros(100, np.int64), gains)
    assert value(rows, grown(rows)) == 500
    assert value(rows, grown(replace(rows, spec=replace(spec, max_depth=1)))) == 0
    assert len(grown(rows).nodes) == 7


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), parts=st.integers(1, 7), depth=st.integers(1, 4))
def test_neither_order_nor_parts_matter(seed: int, parts: int, depth: int) -> None:
    rows = case(seed, 200, max_depth=depth)
    order = np.random.default_rng(seed).permutation(200)
    one, two = grown(rows), grown(rows.take(order), parts)
    assert one.nodes.keys() == two.nodes.keys()
    for heap, node in one.nodes.items():
        assert node.feature == two.nodes[heap].feature
        assert np.array_equal(node.sums, two.nodes[heap].sums)
        assert np.array_equal(node.left, two.nodes[heap].left)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), scale=st.integers(2, 1000), depth=st.integers(1, 4))
def test_scaling_rewards_and_price_changes_nothing(seed: int, scale: int, depth: int) -> None:
    rows = case(seed, 200, max_depth=depth, price=300)
    scaled = replace(rows, gains=rows.gains * scale, spec=replace(rows.spec, price=300 * scale))
    assert np.array_equal(decisions(grown(rows), rows.codes), decisions(grown(scaled), rows.codes))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), depth=st.integers(0, 2))
def test_relabelled_treatments_get_the_same_units(seed: int, depth: int) -> None:
    rows = case(seed, 200, max_depth=depth, min_arm=0)
    names = np.array([0, 2, 1])
    swapped = replace(rows, gains=rows.gains[:, ::-1].copy(), arm=names[rows.arm])
    one, two = grown(rows), grown(swapped)
    assert value(rows, one) == value(swapped, two)
    if depth < 2:  # deeper trees can be the same in several ways
        assert np.array_equal(names[decisions(one, rows.codes)], decisions(two, rows.codes))


def test_a_price_keeps_splits_away_that_are_not_worth_it() -> None:
    rows = case(1, 300)
    total = value(rows, grown(rows))
    none = replace(rows, spec=replace(rows.spec, price=total))
    assert len(grown(none).nodes) == 1
    assert len(grown(rows).nodes) > 3


def test_rows_without_reward_are_not_split() -> None:
    rows = case(2)
    rows.gains[:] = -5
    grower = grown(rows)
    assert len(grower.nodes) == 1
    assert grower.nodes[1].action(2) == 0


def test_levels_without_rows_go_with_more_rows_and_missing_goes_right() -> None:
    codes = np.array([[1]] * 70 + [[4]] * 30, np.uint8)
    gains = np.where(codes == 1, -5, 5).astype(np.int64)
    for categorical, left in ((False, [1]), (True, [4])):
        spec = Spec((5,), (categorical,), 1, 1, 1, 5, 5)
        node = grown(Case(spec, codes, np.zeros(100, np.int64), gains)).nodes[1]
        assert node.left is not None
        assert np.flatnonzero(node.left).tolist() == left


def test_a_split_of_given_against_missing_takes_all_given_values() -> None:
    codes = np.array([[0]] * 40 + [[2]] * 60, np.uint8)
    gains = np.where(codes == 0, 5, -5).astype(np.int64)
    node = grown(Case(Spec((5,), (False,), 1, 1, 1, 5, 5), codes, np.zeros(100, np.int64), gains)).nodes[1]
    assert node.left is not None
    assert node.left.tolist() == [False, True, True, True, True]


@pytest.mark.parametrize("seed", range(5))
def test_many_levels_are_split_as_well_as_all_their_subsets(seed: int) -> None:
    """With two arms the sign of each level's contrast is the best split, and it is the beginning of the order."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 7, (300, 1)).astype(np.uint8)
    gains = np.rint(rng.normal(0, 50, (300, 1)) + 20 * (codes % 2) - 10).astype(np.int64)
    rows = Case(Spec((7,), (True,), 1, 1, 1, 1, 1), codes, np.zeros(300, np.int64), gains)
    assert value(rows, grown(rows)) == oracle(rows, 1)


def test_cells_of_a_pair_are_found_from_either_feature() -> None:
    layout = Layout((3, 4, 2), True)
    rows = case(3, 50, n_codes=(3, 4, 2), categorical=(False,) * 3)
    counting = Counting.of(Grower(rows.spec))
    cells = counting.empty()
    counting.add(rows.codes, rows.arm, rows.gains, cells)
    for f in range(3):
        chosen = np.arange(layout.n_codes[f]) >= 1
        kept = chosen[rows.codes[:, f]]
        for g, table in enumerate(layout.within(cells, f, chosen)):
            for code in range(layout.n_codes[g]):
                here = kept & (rows.codes[:, g] == code)
                assert table[code, :2].tolist() == rows.gains[here].sum(axis=0).tolist()
                assert table[code, 2:].sum() == here.sum()
