from __future__ import annotations

from dataclasses import replace

import pytest

from spark_uplift.checks.features import (
    all_null_feature,
    constant_feature,
    high_cardinality,
    infinite_feature,
    missing_share,
    text_in_numbers,
    too_many_categories,
)
from tests.unit.checks.build import CONFIG, randomised, summarise


@pytest.fixture
def data():
    return randomised(6000)


def found(check, data, values, **changes):
    """The findings on one feature beside a sound one."""
    summary = summarise(data.arm, data.y, {"x": data.x, "f": list(values)})
    features = (summary.features[0], replace(summary.features[1], **changes))
    return list(check(replace(summary, features=features), CONFIG))


def test_all_null_feature(data):
    (result,) = found(all_null_feature, data, [None] * 6000)
    assert (result.status, result.column_name) == ("fail", "f")
    assert "'f' has no value in any row" in result.message


def test_constant_feature_number_and_text(data):
    (result,) = found(constant_feature, data, [7.0] * 6000)
    assert (result.status, result.column_name) == ("warn", "f")
    assert "one value only, 7" in result.message
    (result,) = found(constant_feature, data, ["eu"] * 6000)
    assert "one value only, eu" in result.message


def test_a_constant_with_missing_values_is_no_constant(data):
    (result,) = found(constant_feature, data, [7.0] * 5000 + [None] * 1000)
    assert result.status == "pass"


def test_missing_share_warns_beyond_the_limit(data):
    (result,) = found(missing_share, data, [1.0] * 60 + [None] * 5940)
    assert (result.status, result.column_name) == ("warn", "f")
    assert "missing in 99 %" in result.message
    (result,) = found(missing_share, data, [1.0] * 600 + [None] * 5400)
    assert result.status == "pass"
    assert result.value == pytest.approx(0.9)


def test_infinite_feature(data):
    (result,) = found(infinite_feature, data, data.x, infinite=3)
    assert (result.status, result.column_name) == ("warn", "f")
    assert "infinite in 3 rows" in result.message


def test_text_among_numbers_fails_with_an_example(data):
    values = [str(number % 50) for number in range(5990)] + ["n/a"] * 10
    (result,) = found(text_in_numbers, data, values, number_rows=5990, text_example="n/a")
    assert (result.status, result.column_name) == ("fail", "f")
    assert "'n/a' is not" in result.message


def test_numbers_stored_as_text_are_a_warning_and_few_levels_are_fine(data):
    values = [str(number % 50) for number in range(6000)]
    (result,) = found(text_in_numbers, data, values, number_rows=6000)
    assert result.status == "warn"
    (result,) = found(text_in_numbers, data, ["1", "2", "3+"] * 2000, number_rows=4000, text_example="3+")
    assert result.status == "pass"


def test_too_many_categories_counts_those_that_are_not_rare(data):
    (result,) = found(too_many_categories, data, [f"z{number % 254}" for number in range(6000)])
    assert (result.status, result.column_name) == ("fail", "f")
    assert "254 categories that are not rare" in result.message
    assert "at most 253" in result.message
    (result,) = found(too_many_categories, data, [f"z{number % 253}" for number in range(6000)])
    assert result.status == "pass"


def test_the_pooled_rest_takes_a_place_too(data):
    values = [f"z{number % 253}" for number in range(5999)] + ["rare"]
    (result,) = found(too_many_categories, data, values)
    assert result.status == "fail"


def test_rare_categories_are_pooled_with_a_warning_and_ids_are_recognised(data):
    (result,) = found(high_cardinality, data, [f"z{number % 1500}" for number in range(6000)])
    assert result.status == "warn"
    assert "all but 0 have fewer than 20 rows" in result.message
    (result,) = found(high_cardinality, data, [f"u{number}" for number in range(6000)])
    assert "looks like an id" in result.message
