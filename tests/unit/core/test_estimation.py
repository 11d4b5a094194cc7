"""Effects from statistics: shrinkage of effects along the path, and nodes that miss an arm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core.dtypes import UNIT, WEIGHTED, FixedPoint
from spark_uplift.core.estimation import average_effects, effects
from tests.oracles import tree as oracle
from tests.unit.core.data import rows_of, spec_of

ROWS = rows_of({"x": np.array([0.0, 1.0])}, [0, 1], [0.5, 1.0])


def estimated(left_child: list[int], stats: np.ndarray, shrinkage: float, layout: int = UNIT) -> np.ndarray:
    prior = np.full(stats.shape[1] - 1, 0.125)
    units = {"weight_unit": 0.5, "wy_unit": 0.25, "ww_unit": 2.0} if layout == WEIGHTED else {
        "weight_unit": 1.0, "wy_unit": 0.25, "ww_unit": 1.0,
    }  # fmt: skip
    return effects(np.array(left_child), stats, layout=layout, shrinkage=shrinkage, prior=prior, **units)


@given(
    layout=st.sampled_from([UNIT, WEIGHTED]),
    n_arms=st.integers(2, 4),
    shrinkage=st.sampled_from([0.0, 1.0, 300.0]),
    empty=st.floats(0, 0.4),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=100, deadline=None)
def test_effects_are_those_of_the_definition(
    layout: int, n_arms: int, shrinkage: float, empty: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    stats = rng.integers(1, 500, (5, n_arms, 5))
    stats[rng.random((5, n_arms)) < empty] = 0
    if layout == UNIT:
        stats[:, :, 1] = stats[:, :, 4] = stats[:, :, 0]
    grid = FixedPoint(UNIT, 0.25, 1.0, 1.0, 1.0, False)
    if layout == WEIGHTED:
        grid = FixedPoint(WEIGHTED, 0.25, 1.0, 0.5, 2.0, False)
    base = spec_of(ROWS)
    spec = type(base)(
        **{
            **base.__dict__,
            "n_arms": n_arms,
            "grid": grid,
            "shrinkage": shrinkage,
            "prior": (0.125,) * (n_arms - 1),
        }
    )
    heaps = [1, 2, 3, 6, 7]
    expected = oracle.effects(spec, dict(zip(heaps, stats, strict=True)))
    ours = estimated([1, -1, 3, -1, -1], stats, shrinkage, layout)
    np.testing.assert_allclose(ours, [expected[heap] for heap in heaps], rtol=1e-12, atol=1e-13)


def table(*cells: tuple[int, float]) -> list[list[float]]:
    """Statistics of a node from (rows, mean) by arm, on the grid of 1/4."""
    return [[n, n, 4 * n * mean, 0, n] for n, mean in cells]


def test_a_leaf_that_misses_an_arm_takes_its_parents_effect_and_never_a_spurious_zero() -> None:
    stats = np.array(
        [table((100, 10), (100, 13)), table((60, 12), (0, 0)), table((40, 7), (100, 13))], np.int64
    )
    assert estimated([1, -1, -1], stats, 0.0)[:, 0].tolist() == [3.0, 3.0, 6.0]


def test_the_root_is_not_shrunk_and_falls_back_on_the_prior() -> None:
    whole = np.array([table((10, 1), (10, 3))], np.int64)
    assert estimated([-1], whole, 1e6).tolist() == [[2.0]]
    assert estimated([-1], np.array([table((10, 1), (0, 0))], np.int64), 1e6).tolist() == [[0.125]]


def test_equal_arms_of_half_the_rows_count_as_their_rows() -> None:
    # A child with 200 effective rows and 200 pseudo-rows lies half-way to its parent.
    stats = np.array(
        [table((200, 0), (200, 1)), table((100, 0), (100, 3)), table((100, 0), (100, -1))], np.int64
    )
    assert estimated([1, -1, -1], stats, 200.0)[:, 0].tolist() == [1.0, 2.0, 0.0]


@pytest.mark.parametrize("control", [100, 9_000, 100_000])
def test_the_baseline_does_not_leak_into_the_effect(control: int) -> None:
    # The same effect everywhere, baselines far apart, arms unbalanced: shrinkage must not move anything.
    stats = np.array(
        [
            table((2 * control, 50), (200, 51)),
            table((control, 90), (100, 91)),
            table((control, 10), (100, 11)),
        ],
        np.int64,
    )
    np.testing.assert_allclose(estimated([1, -1, -1], stats, 500.0), 1.0, rtol=1e-12)


def test_average_effects_are_differences_in_means() -> None:
    stats = np.array([*table((10, 2), (5, 5), (0, 0))], np.int64)
    assert average_effects(stats, weight_unit=1.0, wy_unit=0.25).tolist() == [3.0, 0.0]
