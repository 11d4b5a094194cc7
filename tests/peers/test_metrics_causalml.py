"""Style "causalml" against CausalML itself."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from spark_uplift.metrics import score
from tests.unit.metrics.data import experiment

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its dependencies, on import
    pytest.importorskip("causalml", reason="causalml is missing: these tests run in the peers' environment")
    from causalml.metrics import auuc_score, qini_score, rate_score

pytestmark = pytest.mark.filterwarnings("ignore")  # it warns of its own dependencies
SEEDS = pytest.mark.parametrize("seed", range(6))
SIZES = pytest.mark.parametrize("n", [40, 500, 4000])


def theirs(function, y, t, s, **more):
    frame = pd.DataFrame({"y": y, "w": t, "model": s})
    return float(function(frame, outcome_col="y", treatment_col="w", **more)["model"])


@SEEDS
@SIZES
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.85])
def test_areas_without_ties(seed, n, binary, share):
    y, t, s = experiment(seed, n, binary=binary, share=share)
    for name, function in (("auuc", auuc_score), ("qini", qini_score)):
        for suffix, normalize in (("", True), ("_raw", False)):
            ours = score(name + suffix, style="causalml", y=y, arm=t, score=s)
            expected = theirs(function, y, t, s, normalize=normalize)
            if not np.isfinite(expected):  # normalised by an average effect of 0
                assert np.isnan(ours)
            else:
                assert ours == pytest.approx(expected, rel=1e-9, abs=1e-11), name + suffix


@SEEDS
@SIZES
@pytest.mark.parametrize("binary", [True, False])
def test_rate_without_ties(seed, n, binary):
    y, t, s = experiment(seed, n, binary=binary)
    for weighting in ("autoc", "qini"):
        ours = score(f"rate_{weighting}", style="causalml", y=y, arm=t, score=s)
        assert ours == pytest.approx(theirs(rate_score, y, t, s, weighting=weighting), rel=1e-9, abs=1e-11)


@SEEDS
@pytest.mark.parametrize("name, function", [("auuc", auuc_score), ("qini", qini_score)])
def test_with_ties_ours_is_the_mean_over_their_random_orders(seed, name, function):
    y, t, s = experiment(seed, 500, ties=True)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(100):
        order = rng.permutation(len(y))
        broken = s[order] + 1e-9 * rng.random(len(y))
        drawn.append(theirs(function, y[order], t[order], broken))
    ours = score(name, style="causalml", y=y, arm=t, score=s)
    assert ours == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / 10 + 0.01 * abs(np.mean(drawn)))


@SEEDS
@pytest.mark.parametrize("share", [0.03, 0.97])
def test_areas_of_very_unequal_arms(seed, share):
    y, t, s = experiment(seed, 3000, binary=False, share=share)
    for name, function in (("auuc", auuc_score), ("qini", qini_score)):
        ours = score(f"{name}_raw", style="causalml", y=y, arm=t, score=s)
        assert ours == pytest.approx(theirs(function, y, t, s, normalize=False), rel=1e-9, abs=1e-11), name


@pytest.mark.parametrize("function", [auuc_score, qini_score, rate_score])
def test_the_order_of_tied_rows_changes_their_numbers_and_not_ours(function):
    y, t, s = experiment(0, 500, ties=True)
    name = {auuc_score: "auuc", qini_score: "qini", rate_score: "rate_autoc"}[function]
    found = set()
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(500)
        found.add(round(theirs(function, y[order], t[order], s[order]), 9))
        ours = score(name, style="causalml", y=y[order], arm=t[order], score=s[order])
        assert ours == pytest.approx(score(name, style="causalml", y=y, arm=t, score=s), rel=1e-12)
    assert len(found) > 1


@pytest.mark.parametrize("outcome", ["visit", "spend"])
def test_a_real_experiment(hillstrom, outcome):
    y, t, s = hillstrom(outcome, "history", ties=False)
    for name, function in (("auuc", auuc_score), ("qini", qini_score)):
        ours = score(f"{name}_raw", style="causalml", y=y, arm=t, score=s)
        assert ours == pytest.approx(theirs(function, y, t, s, normalize=False), rel=1e-9), name
    for weighting in ("autoc", "qini"):
        ours = score(f"rate_{weighting}", style="causalml", y=y, arm=t, score=s)
        assert ours == pytest.approx(theirs(rate_score, y, t, s, weighting=weighting), rel=1e-9), weighting
