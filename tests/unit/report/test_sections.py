from __future__ import annotations

from spark_uplift.report import ReportInputs, sections
from tests.unit.report import samples


def test_facts_of_an_experiment_without_quarantined_rows() -> None:
    row = {**samples.conversions(n=3000).experiment[0], "rows_quarantined": 0}
    facts = dict(sections.experiment_view(ReportInputs(experiment=[row]))["facts"])
    assert facts["Rows set aside"] == "none"
    assert facts["Features (7)"].startswith("recency, history")


def test_control_is_the_first_arm() -> None:
    rows = sections.arms_view(samples.visits(n=3000), [])
    assert [row["control"] for row in rows] == [True, False, False, False]
    assert rows[0]["design"] == "31.0\u202f%"


def test_an_unknown_status_counts_as_failed() -> None:
    odd = [{**samples.checks()[0], "status": "exploded"}]
    assert sections.checks_view(ReportInputs(experiment=[], check_results=odd))[0]["status"] == "fail"


def test_measured_values_carry_their_unit() -> None:
    views = sections.checks_view(ReportInputs(experiment=[], check_results=samples.checks()))
    measured = {view["check"]: view["measured"].replace("\u202f", " ") for view in views}
    assert measured["missing values"] == "share 31.0 %, limit 25.0 %"
    assert measured["sample ratio"] == "p-value 0.41, limit 0.001"
    assert measured["late features"] == ""


def test_reasons_are_sorted_by_count_and_empty_ones_left_out() -> None:
    counts = [{"reason": "a", "count": 1}, {"reason": "b_c", "count": 5}, {"reason": "d", "count": 0}]
    view = sections.quarantine_view(ReportInputs(experiment=[], quarantine_counts=counts))
    assert [row["reason"] for row in view] == ["b c", "a"]


def test_what_the_model_card_lacks_is_said() -> None:
    facts = dict(sections.card_view(ReportInputs(experiment=[], model_card={"digest": "abc"}))["facts"])
    assert facts["Digest"] == "abc"
    assert facts["Data version"] == "not recorded"
