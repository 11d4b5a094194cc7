"""Forests: digest, header, importances."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from spark_uplift.core.dtypes import PACKED, UNIT
from spark_uplift.core.forest import FORMAT_VERSION, Forest, from_header
from spark_uplift.core.intervals import little_bags
from spark_uplift.core.tree import Tree
from tests.unit.core.data import fit, rows_of
from tests.unit.core.test_splitting import random_rows

ROWS = random_rows(UNIT, 3, 900, 7)
FOREST = fit(ROWS, num_trees=3, bootstrap=True)


def changed(**arrays: np.ndarray) -> Forest:
    return replace(FOREST, trees=(replace(FOREST.trees[0], **arrays), *FOREST.trees[1:]))


def test_the_digest_is_that_of_the_arrays() -> None:
    assert len(FOREST.digest) == 64
    assert fit(ROWS, num_trees=3, bootstrap=True).digest == FOREST.digest
    rebuilt = Forest(**{name: getattr(FOREST, name) for name in Forest.__dataclass_fields__})
    assert rebuilt.digest == FOREST.digest


@pytest.mark.parametrize("name", sorted(set(Tree.__dataclass_fields__) - {"gain"}))
def test_every_array_that_matters_is_in_the_digest(name: str) -> None:
    array = getattr(FOREST.trees[0], name).copy()
    array.flat[0] = ~array.flat[0] if array.dtype == bool else array.flat[0] + 1
    assert changed(**{name: array}).digest != FOREST.digest


def test_gains_and_facts_of_the_training_are_not_in_the_digest() -> None:
    assert changed(gain=FOREST.trees[0].gain + 1e-9).digest == FOREST.digest
    assert replace(FOREST, training={"rows": 900}).digest == FOREST.digest


def test_names_bins_and_order_are_in_the_digest() -> None:
    first, *rest = FOREST.features
    for other in (
        replace(FOREST, control="c"),
        replace(FOREST, treatments=("arm2", "arm1")),
        replace(FOREST, little_bags=True),
        replace(FOREST, grid=FOREST.grid._replace(outcome_unit=1.0)),
        replace(FOREST, features=(replace(first, edges=(*first.edges[:-1], 99.0)), *rest)),
        replace(FOREST, trees=FOREST.trees[::-1]),
        replace(FOREST, trees=FOREST.trees[:2]),
    ):
        assert other.digest != FOREST.digest


def test_a_forest_comes_back_from_its_header() -> None:
    header = json.loads(json.dumps(FOREST.header()))
    assert header["format"] == FORMAT_VERSION
    back = from_header(header, FOREST.trees, {"rows": 900})
    assert back.digest == FOREST.digest
    assert back.features == FOREST.features
    assert back.training == {"rows": 900}
    np.testing.assert_array_equal(back.predict(ROWS.codes), FOREST.predict(ROWS.codes))


def test_importances_divide_the_variance_of_the_predictions() -> None:
    expected = np.zeros(3)
    for tree in FOREST.trees:
        for i in np.flatnonzero(~tree.is_leaf):
            left, right = tree.left_child[i], tree.left_child[i] + 1
            n, n_left, n_right = (tree.stats[j, :, 0].sum() for j in (0, left, right))
            gap = tree.effect[left] - tree.effect[right]
            expected[tree.feature[i]] += (gap @ gap) * n_left * n_right / (n_left + n_right) / n
    np.testing.assert_allclose(FOREST.feature_importances(), expected / expected.sum(), rtol=1e-12)
    assert FOREST.feature_importances().sum() == pytest.approx(1.0)


def test_without_shrinkage_and_weights_the_parts_add_up_to_the_variance() -> None:
    # Holds where effects of children average to their parent's: with as many rows of each arm everywhere.
    x = np.tile(np.repeat([0.0, 1.0, 2.0, 3.0], 50), 2)
    arms = np.repeat([0, 1], 200)
    lift = np.array([0.0, 1.0, 3.0, 4.0])[x.astype(int)]
    forest = fit(rows_of({"x": x}, arms, arms * lift), max_depth=2, min_node=20)
    (tree,) = forest.trees
    assert tree.is_leaf.sum() == 4
    predicted = forest.predict(np.array([[1], [2], [3], [4]], np.uint8))
    parts = 0.0
    for i in np.flatnonzero(~tree.is_leaf):
        left = tree.left_child[i]
        n, n_left, n_right = (tree.stats[j, :, 0].sum() for j in (0, left, left + 1))
        parts += float(
            (tree.effect[left] - tree.effect[left + 1])[0] ** 2 * n_left * n_right / (n_left + n_right) / n
        )
    assert parts == pytest.approx(predicted.var())


def test_a_forest_of_roots_has_no_importances() -> None:
    assert fit(ROWS, max_depth=0).feature_importances().tolist() == [0.0, 0.0, 0.0]


def test_the_interval_is_around_the_prediction() -> None:
    rows = random_rows(PACKED, 3, 900, 7)
    for num_trees in (8, 10):  # in the second, the last little bag is not full
        forest = fit(rows, num_trees=num_trees, intervals=True, max_depth=3)
        effect, lower, upper = forest.predict_interval(rows.codes, 0.9)
        np.testing.assert_allclose(effect, forest.predict(rows.codes), rtol=1e-12, atol=1e-15)
        assert np.all(lower < effect)
        assert np.all(effect < upper)
        wider = forest.predict_interval(rows.codes, 0.99)
        assert np.all(wider[2] > upper)


def test_intervals_agree_with_the_trees_one_by_one() -> None:
    rows = random_rows(PACKED, 2, 600, 8)
    forest = fit(rows, num_trees=12, intervals=True, max_depth=3)
    single = np.stack([replace(forest, trees=(tree,)).predict(rows.codes) for tree in forest.trees])
    sums = single.reshape(3, 4, 600, 1).sum(axis=1)
    expected = little_bags(sums, (single**2).sum(axis=0), 4, 0.8)
    for ours, theirs in zip(forest.predict_interval(rows.codes, 0.8), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_rows_of_the_helper_are_what_they_say() -> None:
    rows = rows_of({"x": np.array([1.0, np.nan])}, [0, 1], [0.0, 1.0])
    assert rows.codes.tolist() == [[1], [0]]
