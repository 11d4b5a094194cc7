"""What every registered metric must do."""

from __future__ import annotations

import numpy as np
import pytest

from spark_uplift.errors import DataError
from spark_uplift.metrics import METRICS, STYLES, find, score
from tests.unit.metrics.data import experiment

NAMES = {
    "grf": {
        "ate", "autoc", "qini", "calibration_intercept", "calibration_mean", "calibration_r2",
        "calibration_slope", "heterogeneity",
    },
    "sklift": {"auuc", "qini", "weighted_average_uplift"},
    "causalml": {"auuc", "auuc_raw", "qini", "qini_raw", "rate_autoc", "rate_qini"},
    "h2o": {
        "aecu_gain", "aecu_lift", "aecu_qini", "auuc_gain", "auuc_gain_normalized", "auuc_lift", "auuc_qini",
        "auuc_qini_normalized", "qini",
    },
    "ydf": {"auuc", "qini"},
    "perpetual": {"auuc", "qini"},
    "upliftml": {"auuc", "qini"},
}  # fmt: skip
SHARES = [
    ("sklift", "uplift_at_30"),
    ("sklift", "uplift_at_25_by_group"),
    ("grf", "gates_at_20"),
    ("grf", "gain_at_30"),
    ("grf", "uplift_at_30"),
]
KEYS = [*sorted(METRICS), *SHARES]
EACH = pytest.mark.parametrize("style, name", KEYS)


def test_the_registry_holds_the_expected_names():
    assert {style: {n for s, n in METRICS if s == style} for style in STYLES} == NAMES
    assert all(metric.formula for metric in METRICS.values())
    undirected = {name for (_, name), metric in METRICS.items() if metric.larger_is_better is not True}
    assert undirected == {"calibration_intercept", "calibration_mean", "calibration_slope"}


def value(style, name, y, treated, ranking, **more):
    return score(name, style=style, y=y, arm=treated, score=ranking, **more)


@EACH
@pytest.mark.parametrize("ties", [False, True])
def test_order_of_rows_does_not_matter(style, name, ties):
    y, t, s = experiment(ties=ties)
    order = np.random.default_rng(1).permutation(len(y))
    assert value(style, name, y[order], t[order], s[order]) == pytest.approx(
        value(style, name, y, t, s), rel=1e-11
    )


@EACH
def test_scaling_all_weights_changes_nothing(style, name):
    y, t, s = experiment(ties=True)
    weight = np.random.default_rng(2).uniform(0.5, 2, len(y))
    plain = value(style, name, y, t, s, weight=weight)
    assert value(style, name, y, t, s, weight=weight * 7.3) == pytest.approx(plain, rel=1e-10)
    assert value(style, name, y, t, s, weight=np.full(len(y), 3.0)) == pytest.approx(
        value(style, name, y, t, s), rel=1e-10
    )


@EACH
def test_a_duplicated_row_is_a_row_of_weight_two(style, name):
    y, t, s = experiment(n=2000, ties=True)
    twice = np.where(np.arange(len(y)) % 7 == 0, 2, 1)
    copies = value(style, name, *(np.repeat(v, twice) for v in (y, t, s)))
    weighted = value(style, name, y, t, s, weight=twice)
    per_row = find(name, style).per_row
    grows = (
        style in ("causalml", "h2o", "perpetual")
        and ("raw" in name or style != "causalml")
        and name != "auuc"
    )
    if grows and "lift" not in name and "normalized" not in name:
        copies *= len(y) / twice.sum()
    # rate_autoc divides by the sum of 1/q, which depends on the number of rows like its logarithm.
    tolerance = (2e-2 if name == "rate_autoc" else 2e-3) if per_row else 1e-10
    assert weighted == pytest.approx(copies, rel=tolerance, abs=2e-4 if per_row else 0)


@EACH
def test_a_monotone_transform_of_the_score_changes_nothing(style, name):
    y, t, s = experiment(ties=True)
    same = value(style, name, y, t, np.exp(s / 3) - 5) == value(style, name, y, t, s)
    assert same == find(name, style).scale_free


@EACH
def test_labels_of_arms_do_not_matter(style, name):
    y, t, s = experiment()
    labels = np.where(t == 1, "mail", "none")
    assert value(style, name, y, labels, s, control="none") == value(style, name, y, t, s)


@EACH
def test_rows_of_other_arms_do_not_matter(style, name):
    y, t, s = experiment()
    arms = np.concatenate([t, np.full(50, 2)])
    more = np.concatenate([y, np.ones(50)]), arms, np.concatenate([s, np.linspace(-1, 2, 50)])
    assert value(style, name, *more, treatment=1) == value(style, name, y, t, s)


@EACH
def test_a_better_ranking_scores_higher(style, name):
    rng = np.random.default_rng(3)
    n = 4000
    x = np.round(rng.random(n), 1)  # ties: the very first rows are too few to say anything
    t = rng.integers(0, 2, n)
    y = (rng.random(n) < 0.2 + 0.5 * t * x).astype(float)
    good, bad = value(style, name, y, t, x), value(style, name, y, t, -x)
    if name in ("calibration_intercept", "calibration_mean"):  # not about the ranking
        return
    if name in ("ate", "weighted_average_uplift"):  # about the rows, not their order
        assert good == pytest.approx(bad, rel=0.02)
    else:
        assert good > bad


@EACH
def test_equal_scores_are_a_random_ranking(style, name):
    y, t, _ = experiment()
    got = value(style, name, y, t, np.zeros(len(y)))
    if (style in ("grf", "sklift", "ydf") and name in ("autoc", "qini")) or (
        style == "sklift" and name == "auuc"
    ):
        assert got == pytest.approx(0.0, abs=1e-12)
    # Nothing can be projected on a constant, or on a mean of 0; groups that are all alike have no spread.
    undefined = name in ("calibration_slope", "calibration_intercept", "calibration_mean", "calibration_r2")
    assert undefined or np.isfinite(got)
    assert got == pytest.approx(0.0, abs=1e-12) or name not in ("heterogeneity", "gates_at_20")


@EACH
def test_continuous_outcomes_work_or_are_declared_undefined(style, name):
    y, t, s = experiment(binary=False)
    assert np.isnan(value(style, name, y, t, s)) == find(name, style).binary_only


def test_a_near_name_is_suggested():
    with pytest.raises(
        DataError, match=r"'name' parameter of metrics must be one of .* Got 'quini' .* did you mean 'qini'"
    ):
        find("quini", "grf")


def test_the_styles_that_have_a_name_are_told():
    with pytest.raises(
        DataError, match=r"styles with 'auuc': \['causalml', 'perpetual', 'sklift', 'upliftml', 'ydf'\]"
    ):
        find("auuc", "grf")


def test_an_unknown_style_is_refused():
    with pytest.raises(DataError, match="'style' parameter of metrics must be one of"):
        find("qini", "radcliffe")


def test_a_share_must_lie_between_0_and_1():
    with pytest.raises(
        DataError, match=r"'k' parameter of uplift_at_k must be a float in the range \(0, 1\). Got 1.5"
    ):
        find("uplift_at_k", "sklift", k=1.5)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(DataError, match="'strategy' parameter of uplift_at_k must be one of"):
        find("uplift_at_k", "sklift", strategy="first")
