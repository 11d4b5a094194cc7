from __future__ import annotations

import pytest

from spark_uplift.report.findings import POLICY_NAME, arm_names, findings, with_policy_named
from spark_uplift.report.format import Estimate
from spark_uplift.report.inputs import ReportInputs
from tests.unit.report import samples


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return with_policy_named(samples.visits(n=6000))


def test_findings_follow_the_tables(inputs: ReportInputs) -> None:
    found = findings(inputs)
    assert (
        [f.arm for f in found]
        == [POLICY_NAME, "25 % coinsurance", "50 % coinsurance", "free care"]
        == arm_names(inputs)
    )
    last = [row for row in inputs.uplift_table if row["arm"] == "free care"][-1]
    free = found[3]
    assert free.everybody == Estimate(
        last["cumulative_uplift"], last["cumulative_lower"], last["cumulative_upper"]
    )
    assert free.top is not None
    assert free.top.share == pytest.approx(0.3)
    assert free.n_control == sum(row["n_control"] for row in inputs.uplift_table if row["arm"] == "free care")
    assert free.mean_treated is not None
    assert free.mean_control is not None
    assert free.mean_treated - free.mean_control == pytest.approx(free.everybody.value, abs=0.02)


def test_the_grf_style_decides_when_several_styles_have_the_metric(inputs: ReportInputs) -> None:
    row = next(r for r in inputs.evaluation_metrics if r["metric"] == "autoc")
    other = {**row, "style": "causalml", "value": 99.0}
    both = ReportInputs(experiment=inputs.experiment, evaluation_metrics=[other, row])
    assert findings(both)[0].autoc.value == row["value"]


def test_without_an_uplift_table_the_average_effect_comes_from_the_metrics(inputs: ReportInputs) -> None:
    row = next(r for r in inputs.evaluation_metrics if r["metric"] == "autoc")
    ate = {**row, "metric": "ate", "value": 0.5, "lower": 0.4, "upper": 0.6}
    found = findings(ReportInputs(experiment=inputs.experiment, evaluation_metrics=[row, ate]))
    assert found[0].everybody == Estimate(0.5, 0.4, 0.6)
    assert found[0].top is None


def test_the_policy_of_a_single_arm_is_left_out() -> None:
    inputs = with_policy_named(samples.conversions(n=3000))
    assert arm_names(inputs) == ["e-mail"]
