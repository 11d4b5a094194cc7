from __future__ import annotations

import numpy as np
import pytest

from spark_uplift.checks.leakage import arm_prediction, outcome_leakage
from tests.unit.checks.build import CONFIG, checks_config, randomised, summarise


@pytest.fixture
def data():
    return randomised(4000, arms=("c", "t", "u"))


def status(check, data, values, y=None):
    summary = summarise(data.arm, data.y if y is None else y, {"f": list(values)})
    (result,) = check(summary, CONFIG)
    return result


def test_what_knows_nothing_of_the_arm_passes(data):
    assert status(arm_prediction, data, data.x).status == "pass"
    assert status(arm_prediction, data, data.colour).status == "pass"
    assert status(arm_prediction, data, [f"z{n}" for n in data.draw.integers(0, 50, 4000)]).status == "pass"


def test_a_price_of_the_treatment_fails(data):
    price = np.where(data.arm == "c", 0, data.draw.integers(1, 9, 4000))
    result = status(arm_prediction, data, price)
    assert (result.status, result.column_name) == ("fail", "f")
    assert result.value == pytest.approx(1.0)
    assert "tells 'c' from the rest with AUC 1.000" in result.message
    assert "describes the treatment itself or was made after the assignment" in result.message


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_value_that_is_missing_in_one_arm_more_often_fails(data, share):
    lost = (data.arm == "t") & (data.draw.random(4000) < share)
    assert status(arm_prediction, data, np.where(lost, np.nan, data.x)).status == "fail"


def test_a_u_shaped_link_fails(data):
    values = np.where(data.arm == "t", data.x, data.x * 0.1)
    assert status(arm_prediction, data, values).status == "fail"


def test_codes_that_belong_to_one_arm_each_fail_in_any_order(data):
    codes = (
        data.draw.integers(0, 20, 4000) * 3 + np.array([0, 1, 2])[np.searchsorted(["c", "t", "u"], data.arm)]
    )
    assert status(arm_prediction, data, codes).status == "fail"
    assert status(arm_prediction, data, [f"k{code}" for code in codes]).status == "fail"


def test_a_small_imbalance_passes_however_significant(data):
    big = randomised(40_000)
    slight = big.x + 0.15 * (big.arm == "t")
    result = status(arm_prediction, big, slight)
    assert result.status == "pass"
    assert 0.5 < result.value < 0.6


def test_few_rows_prove_nothing():
    small = randomised(30)
    assert status(arm_prediction, small, small.x).status == "pass"


def test_the_threshold_is_the_configured_one(data):
    values = data.x + 0.6 * (data.arm == "t")
    summary = summarise(data.arm, data.y, {"f": list(values)})
    (result,) = arm_prediction(summary, checks_config(arm_auc=0.9))
    assert result.status == "pass"


def test_relabelling_arms_and_reversing_a_feature_change_nothing(data):
    values = data.x + 0.6 * (data.arm == "t")
    one = status(arm_prediction, data, values)
    other = status(arm_prediction, data, -values)
    assert one.value == pytest.approx(other.value, abs=0.02)
    swapped = summarise(np.where(data.arm == "t", "z", data.arm), data.y, {"f": list(values)})
    assert next(arm_prediction(swapped, CONFIG)).value == pytest.approx(one.value)


def test_an_honest_predictor_of_the_outcome_passes(data):
    assert status(outcome_leakage, data, data.x).status == "pass"


def test_the_outcome_in_other_clothes_fails(data):
    result = status(outcome_leakage, data, data.y * 40 + data.draw.random(4000))
    assert result.status == "fail"
    assert "from the rest with AUC 0.99" in result.message


def test_a_strong_predictor_is_a_warning(data):
    y = (data.x + 0.5 * data.draw.normal(size=4000) > 0.0).astype(float)
    result = status(outcome_leakage, data, data.x, y)
    assert result.status == "warn"
    assert 0.9 < result.value < 0.95


def test_a_level_with_which_the_outcome_always_happens_fails(data):
    bought = np.where((data.y == 1) & (data.draw.random(4000) < 0.1), 1, 0)
    result = status(outcome_leakage, data, bought)
    assert result.status == "fail"
    assert "gives the outcome away" in result.message


def test_a_continuous_outcome_with_noise_is_recognised_by_its_variance(data):
    y = np.round(np.exp(data.x), 3)
    result = status(outcome_leakage, data, y + 0.01 * data.draw.normal(size=4000), y)
    assert result.status == "fail"


@pytest.mark.parametrize(
    ("members", "words"),
    [("all", "by group,"), ("treated", "by group in the treated arms"), ("control", "in the control")],
)
def test_the_mean_outcome_of_a_group_is_recognised(data, members, words):
    group = data.draw.integers(0, 40, 4000)
    used = {"all": np.ones(4000, bool), "treated": data.arm != "c", "control": data.arm == "c"}[members]
    means = np.array([data.y[used & (group == g)].mean() for g in range(40)])
    result = status(outcome_leakage, data, means[group])
    assert result.status == "fail"
    assert words in result.message
    assert "computed from these very rows" in result.message


def test_the_effect_in_a_group_is_recognised(data):
    group = data.draw.integers(0, 30, 4000)
    treated = data.arm != "c"
    effect = np.array(
        [data.y[treated & (group == g)].mean() - data.y[~treated & (group == g)].mean() for g in range(30)]
    )
    result = status(outcome_leakage, data, effect[group])
    assert "treated minus control" in result.message


def test_a_group_mean_from_before_the_experiment_passes(data):
    group = data.draw.integers(0, 40, 4000)
    rate = data.draw.uniform(0.1, 0.6, 40)
    y = (data.draw.random(4000) < rate[group]).astype(float)
    assert status(outcome_leakage, data, rate[group], y).status == "pass"
