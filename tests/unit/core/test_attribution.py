"""Contributions of features against Shapley values by definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spark_uplift.core import attribution
from spark_uplift.core.dtypes import PACKED, UNIT, WEIGHTED
from spark_uplift.core.forest import Forest
from tests.oracles import attribution as oracle
from tests.unit.core.data import fit, rows_of
from tests.unit.core.test_splitting import random_rows

SMALL = {"min_node": 8, "min_arm": 1, "bootstrap": True}


def any_codes(forest: Forest, n: int, seed: int) -> np.ndarray:
    """Codes that training may not have seen together, missing included."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.integers(0, bins.n_codes, n) for bins in forest.features]).astype(np.uint8)


def agrees(forest: Forest, codes: np.ndarray) -> None:
    base, values = attribution.contributions(forest, codes)
    expected_base, expected = oracle.contributions(forest.trees, codes)
    np.testing.assert_allclose(base, expected_base, rtol=0, atol=1e-12)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layout, n_arms", [(PACKED, 2), (UNIT, 3), (WEIGHTED, 4)])
def test_contributions_are_shapley_values(layout: int, n_arms: int) -> None:
    forest = fit(random_rows(layout, n_arms, 900, 5), num_trees=3, max_depth=6, features_per_node=2, **SMALL)
    agrees(forest, any_codes(forest, 12, layout))


def test_of_an_honest_tree_too_whose_estimation_half_leaves_nodes_empty() -> None:
    forest = fit(
        random_rows(UNIT, 2, 120, 1), num_trees=6, max_depth=7, honest=True, **{**SMALL, "min_node": 2}
    )
    rows = attribution.cover(forest)
    assert np.any(rows == 0), "the case that this test is about"
    agrees(forest, any_codes(forest, 10, 2))


@pytest.mark.parametrize("shrinkage", [0.0, 200.0])
def test_they_add_up_to_the_prediction(shrinkage: float) -> None:
    rows = random_rows(UNIT, 3, 5000, 7)
    forest = fit(rows, num_trees=4, max_depth=8, shrinkage=shrinkage, **SMALL)
    codes = np.concatenate([rows.codes, any_codes(forest, 500, 3)])  # more than one block
    base, values = attribution.contributions(forest, codes)
    assert (base.shape, values.shape) == ((2,), (5500, 3, 2))
    np.testing.assert_allclose(base + values.sum(axis=1), forest.predict(codes), rtol=0, atol=1e-9)


def test_the_base_is_the_mean_prediction_over_a_trees_rows() -> None:
    rows = random_rows(PACKED, 2, 900, 4)
    forest = fit(rows, max_depth=5, min_node=8)
    base, values = attribution.contributions(forest, rows.codes)
    np.testing.assert_allclose(base, forest.predict(rows.codes).mean(axis=0), rtol=0, atol=1e-12)
    assert np.abs(values).max() > 0.0


def test_a_path_with_more_features_than_patterns_are_kept_for() -> None:
    """A chain of splits: the integral is then taken row by row."""
    level = (
        np.arange(2600) // 2 % 13
    )  # the effect grows fourfold with it, so the rows are split off from the top
    x = (level[:, None] > np.arange(12)).astype(float)
    treated = np.arange(2600) % 2
    rows = rows_of({f"x{j}": x[:, j] for j in range(12)}, treated, treated * 4.0**level)
    forest = fit(rows, max_depth=12, min_node=1, min_arm=1)
    paths = attribution.leaf_paths(forest.packed, attribution.cover(forest))
    assert np.diff(paths.starts).max() > attribution._PATTERN_BITS
    codes = rows.codes[:200]
    base, values = attribution.contributions(forest, codes)
    np.testing.assert_allclose(base + values.sum(axis=1), forest.predict(codes), rtol=0, atol=1e-9)


def test_the_value_of_a_long_path_is_the_sum_over_subsets() -> None:
    shares = np.array([0.0, 0.3, 1.0, 0.5, 0.9, 0.2])
    d = shares.size
    points, weights = attribution._quadrature(d)
    assert np.count_nonzero(weights[d]) == 3
    for pattern in (0, 0b101101, 0b111111, 0b000001):
        passes = np.array([pattern >> i & 1 for i in range(d)], float)
        out = np.zeros(d)
        attribution._integrate(pattern, shares, points[d], weights[d], np.zeros(d + 1), out)
        game = {
            known: np.prod([passes[j] if known >> j & 1 else shares[j] for j in range(d)])
            for known in range(2**d)
        }
        for i in range(d):
            expected = 0.0
            for known in (s for s in range(2**d) if not s >> i & 1):
                size = known.bit_count()
                orders = np.prod(np.arange(1, size + 1)) * np.prod(np.arange(1, d - size))
                expected += orders / 720.0 * (game[known | 1 << i] - game[known])
            assert out[i] == pytest.approx(expected, abs=1e-14)


def test_a_feature_that_no_tree_looks_at_contributes_nothing() -> None:
    rows = random_rows(PACKED, 2, 900, 7)
    forest = fit(rows, max_depth=1)
    used = int(forest.trees[0].feature[0])
    base, values = attribution.contributions(forest, rows.codes)
    assert np.all(np.delete(values, used, axis=1) == 0.0)
    np.testing.assert_allclose(base + values[:, used], forest.predict(rows.codes), rtol=0, atol=1e-12)


def test_a_forest_of_roots_is_all_base() -> None:
    rows = random_rows(UNIT, 3, 300, 7)
    forest = fit(rows, num_trees=2, max_depth=0)
    base, values = attribution.contributions(forest, rows.codes[:5])
    np.testing.assert_allclose(base, forest.predict(rows.codes[:1])[0], rtol=0, atol=1e-15)
    assert np.all(values == 0.0)
    mixed = replace(forest, trees=(*forest.trees, *fit(rows, max_depth=3).trees))
    base, values = attribution.contributions(mixed, rows.codes)
    np.testing.assert_allclose(base + values.sum(axis=1), mixed.predict(rows.codes), rtol=0, atol=1e-12)


def test_no_rows() -> None:
    forest = fit(random_rows(PACKED, 2, 300, 7), max_depth=2)
    base, values = attribution.contributions(forest, np.empty((0, 3), np.uint8))
    assert values.shape == (0, 3, 1)
    assert np.isfinite(base).all()
