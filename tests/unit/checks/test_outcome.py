from __future__ import annotations

import numpy as np
import pytest

from spark_uplift.checks.outcome import null_outcome, outcome_kind, outcome_variation
from tests.unit.checks.build import CONFIG, randomised, summarise


def only(results):
    (result,) = results
    return result


def test_outcomes_lost_at_random_pass():
    data = randomised()
    y = np.where(data.draw.random(2000) < 0.1, np.nan, data.y)
    result = only(null_outcome(summarise(data.arm, y), CONFIG))
    assert result.status == "pass"
    assert "rows have no usable outcome" in result.message


def test_outcomes_lost_in_one_arm_fail():
    data = randomised()
    y = np.where((data.arm == "t") & (data.draw.random(2000) < 0.2), np.nan, data.y)
    result = only(null_outcome(summarise(data.arm, y), CONFIG))
    assert result.status == "fail"
    assert "a loss that depends on the arm" in result.message
    assert result.value == pytest.approx(0.2, abs=0.04)


def test_no_outcome_at_all_fails():
    result = only(null_outcome(summarise(["c", "t"], [np.nan, np.nan]), CONFIG))
    assert result.status == "fail"
    assert "no usable value" in result.message


def test_no_variation_fails_and_shows_the_value():
    result = only(outcome_variation(summarise(["c", "t", "t"], [3.0, 3.0, 3.0]), CONFIG))
    assert result.status == "fail"
    assert "no variation: every outcome is 3" in result.message


def test_no_variation_in_one_arm_is_a_warning():
    result = only(outcome_variation(summarise(["c", "c", "t", "t"], [0, 0, 0, 1]), CONFIG))
    assert result.status == "warn"
    assert "'c'" in result.message


@pytest.mark.parametrize(
    ("y", "kind"),
    [([0, 1, 1, 0], "binary"), ([0, 1, 7, 0], "whole-numbered"), ([0.5, 1, 2, 0], "continuous")],
)
def test_outcome_kind_is_named(y, kind):
    result = only(outcome_kind(summarise(["c", "c", "t", "t"], y), CONFIG))
    assert result.status == "pass"
    assert f"is {kind}," in result.message


def test_two_values_other_than_0_and_1_are_a_warning():
    result = only(outcome_kind(summarise(["c", "c", "t", "t"], [1, 2, 2, 1]), CONFIG))
    assert result.status == "warn"
    assert "two values, 1 and 2" in result.message


def test_total_mean_and_variance_are_those_of_the_rows():
    data = randomised(arms=("c", "t", "u"))
    y = data.x * 3 + 100
    summary = summarise(data.arm, y)
    assert summary.outcome_mean == pytest.approx(y.mean())
    assert summary.outcome_variance == pytest.approx(y.var())
