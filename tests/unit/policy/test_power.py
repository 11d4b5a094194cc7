"""Sizes of tests: textbook numbers, the way back from a size to an effect, and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from spark_uplift.errors import DataError
from spark_uplift.policy.power import Design

EVEN = {"control": 0.5, "mail": 0.5}


def test_two_means_as_in_the_textbook() -> None:
    # Two-sided 5 %, power 80 %, standardised effect .5: 2 * (1.96 + .8416)^2 / .25 = 62.8 a group.
    assert Design(EVEN, spread=2.0).units(1.0) == math.ceil(2 * 2 * (1.959964 + 0.841621) ** 2 / 0.25)


def test_two_shares_on_the_arcsine_scale() -> None:
    size = 2 * math.asin(math.sqrt(0.12)) - 2 * math.asin(math.sqrt(0.10))
    needed = 2 * (1.959964 + 0.841621) ** 2 / size**2
    assert Design(EVEN, baseline=0.10).units(0.02) == pytest.approx(2 * needed, abs=2)


def test_comparisons_share_the_level() -> None:
    three = Design({"control": 1 / 3, "mail": 1 / 3, "call": 1 / 3}, spread=1.0)
    z = norm.ppf(1 - 0.05 / 4) + norm.ppf(0.8)
    assert three.units(0.1) == math.ceil(3 * 2 * (z / 0.1) ** 2)


@given(
    effect=st.floats(0.01, 0.2),
    baseline=st.floats(0.05, 0.7),
    share=st.floats(0.1, 0.9),
    power=st.floats(0.5, 0.95),
)
def test_the_smallest_effect_of_the_needed_size_is_the_effect(
    effect: float, baseline: float, share: float, power: float
) -> None:
    for design in (
        Design({"a": share, "b": 1 - share}, baseline=baseline, power=power),
        Design({"a": share, "b": 1 - share}, spread=0.4, power=power),
    ):
        units = design.units(effect)
        if units >= 50:
            assert design.smallest_effect(units) == pytest.approx(effect, rel=0.05)


def test_power_in_a_simulation() -> None:
    design = Design({"control": 0.3, "mail": 0.7}, baseline=0.2, power=0.8)
    units, rng = design.units(0.05), np.random.default_rng(1)
    n = np.array([round(0.3 * units), round(0.7 * units)])
    p = rng.binomial(n, [0.2, 0.25], (4000, 2)) / n
    z = (p[:, 1] - p[:, 0]) / np.sqrt((p * (1 - p) / n).sum(1))
    assert np.mean(z > 1.96) == pytest.approx(0.8, abs=0.03)


def test_faults() -> None:
    with pytest.raises(DataError, match="a difference that keeps the share 0.9 below 1"):
        Design(EVEN, baseline=0.9).units(0.2)
    with pytest.raises(DataError, match="baseline"):
        Design(EVEN).units(0.1)
