"""The grid: exact where it can be, never overflowing, and sums that don't depend on order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core import fixedpoint
from spark_uplift.core.dtypes import LANES, PACKED, UNIT, WEIGHTED, FixedPoint


def grid_of(**changes: object) -> FixedPoint:
    facts = {
        "rows": 1000,
        "outcome_bound": 1.0,
        "outcome_whole": True,
        "outcome_binary": True,
        "weight_bound": None,
        "needs_squares": False,
    }
    return fixedpoint.choose(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "layout"),
    [
        ({}, PACKED),
        ({"needs_squares": True}, PACKED),
        ({"outcome_bound": 77.0, "outcome_binary": False}, PACKED),
        ({"outcome_bound": 77.0, "outcome_binary": False, "needs_squares": True}, UNIT),
        ({"outcome_bound": 0.5, "outcome_whole": False, "outcome_binary": False}, UNIT),
        ({"rows": 600_000_000}, UNIT),
        ({"outcome_bound": 32767.0, "outcome_binary": False}, PACKED),
        ({"outcome_bound": 32768.0, "outcome_binary": False}, UNIT),
        ({"weight_bound": 3.0}, WEIGHTED),
    ],
)
def test_the_layout_is_the_smallest_that_holds_the_data(changes: dict[str, object], layout: int) -> None:
    assert grid_of(**changes).layout == layout


@given(
    rows=st.integers(1, 10**11),
    bound=st.floats(1e-200, 1e100),
    weight=st.one_of(st.none(), st.floats(1.0, 1e9)),
    squares=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_sums_of_a_bag_never_overflow(rows: int, bound: float, weight: float | None, squares: bool) -> None:
    grid = grid_of(
        rows=rows,
        outcome_bound=bound,
        outcome_whole=False,
        outcome_binary=False,
        weight_bound=weight,
        needs_squares=squares,
    )
    w = 1.0 if weight is None else weight
    for largest, unit in (
        (w, grid.weight_unit),
        (w * bound, grid.outcome_unit),
        (w * bound * bound, grid.square_unit),
        (w * w, grid.square_weight_unit),
    ):
        assert math.frexp(unit)[0] == 0.5  # a power of two
        if unit != 1.0 or largest >= 1.0:
            assert 4 * rows * (largest / unit) < 2.0**63


@given(
    outcome=st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=30),
    weighted=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=100, deadline=None)
def test_lanes_are_within_half_a_step(outcome: list[float], weighted: bool, seed: int) -> None:
    y = np.array(outcome)
    w = np.random.default_rng(seed).uniform(0.0, 4.0, y.size) if weighted else None
    bound = float(np.abs(y).max())
    grid = grid_of(
        rows=y.size,
        outcome_bound=bound,
        outcome_whole=False,
        outcome_binary=False,
        weight_bound=4.0 if weighted else None,
        needs_squares=True,
    )
    lanes = fixedpoint.lanes(grid, y, w)
    assert lanes.shape == (y.size, LANES[grid.layout])
    assert np.all(lanes[:, 0] == 1)
    weights = np.ones(y.size) if w is None else w
    at = 1 if w is None else 2
    largest = 4.0 if weighted else 1.0
    for lane, exact, unit, limit in (
        (at, weights * y, grid.outcome_unit, largest * bound),
        (at + 1, weights * y * y, grid.square_unit, largest * bound * bound),
    ):
        assert np.all(np.abs(lanes[:, lane] * unit - exact) <= unit / 2)
        assert unit <= limit * 2.0**-28 or limit < 1e-290
    if w is not None:
        assert np.all(np.abs(lanes[:, 1] * grid.weight_unit - w) <= grid.weight_unit / 2)
        assert np.all(np.abs(lanes[:, 4] * grid.square_weight_unit - w * w) <= grid.square_weight_unit / 2)


@given(y=st.lists(st.integers(-(2**31), 2**31), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_whole_outcomes_are_exact(y: list[int]) -> None:
    outcome = np.array(y, float)
    grid = grid_of(
        rows=len(y), outcome_bound=float(np.abs(outcome).max()), outcome_binary=False, needs_squares=True
    )
    assert grid.layout == UNIT
    assert fixedpoint.lanes(grid, outcome, None)[:, 1].tolist() == y
    assert grid.outcome_unit == 1.0


@given(y=st.lists(st.integers(-32767, 32767), min_size=1, max_size=50))
@settings(max_examples=60, deadline=None)
def test_packed_sums_come_apart_again(y: list[int]) -> None:
    grid = grid_of(rows=len(y), outcome_bound=32767.0, outcome_binary=False)
    assert grid.layout == PACKED
    total = int(fixedpoint.lanes(grid, np.array(y, float), None).sum())
    n = total & 0xFFFFFFFF
    assert (n, (total - n) >> 32) == (len(y), sum(y))


def test_sums_do_not_depend_on_order() -> None:
    rng = np.random.default_rng(1)
    y, w = rng.normal(size=5000) * 1e3, rng.uniform(0.1, 5, 5000)
    grid = grid_of(rows=5000, outcome_bound=1e4, outcome_whole=False, outcome_binary=False, weight_bound=5.0)
    lanes = fixedpoint.lanes(grid, y, w)
    order = rng.permutation(5000)
    parts = [part.sum(axis=0) for part in np.array_split(lanes[order], 7)]
    np.testing.assert_array_equal(np.sum(parts[::-1], axis=0), lanes.sum(axis=0))
    assert (w * y)[order].sum() != (w * y).sum()  # floats do


def test_constant_zero_outcomes_have_a_grid() -> None:
    grid = grid_of(outcome_bound=0.0, outcome_whole=False, outcome_binary=False)
    assert fixedpoint.lanes(grid, np.zeros(3), None).tolist() == [[1, 0, 0]] * 3
