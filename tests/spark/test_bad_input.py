"""What bad data get: a clear error, or a row in quarantine with its reason."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from spark_uplift.checks import FAIL, WARN
from spark_uplift.errors import CheckFailedError, ColumnNotFoundError, DataError
from spark_uplift.pipeline.check import raise_failures, run_check
from spark_uplift.pipeline.prepare import build_training_view
from tests.spark.frames import config, frame, rows, source


def findings(spark, data, run):
    return run_check(spark, run, source(spark, data, run), "r")


def finding(spark, data, run, check):
    return next(result for result in findings(spark, data, run) if result.check == check)


def prepared(spark, data, run):
    return build_training_view(spark, run, source(spark, data, run), "r")


def quarantined(spark, data, run):
    """Reason, column and detail of each quarantined unit."""
    result = prepared(spark, data, run)
    found = {row["unit_id"]: row for row in result.quarantine_df.collect()}
    result.release()
    return {unit: (row["reason"], row["column_name"], row["detail"]) for unit, row in found.items()}


def test_missing_columns_are_told_all_at_once_with_the_nearest_names(spark):
    run = config(experiment={"outcome": "visit", "features": ["agee", "region"], "weight": "wait"})
    with pytest.raises(
        ColumnNotFoundError,
        match=r"not found: \['visit', 'wait', 'agee'\].*"
        r"did you mean 'visits' for 'visit', 'age' for 'agee'\?",
    ):
        source(spark, rows(10), run)


def test_all_faults_come_together(spark):
    data = rows(4).assign(age=1.0).assign(outcome=1.0, visits=["1", "two", "3", None], when=None)
    df = frame(
        spark,
        data,
        "id bigint, plan string, visits string, age double, region string, outcome double, `when` timestamp",
    )
    run = config(experiment={"weight": "wage", "categorical": ["plan"]})
    with pytest.raises(DataError) as caught:
        source(spark, df, run)
    assert len(caught.value.faults) == 5
    assert caught.match(r"not found: \['wage'\]")
    assert caught.match("The feature 'outcome' has a name that the package uses itself")
    assert caught.match(r"\['plan'\] of experiment.categorical are not features")
    assert caught.match(
        r"'visits' \(experiment.outcome\) must be numeric. Got text, 'two' among others in 1 rows"
    )
    assert caught.match(
        r"'when' \(experiment.features\) must be numeric, text or boolean. Got timestamp instead"
    )


def test_a_column_with_two_roles(spark):
    run = config(experiment={"features": ["age", "visits"]})
    with pytest.raises(
        DataError, match=r"'visits' must have one role. Got experiment.outcome and experiment.features"
    ):
        source(spark, rows(4), run)


def test_columns_that_differ_in_case_alone(spark):
    spark.conf.set("spark.sql.caseSensitive", "true")
    try:
        with pytest.raises(
            DataError, match=r"columns \['age'\] appear more than once, or in several spellings"
        ):
            source(spark, rows(4).assign(AGE=1.0), config())
    finally:
        spark.conf.unset("spark.sql.caseSensitive")


def test_no_features_left(spark):
    with pytest.raises(DataError, match="There are no features"):
        source(spark, rows(4)[["id", "plan", "visits"]], config())


def test_numbers_stored_as_text(spark):
    data = rows(4).astype({"visits": str})
    with pytest.raises(DataError, match="must be numeric. Got numbers stored as text instead. Hint: cast"):
        source(spark, data, config())


def test_text_among_numbers_of_a_feature_fails_its_check(spark):
    data = rows(200)
    data["age"] = [str(value) for value in range(198)] + ["unknown", "n/a"]
    result = finding(spark, data, config(), "text_in_numbers")
    assert (result.status, result.column_name) == (FAIL, "age")
    assert "'age' is text, but 99 % of its values are numbers; 'n/a' is not" in result.message
    declared = config(experiment={"categorical": ["age"]})
    assert finding(spark, data, declared, "text_in_numbers").status == "pass"


def test_unknown_arm(spark):
    data = rows()
    data.loc[:2, "plan"] = "mial"
    run = config(experiment={"arms": ["control", "mail", "call"]})
    result = finding(spark, data, run, "arm_values")
    assert result.status == WARN
    assert "'mial' (3 rows)" in result.message
    assert "'mail'" in result.hint
    assert quarantined(spark, data, run)["1"] == (
        "unknown_arm",
        "plan",
        "mial, expected one of ['control', 'mail', 'call']",
    )


def test_one_arm_only(spark):
    data = rows(60).assign(plan="control")
    result = finding(spark, data, config(), "one_arm_only")
    assert result.status == FAIL
    assert "one arm only, 'control'" in result.message
    with pytest.raises(DataError, match="'plan' has one arm only among the usable rows, 'control'"):
        prepared(spark, data, config())


def test_a_control_that_is_not_there(spark):
    run = config(experiment={"control": "Control"})
    result = finding(spark, rows(60), run, "one_arm_only")
    assert result.status == FAIL
    with pytest.raises(
        DataError,
        match="has the control arm 'Control'; it has 'call', 'control', 'mail'. Hint: did you mean 'control'",
    ):
        prepared(spark, rows(60), run)


def test_a_treatment_column_that_is_an_id(spark):
    data = rows(600).assign(plan=[f"u{number}" for number in range(600)])
    for step in (findings, prepared):
        with pytest.raises(
            DataError, match=r"'plan' \(experiment.treatment\) must have at most 255 arms. Got 600"
        ):
            step(spark, data.assign(plan=["control", *data.plan[1:]]), config())


def test_all_null_feature(spark):
    data = rows(60).assign(nothing=np.nan)
    result = finding(spark, data, config(), "all_null_feature")
    assert (result.status, result.column_name) == (FAIL, "nothing")
    with pytest.raises(
        CheckFailedError,
        match="1 finding fails the experiment:\n  - all_null_feature: Feature 'nothing' has no value",
    ) as caught:
        raise_failures(findings(spark, data, config()))
    assert len(caught.value.results) >= 17


def test_no_outcome_variation(spark):
    result = finding(spark, rows(60).assign(visits=1), config(), "outcome_variation")
    assert result.status == FAIL
    assert "no variation: every outcome is 1" in result.message


def test_more_than_253_categories_that_are_not_rare(spark):
    data = rows(254 * 20).assign(region=[f"z{number % 254}" for number in range(254 * 20)])
    result = finding(spark, data, config(), "too_many_categories")
    assert (result.status, result.column_name) == (FAIL, "region")
    assert "254 categories that are not rare, of 254 in all; at most 253" in result.message


def test_nan_and_infinite_values(spark):
    data = rows().astype({"visits": float})
    data.loc[0, "visits"] = math.nan
    data.loc[1, "visits"] = math.inf
    data.loc[2, "age"] = -math.inf
    data.loc[3, "age"] = math.nan
    run = config()
    assert quarantined(spark, data, run) == {
        "0": ("not_finite_outcome", "visits", "NaN, expected a finite number"),
        "1": ("not_finite_outcome", "visits", "Infinity, expected a finite number"),
        "2": ("infinite_feature", "age", "infinite, expected a finite number or null"),
    }
    result = finding(spark, data, run, "infinite_feature")
    assert (result.status, result.value) == (WARN, 1.0)


def test_weights_and_propensities(spark):
    data = rows().assign(w=1.0, e=1 / 3, group=lambda d: d.id.astype(str))
    data["w"] = data["w"].astype(object)
    data["e"] = data["e"].astype(object)
    data.loc[0, "w"] = -1.0
    data.loc[1, "w"] = None
    data.loc[2, "w"] = math.nan
    data.loc[3, "e"] = 0.0
    data.loc[4, "e"] = 1.5
    data.loc[5, "e"] = None
    data.loc[6, "group"] = None
    data.loc[7, "w"] = 0.0
    df = frame(
        spark,
        data,
        "id bigint, plan string, visits bigint, age double, region string, w double, e double, g string",
    )
    run = config(experiment={"weight": "w", "propensity": "e", "cluster": "g"})
    assert quarantined(spark, df, run) == {
        "0": ("negative_weight", "w", "-1.0, expected a number >= 0"),
        "1": ("null_weight", "w", "null, expected a number >= 0"),
        "2": ("not_finite_weight", "w", "NaN, expected a finite number >= 0"),
        "3": ("propensity_out_of_range", "e", "0.0, expected a number in (0, 1]"),
        "4": ("propensity_out_of_range", "e", "1.5, expected a number in (0, 1]"),
        "5": ("null_propensity", "e", "null, expected a number in (0, 1]"),
        "6": ("null_cluster", "g", "null, expected a cluster"),
    }


def test_null_arm_null_outcome_and_null_id(spark):
    data = rows().astype(object)
    data.loc[0, "plan"] = None
    data.loc[1, "visits"] = None
    data.loc[2, "id"] = None
    df = frame(spark, data, "id bigint, plan string, visits bigint, age double, region string")
    found = quarantined(spark, df, config())
    assert found["0"] == ("null_arm", "plan", "null, expected an arm")
    assert found["1"] == ("null_outcome", "visits", "null, expected a number")
    assert found[None] == ("null_unit_id", "id", "null, expected an id")


def test_duplicate_ids(spark):
    data = rows()
    twin = data.iloc[[10]].assign(visits=data.visits[10] + 1)
    same = data.iloc[[11]]
    other_arm = data.iloc[[12]].assign(plan="mail" if data.plan[12] != "mail" else "call")
    data = pd.concat([data, twin, same, other_arm], ignore_index=True)
    run = config()
    result = prepared(spark, data, run)
    reasons = [(row["unit_id"], row["reason"], row["column_name"]) for row in result.quarantine_df.collect()]
    assert sorted(reasons) == [
        ("10", "duplicate_unit", "id"),
        ("11", "duplicate_unit", "id"),
        ("12", "unit_in_two_arms", "id"),
        ("12", "unit_in_two_arms", "id"),
    ]
    assert result.counts.rows_used == 399
    checked = finding(spark, data, run, "duplicate_units")
    assert checked.status == WARN
    assert "2 rows repeat a unit and 2 rows belong to units seen in two arms" in checked.message


def test_too_many_unusable_rows(spark):
    data = rows().astype({"visits": float})
    data.loc[:39, "visits"] = math.nan
    with pytest.raises(
        CheckFailedError,
        match=r"40 of 400 rows \(10 %\) can't be used, "
        r"more than checks.max_quarantined_share = 5 %: not_finite_outcome 40",
    ):
        prepared(spark, data, config())
    assert finding(spark, data, config(), "quarantined_share").status == FAIL
    lenient = config(checks={"warn_only": ["quarantined_share"]})
    assert prepared(spark, data, lenient).counts.rows_quarantined == 40


def test_empty_table(spark):
    empty = frame(spark, rows(4)).where("id < 0")
    for step in (findings, prepared):
        with pytest.raises(DataError, match="source 'small' has no rows"):
            step(spark, empty, config())


def test_an_arm_without_rows_in_one_half(spark):
    data = rows(60)
    data.loc[:, "plan"] = np.where(data.id == 7, "rare", "control")
    with pytest.raises(DataError, match=r"rows in both halves.*'rare' has none in (train|holdout)"):
        prepared(spark, data, config())
