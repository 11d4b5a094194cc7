"""What must hold for split criteria whatever their formula."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spark_uplift.criteria.divergence import kl as kl_formula
from spark_uplift.criteria.registry import CRITERIA
from spark_uplift.criteria.signature import NORMALIZATION_CODES, call, compiled

Floats = npt.NDArray[np.float64]
NONE, PAPER, CAUSALML = (NORMALIZATION_CODES[name] for name in ("none", "paper", "causalml"))
OURS = [NONE, PAPER]
# The likelihood of arm and outcome together also rises where only the baseline or the arms' shares differ.
NOT_THE_EFFECT_ALONE = {"cit"}
all_criteria = pytest.mark.parametrize("name", CRITERIA)
effect_criteria = pytest.mark.parametrize(
    "name", [name for name in CRITERIA if name not in NOT_THE_EFFECT_ALONE]
)
our_normalizations = pytest.mark.parametrize("normalization", OURS)


def cells(counts: npt.ArrayLike, rates: npt.ArrayLike) -> Floats:
    """Return the table of a side of a binary outcome."""
    n, p = np.asarray(counts, dtype=float), np.asarray(rates, dtype=float)
    return np.column_stack([n, n * p, n * p])


@st.composite
def tables(draw: st.DrawFn, n_arms: int | None = None, smallest: int = 0) -> tuple[Floats, Floats]:
    arms = draw(st.integers(2, 4)) if n_arms is None else n_arms
    sides = []
    for _ in range(2):
        n = draw(st.lists(st.integers(smallest, 400), min_size=arms, max_size=arms))
        sides.append(np.array([[m, s, s] for m in n for s in [draw(st.integers(0, m))]], dtype=float))
    return sides[0], sides[1]


n_regs = st.sampled_from([0.0, 1.0, 10.0, 100.0])


@all_criteria
@our_normalizations
@given(sides=tables(), n_reg=n_regs)
@settings(max_examples=60, deadline=None)
def test_left_and_right_may_be_swapped(
    name: str, normalization: int, sides: tuple[Floats, Floats], n_reg: float
) -> None:
    left, right = sides
    gain = CRITERIA[name].gain
    there = call(gain, left, right, n_reg=n_reg, normalization=normalization)
    back = call(gain, right, left, n_reg=n_reg, normalization=normalization)
    assert there == pytest.approx(back, rel=1e-9, abs=1e-12)


def test_causalml_sees_the_right_child_only() -> None:
    left, right = cells([1000, 1000], [0.1, 0.1]), cells([1000, 200], [0.1, 0.4])
    gain = CRITERIA["kl"].gain
    there = call(gain, left, right, normalization=CAUSALML)
    assert there != pytest.approx(call(gain, right, left, normalization=CAUSALML), rel=1e-3)


# causal_mse is not among them: its noise term shrinks as rows are added, which is the point of it.
@pytest.mark.parametrize("name", [name for name in CRITERIA if name != "causal_mse"])
@our_normalizations
@given(sides=tables(), n_reg=st.sampled_from([1.0, 10.0, 100.0]), factor=st.sampled_from([1.5, 4.0, 1000.0]))
@settings(max_examples=60, deadline=None)
def test_only_proportions_count(
    name: str, normalization: int, sides: tuple[Floats, Floats], n_reg: float, factor: float
) -> None:
    left, right = sides
    gain = CRITERIA[name].gain
    once = call(gain, left, right, n_reg=n_reg, normalization=normalization)
    often = call(gain, left * factor, right * factor, n_reg=n_reg * factor, normalization=normalization)
    assert often == pytest.approx(once, rel=1e-9, abs=1e-11)


def test_the_noise_of_causal_mse_is_halved_by_twice_the_rows() -> None:
    left, right = cells([100, 100], [0.2, 0.2]), cells([100, 100], [0.2, 0.2])
    gain = CRITERIA["causal_mse"].gain
    once, twice = call(gain, left, right), call(gain, 2 * left, 2 * right)
    assert once == pytest.approx(2 * twice)
    assert once < 0


@all_criteria
@our_normalizations
@given(sides=tables(n_arms=4), n_reg=n_regs, order=st.permutations([1, 2, 3]))
@settings(max_examples=40, deadline=None)
def test_treatments_may_be_relabelled(
    name: str, normalization: int, sides: tuple[Floats, Floats], n_reg: float, order: list[int]
) -> None:
    gain = CRITERIA[name].gain
    before = call(gain, *sides, n_reg=n_reg, normalization=normalization)
    shuffled = [side[[0, *order]] for side in sides]
    assert call(gain, *shuffled, n_reg=n_reg, normalization=normalization) == pytest.approx(
        before, rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("name", ["ed", "cts", "ddp", "iddp", "it", "cit", "causal_mse", "gradient"])
@our_normalizations
@given(sides=tables(n_arms=2), n_reg=n_regs)
@settings(max_examples=40, deadline=None)
def test_control_and_the_one_treatment_may_be_exchanged(
    name: str, normalization: int, sides: tuple[Floats, Floats], n_reg: float
) -> None:
    assume(all((side[:, 0] > 0).any() for side in sides))
    gain = CRITERIA[name].gain
    before = call(gain, *sides, n_reg=n_reg, normalization=normalization)
    exchanged = [side[::-1] for side in sides]
    assert call(gain, *exchanged, n_reg=n_reg, normalization=normalization) == pytest.approx(
        before, rel=1e-9, abs=1e-11
    )


@all_criteria
@our_normalizations
@given(
    sides=tables(smallest=1),
    n_reg=n_regs,
    share=st.sampled_from([0.01, 0.3, 0.5]),
)
@settings(max_examples=40, deadline=None)
def test_children_like_their_node_gain_nothing(
    name: str, normalization: int, sides: tuple[Floats, Floats], n_reg: float, share: float
) -> None:
    node = sides[0] + sides[1]
    gain = call(
        CRITERIA[name].gain, share * node, (1 - share) * node, n_reg=n_reg, normalization=normalization
    )
    # chi divides by rates of almost 0, which magnifies the rounding
    assert gain <= (1e-9 if name == "chi" else 1e-12)


@effect_criteria
@our_normalizations
@pytest.mark.parametrize("n_reg", [0.0, 1.0, 100.0, 1000.0])
def test_a_strong_baseline_is_not_an_effect(name: str, normalization: int, n_reg: float) -> None:
    left, right = cells([9000, 1000], [0.1, 0.1]), cells([9000, 1000], [0.7, 0.7])
    assert call(CRITERIA[name].gain, left, right, n_reg=n_reg, normalization=normalization) <= 1e-12


# kl and chi are not among them: they grow where the baseline is near 0 or 1, if there is an effect at all.
@pytest.mark.parametrize("name", ["ed", "cts", "ddp", "iddp", "it", "causal_mse", "gradient"])
@our_normalizations
@pytest.mark.parametrize("n_reg", [0.0, 1.0, 100.0, 1000.0])
def test_a_strong_baseline_is_not_a_difference_of_effects(
    name: str, normalization: int, n_reg: float
) -> None:
    left, right = cells([9000, 1000], [0.1, 0.2]), cells([9000, 1000], [0.7, 0.8])
    assert call(CRITERIA[name].gain, left, right, n_reg=n_reg, normalization=normalization) <= 1e-12


@pytest.mark.parametrize("name", ["ed", "ddp", "it"])
@pytest.mark.parametrize("n_reg", [100.0, 1000.0])
def test_equal_pseudo_counts_would_take_the_baseline_for_an_effect(name: str, n_reg: float) -> None:
    # The trap that CausalML's form of smoothing is: the rarer arm is pulled harder to the node's rate.
    left, right = cells([9000, 1000], [0.1, 0.1]), cells([9000, 1000], [0.7, 0.7])
    gain = CRITERIA[name].gain
    assert call(gain, left, right, n_reg=n_reg, normalization=CAUSALML) > 1e-4
    assert call(gain, left, right, n_reg=n_reg, normalization=PAPER) <= 1e-12


@effect_criteria
@our_normalizations
@pytest.mark.parametrize("n_reg", [0.0, 100.0])
@pytest.mark.parametrize(("side", "arm"), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)])
def test_an_arm_that_a_child_lacks_makes_no_gain(
    name: str, normalization: int, n_reg: float, side: int, arm: int
) -> None:
    # The baselines differ, the effects don't.
    sides = [cells([500, 300, 100], [0.1, 0.1, 0.1]), cells([500, 300, 100], [0.7, 0.7, 0.7])]
    sides[side][arm] = 0
    assert call(CRITERIA[name].gain, *sides, n_reg=n_reg, normalization=normalization) <= 1e-12


@all_criteria
@our_normalizations
def test_a_second_treatment_that_no_child_can_compare_changes_little(name: str, normalization: int) -> None:
    two = [cells([500, 500], [0.1, 0.3]), cells([500, 500], [0.1, 0.05])]
    absent = [np.vstack([side, np.zeros(3)]) for side in two]
    gain = CRITERIA[name].gain
    expected = call(gain, *two, n_reg=50, normalization=normalization)
    assert call(gain, *absent, n_reg=50, normalization=normalization) == pytest.approx(expected, rel=1e-12)


@given(p=st.floats(0, 1), share=st.floats(0.05, 0.95))
@settings(max_examples=100, deadline=None)
def test_kl_of_equal_rates_is_zero(p: float, share: float) -> None:
    left, right = cells([1000, 1000], [p, p]), cells([1000, 1000], [p, p])
    assert call(compiled(kl_formula), share * left, right, normalization=NONE) == pytest.approx(0, abs=1e-12)


@given(p=st.floats(0, 1), q=st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_kl_is_not_negative(p: float, q: float) -> None:
    # With a right child and a reference without effect the gain is half of the left child's divergence.
    left, right = cells([100, 100], [q, p]), cells([100, 100], [0.5, 0.5])
    gain = call(CRITERIA["kl"].gain, left, right, reference=[0.5, 0.5], normalization=NONE)
    assert gain >= -1e-15


@pytest.mark.parametrize("normalization", OURS)
def test_a_control_without_successes_does_not_score_zero(normalization: int) -> None:
    left, right = cells([1000, 1000], [0.0, 0.2]), cells([1000, 1000], [0.1, 0.1])
    gain = CRITERIA["kl"].gain
    assert call(gain, left, right, normalization=normalization) > 0.1
    assert call(gain, left, right, normalization=CAUSALML) <= 0


@pytest.mark.parametrize("name", ["it", "cit"])
@our_normalizations
def test_pure_sides_have_a_finite_gain(name: str, normalization: int) -> None:
    left, right = cells([50, 50], [0.0, 0.0]), cells([500, 500], [0.01, 0.03])
    assert math.isfinite(call(CRITERIA[name].gain, left, right, normalization=normalization))
    left, right = cells([50, 50], [0.0, 1.0]), cells([50, 50], [1.0, 0.0])
    assert 0 < call(CRITERIA[name].gain, left, right, normalization=normalization) < math.inf


@pytest.mark.parametrize("name", ["ddp", "iddp"])
def test_the_default_of_the_raw_differences_does_not_love_tiny_children(name: str) -> None:
    gain = CRITERIA[name].gain
    even = cells([500, 500], [0.2, 0.4]), cells([500, 500], [0.2, 0.0])
    tiny = cells([4, 4], [0.0, 1.0]), cells([996, 996], [0.2, 0.196])
    assert call(gain, *tiny, normalization=NONE) > call(gain, *even, normalization=NONE)
    assert call(gain, *tiny, normalization=PAPER) < call(gain, *even, normalization=PAPER)


@pytest.mark.parametrize("name", [name for name, c in CRITERIA.items() if "continuous" in c.outcomes])
@our_normalizations
@given(sides=tables(smallest=1), shift=st.sampled_from([-50.0, 7.0]), n_reg=n_regs)
@settings(max_examples=40, deadline=None)
def test_adding_a_constant_to_the_outcome_changes_nothing(
    name: str, normalization: int, sides: tuple[Floats, Floats], shift: float, n_reg: float
) -> None:
    moved = []
    for side in sides:
        w, wy, wyy = side.T
        moved.append(np.column_stack([w, wy + shift * w, wyy + 2 * shift * wy + shift**2 * w]))
    gain = CRITERIA[name].gain
    before = call(gain, *sides, n_reg=n_reg, normalization=normalization)
    assert call(gain, *moved, n_reg=n_reg, normalization=normalization) == pytest.approx(
        before, rel=1e-6, abs=1e-8
    )
