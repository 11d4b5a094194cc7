"""What a user may rely on, whatever the formula: invariances first, then that it finds what is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core.dtypes import PACKED, UNIT, WEIGHTED
from spark_uplift.core.forest import Forest
from spark_uplift.core.tree import Tree
from spark_uplift.criteria.registry import CRITERIA
from tests.unit.core.data import Rows, fit, grow, rows_of, same_trees
from tests.unit.core.test_splitting import random_rows

every_criterion = pytest.mark.parametrize("name", CRITERIA)
LIKE_PRODUCTION: dict[str, Any] = {"bootstrap": True, "n_reg": 100.0, "shrinkage": 500.0, "max_depth": 6}


def columns(n: int, seed: int, n_features: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {f"x{j}": rng.normal(size=n) for j in range(n_features)}


def outcomes(rate: Any, seed: int) -> Any:
    return (np.random.default_rng(seed).random(np.shape(rate)) < rate).astype(float)


# ---- invariances ----------------------------------------------------------------------------------------------


def weighted_fit(factor: float, name: str, seed: int) -> Forest:
    rng = np.random.default_rng(seed)
    n = 1500
    x, arms = columns(n, seed), rng.integers(0, 2, n)
    y = outcomes(0.3 + 0.2 * arms * (x["x0"] > 0), seed + 1)
    weight = rng.integers(1, 6, n) * factor
    return fit(rows_of(x, arms, y, weight), name, num_trees=2, bootstrap=True, n_reg=20.0, shrinkage=30.0)


@every_criterion
def test_scaling_all_weights_changes_nothing(name: str) -> None:
    one = weighted_fit(1.0, name, 1)
    assert weighted_fit(2.0**-7, name, 1).digest == one.digest
    assert weighted_fit(2.0**20, name, 1).digest == one.digest
    thrice = weighted_fit(3.0, name, 1)  # rounds in its own way, in the 29th bit of a weight
    for a, b in zip(one.trees, thrice.trees, strict=True):
        np.testing.assert_array_equal(a.heap, b.heap)
        np.testing.assert_array_equal(a.feature, b.feature)
        np.testing.assert_array_equal(a.mask, b.mask)
        np.testing.assert_allclose(a.effect, b.effect, rtol=1e-6, atol=1e-9)


# causal_mse is left out: it takes the noise of an effect from the number of rows, which weights of mean 1 don't change
# and repeated rows do.
@pytest.mark.parametrize("name", [name for name in CRITERIA if name != "causal_mse"])
@pytest.mark.parametrize("binary", [True, False])
def test_a_duplicated_row_is_a_row_of_weight_two(name: str, binary: bool) -> None:
    rng = np.random.default_rng(2)
    n = 900
    x = {"x0": rng.integers(0, 9, n).astype(float), "x1": rng.integers(0, 9, n).astype(float)}
    arms, twice = rng.integers(0, 2, n), rng.random(n) < 0.4
    y = outcomes(0.3 + 0.2 * arms * (x["x0"] > 4), 3) * (1.0 if binary else 1.0 + x["x1"])
    again = np.concatenate([np.arange(n), np.flatnonzero(twice)])
    options: dict[str, Any] = {"min_node": 1, "min_arm": 1, "max_depth": 2}
    weighted = fit(rows_of(x, arms, y, 1.0 + twice), name, **options)
    doubled = fit(rows_of({k: v[again] for k, v in x.items()}, arms[again], y[again]), name, **options)
    a, b = weighted.trees[0], doubled.trees[0]
    np.testing.assert_array_equal(a.heap, b.heap)
    np.testing.assert_array_equal(a.feature, b.feature)
    np.testing.assert_array_equal(a.mask, b.mask)
    np.testing.assert_allclose(a.effect, b.effect, rtol=1e-6, atol=1e-7)
    if name != "cit":  # its pseudo-row is counted, not weighed
        np.testing.assert_allclose(a.gain, b.gain, rtol=1e-5, atol=1e-9)


@given(layout=st.sampled_from([PACKED, UNIT, WEIGHTED]), honest=st.booleans(), seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_order_of_rows_does_not_matter(layout: int, honest: bool, seed: int) -> None:
    rows = random_rows(layout, 3, 700, seed)
    order = np.random.default_rng(seed).permutation(700)
    options: dict[str, Any] = {"num_trees": 3, "bootstrap": True, "features_per_node": 2, "honest": honest}
    assert fit(rows.take(order), **options).digest == fit(rows, **options).digest


def relabelled(rows: Rows) -> Rows:
    """Treatments 1, 2, 3 become 3, 1, 2."""
    return replace(rows, arms=np.array([0, 3, 1, 2], np.uint8)[rows.arms])


@every_criterion
def test_relabelling_the_arms_permutes_the_effects(name: str) -> None:
    rng = np.random.default_rng(4)
    n = 4000
    x, arms = columns(n, 4), rng.integers(0, 4, n)
    rows = rows_of(x, arms, outcomes(0.2 + 0.1 * arms * (x["x1"] > 0) * (arms < 3), 5))
    options: dict[str, Any] = {
        "num_trees": 2,
        "bootstrap": True,
        "n_reg": 10.0,
        "shrinkage": 20.0,
        "max_depth": 3,
    }
    for a, b in zip(grow(rows, name, **options), grow(relabelled(rows), name, **options), strict=True):
        np.testing.assert_array_equal(a.heap, b.heap)
        np.testing.assert_array_equal(a.mask, b.mask)
        np.testing.assert_array_equal(a.stats, b.stats[:, [0, 3, 1, 2]])
        np.testing.assert_allclose(a.effect, b.effect[:, [2, 0, 1]], rtol=1e-12, atol=1e-15)


@every_criterion
def test_mirrored_features_give_the_mirrored_tree(name: str) -> None:
    rng = np.random.default_rng(6)
    n = 3000
    x, arms = {f"x{j}": rng.integers(0, 20, n).astype(float) for j in range(3)}, rng.integers(0, 2, n)
    y = outcomes(0.3 + arms * np.where(x["x0"] > 9, 0.3, -0.2) + 0.2 * arms * (x["x1"] > 14), 7)
    options: dict[str, Any] = {
        "n_reg": 20.0,
        "shrinkage": 20.0,
        "max_depth": 3,
        "min_node": 100,
        "min_arm": 20,
    }
    (tree,) = grow(rows_of(x, arms, y), name, **options)
    (mirror,) = grow(rows_of({k: -v for k, v in x.items()}, arms, y), name, **options)
    assert tree.n_nodes > 3
    there, back = by_heap(tree), by_heap(mirror)

    def mirrored(heap: int) -> int:
        bits = bin(heap)[3:]
        return int("1" + bits.translate(str.maketrans("01", "10")), 2)

    assert {mirrored(heap) for heap in there} == set(back)
    for heap, (feature, gain, stats, effect) in there.items():
        other = back[mirrored(heap)]
        assert other[0] == feature
        assert other[1] == pytest.approx(gain, rel=1e-9)
        np.testing.assert_array_equal(other[2], stats)
        np.testing.assert_allclose(other[3], effect, rtol=1e-12)


def by_heap(tree: Tree) -> dict[int, tuple[int, float, Any, Any]]:
    fields = zip(tree.heap, tree.feature, tree.gain, tree.stats, tree.effect, strict=True)
    return {int(heap): (int(f), float(g), s, e) for heap, f, g, s, e in fields}


@given(n_arms=st.integers(2, 5), binary=st.booleans(), weighted=st.booleans(), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_a_root_only_tree_predicts_the_average_effect(
    n_arms: int, binary: bool, weighted: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    n = 300
    arms = rng.integers(0, n_arms, n)
    arms[:n_arms] = np.arange(n_arms)
    y = rng.integers(0, 2, n).astype(float) if binary else rng.normal(5, 2, n)
    weight = rng.integers(1, 4, n).astype(float) if weighted else np.ones(n)
    rows = rows_of(columns(n, seed), arms, y, weight if weighted else None)
    means = [np.average(y[arms == arm], weights=weight[arms == arm]) for arm in range(n_arms)]
    forest = fit(rows, max_depth=0, shrinkage=1000.0, n_reg=100.0)
    expected = np.subtract(means[1:], means[0])
    np.testing.assert_allclose(forest.predict(rows.codes[:3]), [expected] * 3, rtol=1e-5, atol=1e-6)


# ---- it finds what is there -----------------------------------------------------------------------------------


@every_criterion
def test_the_crossover_interaction_is_found(name: str) -> None:
    # The treatment helps on one side and harms on the other by as much: on average it does nothing.
    rng = np.random.default_rng(8)
    n = 8000
    x, arms = columns(n, 8), rng.integers(0, 2, n)
    rows = rows_of(x, arms, outcomes(0.4 + np.where(x["x1"] > 0, 0.2, -0.2) * arms, 9))
    forest = fit(rows, name, num_trees=10, features_per_node=2, **LIKE_PRODUCTION)
    predicted = forest.predict(rows.codes)[:, 0]
    assert np.corrcoef(predicted, x["x1"] > 0)[0, 1] > 0.8
    assert predicted[x["x1"] > 0.3].mean() > 0.08
    assert predicted[x["x1"] < -0.3].mean() < -0.08
    assert np.argmax(forest.feature_importances()) == 1


@every_criterion
def test_a_categorical_segment_is_found(name: str) -> None:
    rng = np.random.default_rng(10)
    n = 8000
    x, arms = columns(n, 10, 2), rng.integers(0, 2, n)
    city = rng.integers(0, 12, n)
    segment = np.isin(city, [1, 5, 8])
    rows = rows_of(
        {**x, "city": [f"c{k:02d}" for k in city]},
        arms,
        outcomes(0.3 + arms * np.where(segment, 0.3, -0.2), 11),
    )
    (tree,) = grow(rows, name, max_depth=1, n_reg=50.0)
    assert tree.feature[0] == 2
    assert tree.threshold[0] == -1
    left = {code for code in range(1, 13) if int(tree.mask[0, 0]) >> code & 1}
    assert left in ({2, 6, 9}, set(range(1, 13)) - {2, 6, 9})
    assert sorted(tree.effect[1:, 0].round(1).tolist()) == pytest.approx([-0.2, 0.3], abs=0.1)


@pytest.mark.parametrize("side", ["low", "high"])
@every_criterion
def test_missing_values_go_where_their_effect_is(name: str, side: str) -> None:
    rng = np.random.default_rng(12)
    n = 6000
    x, arms = columns(n, 12, 2), rng.integers(0, 2, n)
    gone = rng.random(n) < 0.25
    works = gone | (x["x0"] > 0.5 if side == "high" else x["x0"] < -0.5)
    x["x0"] = np.where(gone, np.nan, x["x0"])
    rows = rows_of(x, arms, outcomes(0.3 + arms * np.where(works, 0.3, -0.2), 13))
    (tree,) = grow(rows, name, max_depth=1, n_reg=50.0, min_node=200)
    assert tree.feature[0] == 0
    assert bool(tree.missing_left[0]) == (side == "low")
    assert sorted(tree.effect[1:, 0]) == pytest.approx([-0.2, 0.3], abs=0.06)


def test_an_arm_missing_in_a_leaf_takes_the_parents_effect() -> None:
    # Honest trees: arm 2 is rare, so many leaves of the estimation half have none of it.
    rng = np.random.default_rng(14)
    n = 1200
    x, arms = columns(n, 14), rng.choice(3, n, p=[0.5, 0.46, 0.04])
    y = outcomes(0.3 + 0.2 * (arms == 1) * (x["x0"] > 0) + 0.3 * (arms == 2), 15)
    trees = grow(rows_of(x, arms, y), num_trees=20, honest=True, min_arm=1, min_node=10, max_depth=8)
    missing = 0
    for tree in trees:
        parent = np.full(tree.n_nodes, -1)
        for i in np.flatnonzero(~tree.is_leaf):
            parent[[tree.left_child[i], tree.left_child[i] + 1]] = i
        for arm in (1, 2):
            gone = (tree.stats[:, arm, 0] == 0) | (tree.stats[:, 0, 0] == 0)
            missing += int(gone[tree.is_leaf].sum())
            rows = np.flatnonzero(gone)
            np.testing.assert_array_equal(tree.effect[rows, arm - 1], tree.effect[parent[rows], arm - 1])
            assert tree.effect[0, arm - 1] != 0
    assert missing > 20


@pytest.mark.parametrize(
    ("name", "outcome"), [(name, kind) for name in CRITERIA for kind in sorted(CRITERIA[name].outcomes)]
)
def test_a_strong_baseline_without_heterogeneity_is_not_followed(name: str, outcome: str) -> None:
    # 90 % control. The baseline varies a lot with x0, the effect not at all: what smooths arms apart would show it.
    binary = outcome == "binary"
    rng = np.random.default_rng(16)
    n = 40_000
    x = columns(n, 16)
    arms = (rng.random(n) < 0.1).astype(int)
    baseline = np.where(x["x0"] > 0, 0.6, 0.1)
    y = outcomes(baseline + 0.05 * arms, 17) if binary else 10 * baseline + 0.5 * arms + rng.normal(size=n)
    rows = rows_of(x, arms, y)
    forest = fit(rows, name, num_trees=20, features_per_node=2, min_node=200, min_arm=20, **LIKE_PRODUCTION)
    predicted = forest.predict(rows.codes)[:, 0]
    effect, baseline_gap = (0.05, 0.5) if binary else (0.5, 5.0)
    gap = predicted[x["x0"] > 0].mean() - predicted[x["x0"] <= 0].mean()
    correlation = np.corrcoef(predicted, baseline)[0, 1] if predicted.std() > 0 else 0.0
    assert predicted.mean() == pytest.approx(effect, abs=0.25 * effect)
    assert abs(gap) < 0.03 * baseline_gap
    assert predicted.std() < 0.1 * baseline_gap
    assert abs(correlation) < 0.2 or predicted.std() < 0.02 * baseline_gap


@pytest.mark.parametrize("shares", [0.1, 0.5])
def test_kl_finds_the_effect_on_rare_outcomes(shares: float) -> None:
    rng = np.random.default_rng(18)
    n = 60_000
    x = columns(n, 18)
    arms = (rng.random(n) < shares).astype(int)
    rows = rows_of(x, arms, outcomes(0.004 + 0.012 * arms * (x["x2"] > 0), 19))
    forest = fit(rows, "kl", num_trees=10, features_per_node=2, min_node=500, min_arm=50, **LIKE_PRODUCTION)
    predicted = forest.predict(rows.codes)[:, 0]
    assert np.all(np.isfinite(predicted))
    assert predicted[x["x2"] > 0.1].mean() > predicted[x["x2"] < -0.1].mean() + 0.003
    if shares == 0.5:
        assert np.argmax(forest.feature_importances()) == 2


def test_kl_sees_a_control_without_any_success() -> None:
    rng = np.random.default_rng(20)
    n = 20_000
    x, arms = columns(n, 20), rng.integers(0, 2, n)
    y = outcomes(0.05 * arms * (x["x1"] > 0), 21)
    (tree,) = grow(rows_of(x, arms, y), "kl", max_depth=1, min_node=200)
    assert tree.stats[0, 0, 2] == 0
    assert tree.feature[0] == 1
    assert sorted(tree.effect[1:, 0]) == pytest.approx([0.0, 0.05], abs=0.01)


@pytest.mark.parametrize("honest", [False, True])
@every_criterion
def test_pure_noise_does_not_top_the_importances(name: str, honest: bool) -> None:
    rng = np.random.default_rng(22)
    n = 12_000
    x, arms = columns(n, 22, 1), rng.integers(0, 2, n)
    noise = {"fine": rng.random(n), "coarse": rng.integers(0, 3, n).astype(float)}
    # Sixty levels offer so many splits that some look good on the rows they were chosen on; honesty sees through.
    levels = {"levels": [f"level {k}" for k in rng.integers(0, 60 if honest else 6, n)]}
    lift = np.where(x["x0"] > 0.5, 0.15, -0.1)
    rows = rows_of({**x, **noise, **levels}, arms, outcomes(0.3 + lift * arms, 23))
    options: dict[str, Any] = {**LIKE_PRODUCTION, "honest": honest}
    forest = fit(rows, name, num_trees=10, features_per_node=2, min_node=200, min_arm=40, **options)
    importances = forest.feature_importances()
    assert importances[0] == importances.max()
    assert importances[1:].max() < 0.2


@pytest.mark.parametrize("name", [name for name in CRITERIA if "continuous" in CRITERIA[name].outcomes])
def test_a_continuous_outcome_is_never_binarised(name: str) -> None:
    # Every outcome is positive: "y > 0" would leave nothing to see.
    rng = np.random.default_rng(24)
    n = 8000
    x, arms = columns(n, 24), rng.integers(0, 2, n)
    y = 20.0 + 2.0 * arms * np.where(x["x0"] > 0, 1.0, -1.0) + rng.normal(size=n)
    rows = rows_of(x, arms, y)
    assert not rows.grid.binary
    forest = fit(rows, name, num_trees=5, features_per_node=3, **LIKE_PRODUCTION)
    predicted = forest.predict(rows.codes)[:, 0]
    assert predicted[x["x0"] > 0.1].mean() == pytest.approx(2.0, abs=0.5)
    assert predicted[x["x0"] < -0.1].mean() == pytest.approx(-2.0, abs=0.5)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e7])
def test_the_outcomes_unit_does_not_matter_to_the_gradient(scale: float) -> None:
    rng = np.random.default_rng(26)
    n = 3000
    x, arms = columns(n, 26), rng.integers(0, 2, n)
    y = rng.normal(size=n) + arms * (x["x0"] > 0)
    options: dict[str, Any] = {"num_trees": 2, "bootstrap": True, "shrinkage": 50.0}
    one, other = grow(rows_of(x, arms, y), **options), grow(rows_of(x, arms, y * scale), **options)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.mask, b.mask)
        np.testing.assert_allclose(a.effect * scale, b.effect, rtol=1e-5, atol=1e-7 * scale)


@every_criterion
def test_honest_forests_find_the_effect_and_stay_unbiased(name: str) -> None:
    rng = np.random.default_rng(28)
    n = 10_000
    x, arms = columns(n, 28), rng.integers(0, 2, n)
    effect = np.where(x["x0"] > 0, 0.25, 0.0)
    rows = rows_of(x, arms, outcomes(0.3 + effect * arms, 29))
    options: dict[str, Any] = {**LIKE_PRODUCTION, "shrinkage": 20.0, "honest": True}
    forest = fit(rows, name, num_trees=20, features_per_node=2, min_node=100, min_arm=20, **options)
    predicted = forest.predict(rows.codes)[:, 0]
    assert np.corrcoef(predicted, effect)[0, 1] > 0.7
    assert predicted.mean() == pytest.approx(effect.mean(), abs=0.03)


def test_honesty_removes_the_optimism_of_the_best_leaf() -> None:
    # No effect at all: a tree that fills its leaves with the rows that shaped it believes in one.
    rng = np.random.default_rng(30)
    best = {}
    for honest in (False, True):
        tops = []
        for seed in range(8):
            x, arms = columns(1500, 100 + seed, 6), rng.integers(0, 2, 1500)
            rows = rows_of(x, arms, rng.normal(size=1500))
            (tree,) = grow(rows, max_depth=4, honest=honest, seed=seed, min_node=30)
            leaf = np.argmax(np.where(tree.is_leaf, tree.gain, -1))
            leaves = tree.effect[tree.is_leaf, 0]
            weights = tree.stats[tree.is_leaf][:, :, 0].sum(axis=1)
            tops.append(np.sqrt(np.average(leaves**2, weights=weights)))
            assert leaf >= 0
        best[honest] = np.mean(tops)
    assert best[True] < 0.75 * best[False]


@every_criterion
def test_several_arms_keep_their_own_effects(name: str) -> None:
    rng = np.random.default_rng(32)
    n = 20_000
    x, arms = columns(n, 32), rng.integers(0, 3, n)
    first, second = 0.3 * (x["x0"] > 0), 0.3 * (x["x1"] > 0)
    y = outcomes(0.2 + first * (arms == 1) + second * (arms == 2), 33)
    rows = rows_of(x, arms, y)
    forest = fit(rows, name, num_trees=10, features_per_node=2, min_node=200, min_arm=40, **LIKE_PRODUCTION)
    predicted = forest.predict(rows.codes)
    assert np.corrcoef(predicted[:, 0], first)[0, 1] > 0.6
    assert np.corrcoef(predicted[:, 1], second)[0, 1] > 0.6
    assert abs(np.corrcoef(predicted[:, 0], second)[0, 1]) < 0.4


@every_criterion
def test_the_same_rows_give_the_same_forest(name: str) -> None:
    rows = random_rows(PACKED, 3, 800, 34)
    one, two = (grow(rows, name, num_trees=2, bootstrap=True) for _ in range(2))
    same_trees(one, two)
