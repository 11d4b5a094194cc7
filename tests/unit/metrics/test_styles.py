"""The styles against their slow twins."""

from __future__ import annotations

import numpy as np
import pytest

from spark_uplift.metrics import score
from tests.oracles import metrics as slow
from tests.unit.metrics.data import experiment

SEEDS = pytest.mark.parametrize("seed", range(4))
TIES = pytest.mark.parametrize("ties", [False, True])


@SEEDS
@TIES
@pytest.mark.parametrize("binary", [True, False])
def test_rate_is_the_mean_of_toc_over_rows(seed, ties, binary):
    y, t, s = experiment(seed, ties=ties, binary=binary, share=0.7)
    assert score("autoc", y=y, arm=t, score=s) == pytest.approx(slow.autoc(y, t, s), rel=1e-10)
    assert score("qini", y=y, arm=t, score=s) == pytest.approx(slow.rate_qini(y, t, s), rel=1e-10)


@SEEDS
@TIES
def test_rate_with_weights_and_logged_propensities(seed, ties):
    y, t, s = experiment(seed, ties=ties)
    rng = np.random.default_rng(seed)
    w, p = rng.uniform(0.2, 3, len(y)), rng.uniform(0.2, 0.8, len(y))
    got = score("autoc", y=y, arm=t, score=s, weight=w)
    assert got == pytest.approx(slow.autoc(y, t, s, w), rel=1e-10)
    got = score("qini", y=y, arm=t, score=s, weight=w, propensity=p)
    assert got == pytest.approx(slow.rate_qini(y, t, s, w, p), rel=1e-10)


@SEEDS
@TIES
@pytest.mark.parametrize("name", ["qini", "auuc"])
def test_sklift(seed, ties, name):
    y, t, s = experiment(seed, ties=ties, share=0.3 + 0.1 * seed)
    assert score(name, y=y, arm=t, score=s, style="sklift") == pytest.approx(
        slow.sklift(y, t, s, name), rel=1e-10
    )


@SEEDS
@pytest.mark.parametrize("k", [0.1, 0.29, 0.5])
def test_uplift_at_k(seed, k):
    y, t, s = experiment(seed)
    got = score("uplift_at_k", y=y, arm=t, score=s, style="sklift", k=k)
    assert got == pytest.approx(slow.uplift_at(y, t, s, k), rel=1e-10)


def test_a_tie_at_the_cut_is_entered_in_part():
    y, t, s = np.array([1, 0, 1, 1, 0, 0.0]), np.array([1, 0, 1, 0, 1, 0]), np.array([9, 9, 5, 5, 5, 5.0])
    # Half of six rows: the top two, and a quarter of the four tied ones.
    expected = (1 + 0.25 * 1) / (1 + 0.25 * 2) - (0 + 0.25 * 1) / (1 + 0.25 * 2)
    assert score("uplift_at_50", y=y, arm=t, score=s, style="sklift") == pytest.approx(expected)


@SEEDS
@pytest.mark.parametrize("name", ["qini", "auuc"])
@pytest.mark.parametrize("binary", [True, False])
def test_causalml(seed, name, binary):
    y, t, s = experiment(seed, binary=binary)
    got = score(f"{name}_raw", y=y, arm=t, score=s, style="causalml")
    assert got == pytest.approx(slow.causalml_raw(y, t, s, name), rel=1e-9)


@SEEDS
@TIES
@pytest.mark.parametrize("name", ["qini", "auuc"])
def test_ydf(seed, ties, name):
    y, t, s = experiment(seed, ties=ties)
    assert score(name, y=y, arm=t, score=s, style="ydf") == pytest.approx(slow.ydf(y, t, s, name), rel=1e-10)


@SEEDS
@TIES
def test_ydfs_qini_is_grfs(seed, ties):
    y, t, s = experiment(seed, ties=ties)
    assert score("qini", y=y, arm=t, score=s, style="ydf") == pytest.approx(
        score("qini", y=y, arm=t, score=s), abs=1e-14
    )


@SEEDS
def test_h2os_qini_is_causalmls_without_ties(seed):
    y, t, s = experiment(seed)
    ours = score("qini_raw", y=y, arm=t, score=s, style="causalml")
    assert score("aecu_qini", y=y, arm=t, score=s, style="h2o") == pytest.approx(ours, rel=1e-9)
