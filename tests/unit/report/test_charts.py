from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from spark_uplift.report.charts import CHARTS
from spark_uplift.report.figure import DARK, Figure
from spark_uplift.report.findings import with_policy_named
from spark_uplift.report.format import Scale
from spark_uplift.report.inputs import ReportInputs, of_one_model
from tests.unit.report import samples, samples_decided

SCALE = Scale(name="mdvis", kind="continuous", unit="visits", level=0.95)
NAMES = {
    *("effects", "uplift", "qini", "toc", "deciles", "calibration", "importance", "scores"),
    *("compare_qini", "compare_toc", "policy_value", "cost_curve"),
}
COLOUR = re.compile(r"#[0-9a-f]{6}(?:[0-9a-f]{2})?")


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return with_policy_named(of_one_model(samples_decided.everything(n=6000)))


def draw(name: str, inputs: ReportInputs) -> list[Figure]:
    return CHARTS[name].draw(inputs, SCALE)


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from strings(value)


def test_the_registry_has_the_expected_charts() -> None:
    assert set(CHARTS) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
class TestEveryChart:
    def test_has_a_caption_in_full_sentences(self, name: str) -> None:
        assert CHARTS[name].caption.endswith(".")

    def test_is_plain_json_without_nan(self, name: str, inputs: ReportInputs) -> None:
        for figure in draw(name, inputs):
            assert json.loads(json.dumps(figure.spec, allow_nan=False)) == figure.spec

    def test_draws_something_with_a_labelled_measure(self, name: str, inputs: ReportInputs) -> None:
        figures = draw(name, inputs)
        assert figures
        for figure in figures:
            layout = figure.spec["layout"]
            assert any(layout[axis]["title"]["text"] for axis in ("xaxis", "yaxis"))
            assert all(trace["type"] in ("scatter", "bar") for trace in figure.spec["data"])

    def test_uses_only_colours_with_a_dark_twin(self, name: str, inputs: ReportInputs) -> None:
        for figure in draw(name, inputs):
            found = {text for text in strings(figure.spec) if COLOUR.fullmatch(text)}
            assert {colour[:7] for colour in found} - {"#000000"} <= set(DARK)

    def test_draws_nothing_from_nothing(self, name: str) -> None:
        assert draw(name, ReportInputs(experiment=[])) == []

    def test_survives_missing_numbers(self, name: str, inputs: ReportInputs) -> None:
        holes = {
            "evaluation_curves": [
                {**row, "lower": None, "upper": float("nan")} for row in inputs.evaluation_curves
            ],
            "uplift_table": [
                {**row, "uplift": None, "lower": None, "predicted": float("nan")}
                for row in inputs.uplift_table
            ],
            "feature_importance": [{**row, "std_error": None} for row in inputs.feature_importance],
            "other_curves": [{**row, "value": None, "upper": None} for row in inputs.other_curves],
            "policy_value": [{**row, "value": float("nan"), "lower": None} for row in inputs.policy_value],
            "cost_curve": [{**row, "net": None, "lower": None, "spend": None} for row in inputs.cost_curve],
        }
        rows = {
            "experiment": inputs.experiment,
            "evaluation_metrics": inputs.evaluation_metrics,
            "score_histogram": inputs.score_histogram,
        }
        for figure in draw(name, ReportInputs(**rows, **holes)):
            json.dumps(figure.spec, allow_nan=False)


@pytest.mark.parametrize("name", ["uplift", "qini", "toc", "deciles", "calibration", "compare_qini"])
def test_arms_share_one_vertical_axis(name: str, inputs: ReportInputs) -> None:
    figures = draw(name, inputs)
    assert len(figures) == 4
    assert len({tuple(figure.spec["layout"]["yaxis"]["range"]) for figure in figures}) == 1
    assert len({figure.colour for figure in figures}) == 4


def test_a_single_arm_needs_no_title() -> None:
    assert [figure.title for figure in draw("qini", with_policy_named(samples.conversions(n=3000)))] == [""]


def test_effects_are_drawn_per_thousand_units(inputs: ReportInputs) -> None:
    last = [row for row in inputs.uplift_table if row["arm"] == "25 % coinsurance"][-1]
    dot = draw("effects", inputs)[0].spec["data"][1]
    assert dot["x"] == [pytest.approx(1000 * last["cumulative_uplift"], rel=1e-5)]
    bars = dot["error_x"]
    assert dot["x"][0] + bars["array"][0] == pytest.approx(1000 * last["cumulative_upper"], rel=1e-4)
    assert dot["x"][0] - bars["arrayminus"][0] == pytest.approx(1000 * last["cumulative_lower"], rel=1e-4)


def test_a_band_goes_out_and_back(inputs: ReportInputs) -> None:
    band, baseline, line = draw("qini", inputs)[0].spec["data"]
    assert band["x"] == line["x"] + line["x"][::-1]
    assert band["fill"] == "toself"
    assert baseline["line"]["dash"] == "dash"


def test_the_largest_importance_is_on_top(inputs: ReportInputs) -> None:
    for figure in draw("importance", inputs):
        bars = figure.spec["data"][0]
        assert bars["x"] == sorted(bars["x"], reverse=True)
        assert bars["y"] == sorted(bars["y"], reverse=True)


def test_two_models_are_told_apart_by_more_than_colour(inputs: ReportInputs) -> None:
    other_band, other, baseline, mine_band, mine = draw("compare_qini", inputs)[0].spec["data"]
    assert other["line"]["dash"] == "dot"
    assert mine["line"]["dash"] == "solid"
    assert baseline["line"]["dash"] == "dash"
    assert "line" in other_band["mode"]
    assert other_band["line"]["width"] > mine_band["line"]["width"]
    assert other["y"][10] < mine["y"][10]


def test_calibration_puts_prediction_against_measurement(inputs: ReportInputs) -> None:
    agreement, dots = draw("calibration", inputs)[1].spec["data"]
    assert agreement["x"] == agreement["y"]
    first = next(row for row in inputs.uplift_table if row["arm"] == "25 % coinsurance")
    assert dots["x"][0] == pytest.approx(1000 * first["predicted"], rel=1e-5)
    assert dots["y"][0] == pytest.approx(1000 * first["uplift"], rel=1e-5)


def test_policies_are_valued_by_the_preferred_method_beside_the_logged_outcome(inputs: ReportInputs) -> None:
    logged, *dots = draw("policy_value", inputs)[0].spec["data"]
    assert logged["x"] == [2610, 2610]
    assert [dot["x"][0] for dot in dots] == [3310, 3240, 2710, 2520, 2200, 3150, 2610]


def test_the_ring_marks_break_even_on_the_cost_curve(inputs: ReportInputs) -> None:
    figures = draw("cost_curve", inputs)
    assert [figure.title for figure in figures] == ["this model", "free care alone"]
    ring = figures[0].spec["data"][-1]
    marked = next(row for row in inputs.cost_curve if row["break_even"] and row["policy"] == "model")
    assert ring["x"] == [pytest.approx(1000 * marked["spend"])]
    assert "Break-even" in ring["text"][0]


def test_a_free_treatment_is_drawn_over_the_share_treated(inputs: ReportInputs) -> None:
    free = [{**row, "spend": 0.0, "net": row["gain"], "break_even": False} for row in inputs.cost_curve]
    figure = draw("cost_curve", ReportInputs(experiment=[], cost_curve=free))[0].spec
    assert figure["layout"]["xaxis"]["title"]["text"] == "share of units treated"
    assert figure["data"][-1]["mode"] == "lines"
