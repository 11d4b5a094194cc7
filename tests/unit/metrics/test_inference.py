from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spark_uplift.errors import DataError
from spark_uplift.metrics import Pair, Rows, curve_from_rows
from spark_uplift.metrics.inference import (
    bootstrap_error,
    difference_in_means,
    normal_interval,
    percentile_interval,
    quantile,
)
from tests.unit.metrics.data import experiment


def sides(y, t, weight=None):
    curve = curve_from_rows(Rows.of(y=y, arm=t, weight=weight), np.zeros(len(y)))
    return Pair.of(curve).sides[0]


def test_difference_in_means_is_welchs():
    y, t, _ = experiment(binary=False)
    got = difference_in_means(sides(y, t), 0.95)
    a, b = y[t == 1], y[t == 0]
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    assert got.uplift.value == pytest.approx(a.mean() - b.mean())
    assert got.uplift.std_error == pytest.approx(error)
    assert got.uplift.upper == pytest.approx(a.mean() - b.mean() + stats.norm.ppf(0.975) * error)


def test_weights_give_hajek_means_and_scale_out():
    y, t, _ = experiment(binary=False)
    w = np.random.default_rng(0).uniform(0.1, 3, len(y))
    got = difference_in_means(sides(y, t, w), 0.9)
    again = difference_in_means(sides(y, t, 100 * w), 0.9)
    assert got.mean_treated == pytest.approx(np.average(y[t == 1], weights=w[t == 1]))
    assert again.uplift.std_error == pytest.approx(got.uplift.std_error)
    assert got.uplift.std_error > difference_in_means(sides(y, t), 0.9).uplift.std_error


def test_a_side_without_rows_gives_no_number():
    empty = np.zeros((2, 5))
    empty[0] = [10, 10, 5, 5, 10]
    got = difference_in_means(empty, 0.95)
    assert np.isnan([got.mean_treated, got.uplift.value, got.uplift.lower, got.uplift.upper]).all()
    assert got.mean_control == 0.5


def test_a_single_row_gives_a_difference_without_interval():
    table = np.array([[10, 10, 5, 5, 10], [1, 1, 1, 1, 1.0]])
    got = difference_in_means(table, 0.95)
    assert got.uplift.value == 0.5
    assert np.isnan(got.uplift.lower)


def test_bootstrap_error_leaves_out_undefined_replicates():
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, 1.0]])
    got = bootstrap_error(values)
    assert got[0] == pytest.approx(np.sqrt(2))
    assert np.isnan(got[1])


def test_percentile_interval_is_centred_on_the_value():
    draws = np.random.default_rng(0).normal(10, 2, (20_000, 1))
    got = percentile_interval(np.array([0.0]), draws, 0.95)
    assert got.lower[0] == pytest.approx(-1.96 * 2, abs=0.1)
    assert got.upper[0] == pytest.approx(1.96 * 2, abs=0.1)


def test_normal_interval():
    got = normal_interval(np.array(1.0), np.array(2.0), 0.9)
    assert got.upper == pytest.approx(1 + 2 * stats.norm.ppf(0.95))


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_the_level_must_be_a_probability(level):
    with pytest.raises(
        DataError, match=r"'level' parameter of an interval must be a float in the range \(0, 1\)"
    ):
        quantile(level)
