"""Off-policy value in numpy: the formulas row by row, invariances, published numbers, coverage."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.errors import DataError
from spark_uplift.metrics.replicates import count_copies
from spark_uplift.policy.value import bernstein_radius, estimate
from spark_uplift.policy.value_sums import METHODS
from tests.oracles import policy_value as oracle

ALL = tuple(METHODS)


def logged(n=300, seed=0, actions=4):
    """Rewards, ratios, predictions and weights of a logging policy that differs from the evaluated one."""
    rng = np.random.default_rng(seed)
    e = rng.dirichlet(np.ones(actions), n) * 0.8 + 0.2 / actions
    pi = rng.dirichlet(np.ones(actions), n)
    a = np.array([rng.choice(actions, p=row) for row in e])
    mean = rng.uniform(size=(n, actions))
    r = mean[np.arange(n), a] + 0.3 * rng.normal(size=n)
    mu = mean + 0.1 * rng.normal(size=mean.shape)
    return {
        "r": r,
        "rho": pi[np.arange(n), a] / e[np.arange(n), a],
        "q": mu[np.arange(n), a],
        "v": (pi * mu).sum(axis=1),
        "w": rng.uniform(0.5, 2.0, n),
        "truth": (pi * mean).sum(axis=1).mean(),
    }


def ask(d, **more):
    given_ = {"methods": ALL, "predicted": d["q"], "policy_predicted": d["v"], "clip": 2.0, **more}
    return {(e.method, e.interval): e for e in estimate(d["r"], d["rho"], **given_)}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("method", ALL)
def test_value_and_error_are_those_of_the_rows(method, weighted):
    d = logged()
    weights = d["w"] if weighted else None
    found = ask(d, weights=weights)[method, "normal"]
    rows = oracle.rows_of(method, d["r"], d["rho"], 2.0, d["q"], d["v"], weights)
    mean = oracle.rows_of("ips", d["r"], np.ones(300), 2.0, w=weights)
    assert found.value == pytest.approx(oracle.value(rows), rel=1e-12)
    assert found.std_error == pytest.approx(oracle.std_error(rows), rel=1e-9)
    assert found.relative == pytest.approx(oracle.value(rows) / oracle.value(mean), rel=1e-12)
    assert found.difference == pytest.approx(oracle.value(rows) - oracle.value(mean), abs=1e-12)
    half = (found.difference_upper - found.difference_lower) / 2
    assert half == pytest.approx(1.959963984540054 * oracle.difference_error(rows, mean), rel=1e-9)


def test_the_mean_of_unit_weight_rows_has_the_textbook_error():
    d = logged()
    assert ask(d)["dm", "normal"].std_error == pytest.approx(d["v"].std(ddof=1) / math.sqrt(300), rel=1e-9)


@pytest.mark.parametrize("method", ALL)
def test_clusters_are_independent_as_a_whole(method):
    d, clusters = logged(), np.arange(300) // 5
    rows = oracle.rows_of(method, d["r"], d["rho"], 2.0, d["q"], d["v"])
    found = ask(d, clusters=clusters)[method, "normal"]
    assert found.value == pytest.approx(oracle.value(rows), rel=1e-12)
    assert found.std_error == pytest.approx(oracle.std_error(rows, clusters), rel=1e-9)


def test_bootstrap_replicates_are_rows_written_out():
    d = logged()
    units = np.random.default_rng(1).integers(0, 2**63, 300).astype(np.uint64)
    counts = count_copies(units, 7, 50).T
    found = ask(d, units=units, interval="bootstrap", bootstrap=50, seed=7)
    for method in ALL:
        drawn = oracle.bootstrap(oracle.rows_of(method, d["r"], d["rho"], 2.0, d["q"], d["v"]), counts)
        one = found[method, "bootstrap"]
        assert one.std_error == pytest.approx(np.std(drawn, ddof=1), rel=1e-9)
        assert [one.lower, one.upper] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100.0))
def test_order_and_weight_scale_change_nothing(seed, scale):
    d = logged(60, seed % 20)
    order = np.random.default_rng(seed).permutation(60)
    moved = {k: v[order] for k, v in d.items() if k != "truth"}
    for key, one in ask(d, weights=d["w"]).items():
        other = ask(moved, weights=moved["w"] * scale)[key]
        assert other.value == pytest.approx(one.value, rel=1e-9)
        assert other.std_error == pytest.approx(one.std_error, rel=1e-6)
        assert other.effective_sample_size == pytest.approx(one.effective_sample_size, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 20), st.floats(-5.0, 5.0), st.floats(0.1, 10.0))
def test_moving_and_stretching_rewards(seed, shift, scale):
    d = logged(60, seed)
    moved = {**d, **{k: d[k] * scale + shift for k in ("r", "q", "v")}}
    for method in ("snips", "dm", "dr", "switch"):  # they do not depend on where zero is
        one, other = ask(d)[method, "normal"], ask(moved)[method, "normal"]
        assert other.value == pytest.approx(one.value * scale + shift, rel=1e-7, abs=1e-7)
        assert other.std_error == pytest.approx(one.std_error * scale, rel=1e-5)


def test_limits_of_the_methods():
    d = logged()
    open_end = ask(d, clip=1e9)
    assert open_end["clipped_ips", "normal"].value == pytest.approx(
        open_end["ips", "normal"].value, rel=1e-12
    )
    assert open_end["switch", "normal"].value == pytest.approx(open_end["dr", "normal"].value, rel=1e-12)
    assert ask(d, clip=1e-12)["switch", "normal"].value == pytest.approx(d["v"].mean(), rel=1e-9)
    same = {e.method: e for e in estimate(d["r"], np.ones(300), methods=["ips", "snips"])}
    for one in same.values():  # the logging policy itself
        assert one.value == pytest.approx(d["r"].mean(), rel=1e-12)
        assert one.relative == pytest.approx(1.0)
        assert one.effective_sample_size == pytest.approx(300)
        assert one.difference_upper == pytest.approx(0.0, abs=1e-9)


def test_diagnostics_of_the_weights():
    d = logged()
    found = ask(d)
    rho = d["rho"]
    assert found["ips", "normal"].max_weight == rho.max()
    assert found["clipped_ips", "normal"].max_weight == 2.0
    assert found["ips", "normal"].mean_weight == pytest.approx(rho.mean())
    assert found["ips", "normal"].mean_weight_error == pytest.approx(rho.std(ddof=1) / math.sqrt(300))
    assert found["ips", "normal"].effective_sample_size == pytest.approx(rho.sum() ** 2 / (rho**2).sum())
    cut = 1 - np.minimum(rho, 2.0).sum() / rho.sum()
    assert found["clipped_ips", "normal"].clipped_share == pytest.approx(cut)
    assert found["switch", "normal"].clipped_share == pytest.approx(rho[rho > 2].sum() / rho.sum())
    assert "Clipping cuts off" in found["switch", "normal"].message


def test_several_policies_and_a_paired_difference():
    d = logged()
    other = logged(seed=3)["rho"]
    found = estimate(d["r"], {"new": d["rho"], "old": other}, methods=["snips"], baseline="old")
    new, old = (oracle.rows_of("snips", d["r"], rho, 2.0) for rho in (d["rho"], other))
    one = found[0]
    assert (one.policy, one.baseline) == ("new", "old")
    assert one.difference == pytest.approx(oracle.value(new) - oracle.value(old))
    half = (one.difference_upper - one.difference_lower) / 2
    assert half == pytest.approx(1.959963984540054 * oracle.difference_error(new, old), rel=1e-9)
    assert (found[1].difference, found[1].difference_upper) == (0.0, 0.0)


def test_messages():
    n = 1000
    r = np.ones(n)
    off = estimate(r, np.full(n, 1.2) + 0.01 * np.arange(n) / n, methods="ips")[0]
    assert "should be 1" in off.message
    heavy = np.full(n, 0.1)
    heavy[0] = 900.0
    one = estimate(r, heavy, methods="snips")[0]
    assert "Overlap is poor: 1000 rows weigh as much as 1" in one.message
    assert "One row has up to 90% of all weight" in one.message
    nothing = estimate(r, np.zeros(n), methods=["snips", "ips"])
    assert math.isnan(nothing[0].value)
    assert nothing[1].value == 0.0
    assert all("the data say nothing" in e.message for e in nothing)
    assert estimate(r, np.random.default_rng(0).uniform(0, 2, n), methods="ips")[0].message == ""


def test_published_numbers_of_open_bandit(shared_data):
    folder = shared_data("open_bandit")
    rows = pd.read_parquet(folder / "random_all.parquet")
    rows = rows.merge(pd.read_csv(folder / "bts_all_action_dist.csv"), on=["item_id", "position"])
    ips, snips = estimate(
        rows["click"], rows["eval_prob"] / rows["propensity_score"], methods=["ips", "snips"]
    )
    assert ips.value == pytest.approx(0.00455288, abs=5e-9)
    assert ips.relative == pytest.approx(1.1981263, abs=5e-8)
    assert snips.value == pytest.approx(0.00477583, abs=5e-9)
    assert ips.effective_sample_size == pytest.approx(1639.5, abs=0.05)


def test_numbers_of_the_open_bandit_pipeline():
    """Those of obp 0.5.7 on the same rows (20 actions); it wants Python below 3.11 and torch, so it is not run here."""
    rng = np.random.default_rng(0)
    n, actions, at = 5000, 20, np.arange(5000)
    e = rng.dirichlet(np.ones(actions), n) * 0.7 + 0.3 / actions
    pi = rng.dirichlet(np.full(actions, 0.3), n)
    a = np.array([rng.choice(actions, p=row) for row in e])
    mean = rng.uniform(0.05, 0.6, (n, actions))
    r = (rng.random(n) < mean[at, a]).astype(float)
    mu = np.clip(mean + 0.1 * rng.normal(size=mean.shape), 0, 1)
    found = estimate(
        r, pi[at, a] / e[at, a], methods=ALL, predicted=mu[at, a], policy_predicted=(pi * mu).sum(axis=1), clip=10.0
    )  # fmt: skip
    assert {one.method: one.value for one in found} == pytest.approx(
        {
            "ips": 0.28803297491471896,
            "clipped_ips": 0.28147194555781035,
            "snips": 0.30039741164050376,
            "dm": 0.3276212879244523,
            "dr": 0.3071216422769273,
            "switch": 0.31514207557678275,
        },
        rel=1e-12,
    )


def test_empirical_bernstein_is_the_theorem():
    x = np.random.default_rng(0).random(50)
    log = math.log(2 / 0.025)
    radius = math.sqrt(2 * x.var(ddof=1) * log / 50) + 7 * log / (3 * 49)
    assert bernstein_radius(x.var(ddof=1), 50, 1.0, 0.95) == pytest.approx(radius)
    rho = np.minimum(4 * np.random.default_rng(1).random(50), 3.0)
    one = estimate(
        x, rho, methods="clipped_ips", clip=3.0, interval="empirical_bernstein", reward_range=(0.0, 1.0)
    )
    expected = bernstein_radius((x * rho).var(ddof=1), 50, 3.0, 0.95)
    assert one[0].upper - one[0].value == pytest.approx(expected)
    assert "no guarantee" not in one[0].message
    guessed = estimate(x, rho, methods="ips", interval="empirical_bernstein")[0]
    assert "range of rewards and importance weights from the data" in guessed.message


@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
def test_intervals_cover(interval):
    """About 95 % of the intervals hold the truth: 300 draws, so that 91 % to 98.5 % passes."""
    hits = dict.fromkeys(ALL, 0)
    rng = np.random.default_rng(5)
    n, e, pi, mean = 400, np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5]), np.array([0.2, 0.4, 0.6])
    for draw in range(300):
        a = rng.choice(3, n, p=e)
        r = (rng.random(n) < mean[a]).astype(float)
        found = estimate(
            r, (pi / e)[a], methods=ALL, predicted=np.full(n, 0.4), policy_predicted=np.full(n, 0.4),
            interval=interval, bootstrap=100, seed=draw, clip=10.0,
        )  # fmt: skip
        for one in found:
            hits[one.method] += one.lower <= pi @ mean <= one.upper
    hits.pop("dm")  # predictions are wrong here, and it believes them
    assert all(0.91 <= hit / 300 <= 0.985 for hit in hits.values()), hits


def test_all_faults_of_the_choice_at_once():
    with pytest.raises(DataError) as raised:
        estimate([1.0], [1.0], methods=["snip"], interval=["norm"], level=1.5, bootstrap=-1, baseline="x")
    text = str(raised.value)
    assert raised.match("5 faults in the data")
    for part in ("did you mean 'snips'?", "did you mean 'normal'?", "'level'", "'bootstrap'", "'baseline'"):
        assert part in text


def test_snips_has_no_bernstein_interval():
    with pytest.raises(DataError, match="'snips', which is no mean of independent terms"):
        estimate([1.0], [1.0], methods=["snips"], interval="empirical_bernstein")


def test_predictions_are_needed():
    with pytest.raises(DataError, match="given for the methods dm, dr and switch"):
        estimate([1.0, 2.0], [1.0, 1.0], methods=["dr"])
