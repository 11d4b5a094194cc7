from __future__ import annotations

import pytest
from scipy import stats

from spark_uplift.checks import ArmSummary
from spark_uplift.checks.design import (
    arm_counts,
    arm_values,
    duplicate_units,
    one_arm_only,
    quarantined_share,
)
from tests.unit.checks.build import CONFIG, summarise


def arms(**rows):
    return summarise([], [], arms=tuple(ArmSummary(name, n) for name, n in rows.items()))


def with_fields(summary, **fields):
    from dataclasses import replace

    return replace(summary, **fields)


def only(results):
    (result,) = results
    return result


def test_arm_counts_is_the_chi_square_test_against_the_design():
    result = only(arm_counts(with_fields(arms(c=5200, t=4800), shares={"c": 0.5, "t": 0.5}), CONFIG))
    assert result.value == pytest.approx(stats.chisquare([5200, 4800]).pvalue)
    assert result.status == "fail"
    assert "sample ratio mismatch" in result.message
    assert "'c' 5,200 (52 %)" in result.message


def test_arm_counts_passes_unequal_arms_that_were_designed_so():
    result = only(arm_counts(with_fields(arms(c=1010, t=8990), shares={"c": 0.1, "t": 0.9}), CONFIG))
    assert result.status == "pass"


def test_arm_counts_is_skipped_without_shares_and_tells_the_sizes():
    result = only(arm_counts(arms(c=100, t=900), CONFIG))
    assert result.status == "skip"
    assert "'t' 900 (90 %)" in result.message
    assert "experiment.shares" in result.hint


def test_arm_counts_counts_clusters_where_there_are_any():
    members = (ArmSummary("c", 9000, clusters=50), ArmSummary("t", 1000, clusters=50))
    result = only(arm_counts(with_fields(arms(c=1), arms=members, shares={"c": 0.5, "t": 0.5}), CONFIG))
    assert result.status == "pass"
    assert "by clusters" in result.message


def test_arm_counts_fails_when_the_design_names_other_arms():
    result = only(arm_counts(with_fields(arms(c=10, t=10), shares={"c": 0.5, "T": 0.5}), CONFIG))
    assert result.status == "fail"
    assert "'T'" in result.message


def test_an_arm_of_the_design_without_rows_fails():
    result = only(arm_counts(with_fields(arms(c=50, t=0), shares={"c": 0.5, "t": 0.5}), CONFIG))
    assert result.status == "fail"


def test_one_arm_only():
    result = only(one_arm_only(arms(c=10), CONFIG))
    assert result.status == "fail"
    assert "one arm only, 'c'" in result.message


def test_a_missing_control_is_told_with_the_nearest_arm():
    result = only(one_arm_only(with_fields(arms(control=0, Control=5, t=5), control="control"), CONFIG))
    assert result.status == "fail"
    assert "control arm 'control'" in result.message
    assert "'Control'" in result.hint


def test_an_expected_arm_without_rows_is_a_warning():
    result = only(one_arm_only(arms(c=5, t=5, u=0), CONFIG))
    assert result.status == "warn"
    assert "'u'" in result.message


def test_unknown_arms_are_named_with_the_nearest_known_one():
    result = only(arm_values(with_fields(arms(c=5, offer=5), unknown_arms={"ofer": 3}, null_arm=2), CONFIG))
    assert result.status == "warn"
    assert "2 rows have no arm" in result.message
    assert "'ofer' (3 rows)" in result.message
    assert "'offer'" in result.hint
    assert result.value == 5


def test_duplicates_warn_up_to_the_limit_and_fail_beyond():
    few = with_fields(arms(c=50, t=50), rows=100, has_id=True, duplicate_rows=2)
    assert only(duplicate_units(few, CONFIG)).status == "warn"
    many = with_fields(few, units_in_two_arms=8)
    result = only(duplicate_units(many, CONFIG))
    assert result.status == "fail"
    assert "8 rows belong to units seen in two arms" in result.message


def test_duplicates_are_skipped_without_an_id():
    assert only(duplicate_units(arms(c=1, t=1), CONFIG)).status == "skip"


def test_quarantined_share_tells_the_reasons_most_frequent_first():
    summary = with_fields(arms(c=50, t=50), rows=100, quarantined={"null_arm": 2, "null_outcome": 7})
    result = only(quarantined_share(summary, CONFIG))
    assert result.status == "fail"
    assert "9 of 100 rows (9 %) can't be used: null_outcome 7, null_arm 2" in result.message
    assert result.threshold == CONFIG.max_quarantined_share
