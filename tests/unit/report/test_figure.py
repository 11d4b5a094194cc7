from __future__ import annotations

import pytest

from spark_uplift.report.figure import (
    CHARTS,
    DARK,
    POLICY_COLOUR,
    arm_colours,
    axis_range,
    label,
    register,
    thin,
)
from spark_uplift.report.findings import POLICY_NAME, with_policy_named
from tests.unit.report import samples


def test_arms_have_colours_of_their_own_and_the_policy_a_neutral_one() -> None:
    colours = arm_colours(with_policy_named(samples.visits(n=3000)))
    assert colours[POLICY_NAME] == POLICY_COLOUR
    assert len(set(colours.values())) == 4
    assert set(colours.values()) <= set(DARK)


def test_registering_keeps_the_caption_with_the_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spark_uplift.report.figure.CHARTS", {})
    register("x", "Read me.")(lambda inputs, scale: [])
    from spark_uplift.report import figure

    assert figure.CHARTS["x"].caption == "Read me."
    assert "x" not in CHARTS


def test_long_curves_are_thinned_with_both_ends_kept() -> None:
    rows = [{"fraction": i} for i in range(5000)]
    kept = thin(rows, 100)
    assert len(kept) == 100
    assert (kept[0], kept[-1]) == (rows[0], rows[-1])


def test_an_axis_range_holds_zero_and_ignores_gaps() -> None:
    low, high = axis_range([0.1, None, 0.3])
    assert low == 0.0
    assert high > 300
    assert axis_range([-0.1])[0] < -100
    assert axis_range([]) == [0.0, pytest.approx(0.06)]


def test_texts_from_data_are_no_markup_for_plotly() -> None:
    assert label("<a href='x'>a & b</a>", 90) == "&lt;a href='x'&gt;a &amp; b&lt;/a&gt;"
    assert label("two\nlines") == "two lines"
