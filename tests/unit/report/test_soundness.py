from __future__ import annotations

import dataclasses

import pytest

from spark_uplift.report import ReportInputs, render
from spark_uplift.report.soundness import in_unit, soundness_view, warning
from tests.unit.report import samples_decided


def test_without_checks_there_is_no_section() -> None:
    assert soundness_view(ReportInputs(experiment=[])) is None


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("pass", "rests on enough"),
        ("warn", "less certain"),
        ("fail", "undermines"),
        ("odd", "rests on enough"),
    ],
)
def test_the_worst_check_sets_the_tone(status: str, words: str) -> None:
    rows = samples_decided.evaluation_checks()
    rows = [{**row, "status": "pass"} for row in rows[:3]] + [{**rows[3], "status": status}]
    view = soundness_view(ReportInputs(experiment=[], evaluation_checks=rows))
    assert view is not None
    assert words in view["lead"]


def test_numbers_are_shown_in_their_unit_beside_their_limit() -> None:
    view = soundness_view(samples_decided.everything(n=3000))
    assert view is not None
    worst = view["checks"][0]
    assert (worst["check"], worst["arm"], worst["measured"]) == (
        "effective sample size",
        "50 % coinsurance",
        "612 rows, limit 1,000 rows",
    )
    assert [in_unit(value, unit).replace("\u202f", " ") for value, unit in ((0.5, "share"), (0.5, ""))] == [
        "50.0 %",
        "0.500",
    ]
    assert in_unit(None, "rows") == "–"


def test_a_check_without_a_number_says_its_sentence_alone() -> None:
    rows = [{**samples_decided.evaluation_checks()[0], "value": None, "arm": None}]
    inputs = dataclasses.replace(samples_decided.everything(n=3000), evaluation_checks=rows)
    view = soundness_view(inputs)
    assert view is not None
    assert view["checks"][0]["measured"] == view["checks"][0]["arm"] == ""


def test_a_check_that_passed_for_several_arms_takes_one_line() -> None:
    row = {**samples_decided.evaluation_checks()[0], "unit": "probability"}
    rows = [{**row, "arm": arm, "value": value} for arm, value in (("a", 0.3), ("b", 0.2), ("c", 0.4))]
    view = soundness_view(ReportInputs(experiment=[], evaluation_checks=rows))
    assert view is not None
    (line,) = view["checks"]
    assert line["measured"].replace("\u202f", " ") == "20.0 % to 40.0 %, limit 1.0 %"
    assert line["message"] == "a, b, c."
    unknown = [{**row, "arm": arm, "value": None} for arm in ("a", "b")]
    view = soundness_view(ReportInputs(experiment=[], evaluation_checks=unknown))
    assert view is not None
    assert view["checks"][0]["measured"] == ""


def test_a_failed_check_is_said_at_the_top_of_the_page() -> None:
    inputs = samples_decided.everything(n=3000)
    assert warning(inputs) == ""
    rows = [{**row, "status": "fail"} for row in inputs.evaluation_checks[:2]]
    failing = dataclasses.replace(inputs, evaluation_checks=rows)
    assert warning(failing).startswith("2 checks of the evaluation failed (effective sample size, overlap)")
    assert "2 checks of the evaluation failed" in render(failing)
