from __future__ import annotations

import pytest

from spark_uplift.report import ReportInputs, metrics_table, results, segments
from spark_uplift.report.findings import findings
from spark_uplift.report.format import Estimate, Scale
from tests.unit.report import samples

SCALE = Scale(name="visit", kind="binary", unit="visits", level=0.95)


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return samples.conversions(n=6000)


def test_the_effect_table_says_what_an_interval_means(inputs: ReportInputs) -> None:
    rows = results.effects_view(inputs, findings(inputs), SCALE)
    assert rows[-1]["arm"] == "e-mail"
    assert rows[-1]["reading"] in ("raises the outcome", "no proven effect")
    assert rows[-1]["mean_treated"].endswith("%")


def test_the_planner_multiplies_the_effect_by_the_share(inputs: ReportInputs) -> None:
    steps = results.steps_view(findings(inputs), SCALE)["e-mail"]
    assert len(steps) == 10
    assert steps[-1]["effect"] == steps[-1]["total"]


def test_an_uplift_table_has_a_line_per_bucket(inputs: ReportInputs) -> None:
    table = results.buckets_view(inputs, SCALE)[-1]
    assert [line["bucket"] for line in table["rows"]] == list(range(1, 11))


def test_segments_keep_their_order_and_are_cut_to_a_readable_number(inputs: ReportInputs) -> None:
    row = inputs.segments[0]
    many = [{**row, "segment": i, "rule": f"x > {i}"} for i in range(30, 0, -1)]
    view = segments.segments_view(ReportInputs(experiment=[], segments=many), SCALE)
    assert [segment["number"] for segment in view["segments"]] == list(range(1, segments.MAX_SEGMENTS + 1))
    assert view["total"] == 30


def test_a_ruler_holds_zero_and_every_interval() -> None:
    ruler = segments.Ruler.over([Estimate(0.5, 0.2, 0.8), Estimate(None)])
    assert ruler(None) is None
    places = [ruler(value) for value in (0.0, 0.2, 0.8)]
    assert all(place is not None and 0 <= place <= 100 for place in places)
    assert places == sorted(places, key=float)


def test_metrics_of_several_arms_share_one_line_and_formula() -> None:
    inputs = samples.visits(n=3000)
    view = metrics_table.metrics_view(inputs)
    assert [line["metric"] for line in view["lines"][:2]] == ["AUTOC", "QINI"]
    assert len(view["lines"]) == len(samples.FORMULAS)
    assert all(len(line["cells"]) == len(view["arms"]) == 4 for line in view["lines"])
    assert "from 200 bootstrap replicates" in view["note"]


def test_binned_scores_are_owned_up_to(inputs: ReportInputs) -> None:
    binned = [{**row, "exact": False, "metric": "uplift_at_30"} for row in inputs.evaluation_metrics[:1]]
    view = metrics_table.metrics_view(ReportInputs(experiment=[], evaluation_metrics=binned))
    assert "quantile bins" in view["note"]
    assert view["lines"][0]["metric"] == "uplift at 30\u202f%"
