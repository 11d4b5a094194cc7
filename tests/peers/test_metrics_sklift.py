"""Style "sklift" against scikit-uplift itself."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from spark_uplift.metrics import score
from tests.unit.metrics.data import experiment

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its dependencies, on import
    pytest.importorskip("sklift", reason="scikit-uplift is missing; run in the peers' environment")
    from sklift.metrics import qini_auc_score, uplift_at_k, uplift_auc_score, weighted_average_uplift

pytestmark = pytest.mark.filterwarnings("ignore")  # it uses deprecated helpers of scikit-learn
SEEDS = pytest.mark.parametrize("seed", range(6))
SIZES = pytest.mark.parametrize("n", [37, 500, 4000])


@SEEDS
@SIZES
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
def test_areas(seed, n, ties, share):
    y, t, s = experiment(seed, n, ties=ties, share=share)
    for name, theirs in (("qini", qini_auc_score), ("auuc", uplift_auc_score)):
        ours = score(name, style="sklift", y=y, arm=t, score=s)
        assert ours == pytest.approx(theirs(y, s, t), rel=1e-9, abs=1e-12), name


@SEEDS
@SIZES
@pytest.mark.parametrize("k", [0.1, 0.29, 0.3, 0.77])
@pytest.mark.parametrize("strategy", ["overall", "by_group"])
def test_uplift_at_k_without_ties(seed, n, k, strategy):
    y, t, s = experiment(seed, n)
    theirs = uplift_at_k(y, s, t, strategy=strategy, k=k)
    ours = score("uplift_at_k", style="sklift", y=y, arm=t, score=s, k=k, strategy=strategy)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12, nan_ok=True)


@SEEDS
@SIZES
def test_weighted_average_uplift_without_ties(seed, n):
    y, t, s = experiment(seed, n)
    theirs = weighted_average_uplift(y, s, t, strategy="overall", bins=10)
    ours = score("weighted_average_uplift", style="sklift", y=y, arm=t, score=s)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12, nan_ok=True)


@SEEDS
def test_with_ties_uplift_at_k_lies_within_what_their_order_of_rows_gives(seed):
    y, t, s = experiment(seed, 500, ties=True)
    rng = np.random.default_rng(seed)
    theirs = []
    for _ in range(200):
        order = rng.permutation(len(y))
        theirs.append(uplift_at_k(y[order], s[order], t[order], strategy="overall", k=0.3))
    ours = score("uplift_at_30", style="sklift", y=y, arm=t, score=s)
    assert ours == pytest.approx(np.mean(theirs), abs=4 * np.std(theirs) / np.sqrt(200) + 1e-3)
