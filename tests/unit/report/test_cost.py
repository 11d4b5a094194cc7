from __future__ import annotations

import dataclasses

import pytest

from spark_uplift.report import ReportInputs
from spark_uplift.report.cost import along, break_even, cost_view
from spark_uplift.report.format import Scale
from spark_uplift.report.money import Money
from tests.unit.report import samples, samples_decided

SCALE = Scale(name="mdvis", kind="continuous", unit="visits", level=0.95)


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return samples_decided.everything(n=3000)


def lead(inputs: ReportInputs, **columns: object) -> str:
    rows = [{**row, **columns} for row in inputs.cost_curve if row["policy"] == "model"]
    view = cost_view(dataclasses.replace(inputs, cost_curve=rows), SCALE)
    assert view is not None
    return str(view["curves"][0]["lead"]).replace("\u202f", " ")


def test_without_a_curve_there_is_no_section() -> None:
    assert cost_view(samples.conversions(n=3000), SCALE) is None


def test_the_break_even_point_is_told_with_spend_gain_and_net(inputs: ReportInputs) -> None:
    text = lead(inputs)
    marked = next(row for row in inputs.cost_curve if row["break_even"] and row["policy"] == "model")
    assert f"It pays to treat {marked['fraction']:.0%} of".replace("%", " %") in text
    assert f"{1000 * marked['spend']:,.0f} EUR" in text
    assert f"+{1000 * marked['net']:,.0f} EUR net" in text
    assert "expected to bring less than it costs" in text


def test_other_ends_are_told_too(inputs: ReportInputs) -> None:
    assert "No spend is expected to pay" in lead(inputs, net=-1.0, break_even=False)
    assert "Treatment costs nothing" in lead(inputs, spend=0.0)
    assert "EUR net" not in lead(inputs, net=None)
    rows = along([row for row in inputs.cost_curve if row["policy"] == "model"])
    rising = [{**row, "break_even": False, "net": float(i)} for i, row in enumerate(rows)]
    view = cost_view(dataclasses.replace(inputs, cost_curve=rising), SCALE)
    assert view is not None
    assert "Every treatment is expected to pay for itself" in view["curves"][0]["lead"]


def test_without_a_mark_the_largest_net_value_is_the_end(inputs: ReportInputs) -> None:
    rows = [{**row, "break_even": None} for row in inputs.cost_curve if row["policy"] == "model"]
    found = break_even(rows)
    assert found is not None
    assert found["net"] == max(row["net"] for row in rows)
    assert break_even([{**row, "net": None} for row in rows]) is None


def test_the_table_has_tenths(inputs: ReportInputs) -> None:
    view = cost_view(inputs, SCALE)
    assert view is not None
    assert [curve["policy"] for curve in view["curves"]] == ["this model", "free care alone"]
    shares = [line["share"].replace("\u202f", " ") for line in view["curves"][0]["lines"]]
    assert shares == [f"{10 * tenth} %" for tenth in range(1, 11)]
    assert "40 EUR" in view["value"]
    assert [end["policy"] for end in view["ends"]] == ["this model", "free care alone"]


def test_money_is_named_by_its_currency_or_not_at_all() -> None:
    assert Money.of({"currency": "EUR"}).text(1234.5) == "1,234 EUR"
    assert Money.of({}).text(-3.456, sign=True) == "−3.46"
    assert Money.of({}).amount(None) == "–"
    assert Money.per_thousand({"value": 1.0, "costs": {}}, SCALE) == "visits per 1,000 units"
    assert Money.per_thousand({"value": 1.0, "costs": {"a": 2.0}}, SCALE) == "money per 1,000 units"
    assert Money.per_thousand({"value": 1.0, "currency": "EUR"}, SCALE) == "EUR per 1,000 units"
