"""Outcome models from sums of products: as by dense matrices, whatever the order; and doubly robust scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core.binning import FeatureBins, encode_numeric, weighted_edges
from spark_uplift.metrics.nuisance import PENALTIES, aipw, fit_outcomes, fold_of
from spark_uplift.metrics.nuisance_design import (
    MAX_COLUMNS,
    Design,
    Grid,
    add_rows,
    choose_design,
    most_associated,
    predict,
    screening_design,
)
from tests.oracles import nuisance as oracle

FOLDS = 4


def features(n, seed=0, missing=0.1):
    """Two numbers with gaps and one category, as design, codes and standardised values."""
    draw = np.random.default_rng(seed)
    numbers = np.column_stack([draw.normal(size=n), draw.exponential(size=n)])
    numbers[draw.random((n, 2)) < missing] = np.nan
    fine = [FeatureBins(f"x{j}", edges=weighted_edges(numbers[:, j], None, 32)) for j in range(2)]
    levels = draw.integers(0, 3, n)
    counts = {"red": int((levels == 1).sum()), "tan": int((levels == 2).sum())}
    design = choose_design([*fine, FeatureBins("colour", levels=("red", "tan"))], {"colour": counts})
    codes = np.zeros((n, 3), np.uint8)
    for j in range(2):
        encode_numeric(design.features[j], numbers[:, j], j, codes)
    codes[:, 2] = levels
    linear = np.zeros((n, 3), np.int64)
    for j in range(2):
        linear[:, j] = design.standardised(j, numbers[:, j])
    return design, codes, linear


def experiment(n=900, seed=0, arms=3, binary=False, weighted=False):
    """Design, codes, values, outcome, weights, arm and fold of an experiment."""
    draw = np.random.default_rng(seed + 1)
    design, codes, linear = features(n, seed)
    arm = draw.integers(0, arms, n)
    signal = codes[:, 0] * 0.3 + linear[:, 1] / 256.0 * arm
    y = (
        (draw.random(n) < 1 / (1 + np.exp(1 - signal))).astype(float)
        if binary
        else signal + draw.normal(size=n)
    )
    w = np.round(draw.uniform(0.5, 2.0, n) * 64) / 64 if weighted else np.ones(n)  # on the grid: exact
    fold = fold_of(1, draw.integers(0, 2**63, n).astype(np.uint64), FOLDS)
    return design, codes, linear, y, w, arm, fold


def added_up(data, grid, arms=3, parts=1, order=None):
    """The sums of the rows in `parts` parts, in any order."""
    design, codes, linear, y, w, arm, fold = data
    p = design.columns
    sums, totals = np.zeros((FOLDS * arms, p, p + 2), np.int64), np.zeros((FOLDS * arms, 2), np.int64)
    order = np.arange(len(y)) if order is None else order
    for rows in np.array_split(order, parts):
        weights = None if np.all(w == 1.0) else w[rows]
        cells = (fold * arms + arm)[rows]
        add_rows(design, grid, cells, codes[rows], linear[rows], weights, y[rows], sums, totals)
    return sums.reshape(FOLDS, arms, p, p + 2), totals


def grid_of(data):
    y, w = data[3], data[4]
    whole = bool(np.all(y == np.rint(y)))
    return Grid.choose(len(y), float(np.abs(y).max()), whole, None if np.all(w == 1.0) else float(w.max()))


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_predictions_are_those_of_dense_matrices(binary, weighted):
    data = experiment(binary=binary, weighted=weighted)
    design, codes, linear, y, w, arm, fold = data
    sums, totals = added_up(data, grid_of(data))
    model = fit_outcomes(sums, design, grid_of(data))
    ours = predict(design, model.coefficients, fold, codes, linear)
    x = oracle.dense(design, codes, linear)
    theirs = oracle.cross_fitted(x, y, w, arm, fold, 3, PENALTIES)
    assert np.allclose(ours, theirs, rtol=0, atol=1e-6)
    assert totals[:, 0].sum() == len(y)
    assert not model.borrowed.any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), parts=st.integers(1, 9))
def test_sums_are_the_same_in_any_order_and_division(seed, parts):
    data = experiment(n=200, seed=3, weighted=True)
    grid = grid_of(data)
    order = np.random.default_rng(seed).permutation(200)
    once, again = added_up(data, grid), added_up(data, grid, parts=parts, order=order)
    assert np.array_equal(once[0], again[0])
    assert np.array_equal(once[1], again[1])


def test_predictions_of_a_fold_owe_nothing_to_its_outcomes():
    data = experiment()
    design, codes, linear, y, _, _, fold = data
    grid = Grid.choose(len(y), 1e6, False, None)
    changed = (*data[:3], np.where(fold == 2, -y * 7 + 3, y), *data[4:])
    before, after = (
        predict(design, fit_outcomes(added_up(d, grid)[0], design, grid).coefficients, fold, codes, linear)
        for d in (data, changed)
    )
    assert np.array_equal(before[fold == 2], after[fold == 2])
    assert not np.allclose(before[fold != 2], after[fold != 2])


def test_an_arm_in_one_fold_only_gets_the_mean_of_all_arms_there():
    data = list(experiment())
    fold, arm = data[6], data[5]
    data[5] = np.where((arm == 2) & (fold != 1), 0, arm)
    design, codes, linear, y = data[:4]
    grid = grid_of(data)
    model = fit_outcomes(added_up(data, grid)[0], design, grid)
    assert model.borrowed.tolist() == [[False, False, f == 1] for f in range(FOLDS)]
    found = predict(design, model.coefficients, fold, codes, linear)[fold == 1, 2]
    assert found == pytest.approx(np.full(found.shape, y[fold != 1].mean()), abs=1e-6)
    assert np.isfinite(model.coefficients).all()


def test_one_row_of_an_arm_is_a_constant():
    data = list(experiment())
    keep = (data[5] != 2) | (np.cumsum(data[5] == 2) == 1)
    data = [data[0], *(values[keep] for values in data[1:])]
    grid = grid_of(data)
    model = fit_outcomes(added_up(data, grid)[0], data[0], grid)
    only = data[3][data[5] == 2][0]
    elsewhere = data[6] != data[6][data[5] == 2][0]
    found = predict(data[0], model.coefficients, data[6], data[1], data[2])[elsewhere, 2]
    assert found == pytest.approx(np.full(found.shape, only), abs=1e-3)


def test_without_features_predictions_are_means():
    data = list(experiment(weighted=True))
    n = len(data[3])
    data[:3] = Design((), (), ()), np.zeros((n, 0), np.uint8), np.zeros((n, 0), np.int64)
    _, codes, linear, y, w, arm, fold = data
    grid = grid_of(data)
    model = fit_outcomes(added_up(data, grid)[0], data[0], grid)
    found = predict(data[0], model.coefficients, fold, codes, linear)
    for f in range(FOLDS):
        rows = (fold != f) & (arm == 1)
        assert found[fold == f, 1] == pytest.approx(np.average(y[rows], weights=w[rows]), rel=1e-6)


@pytest.mark.parametrize("rows", [2, 10**6, 2 * 10**9])
@pytest.mark.parametrize("bound", [1e-12, 1.0, 1e15])
@pytest.mark.parametrize("weight", [None, 1.7, 1e6])
def test_no_sum_can_overflow(rows, bound, weight):
    grid = Grid.choose(rows, bound, False, weight)
    largest_weight = 1 if weight is None else round(weight / grid.weight)
    linear = 3 * 256
    assert rows * largest_weight * linear**2 < 2**63
    outcome = round(bound / grid.outcome)
    assert rows * largest_weight * linear * max(outcome >> grid.lane, 2**grid.lane) < 2**63
    assert grid.outcome <= bound * 2.0**-10


def test_wide_tables_get_fewer_bins_and_then_too_many_features():
    edges = tuple(float(x) for x in range(31))
    for count, bins in ((20, 8), (60, 4), (100, 2), (150, 1)):
        design = choose_design([FeatureBins(f"x{j}", edges=edges) for j in range(count)], {})
        assert len(design.features[0].edges) == bins - 1
        assert design.columns <= MAX_COLUMNS
    assert choose_design([FeatureBins(f"x{j}", edges=edges) for j in range(300)], {}) is None


def test_of_too_many_features_the_most_associated_are_kept():
    fine = [FeatureBins(f"x{j}", edges=tuple(float(x) for x in range(31))) for j in range(300)]
    design = screening_design(fine, {})
    draw = np.random.default_rng(0)
    weights, outcomes = np.zeros((300, 256)), np.zeros((300, 256))
    weights[:, 1:5] = 100.0
    outcomes[:, 1:5] = draw.normal(0, 1, (300, 4))
    outcomes[[7, 290], 1:5] += np.array([-50.0, 0, 0, 50.0])
    chosen = most_associated(design, weights, outcomes)
    assert chosen == sorted(chosen)
    assert {7, 290} <= set(chosen)
    assert choose_design([fine[place] for place in chosen], {}).columns > MAX_COLUMNS / 2
    constant = np.where(weights > 0, 3.0 * weights, 0.0)
    assert most_associated(design, weights, constant) == list(range(len(chosen)))


def test_rare_levels_share_a_column():
    names = tuple(f"l{j:02d}" for j in range(40))
    design = choose_design(
        [FeatureBins("c", levels=names)], {"c": {name: 40 - j for j, name in enumerate(names)}}
    )
    assert design.features[0].levels == names[:30]
    assert design.features[0].pooled


def test_standardised_values_are_limited():
    design = choose_design([FeatureBins("x", edges=tuple(float(x) for x in range(31)))], {})
    values = np.array([15.0, 30.0, 1e300, -np.inf, np.nan])
    assert design.standardised(0, values).tolist() == [0, 256, 768, -768, 0]


def test_folds_are_about_equal_and_depend_on_the_seed():
    units = np.random.default_rng(0).integers(0, 2**63, 50_000).astype(np.uint64)
    fold = fold_of(1, units, 5)
    assert np.bincount(fold, minlength=5).min() > 9_500
    assert fold.max() == 4
    assert not np.array_equal(fold, fold_of(2, units, 5))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), arms=st.integers(2, 5))
def test_scores_are_those_of_a_row_at_a_time(seed, arms):
    draw = np.random.default_rng(seed)
    y, mu = draw.normal(size=30), draw.normal(size=(30, arms))
    arm, e = draw.integers(0, arms, 30), draw.uniform(0.05, 1.0, 30)
    assert np.allclose(aipw(y, arm, e, mu), oracle.aipw(y, arm, e, mu), rtol=1e-13)
