"""Curves, and the policy and logged views of several arms."""

from __future__ import annotations

import numpy as np
import pytest

from spark_uplift.errors import DataError
from spark_uplift.metrics import Pair, Rows, curve_from_rows, policy_from_rows, score
from spark_uplift.metrics.curves import merge_points
from tests.unit.metrics.data import experiment


def three_arms(seed=0, n=600):
    rng = np.random.default_rng(seed)
    arm = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    effects = np.round(rng.normal(size=(n, 2)), 1)
    effects[:, 1] += 0.011
    y = 1 + rng.normal(size=n) + np.where(arm == 1, effects[:, 0], 0) + np.where(arm == 2, effects[:, 1], 0)
    return y, arm, effects


def test_ties_form_one_point():
    rows = Rows.of(y=[1, 2, 3, 4], arm=[1, 0, 1, 0])
    curve = curve_from_rows(rows, [5, 7, 5, 5])
    assert curve.low.tolist() == [7, 5]
    assert curve.stats[1, 1].tolist() == [2, 2, 4, 10, 2]
    assert curve.mass.tolist() == [1, 3]


def test_merged_points_add_up():
    y, t, s = experiment()
    curve = curve_from_rows(Rows.of(y=y, arm=t), s)
    merged = merge_points(curve, [0, 10, 200])
    assert merged.stats.sum(axis=0) == pytest.approx(curve.stats.sum(axis=0))
    assert merged.high[0] == s.max()
    assert merged.low[-1] == s.min()
    assert not merged.exact


def test_the_policy_of_one_arm_is_that_arm():
    y, t, s = experiment()
    rows = Rows.of(y=y, arm=t)
    one, policy = Pair.of(curve_from_rows(rows, s)), Pair.of(policy_from_rows(rows, s[:, None]))
    assert policy.gain == pytest.approx(one.gain)
    assert score("autoc", y=y, arm=t, score=s[:, None]) == pytest.approx(score("autoc", y=y, arm=t, score=s))


def test_the_policy_view_weighs_matched_rows_by_one_over_the_arms_share():
    y, arm, effects = three_arms()
    pair = Pair.of(policy_from_rows(Rows.of(y=y, arm=arm), effects))
    best = effects.argmax(axis=1) + 1
    share = np.bincount(arm) / len(arm)
    gained = np.where(arm == best, y / share[arm], 0) - np.where(arm == 0, y / share[0], 0)
    assert pair.ate == pytest.approx(gained.mean())
    top = effects.max(axis=1) >= pair.low[9]
    assert pair.gain[:10].sum() == pytest.approx(gained[top].sum())


def test_constant_logged_propensities_agree_with_the_shares_in_the_policy_view():
    y, arm, effects = three_arms()
    share = np.bincount(arm) / len(arm)
    plain = score("autoc", y=y, arm=arm, score=effects)
    assert score("autoc", y=y, arm=arm, score=effects, propensity=share[arm]) == pytest.approx(plain)


def test_a_column_of_the_effects_is_taken_for_one_treatment():
    y, arm, effects = three_arms()
    one = score("qini", y=y, arm=arm, score=effects[:, 1], treatment=2)
    assert score("qini", y=y, arm=arm, score=effects, treatment=2) == one


BAD = {
    "no control rows": ({"arm": [1, 1, 1, 1]}, "no control rows: no value of 'arm' equals 0"),
    "no treated rows": ({"arm": [0, 0, 0, 0]}, "no treated rows"),
    "NaN outcome": ({"y": [1, 2, np.nan, 0]}, "'y' has 1 values that are NaN or infinite"),
    "negative weight": ({"weight": [1, -2, 1, 1]}, "'weight' has negative values, the least is -2"),
    "zero propensity": ({"propensity": [0.5, 0, 1, 1]}, r"'propensity' has values outside \(0, 1\]"),
    "length": ({"y": [1, 2]}, r"'y' must have one value a row, shape \(4,\). Got shape \(2,\)"),
    "NaN score": ({"score": [1, np.nan, 0, 2]}, "'score' has 1 values that are NaN"),
    "score shape": ({"score": [1, 2]}, r"'score' must have shape \(4,\). Got shape \(2,\)"),
    "unknown arm": ({"treatment": "sms"}, r"Unknown treatment 'sms'. Treatments in the data: \[1\]"),
    "several arms": ({"arm": [0, 1, 2, 0]}, "2 treatments and one score. Hint: pass treatment="),
}


@pytest.mark.parametrize("case", BAD)
def test_unusable_rows_are_refused(case):
    changed, message = BAD[case]
    given = {"y": [1, 0, 1, 0], "arm": [0, 1, 0, 1], "score": [1, 2, 3, 4], **changed}
    with pytest.raises(DataError, match=message):
        score("qini", **given)


def test_all_faults_come_at_once():
    with pytest.raises(DataError, match="2 faults in the data") as caught:
        score("qini", y=[1, np.inf], arm=[0, 1], score=[1, 2], weight=[-1, 1])
    assert len(caught.value.faults) == 2
