"""Every compiled gain returns what its formula says, row by row."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.criteria.registry import CRITERIA
from spark_uplift.criteria.signature import NORMALIZATION_CODES, call
from tests.oracles.criteria import ORACLES, Split


@st.composite
def splits(draw: st.DrawFn, outcome: str) -> Split:
    n_arms = draw(st.integers(2, 4))
    cells = draw(st.lists(st.integers(0, 25), min_size=2 * n_arms, max_size=2 * n_arms))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arm = np.repeat(np.tile(np.arange(n_arms), 2), cells)
    side = np.repeat(np.repeat([0, 1], n_arms), cells)
    rate = rng.random(2 * n_arms) * draw(st.sampled_from([0.1, 1.0]))
    if outcome == "binary":
        y = (rng.random(len(arm)) < np.repeat(rate, cells)).astype(float)
    else:
        y = rng.normal(np.repeat(3 * rate, cells), draw(st.sampled_from([0.5, 2.0])))
    w = rng.uniform(0.2, 3.0, len(arm)) if draw(st.booleans()) else np.ones(len(arm))
    means = [np.average(y[arm == g], weights=w[arm == g]) if (arm == g).any() else 0.0 for g in range(n_arms)]
    pull = draw(
        st.sampled_from([0.0, 0.3])
    )  # the reference is the plain mean, or some way towards the parent's
    reference = (1 - pull) * np.array(means) + pull * rng.random(n_arms)
    n_reg = draw(st.sampled_from([0.0, 0.5, 10.0, 100.0]))
    return Split(
        n_arms, side, arm, y, w, reference, n_reg, draw(st.sampled_from(["none", "paper", "causalml"]))
    )


def computed(name: str, split: Split) -> float:
    return call(
        CRITERIA[name].gain,
        split.table(0),
        split.table(1),
        reference=split.reference,
        n_reg=split.n_reg,
        normalization=NORMALIZATION_CODES[split.normalization],
    )


@pytest.mark.parametrize("name", CRITERIA)
@given(split=splits("binary"))
@settings(max_examples=150, deadline=None)
def test_a_gain_equals_its_formula_on_a_binary_outcome(name: str, split: Split) -> None:
    with np.errstate(all="ignore"):
        assert computed(name, split) == pytest.approx(ORACLES[name](split), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("name", [n for n, c in CRITERIA.items() if "continuous" in c.outcomes])
@given(split=splits("continuous").filter(lambda split: split.normalization != "causalml"))
@settings(max_examples=150, deadline=None)
def test_a_gain_equals_its_formula_on_a_continuous_outcome(name: str, split: Split) -> None:
    assert computed(name, split) == pytest.approx(ORACLES[name](split), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("name", CRITERIA)
@given(split=splits("binary"))
@settings(max_examples=60, deadline=None)
def test_a_gain_is_never_nan_nor_plus_infinity(name: str, split: Split) -> None:
    gain = computed(name, split)
    assert not math.isnan(gain)
    assert gain < math.inf
