from __future__ import annotations

import dataclasses

import pytest

from spark_uplift.report import ReportInputs
from spark_uplift.report.decided import decided_view
from tests.unit.report import samples, samples_decided


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return samples_decided.everything(n=3000)


def test_without_decisions_there_is_no_section() -> None:
    assert decided_view(samples.conversions(n=3000)) is None


def test_spend_and_expectation_come_first(inputs: ReportInputs) -> None:
    view = decided_view(inputs)
    assert view is not None
    assert view["lead"].replace("\u202f", " ") == (
        "Spend 960,000 EUR, expect +2,687,000 EUR (95 % interval 2,410,000 to 2,964,000): 100,000 units decided, "
        "+1,727,000 EUR net of cost."
    )
    assert [line["arm"] for line in view["arms"]] == [
        "50 % coinsurance",
        "free care",
        "25 % coinsurance",
        "control",
    ]
    assert view["total"]["n"] == "100,000"


def test_where_the_expectation_comes_from_is_told(inputs: ReportInputs) -> None:
    rows = [{**row, "predicted": 1.1 * row["gain"], "basis": "holdout"} for row in inputs.decision_summary]
    view = decided_view(dataclasses.replace(inputs, decision_summary=rows))
    assert view is not None
    assert view["basis"] == (
        "The expectation is what units with such scores gained in the evaluation; "
        "the model itself predicts +2,955,700 EUR."
    )
    assert view["total"]["predicted"] == "+2,955,700"
    rows = [{**row, "predicted": row["gain"], "basis": "scores"} for row in inputs.decision_summary]
    view = decided_view(dataclasses.replace(inputs, decision_summary=rows))
    assert view is not None
    assert view["basis"] == "The expectation is the sum of the model’s own predictions."


def test_what_binds_is_named_with_its_price(inputs: ReportInputs) -> None:
    view = decided_view(inputs)
    assert view is not None
    assert view["binding"] == (
        "“capacity:25 % coinsurance” and “budget” bind: without them the net gain would be larger."
    )
    assert [line["binding"] for line in view["constraints"]] == [True, True, False]
    assert [line["price"] for line in view["constraints"]] == ["7.40", "0.620", "0"]
    free = [{**row, "binding": False} for row in inputs.decision_constraints]
    loose = decided_view(dataclasses.replace(inputs, decision_constraints=free))
    assert loose is not None
    assert loose["binding"].startswith("No constraint binds")


def test_reasons_are_counted_the_commonest_first(inputs: ReportInputs) -> None:
    view = decided_view(inputs)
    assert view is not None
    assert [line["reason"] for line in view["reasons"]][:2] == ["no gain", "best net value"]


def test_parts_may_be_missing(inputs: ReportInputs) -> None:
    alone = dataclasses.replace(
        inputs,
        decision_summary=[row for row in inputs.decision_summary if row["arm"] != "*"],
        decision_constraints=(),
        decision_reasons=(),
        economics={},
    )
    view = decided_view(alone)
    assert view is not None
    assert view["lead"] == view["binding"] == ""
    assert view["total"] is None
    assert view["constraints"] == view["reasons"] == []
