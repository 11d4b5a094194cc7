"""Predictions against a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_uplift.errors import DataError
from spark_uplift.metrics import known_truth


def simulated(seed, n=50, treatments=2):
    draw = np.random.default_rng(seed)
    effect = draw.normal(0.1, 0.2, (n, treatments))
    return effect, effect + draw.normal(0.03, 0.1, (n, treatments)), draw.uniform(0.0, 2.0, n)


def a_row_at_a_time(effect, predicted, weight, value, costs):
    """The definitions, written out."""
    best = got = agree = 0.0
    for t, p, w in zip(effect, predicted, weight, strict=True):
        true, seen = (
            [-costs[0], *(value * x - c for x, c in zip(xs, costs[1:], strict=True))] for xs in (t, p)
        )
        arm = seen.index(max(seen))
        best, got = best + w * max(true), got + w * true[arm]
        agree += w * (true[arm] == max(true))
    return best / weight.sum(), got / weight.sum(), agree / weight.sum()


@given(seed=st.integers(0, 2**31), treatments=st.integers(1, 4), value=st.floats(0.1, 50))
def test_metrics_are_their_definitions(seed, treatments, value):
    effect, predicted, weight = simulated(seed, treatments=treatments)
    costs = np.random.default_rng(seed).uniform(0, value / 5, treatments + 1)
    found = known_truth(effect=effect, predicted=predicted, weight=weight, value=value, costs=costs.tolist())
    error = predicted - effect
    assert found.bias == pytest.approx(np.average(error, axis=0, weights=weight), abs=1e-12)
    assert found.pehe == pytest.approx(np.sqrt(np.average(error**2, axis=0, weights=weight)), rel=1e-12)
    for k in range(treatments):
        table = np.cov(effect[:, k], predicted[:, k], aweights=weight)
        assert found.correlation[k] == pytest.approx(
            table[0, 1] / np.sqrt(table[0, 0] * table[1, 1]), rel=1e-9
        )
    best, got, agreement = a_row_at_a_time(effect, predicted, weight, value, costs)
    assert (found.best_value, found.value, found.agreement) == pytest.approx((best, got, agreement))
    assert found.regret == pytest.approx(best - got, abs=1e-9)
    assert found.regret >= 0.0


def test_the_truth_itself_has_no_regret():
    effect, _, _ = simulated(0)
    found = known_truth(effect=effect, predicted=effect, costs=[0.0, 0.1, 0.05])
    assert found.regret == 0.0
    assert found.agreement == 1.0
    assert found.pehe.tolist() == [0.0, 0.0]
    assert found.correlation == pytest.approx([1.0, 1.0])


def test_costs_change_what_is_best():
    assert known_truth(effect=[0.2, 0.2], predicted=[0.3, 0.1], costs=[0, 0.15]).regret == pytest.approx(
        0.025
    )
    assert known_truth(effect=[0.2, 0.2], predicted=[0.3, 0.1]).regret == 0.0


def test_a_recommendation_may_be_given():
    found = known_truth(effect=[[0.2, 0.1], [0.0, 0.3]], predicted=np.zeros((2, 2)), recommended=[1, 0])
    assert found.regret == pytest.approx(0.15)
    assert found.agreement == 0.5


def test_what_does_not_vary_has_no_correlation():
    found = known_truth(effect=[[0.1, 0.3], [0.2, 0.3]], predicted=[[0.7, 0.1], [0.7, 0.2]])
    assert np.isnan(found.correlation).all()


def test_rows_twice_are_weight_two():
    effect, predicted, _ = simulated(1)
    twice = known_truth(effect=np.repeat(effect, 2, 0), predicted=np.repeat(predicted, 2, 0))
    once = known_truth(effect=effect, predicted=predicted, weight=np.full(50, 2.0))
    for name in ("pehe", "bias", "correlation", "regret", "value", "agreement"):
        assert getattr(twice, name) == pytest.approx(getattr(once, name), rel=1e-12)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"predicted": [0.1, 0.2]}, r"same shape \(n, K\).*Got \(3, 1\) and \(2, 1\)"),
        ({"predicted": [0.1, 0.2, np.nan]}, "'predicted' has 1 values that are NaN"),
        ({"weight": [1, 1, -1]}, "'weight' must have one finite value of 0 or more"),
        ({"costs": [1.0]}, "'costs' parameter of known_truth must be 2 finite numbers"),
        ({"recommended": [0, 1, 2]}, "'recommended' parameter of known_truth must be one arm a row, 0 … 1"),
    ],
)
def test_bad_input_is_named(more, message):
    with pytest.raises(DataError, match=message):
        known_truth(**{"effect": [0.1, 0.2, 0.3], "predicted": [0.1, 0.2, 0.3], **more})
