"""Calibration, groups and upliftml's numbers against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from spark_uplift.errors import DataError
from spark_uplift.metrics import Rows, score
from tests.oracles import metrics as oracle
from tests.unit.metrics.data import experiment


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", ["auuc", "qini"])
@pytest.mark.parametrize("n", [29, 300, 1003])
def test_upliftml_is_thirty_buckets_at_quantiles(ties, kind, n):
    y, t, s = experiment(seed=4, n=n, ties=ties)
    expected = oracle.upliftml(y, t, s, kind)
    assert score(kind, style="upliftml", y=y, arm=t, score=s) == pytest.approx(
        expected, abs=1e-12, nan_ok=True
    )


def test_upliftml_with_buckets_of_single_rows_is_nearly_perpetuals_auuc():
    y, t, s = experiment(n=30_000)
    ours = score("qini", style="upliftml", y=y, arm=t, score=s)
    assert ours == pytest.approx(score("auuc", style="perpetual", y=y, arm=t, score=s), abs=2e-4)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_the_projection_is_least_squares_on_the_scores(weighted, binary):
    y, t, s = experiment(binary=binary)
    w = np.random.default_rng(1).uniform(0.2, 3, len(y)) if weighted else None
    a, b = oracle.projection(oracle.adjusted_scores(y, t, w), s, w)
    given = {"y": y, "arm": t, "score": s, "weight": w}
    assert score("calibration_slope", **given) == pytest.approx(b)
    assert score("calibration_intercept", **given) == pytest.approx(a)
    mean = np.average(s, weights=w)
    spread = np.sqrt(np.average((s - mean) ** 2, weights=w))
    assert score("heterogeneity", **given) == pytest.approx(b * spread)


def test_doubly_robust_scores_are_projected_as_they_are():
    y, t, s = experiment()
    dr = np.random.default_rng(0).normal(0.3 + 2 * s, 1)
    a, b = oracle.projection(dr, s)
    given = {"y": y, "arm": t, "score": s, "dr": dr}
    assert score("calibration_slope", **given) == pytest.approx(b)
    assert score("calibration_intercept", **given) == pytest.approx(a)
    assert score("calibration_mean", **given) == pytest.approx(dr.mean() / s.mean())
    assert score("ate", **given) == pytest.approx(dr.mean())
    top, bottom = (np.argsort(sign * s)[:60] for sign in (-1, 1))
    assert score("gates_at_20", **given) == pytest.approx(dr[top].mean() - dr[bottom].mean())
    assert score("gain_at_20", **given) == pytest.approx(dr[top].sum() / 300)
    assert score("uplift_at_20", **given) == pytest.approx(dr[top].mean())


def test_a_logged_propensity_weighs_the_projection():
    y, t, s = experiment(n=2000)
    p = np.where(t == 1, 0.3 + 0.4 * (s > 0.5), 0.7 - 0.4 * (s > 0.5))
    _, b = oracle.projection(oracle.adjusted_scores(y, t, propensity=p), s)
    # Here the weights 1/p do not add up to the rows of each arm, so the oracle's means are the same but the
    # constant of the scores is not; the slope does not feel it.
    assert score("calibration_slope", y=y, arm=t, score=s, propensity=p) == pytest.approx(b)


def test_r2_compares_tenths():
    y, t, s = experiment(n=1000)
    predicted, effect = oracle.group_means(y, t, s, 10).T
    expected = 1 - np.sum((effect - predicted) ** 2) / np.sum((effect - effect.mean()) ** 2)
    assert score("calibration_r2", y=y, arm=t, score=s) == pytest.approx(expected)


def test_true_effects_are_calibrated_and_halved_ones_are_not():
    rng = np.random.default_rng(5)
    n = 60_000
    x, t = rng.random(n), rng.integers(0, 2, n)
    y = 1 + x * t + rng.normal(size=n)
    for factor in (1.0, 0.5):
        given = {"y": y, "arm": t, "score": factor * x}
        assert score("calibration_slope", **given) == pytest.approx(1 / factor, abs=0.1)
        assert score("calibration_intercept", **given) == pytest.approx(0.0, abs=0.05)
        assert score("calibration_mean", **given) == pytest.approx(1 / factor, abs=0.05)
    assert score("calibration_r2", y=y, arm=t, score=x) > 0.95
    assert score("heterogeneity", y=y, arm=t, score=x) == pytest.approx(1 / np.sqrt(12), abs=0.03)


def test_a_large_baseline_is_no_effect():
    """The share of treated drifts by chance along the score; inverse-propensity scores would read it as effect."""
    rng = np.random.default_rng(6)
    x, t = rng.random(500), rng.integers(0, 2, 500)
    y = 100.0 + 0.01 * rng.normal(size=500)
    assert abs(score("calibration_slope", y=y, arm=t, score=x)) < 0.05


def test_gates_are_the_best_minus_the_worst():
    y, t, s = experiment(n=1000)
    parts = oracle.group_means(y, t, s, 5)
    assert score("gates_at_20", y=y, arm=t, score=s) == pytest.approx(parts[0, 1] - parts[-1, 1])


def test_confounded_arms_need_the_doubly_robust_scores():
    """Treatment goes to units with a high outcome; only the scores that know why are right."""
    rng = np.random.default_rng(7)
    n = 40_000
    x, v = rng.random(n), rng.random(n)
    e = 0.1 + 0.8 * x
    t = (rng.random(n) < e).astype(int)
    effect = v
    mu0 = 3 * x
    y = mu0 + t * effect + rng.normal(size=n)
    dr = effect + np.where(t == 1, (y - mu0 - effect) / e, -(y - mu0) / (1 - e))
    truth = {"ate": 0.5, "autoc": 0.25, "qini": 1 / 12, "calibration_slope": 1.0, "gates_at_20": 0.8}
    for name, expected in truth.items():
        assert score(name, y=y, arm=t, score=v, dr=dr) == pytest.approx(expected, abs=0.06), name
    assert abs(score("ate", y=y, arm=t, score=v) - 0.5) > 0.5
    # ranked by the confounder, raw arms see an effect that is not there
    assert score("autoc", y=y, arm=t, score=x, dr=dr) == pytest.approx(0.0, abs=0.05)
    assert abs(score("autoc", y=y, arm=t, score=x)) > 0.3


@pytest.mark.parametrize(
    "dr, message",
    [
        (np.zeros((4, 2)), r"'dr' must have one doubly robust score a row and treatment, shape \(4, 1\)"),
        (np.array([0, np.nan, 1, np.inf]), "'dr' has 2 values that are NaN or infinite"),
    ],
)
def test_bad_doubly_robust_scores_are_named(dr, message):
    with pytest.raises(DataError, match=message):
        Rows.of(y=[0, 1, 0, 1], arm=[0, 1, 0, 1], dr=dr)
