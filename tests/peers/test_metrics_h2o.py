"""Style "h2o" against H2O itself, in a server of its own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spark_uplift.metrics import score
from tests.unit.metrics.data import experiment

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]
KINDS = pytest.mark.parametrize("kind", ["qini", "gain", "lift"])


@pytest.fixture
def theirs(h2o_server):
    """Return a function of the rows that gives H2O's AUUC, normalised AUUC and AECU."""

    def compute(y, t, s, kind, weights=None, thresholds=None, bins=-1):
        columns = {"p": s, "y": y.astype(int), "t": t, "w": np.ones(len(y)) if weights is None else weights}
        frame = h2o_server.H2OFrame(pd.DataFrame(columns))
        for name in "yt":
            frame[name] = frame[name].asfactor()
        found = h2o_server.make_metrics(
            frame["p"],
            frame["y"],
            treatment=frame["t"],
            weights=None if weights is None else frame["w"],
            auuc_type=kind,
            auuc_nbins=bins,
            custom_auuc_thresholds=thresholds,
        )
        areas = {f"auuc_{kind}": found.auuc(kind), f"aecu_{kind}": found.aecu(kind)}
        if kind != "lift":
            areas[f"auuc_{kind}_normalized"] = found.auuc_normalized(kind)
        h2o_server.remove(frame)
        return areas

    return compute


def ours(y, t, s, kind):
    names = [f"auuc_{kind}", f"aecu_{kind}", *([] if kind == "lift" else [f"auuc_{kind}_normalized"])]
    return {name: score(name, style="h2o", y=y, arm=t, score=s) for name in names}


@KINDS
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n, share", [(400, 0.5), (1000, 0.15), (1000, 0.9)])
def test_areas_of_up_to_a_thousand_scores(theirs, kind, seed, n, share):
    rows = experiment(seed, n, share=share)
    assert ours(*rows, kind) == pytest.approx(theirs(*rows, kind), rel=1e-9)


@KINDS
@pytest.mark.parametrize("seed", range(3))
def test_ties_with_their_scores_as_thresholds(theirs, kind, seed):
    rows = experiment(seed, 3000, ties=True)
    thresholds = sorted(set(rows[2].tolist()), reverse=True)
    assert ours(*rows, kind) == pytest.approx(theirs(*rows, kind, thresholds=thresholds), rel=1e-9)


def test_by_themselves_they_take_quantiles_and_are_near(theirs):
    rows = experiment(0, 4000, ties=True)
    own, found = ours(*rows, "qini"), theirs(*rows, "qini")
    assert own != pytest.approx(found, rel=1e-9)  # thresholds between tied scores, which nobody has
    assert own == pytest.approx(found, rel=1e-3)
    coarse = theirs(*experiment(0, 400), "qini", bins=10)
    assert coarse["aecu_qini"] != pytest.approx(ours(*experiment(0, 400), "qini")["aecu_qini"], rel=0.01)


def test_they_ignore_weights_and_we_do_not(theirs):
    y, t, s = experiment(0, 400)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, 400)
    assert theirs(y, t, s, "qini", weights=weights) == theirs(y, t, s, "qini")
    weighted = score("auuc_qini", style="h2o", y=y, arm=t, score=s, weight=weights)
    assert weighted != pytest.approx(theirs(y, t, s, "qini")["auuc_qini"], rel=1e-3)


@KINDS
def test_a_real_experiment(theirs, hillstrom, kind):
    rows = hillstrom("visit", "recency")
    thresholds = sorted(set(rows[2].tolist()), reverse=True)
    assert ours(*rows, kind) == pytest.approx(theirs(*rows, kind, thresholds=thresholds), rel=1e-9)
