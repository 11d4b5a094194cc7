from __future__ import annotations

import numpy as np
import pytest
from scipy.special import digamma

from spark_uplift.metrics.areas import digamma_difference, excess_area, row_sum


@pytest.mark.parametrize("start", [1.0, 1.5, 30.0, 1e4])
@pytest.mark.parametrize("count", [1.0, 2.0, 3.7, 500.0])
def test_digamma_difference(start, count):
    got = digamma_difference(np.array([start]), np.array([count]))[0]
    assert got == pytest.approx(digamma(start + count) - digamma(start), rel=1e-11)


def test_digamma_difference_keeps_its_digits_far_out():
    got = digamma_difference(np.array([1e12]), np.array([3.0]))[0]
    assert got == pytest.approx(sum(1 / (1e12 + j) for j in range(3)), rel=1e-12)


def test_row_sum_writes_ties_out_as_a_straight_line():
    curve, rows = np.array([1.0, 4.0]), np.array([1.0, 3.0])
    assert row_sum(curve, rows, rows) == pytest.approx(1 + 2 + 3 + 4)


def test_a_straight_line_has_no_excess_area():
    x = np.array([1.0, 2.0, 5.0])
    assert excess_area(2 * x, x) == pytest.approx(0.0)
