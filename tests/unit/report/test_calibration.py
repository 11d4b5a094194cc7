from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from spark_uplift.report import ReportInputs
from spark_uplift.report.calibration import belongs, calibration_view
from spark_uplift.report.findings import with_policy_named
from spark_uplift.report.metrics_table import metrics_view
from tests.unit.report import samples, samples_decided


def reading(slope: float, lower: float | None, upper: float | None) -> str:
    inputs = samples.conversions(n=3000)
    row = {**samples_decided.calibration_metrics()[0], "arm": "e-mail"}
    metrics = [{**row, "value": slope, "lower": lower, "upper": upper}]
    view = calibration_view(with_policy_named(dataclasses.replace(inputs, evaluation_metrics=metrics)))
    assert view is not None
    return str(view["readings"][0]["text"])


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ((0.8, 1.2), "about as large as predicted"),
        ((0.3, 0.7), "smaller than predicted"),
        ((1.2, 1.9), "larger than predicted"),
        ((-0.2, 0.7), "it is not shown"),
        ((-0.9, -0.1), "do not use"),
        ((None, None), "without an interval"),
    ],
)
def test_the_slope_s_interval_is_put_in_words(interval: Any, words: str) -> None:
    lower, upper = interval
    middle = 0.5 if lower is None else (lower + upper) / 2
    assert words in reading(middle, lower, upper)


def test_its_metrics_stand_in_this_section_alone() -> None:
    inputs = with_policy_named(samples_decided.everything(n=3000))
    view = calibration_view(inputs)
    assert view is not None
    here = {line["metric"] for line in view["metrics"]["lines"]}
    assert here == {"calibration slope", "calibration R²", "heterogeneity"}
    elsewhere = metrics_view(inputs, lambda name: not belongs(name))
    assert not here & {line["metric"] for line in elsewhere["lines"]}


def test_without_predictions_there_is_no_section() -> None:
    assert calibration_view(ReportInputs(experiment=[])) is None
    inputs = samples.conversions(n=3000)
    table = [{**row, "predicted": None} for row in inputs.uplift_table]
    assert calibration_view(dataclasses.replace(inputs, uplift_table=table)) is None


def test_the_test_of_heterogeneity_is_told_with_its_p_value() -> None:
    inputs = with_policy_named(samples_decided.everything(n=3000))
    rows = [{**row, "p_value": 0.004} for row in inputs.evaluation_metrics]
    view = calibration_view(dataclasses.replace(inputs, evaluation_metrics=rows))
    assert view is not None
    assert view["readings"][0]["text"].endswith("Test that effects do not differ at all: p = 0.004.")
    assert view["metrics"]["lines"][0]["cells"][0]["p"] == "= 0.004"
