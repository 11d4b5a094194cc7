from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spark_uplift.checks.association import associate, best_auc, broad_groups, chi_square, ordered_auc, pooled


def test_ordered_auc_is_the_mann_whitney_statistic():
    draw = np.random.default_rng(3)
    inside, outside = draw.integers(0, 9, 300), draw.integers(0, 7, 500)
    counts = [np.bincount(values, minlength=9).astype(float) for values in (inside, outside)]
    expected = stats.mannwhitneyu(inside, outside).statistic / (300 * 500)
    assert ordered_auc(*counts) == pytest.approx(expected)


def test_best_auc_does_not_depend_on_the_order_of_bins():
    draw = np.random.default_rng(4)
    inside, outside = draw.integers(1, 50, 12).astype(float), draw.integers(1, 50, 12).astype(float)
    order = draw.permutation(12)
    assert best_auc(inside[order], outside[order]) == pytest.approx(best_auc(inside, outside))
    assert best_auc(inside, outside) >= max(ordered_auc(inside, outside), 0.5)


def test_chi_square_is_scipys():
    table = np.array([[12.0, 30, 0, 8], [22.0, 14, 0, 9]])
    expected = stats.chi2_contingency(table[:, [0, 1, 3]])
    statistic, p, dof = chi_square(table)
    assert (statistic, p, dof) == pytest.approx((expected.statistic, expected.pvalue, expected.dof))


def test_a_table_without_contrast_has_p_one():
    assert chi_square(np.array([[5.0, 5.0], [0.0, 0.0]])) == (0.0, 1.0, 0)


def test_pooled_bins_expect_enough_rows_and_lose_none():
    inside, outside = np.array([1.0, 0, 2, 9, 1, 0]), np.array([4.0, 5, 9, 40, 2, 1])
    few, rest = pooled(inside, outside)
    rows = few + rest
    assert rows.sum() == (inside + outside).sum()
    assert (rows * inside.sum() / rows.sum() >= 5).all()


def test_broad_groups_are_of_about_equal_rows():
    inside, outside = np.full(64, 10.0), np.full(64, 30.0)
    few, rest = broad_groups(inside, outside)
    assert few.tolist() == [160.0] * 4
    assert rest.tolist() == [480.0] * 4


def test_p_values_are_uniform_without_a_link():
    draw = np.random.default_rng(5)
    ps = [
        associate(draw.multinomial(400, [1 / 20] * 20), draw.multinomial(900, [1 / 20] * 20), True).p_value
        for _ in range(400)
    ]
    assert stats.kstest(ps, "uniform").pvalue > 1e-3


def test_chance_alone_gives_no_auc_over_all_bins_on_average():
    draw = np.random.default_rng(6)
    links = [
        associate(draw.multinomial(300, [1 / 40] * 40), draw.multinomial(300, [1 / 40] * 40), False)
        for _ in range(200)
    ]
    assert np.median([link.auc_any for link in links]) < 0.53
    assert np.median([link.cramers_v for link in links]) < 0.06


def test_perfect_separation():
    link = associate(np.array([50, 50, 0, 0, 0]), np.array([0, 0, 50, 50, 0]), True)
    assert (link.auc, link.cramers_v) == pytest.approx((1.0, 1.0), abs=0.02)
