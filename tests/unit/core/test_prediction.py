"""The scoring kernel against a walk row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core import prediction
from spark_uplift.core.dtypes import PACKED, UNIT, WEIGHTED
from tests.oracles import prediction as oracle
from tests.unit.core.data import fit, grow
from tests.unit.core.test_splitting import random_rows

FITTED = random_rows(UNIT, 3, 900, 7)
TREES = grow(FITTED, num_trees=5, bootstrap=True, features_per_node=2, max_depth=6, min_node=8, min_arm=2)
PACKED_TREES = prediction.pack(TREES)


def random_codes(n: int, seed: int) -> np.ndarray:
    """Any code, missing, unseen ones and those past the last bin included."""
    return np.random.default_rng(seed).integers(0, 256, (n, 3)).astype(np.uint8)


@given(n=st.integers(0, 40), seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_predictions_are_those_of_a_walk(n: int, seed: int) -> None:
    codes = random_codes(n, seed) % np.array([8, 6, 8], np.uint8)
    expected = oracle.predict(TREES, codes).reshape(n, 2)
    np.testing.assert_allclose(prediction.predict(PACKED_TREES, codes), expected, rtol=1e-12, atol=1e-15)
    for number, tree in enumerate(TREES):
        walked = [oracle.leaf_of(tree, row) for row in codes]
        assert prediction.leaves(PACKED_TREES, codes, number).tolist() == walked


@pytest.mark.parametrize("layout", [PACKED, WEIGHTED])
def test_training_rows_fall_into_the_leaves_that_counted_them(layout: int) -> None:
    rows = random_rows(layout, 2, 700, 9)
    forest = fit(rows, max_depth=5)
    (tree,) = forest.trees
    at = prediction.leaves(forest.packed, rows.codes, 0)
    counts = np.bincount(at, minlength=tree.n_nodes)
    assert counts[tree.is_leaf].tolist() == tree.stats[tree.is_leaf][:, :, 0].sum(axis=1).tolist()
    np.testing.assert_array_equal(forest.predict(rows.codes), tree.effect[at])


def test_the_result_does_not_depend_on_blocks() -> None:
    codes = np.ascontiguousarray(np.tile(FITTED.codes, (3, 1)))
    assert codes.shape[0] % 512 != 0
    whole = prediction.predict(PACKED_TREES, codes)
    for first, last in ((0, 1), (500, 530), (1, 1025)):
        part = prediction.predict(PACKED_TREES, np.ascontiguousarray(codes[first:last]))
        np.testing.assert_array_equal(part, whole[first:last])


def test_groups_and_squares_add_up() -> None:
    codes = FITTED.codes
    single = np.stack([prediction.predict(prediction.pack([tree]), codes) for tree in TREES])
    groups = prediction.predict_groups(PACKED_TREES, codes, 2)
    assert groups.shape == (3, 900, 2)
    for g, members in enumerate(([0, 1], [2, 3], [4])):
        np.testing.assert_allclose(groups[g], single[members].sum(axis=0), rtol=1e-12, atol=1e-14)
    squares = prediction.predict_squares(PACKED_TREES, codes)
    np.testing.assert_allclose(squares, (single**2).sum(axis=0), rtol=1e-12, atol=1e-14)


def test_numeric_trees_take_the_short_way_to_the_same_leaf() -> None:
    rows = random_rows(PACKED, 2, 900, 3)
    numeric = type(rows)(
        **{
            **rows.__dict__,
            "features": (rows.features[0], rows.features[2]),
            "codes": np.ascontiguousarray(rows.codes[:, [0, 2]]),
        }
    )
    forest = fit(numeric, max_depth=6, min_node=8, min_arm=2)
    assert not forest.packed.by_mask.any()
    codes = np.stack(np.meshgrid(np.arange(8), np.arange(8)), axis=-1).reshape(-1, 2).astype(np.uint8)
    by_mask = prediction.leaves(forest.packed, codes, 0)
    np.testing.assert_array_equal(forest.predict(codes), forest.trees[0].effect[by_mask])
    np.testing.assert_allclose(forest.predict(codes), oracle.predict(forest.trees, codes))


def test_a_root_only_tree_gives_everybody_the_same() -> None:
    forest = fit(FITTED, max_depth=0)
    predicted = forest.predict(random_codes(700, 0))
    assert np.unique(predicted, axis=0).tolist() == forest.trees[0].effect.tolist()
