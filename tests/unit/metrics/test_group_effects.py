"""Intervals of small groups: published numbers, limits, and groups that lack an arm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from spark_uplift.metrics.group_effects import group_effects, mean_scores, wilson


def side(y, w=None):
    y = np.asarray(y, float)
    w = np.ones(len(y)) if w is None else np.asarray(w, float)
    return [len(y), w.sum(), (w * y).sum(), (w * y * y).sum(), (w * w).sum()]


def proportion(successes, n):
    return side([1.0] * successes + [0.0] * (n - successes))


def effect(control, treated, *, binary, overall=None, level=0.95):
    sides = np.array([control, treated], float)
    return group_effects(sides, sides if overall is None else np.array(overall, float), level, binary=binary)


# Newcombe (1998), table II, method 10: p1 = treated, p2 = control.
NEWCOMBE = [
    ((56, 70), (48, 80), (0.0524, 0.3339)),
    ((9, 10), (3, 10), (0.1705, 0.8090)),
    ((5, 56), (0, 29), (-0.0381, 0.1926)),
    ((0, 10), (0, 10), (-0.2775, 0.2775)),
    ((10, 10), (0, 20), (0.6791, 1.0)),
]


@pytest.mark.parametrize("treated, control, interval", NEWCOMBE)
def test_binary_outcomes_give_newcombes_table(treated, control, interval):
    got = effect(proportion(*control), proportion(*treated), binary=True).uplift
    assert (float(got.lower), float(got.upper)) == pytest.approx(interval, abs=6e-5)


def test_wilson_without_rows_is_everything():
    low, high = wilson(np.array([np.nan, 0.0]), np.array([0.0, 10.0]), 0.95)
    assert (low[0], high[0]) == (0.0, 1.0)
    assert (low[1], high[1]) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_a_missing_side_leaves_what_the_difference_could_be():
    empty = [0.0] * 5
    got = effect(proportion(3, 10), empty, binary=True).uplift
    low, high = (float(v) for v in wilson(np.array(0.3), np.array(10.0), 0.95))
    assert np.isnan(got.value)
    assert (float(got.lower), float(got.upper)) == pytest.approx((-high, 1 - low))
    nothing = effect(empty, empty, binary=True).uplift
    assert (float(nothing.lower), float(nothing.upper)) == (-1.0, 1.0)


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), st.floats(0.01, 0.999))
def test_binary_intervals_are_finite_ordered_and_mirrored(a, b, c, d, level):
    one, two = proportion(a, a + b), proportion(c, c + d)
    got, mirrored = (effect(*pair, binary=True, level=level).uplift for pair in ((one, two), (two, one)))
    assert -1 <= got.lower <= got.upper <= 1
    assert (float(got.lower), float(got.upper)) == pytest.approx(
        (-float(mirrored.upper), -float(mirrored.lower))
    )
    assert (a + b == 0 or c + d == 0) == bool(np.isnan(got.value))
    if not np.isnan(got.value):
        assert got.lower - 1e-12 <= got.value <= got.upper + 1e-12


def test_continuous_outcomes_are_welchs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 3, 12), rng.normal(0, 1, 30)
    got = effect(side(b), side(a), binary=False).uplift
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (float(got.lower), float(got.upper)) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_weights_count_by_kishs_effective_rows():
    """Weight 2 twice is as little as one row twice; scaling all weights changes nothing."""
    y, w = np.array([1.0, 4, 2, 7, 7, 3]), np.array([1.0, 2, 1, 0.5, 1, 1])
    control = side([0.0, 1.0, 2.0])
    got, scaled = (effect(control, side(y, w * factor), binary=False).uplift for factor in (1.0, 9.0))
    effective = w.sum() ** 2 / (w**2).sum()
    spread = np.average((y - np.average(y, weights=w)) ** 2, weights=w) * effective / (effective - 1)
    assert float(got.std_error) == pytest.approx(np.sqrt(spread / effective + 1 / 3))
    assert float(got.lower) == pytest.approx(float(scaled.lower))


@pytest.mark.parametrize("few", [[], [5.0], [0.0, 0.0, 0.0]])
def test_a_side_without_spread_borrows_its_arms(few):
    rng = np.random.default_rng(1)
    control, arm = rng.normal(0, 1, 50), rng.normal(2, 3, 40)
    overall = [side(control), side(arm)]
    got = effect(side(control), side(few), binary=False, overall=overall)
    variance = arm.var(ddof=1) / max(len(few), 1)
    assert float(got.uplift.std_error) == pytest.approx(np.sqrt(variance + control.var(ddof=1) / 50))
    centre = (np.mean(few) if few else arm.mean()) - control.mean()
    assert (float(got.uplift.lower) + float(got.uplift.upper)) / 2 == pytest.approx(centre)
    assert np.isnan(got.uplift.value) == (not few)


def test_intervals_cover_in_small_groups():
    """5 % responders and 40 rows a side: a normal interval would cover much less."""
    rng = np.random.default_rng(2)
    treated, control = rng.binomial(40, 0.05, 4000), rng.binomial(40, 0.03, 4000)
    sides = np.array(
        [[proportion(c, 40), proportion(t, 40)] for t, c in zip(treated, control, strict=True)], float
    )
    got = group_effects(sides, sides.sum(0), 0.95, binary=True).uplift
    assert 0.94 < np.mean((got.lower <= 0.02) & (got.upper >= 0.02)) <= 0.99


def test_mean_scores_are_a_t_interval():
    values, w = np.array([1.0, 3, 2, 8]), np.ones(4)
    dr = np.array([values.sum(), (values**2).sum(), w.sum()])
    overall = np.append(dr, 4.0)
    got = mean_scores(dr, np.array(4.0), overall, 0.9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (float(got.lower), float(got.upper)) == pytest.approx((expected.low, expected.high))
    one = mean_scores(np.array([3.0, 9.0, 1.0]), np.array(1.0), overall, 0.9)
    assert float(one.std_error) == pytest.approx(values.std(ddof=1))
