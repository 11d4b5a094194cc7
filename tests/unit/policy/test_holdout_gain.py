"""What decisions should gain, by the buckets of the holdout."""

from __future__ import annotations

import pytest

from spark_uplift.policy.allocation_report import sentence, summary_rows
from spark_uplift.policy.holdout_gain import Buckets, expected_gain


def row(low: float, high: float, uplift: float | None, half: float) -> dict[str, float | None]:
    known = uplift is not None
    ends = (uplift - half, uplift + half) if known else (None, None)  # type: ignore[operator]
    return {"score_min": low, "score_max": high, "uplift": uplift, "lower": ends[0], "upper": ends[1]}


def test_gain_is_the_buckets_uplift_times_their_units() -> None:
    of = Buckets.of([row(0.4, 0.6, 2.0, 0.4), row(-0.1, 0.2, 1.0, 0.3)], 0.95)
    assert of is not None
    assert of.edges == (pytest.approx(0.3),)
    gain, lower, upper = expected_gain({"a": of}, {"a": [10, 100]}, value=3.0, level=0.95)["a"]
    half = 3 * ((10 * 0.3) ** 2 + (100 * 0.4) ** 2) ** 0.5  # independent buckets
    assert (gain, lower, upper) == pytest.approx((630.0, 630 - half, 630 + half))


def test_arms_share_the_control_group_so_their_errors_add_up() -> None:
    of = Buckets.of([row(0.0, 1.0, 1.0, 0.5)], 0.9)
    assert of is not None
    found = expected_gain({"a": of, "b": of}, {"a": [10], "b": [30]}, value=1.0, level=0.9)
    assert found["*"] == pytest.approx((40.0, 20.0, 60.0))


def test_a_bucket_without_an_interval_gives_none() -> None:
    assert Buckets.of([row(0.0, 1.0, None, 0.0)], 0.9) is None
    assert Buckets.of([], 0.9) is None


def test_the_sentence_says_what_is_spent_and_expected() -> None:
    rows = summary_rows(["no", "mail"], 10, [4], [2.0], [6.0], None)
    told = "Spend 2.00 EUR, expect 8.00 EUR, net 6.00 EUR: 4 of 10 units are contacted (mail 4)."
    assert sentence(rows, "EUR") == told
