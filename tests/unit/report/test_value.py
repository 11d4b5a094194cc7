from __future__ import annotations

import dataclasses

import pytest

from spark_uplift.report import ReportInputs
from spark_uplift.report.format import Scale
from spark_uplift.report.value import main_method, main_rows, policy_name, signed_percent, value_view
from tests.unit.report import samples, samples_decided

SCALE = Scale(name="mdvis", kind="continuous", unit="visits", level=0.95)


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return samples_decided.everything(n=3000)


def test_without_values_there_is_no_section() -> None:
    assert value_view(samples.conversions(n=3000), SCALE) is None


def test_the_lead_sets_the_model_against_single_arms_and_what_was_done(inputs: ReportInputs) -> None:
    view = value_view(inputs, SCALE)
    assert view is not None
    assert view["lead"] == [
        "Had this model decided for everybody, there would have been 3,310 (3,220 to 3,400) visits per 1,000 units; "
        "with “free care” for everybody, the best single arm, 3,150 (3,080 to 3,220); "
        "as it was logged, 2,610 (2,580 to 2,640).",
        "Against “everybody: free care”, on the same rows: +160 (97 to 223) per 1,000 units; the model is better.",
    ]
    assert view["main"] == "doubly robust"


def test_a_difference_that_may_be_nothing_is_not_called_better(inputs: ReportInputs) -> None:
    rows = [{**row, "difference_lower": -0.1} for row in inputs.policy_value]
    view = value_view(dataclasses.replace(inputs, policy_value=rows), SCALE)
    assert view is not None
    assert "not shown to be better" in view["lead"][1]


def test_one_line_a_policy_method_and_interval(inputs: ReportInputs) -> None:
    view = value_view(inputs, SCALE)
    assert view is not None
    assert len(view["lines"]) == 6 * 3 + 1
    first = view["lines"][0]
    assert (first["policy"], first["method"], first["kind"]) == ("this model", "doubly robust", "normal")
    assert first["relative"].replace("\u202f", " ") == "+26.8 %"
    assert [name for name, _ in view["methods"]] == ["doubly robust", "SNIPS", "mean"]
    assert all(formula for _, formula in view["methods"])


def test_the_method_that_values_most_policies_is_shown(inputs: ReportInputs) -> None:
    some = [row for row in inputs.policy_value if row["method"] != "dr" or row["policy"] == "model"]
    assert main_method(some) == "snips"
    assert {row["method"] for row in main_rows(some)} == {"snips", "mean"}
    assert main_rows([]) == []
    assert main_method([{**row, "method": "brand_new"} for row in some]) == "brand_new"


def test_names_of_policies() -> None:
    names = [policy_name(policy) for policy in ("model", "tree", "all:a", "only:a", "logged", "other")]
    assert names == ["this model", "policy tree", "everybody: a", "a alone", "as logged", "other"]


def test_changes_have_a_sign() -> None:
    assert [signed_percent(share).replace("\u202f", " ") for share in (0.2, -0.2, 0.0)] == [
        "+20.0 %",
        "−20.0 %",
        "0.0 %",
    ]


def test_costs_and_net_values_are_shown_where_there_are_costs(inputs: ReportInputs) -> None:
    rows = [{**row, "cost": 0.03, "net": 1.2} for row in inputs.policy_value]
    view = value_view(dataclasses.replace(inputs, policy_value=rows), SCALE)
    assert view is not None
    assert (view["money"], view["lines"][0]["cost"], view["lines"][0]["net"]) == ("EUR", "30", "1,200")
    view = value_view(inputs, SCALE)
    assert view is not None
    assert view["money"] == ""
