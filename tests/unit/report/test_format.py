from __future__ import annotations

from datetime import datetime, timezone

import pytest

from spark_uplift.report.format import (
    Estimate,
    Scale,
    count,
    date,
    decimals_for,
    interval,
    metric,
    p_value,
    percent,
    plain,
    shorten,
)

VISITS = Scale(name="mdvis", kind="continuous", unit="visits", level=0.95)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (0, "0"),
        (0.0, "0"),
        (-3.14159, "−3.14"),
        (0.0123456, "0.0123"),
        (1234.56, "1,235"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
    ],
)
def test_plain_numbers_keep_three_significant_digits(value: float | None, text: str) -> None:
    assert plain(value) == text


def test_a_sign_is_shown_on_demand_but_never_on_zero() -> None:
    assert [plain(v, 1, sign=True) for v in (2.0, -2.0, 0.01, -0.01)] == ["+2.0", "−2.0", "0.0", "0.0"]


def test_counts_are_whole_and_grouped() -> None:
    assert count(24037) == "24,037"


@pytest.mark.parametrize(
    ("share", "decimals", "text"),
    [
        (0.3, 0, "30 %"),
        (0.1234, 1, "12.3 %"),
        (0.0001, 0, "< 1 %"),
        (0.0, 0, "0 %"),
        (None, 0, "–"),
        (1, 0, "100 %"),
    ],
)
def test_percent_uses_a_narrow_space_and_does_not_round_something_to_nothing(
    share: float | None, decimals: int, text: str
) -> None:
    assert percent(share, decimals).replace("\u202f", " ") == text


def test_an_interval_without_a_bound_says_so() -> None:
    assert interval(-1.25, 2, 1) == "−1.2 to 2.0"
    assert interval(None, 2) == "no interval"
    assert interval(float("nan"), 2) == "no interval"


@pytest.mark.parametrize(
    ("half_width", "decimals"), [(330.0, 0), (33.0, 0), (3.3, 1), (0.33, 2), (0.033, 3), (0.0, 0), (None, 0)]
)
def test_decimals_show_two_digits_of_the_uncertainty(half_width: float | None, decimals: int) -> None:
    assert decimals_for(half_width) == decimals


def test_metrics_have_four_digits_and_extremes_an_exponent() -> None:
    assert [metric(v) for v in (0.0187, -0.5, 0, 1.5e-7, None)] == [
        "0.01870",
        "−0.5000",
        "0",
        "1.500e−07",
        "–",
    ]


def test_effects_are_per_thousand_units_and_signed() -> None:
    estimate = Estimate.of(1.5561, 1.2271, 1.8849)
    decimals = VISITS.decimals([estimate])
    assert VISITS.effect(estimate.value, decimals) == "+1,556"
    assert VISITS.effect_interval(estimate, decimals) == "1,227 to 1,885"
    assert VISITS.effect_text(Estimate(-0.0302), 1) == "−30.2 (no interval)"
    assert VISITS.effect_label == "visits per 1,000 units"


def test_the_interval_is_named_by_its_level() -> None:
    assert VISITS.interval_name == "95\u202f% interval"
    assert Scale(name="y", kind="binary", unit="visits", level=0.995).interval_name == "99.5\u202f% interval"
    assert Scale(name="y", kind="binary", unit="visits").interval_name == "interval"


def test_a_binary_mean_is_percent_and_a_continuous_mean_is_plain() -> None:
    assert Scale(name="y", kind="binary", unit="visits").mean(0.1347) == "13.47\u202f%"
    assert VISITS.mean(2.8301) == "2.83"


@pytest.mark.parametrize(
    ("lower", "upper", "sign"),
    [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.1, 0), (None, 0.1, None), (0.0, 1.0, 0)],
)
def test_the_sign_of_an_estimate_is_that_of_its_whole_interval(
    lower: float | None, upper: float | None, sign: int | None
) -> None:
    assert Estimate.of(0.05, lower, upper).sign == sign


def test_dates_are_to_the_minute_with_their_zone() -> None:
    assert date(datetime(2026, 3, 14, 9, 26, 53, tzinfo=timezone.utc)) == "2026-03-14 09:26 UTC"
    assert date("yesterday") == "yesterday"
    assert date(None) == "–"


def test_long_texts_are_cut() -> None:
    assert shorten("a" * 40, 10) == "a" * 9 + "…"
    assert shorten("short", 10) == "short"


def test_p_values() -> None:
    assert [p_value(value) for value in (0.0, 0.0009, 0.0324, 1.0, None, float("nan"))] == [
        "< 0.001",
        "< 0.001",
        "= 0.032",
        "= 1.000",
        "",
        "",
    ]
