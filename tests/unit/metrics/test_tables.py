from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from spark_uplift.metrics import Pair, Rows, curve_from_rows
from spark_uplift.metrics.tables import curve_columns, metric_columns, reported_metrics, uplift_columns
from tests.unit.metrics.data import experiment


def pair_of(ties=False, binary=True, n=1000):
    y, t, s = experiment(n=n, ties=ties, binary=binary)
    return Pair.of(curve_from_rows(Rows.of(y=y, arm=t), s)), y, t, s


def test_buckets_are_tenths_best_first():
    pair, y, t, s = pair_of()
    table = uplift_columns(pair, 10, 0.95)
    assert table["bucket"] == list(range(1, 11))
    assert table["n"] == [100] * 10
    top = np.argsort(-s)[:100]
    assert table["uplift"][0] == pytest.approx(y[top][t[top] == 1].mean() - y[top][t[top] == 0].mean())
    assert table["predicted"][0] == pytest.approx(s[top].mean())
    assert table["cumulative_uplift"][-1] == pytest.approx(y[t == 1].mean() - y[t == 0].mean())
    assert table["score_min"][0] == s[top].min()
    assert table["cumulative_n"][-1] == 1000


def test_a_tie_is_never_split_over_buckets():
    pair, _, _, s = pair_of(ties=True)
    table = uplift_columns(pair, 10, 0.95)
    assert sum(table["n"]) == 1000
    ranges = list(zip(table["score_min"], table["score_max"], strict=True))
    assert all(above[0] > below[1] for above, below in itertools.pairwise(ranges))
    assert len(table["bucket"]) <= len(set(s))


@pytest.mark.parametrize("binary", [True, False])
def test_a_bucket_without_treated_rows_has_no_uplift_but_an_interval(binary):
    y = np.array([1, 0, 1, 0, 1.0]) * (1 if binary else 2.5)
    t, s = np.array([0, 0, 1, 1, 1]), np.array([2, 2, 1, 1, 1])
    y[2] = 0 if binary else 4.0
    table = uplift_columns(Pair.of(curve_from_rows(Rows.of(y=y, arm=t), s)), 2, 0.95)
    assert np.isnan([table["uplift"][0], table["mean_treated"][0], table["cumulative_uplift"][0]]).all()
    assert table["mean_control"][0] == y[:2].mean()
    assert table["n_treated"] == [0, 3]
    for kind in ("", "cumulative_"):
        assert np.isfinite([table[f"{kind}lower"], table[f"{kind}upper"]]).all()
    assert table["cumulative_uplift"][1] == pytest.approx(y[t == 1].mean() - y[t == 0].mean())
    if binary:
        assert (table["lower"][0] >= -1, table["upper"][0] <= 1) == (True, True)


def test_doubly_robust_scores_give_buckets_and_curves_their_effect():
    y, t, s = experiment(n=500)
    dr = np.random.default_rng(1).normal(s, 1.0)
    pair = Pair.of(curve_from_rows(Rows.of(y=y, arm=t, dr=dr), s))
    table = uplift_columns(pair, 5, 0.95)
    top = np.argsort(-s)[:100]
    assert table["uplift"][0] == pytest.approx(dr[top].mean())
    error = dr[top].std(ddof=1) / 10
    half = stats.t.ppf(0.975, 99) * error
    assert table["upper"][0] == pytest.approx(dr[top].mean() + half)
    assert table["mean_treated"][0] == pytest.approx(y[top][t[top] == 1].mean())
    assert table["cumulative_uplift"][-1] == pytest.approx(dr.mean())
    curves = curve_columns(pair, None, 0.95)
    tops = dict(zip(curves["curve"], curves["value"], strict=True))  # the last point of each
    assert tops["uplift"] == pytest.approx(dr.mean())
    assert tops["qini"] == pytest.approx(dr.mean())
    ate = metric_columns(pair, None, 0.95, reported_metrics(dr=True), independent=True)
    assert ate["std_error"][ate["metric"].index("ate")] == pytest.approx(dr.std(ddof=1) / np.sqrt(500))


def test_p_values_are_those_of_the_bootstrap_errors():
    pair, *_ = pair_of()
    wide = Pair.of(replicates_of(pair))
    table = metric_columns(pair, wide, 0.95, reported_metrics(), independent=False)
    found = {
        (style, name): (table["value"][i], table["std_error"][i], table["p_value"][i])
        for i, (style, name) in enumerate(zip(table["style"], table["metric"], strict=True))
    }
    value, error, p = found["grf", "autoc"]
    assert p == pytest.approx(stats.norm.sf(value / error))
    value, error, p = found["grf", "ate"]
    assert p == pytest.approx(2 * stats.norm.sf(abs(value / error)))
    least = min(found["grf", "autoc"][2], found["grf", "calibration_slope"][2])
    assert found["grf", "heterogeneity"][2] == pytest.approx(2 * least)
    assert np.isnan(found["sklift", "qini"][2])
    assert np.isnan(found["grf", "calibration_mean"][2])


def replicates_of(pair, count=30):
    """Replicates of a curve by Poisson copies of its points."""
    y, t, s = experiment(n=1000)
    base = curve_from_rows(Rows.of(y=y, arm=t), s)
    copies = np.random.default_rng(0).poisson(1.0, (count, *base.stats.shape[:2]))[..., None]
    stats_of = base.stats * copies
    return replace(base, stats=stats_of, mass=stats_of[..., 1].sum(-1), arm_mass=stats_of[..., 1].sum(-2))


def test_curves_start_and_end_where_they_must():
    pair, y, t, _ = pair_of()
    columns = {name: np.array(values) for name, values in curve_columns(pair, None, 0.95).items()}
    effect = y[t == 1].mean() - y[t == 0].mean()
    qini = columns["curve"] == "qini"
    assert columns["value"][qini][[0, -1]] == pytest.approx([0, effect])
    assert columns["baseline"][qini][-1] == pytest.approx(effect)
    assert columns["value"][columns["curve"] == "uplift"][-1] == pytest.approx(effect)
    assert columns["value"][columns["curve"] == "toc"][-1] == pytest.approx(0)
    assert [int(np.sum(columns["curve"] == c)) for c in ("qini", "uplift", "toc")] == [101, 100, 100]


def test_the_mean_of_toc_is_autoc():
    pair, *_ = pair_of(n=100)
    columns = curve_columns(pair, None, 0.95)
    toc = [v for c, v in zip(columns["curve"], columns["value"], strict=True) if c == "toc"]
    autoc = next(m for m in reported_metrics() if m.name == "autoc")
    assert np.mean(toc) == pytest.approx(float(autoc.compute(pair)))


def test_metrics_that_need_binary_outcomes_are_left_out_otherwise():
    styles = {
        binary: set(
            metric_columns(pair_of(binary=binary)[0], None, 0.95, reported_metrics(), independent=True)[
                "style"
            ]
        )
        for binary in (True, False)
    }
    pair, *_ = pair_of(binary=False)
    table = metric_columns(pair, None, 0.95, reported_metrics(), independent=True)
    assert ("qini", "sklift") not in zip(table["metric"], table["style"], strict=True)
    assert styles[True] == {"grf", "sklift", "causalml", "ydf"}


def test_the_average_effect_has_its_analytic_interval():
    pair, y, t, _ = pair_of(binary=False)
    table = metric_columns(pair, None, 0.95, reported_metrics(), independent=True)
    row = table["metric"].index("ate")
    a, b = y[t == 1], y[t == 0]
    assert table["std_error"][row] == pytest.approx(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
    assert table["bootstrap"][row] == 0
    assert table["n"][row] == 1000
