from __future__ import annotations

import math

import numpy as np
import pytest

from spark_uplift import schemas
from spark_uplift.checks import CHECKS, FAIL, PASS, SKIP, STATUSES, WARN, failures, run
from tests.unit.checks.build import CONFIG, checks_config, randomised, summarise

NAMES = [
    "arm_counts",
    "one_arm_only",
    "arm_values",
    "duplicate_units",
    "quarantined_share",
    "null_outcome",
    "outcome_variation",
    "outcome_kind",
    "all_null_feature",
    "constant_feature",
    "missing_share",
    "infinite_feature",
    "text_in_numbers",
    "too_many_categories",
    "high_cardinality",
    "arm_prediction",
    "outcome_leakage",
]


def sound():
    data = randomised()
    return summarise(
        data.arm, data.y, {"x": data.x, "colour": list(data.colour)}, shares={"c": 0.5, "t": 0.5}, has_id=True
    )


def empty():
    return summarise([], [])


def rotten():
    data = randomised()
    y = np.where(data.arm == "t", np.nan, data.y)
    y[:100] = 5.0
    features = {
        "nothing": [None] * 2000,
        "constant": [1.0] * 2000,
        "arm_copy": (data.arm == "t").astype(float),
        "y_copy": y,
        "id": [f"u{number}" for number in range(2000)],
        "rare": [1.0] + [None] * 1999,
    }
    return summarise(
        data.arm,
        y,
        features,
        shares={"c": 0.9, "t": 0.1},
        has_id=True,
        duplicate_rows=3,
        units_in_two_arms=500,
        null_arm=4,
        unknown_arms={"T": 9},
        quarantined={"null_outcome": 900},
    )


def test_registry_has_the_expected_checks():
    assert list(CHECKS) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("summary", [sound(), empty(), rotten()], ids=["sound", "empty", "rotten"])
def test_every_check_keeps_the_contract(name, summary):
    results = list(CHECKS[name](summary, CONFIG))
    assert results
    keys = [(result.check, result.column_name) for result in results]
    assert len(set(keys)) == len(keys)  # the key of check_results, beside run_id
    for result in results:
        assert result.check == name
        assert result.status in STATUSES
        assert result.message.endswith(".")
        assert "nan" not in result.message
        assert result.value is None or (math.isfinite(result.value) and result.unit)
        assert (result.hint is not None) or result.status in (PASS, SKIP)
        assert list(result.as_row("r")) == ["run_id", *(f for f in vars(result))]
        assert set(result.as_row("r")) == set(schemas.table("check_results").column_names)


def test_a_sound_experiment_passes_everything():
    results = run(sound(), CONFIG)
    assert {result.status for result in results} == {PASS}
    assert [result.check for result in results] == NAMES


def test_a_rotten_experiment_fails_where_it_should():
    failed = {result.check for result in failures(run(rotten(), CONFIG))}
    assert failed == {
        "arm_counts",
        "duplicate_units",
        "quarantined_share",
        "null_outcome",
        "all_null_feature",
        "arm_prediction",
        "outcome_leakage",
    }


def test_warn_only_softens_failures_of_the_named_checks_alone():
    results = run(rotten(), checks_config(warn_only=("arm_counts",)))
    assert {result.status for result in results if result.check == "arm_counts"} == {WARN}
    assert FAIL in {result.status for result in results if result.check == "null_outcome"}
