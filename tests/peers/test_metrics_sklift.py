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


@SEEDS
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_areas_with_two_scores_only_and_very_unequal_arms(seed, share):
    y, t, s = experiment(seed, 3000, share=share)
    s = (s > 0.6).astype(float)
    for name, theirs in (("qini", qini_auc_score), ("auuc", uplift_auc_score)):
        ours = score(name, style="sklift", y=y, arm=t, score=s)
        assert ours == pytest.approx(theirs(y, s, t), rel=1e-9, abs=1e-12), name


@SEEDS
@pytest.mark.parametrize("ties", [False, True])
def test_whole_weights_are_rows_given_so_often(seed, ties):
    # scikit-uplift has no weights; it gets each row as often as its weight says.
    y, t, s = experiment(seed, 800, ties=ties)
    copies = np.random.default_rng(seed).integers(0, 5, 800)
    repeated = [np.repeat(values, copies) for values in (y, s, t)]
    for name, theirs in (("qini", qini_auc_score), ("auuc", uplift_auc_score)):
        ours = score(name, style="sklift", y=y, arm=t, score=s, weight=copies)
        assert ours == pytest.approx(theirs(*repeated), rel=1e-9, abs=1e-12), name


def test_the_order_of_tied_rows_changes_their_uplift_at_k_and_not_ours():
    y, t, s = experiment(0, 500, ties=True)
    found = set()
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(500)
        found.add(round(uplift_at_k(y[order], s[order], t[order], strategy="overall", k=0.3), 9))
        ours = score("uplift_at_30", style="sklift", y=y[order], arm=t[order], score=s[order])
        assert ours == pytest.approx(score("uplift_at_30", style="sklift", y=y, arm=t, score=s), rel=1e-12)
    assert len(found) > 1


@pytest.mark.parametrize("outcome", ["visit", "conversion"])
@pytest.mark.parametrize("scored", ["history", "recency", "newbie"])  # 34,833, 12 and 2 different values
def test_areas_of_a_real_experiment(hillstrom, outcome, scored):
    y, t, s = hillstrom(outcome, scored)
    for name, theirs in (("qini", qini_auc_score), ("auuc", uplift_auc_score)):
        ours = score(name, style="sklift", y=y, arm=t, score=s)
        assert ours == pytest.approx(theirs(y, s, t), rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("outcome", ["visit", "conversion"])
def test_shares_of_a_real_experiment(hillstrom, outcome):
    y, t, s = hillstrom(outcome, "history", ties=False)
    for k in (0.1, 0.3, 0.55):
        for strategy in ("overall", "by_group"):
            theirs = uplift_at_k(y, s, t, strategy=strategy, k=k)
            ours = score("uplift_at_k", style="sklift", y=y, arm=t, score=s, k=k, strategy=strategy)
            assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)
