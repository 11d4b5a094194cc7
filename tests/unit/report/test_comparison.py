from __future__ import annotations

import dataclasses

import pytest

from spark_uplift.report import ReportInputs
from spark_uplift.report.comparison import comparison_view
from spark_uplift.report.findings import with_policy_named
from tests.unit.report import samples, samples_decided


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return with_policy_named(samples_decided.everything(n=3000))


def changed(inputs: ReportInputs, **values: object) -> ReportInputs:
    """The comparison's first row alone, with other values."""
    return dataclasses.replace(inputs, model_comparison=[{**inputs.model_comparison[0], **values}])


def test_without_a_comparison_there_is_no_section() -> None:
    assert comparison_view(samples.conversions(n=3000)) is None


def test_the_lead_is_the_policy_s_autoc(inputs: ReportInputs) -> None:
    view = comparison_view(inputs)
    assert view is not None
    assert view["lead"].replace("\u202f", " ") == (
        f"This model ranks better than “{samples_decided.OTHER}”: AUTOC for best arm for each unit differs by "
        "+0.120 (95 % interval 0.040 to 0.200, p < 0.001)."
    )
    assert [line["metric"] for line in view["lines"]] == ["AUTOC"] * 4 + ["QINI"] * 4
    assert view["lines"][0]["reading"] == "this model better"
    assert view["lines"][1]["reading"] == "not told apart"


@pytest.mark.parametrize(
    ("lower", "upper", "words"),
    [
        (0.01, 0.2, "ranks better than"),
        (-0.2, -0.01, "ranks worse than"),
        (-0.1, 0.1, "do not tell this model and"),
        (None, None, "neither is shown to be better"),
    ],
)
def test_the_interval_decides(
    inputs: ReportInputs, lower: float | None, upper: float | None, words: str
) -> None:
    view = comparison_view(changed(inputs, lower=lower, upper=upper, difference=0.05))
    assert view is not None
    assert words in view["lead"]


def test_the_method_of_the_interval_is_named(inputs: ReportInputs) -> None:
    view = comparison_view(inputs)
    assert view is not None
    assert "200 bootstrap replicates" in view["note"]
    assert "paired" in view["note"]
    assert "by luck" in view["note"]
