"""Allocation under limits against the linear programme, the whole-number programme, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.policy.allocation import (
    BUDGET,
    CAPACITY,
    Constraint,
    Problem,
    Units,
    decimals_for,
    settle,
    steps_above,
)
from tests.oracles.allocation import best_of_whole_units, optimum
from tests.unit.policy.instances import assign, costs_of, is_open, problem


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(400, 4000), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_value_is_within_a_thousandth_of_the_linear_programme(
    seed: int, n: int, treatments: int, segments: int, own: bool
) -> None:
    made, units = problem(n, treatments, segments, seed, own=own)
    found = assign(made, units)
    best = optimum(
        units.net.astype(float), costs_of(made, units), units.segment, is_open(made, units), made.constraints
    )
    assert (found.used <= made.limits).all()
    assert found.bound >= best * (1 - 1e-9)  # weak duality
    assert found.bound <= best * (1 + 1e-5) + 1e-9  # and the prices are the best ones
    # The programme may split a unit for each limit that binds; an assignment can't, and loses up to its net value.
    split = (found.prices > 0).sum() * units.net.max()
    assert found.value >= best * (1 - 1e-3) - split
    if n >= 3000 and best > 500:
        assert found.value >= best * (1 - 1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_value_is_within_a_thousandth_of_the_best_assignment_of_whole_units(seed: int) -> None:
    rng = np.random.default_rng(seed)
    made, units = problem(300, int(rng.integers(1, 5)), int(rng.integers(1, 5)), seed)
    best = best_of_whole_units(
        units.net.astype(float), costs_of(made, units), units.segment, is_open(made, units), made.constraints
    )
    assert assign(made, units).value >= best * (1 - 1e-3)


def test_limits_that_bind_nobody_have_no_price() -> None:
    made, units = problem(2000, 3, 3, seed=4, rich=True)
    found = assign(made, units)
    open_net = np.where(is_open(made, units), units.net, -np.inf)
    assert found.prices.tolist() == [0.0] * len(made.constraints)
    assert found.value == pytest.approx(np.maximum(open_net.max(axis=1), 0).sum(), rel=1e-6)


def test_prices_and_slack_are_complementary() -> None:
    made, units = problem(4000, 3, 3, seed=8)
    found = assign(made, units)
    slack = (made.limits - found.used) / made.unit
    assert (found.prices > 0).any()
    assert (slack[found.prices > 0] <= 1.25).all()  # less than the dearest contact


def identical(n: int, limits: tuple[Constraint, ...], cost: float = 0.5) -> tuple[Problem, Units]:
    made = Problem(2, 1, limits, (cost, cost), decimals_for(cost))
    unit = np.arange(n, dtype=np.uint64)
    net = np.full((n, 2), 1.0, np.float32)
    return made, Units(unit, net, np.full(n, 3, np.uint32), np.zeros(n, np.uint16), None)


def test_one_giant_tie_meets_the_caps_exactly_and_the_hash_decides() -> None:
    caps = (Constraint("a", CAPACITY, 1234.0, (0,)), Constraint("b", CAPACITY, 777.0, (1,)))
    made, units = identical(50_000, caps)
    found = assign(made, units)
    assert [(found.arm == a).sum() for a in (1, 2)] == [1234, 777]
    order = np.random.default_rng(0).permutation(50_000)
    assert (assign(made, units.take(order)).arm == found.arm[order]).mean() > 0.9999
    # nobody is favoured: ids of all sizes are among the chosen
    assert abs(np.flatnonzero(found.arm).mean() / 25_000 - 1) < 0.05


def test_a_giant_tie_meets_a_budget_exactly() -> None:
    made, units = identical(30_000, (Constraint("total", BUDGET, 1000.0, (0, 1)),), cost=0.1)
    assert (assign(made, units).arm > 0).sum() == 10_000


@pytest.mark.parametrize("kind", [BUDGET, CAPACITY])
def test_a_limit_of_zero_lets_nobody_through(kind: str) -> None:
    made, units = identical(500, (Constraint("none", kind, 0.0, (0,)),))
    assert set(assign(made, units).arm.tolist()) == {2}


def test_arms_without_cost_use_no_budget() -> None:
    made, units = identical(500, (Constraint("total", BUDGET, 0.0, (0, 1)),), cost=0.0)
    assert (assign(made, units).arm > 0).all()


def test_treatments_that_lose_money_are_not_given() -> None:
    made, units = identical(200, ())
    bad = Units(units.unit, -units.net, units.allowed, units.segment, None)
    assert not assign(made, bad).arm.any()
    assert not assign(made, Units(units.unit, 0 * units.net, units.allowed, units.segment, None)).arm.any()


def test_nobody_gets_less_than_the_minimum() -> None:
    made, units = problem(1000, 2, 1, seed=1, rich=True)
    arm = assign(made, units, least=0.75).arm
    given_ = np.flatnonzero(arm)
    assert len(given_)
    assert (units.net[given_, arm[given_] - 1] >= 0.75).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_order_does_not_matter(seed: int) -> None:
    made, units = problem(600, 3, 2, seed)
    order = np.random.default_rng(seed).permutation(600)
    first, second = assign(made, units.in_order()), assign(made, units.take(order).in_order())
    assert first.arm.tolist() == second.arm.tolist()
    assert first.prices.tolist() == second.prices.tolist()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2.0**-6, 2.0**9]))
def test_another_currency_changes_nothing(seed: int, rate: float) -> None:
    """A power of two, so that nothing is rounded otherwise."""
    made, units = problem(600, 2, 2, seed, own=False)
    other = Problem(
        made.treatments, made.segments,
        tuple(
            Constraint(c.name, c.kind, c.limit * rate if c.kind == BUDGET else c.limit, c.arms, c.segments)
            for c in made.constraints
        ),
        tuple(cost * rate for cost in made.costs or ()), decimals_for(max(made.costs or (0,)) * rate),
    )  # fmt: skip
    scaled = Units(units.unit, units.net * np.float32(rate), units.allowed, units.segment, None)
    assert assign(other, scaled).value == pytest.approx(assign(made, units).value * rate, rel=1e-6)


def test_settled_units_choose_the_same_at_every_corner_of_the_box() -> None:
    from itertools import product

    from spark_uplift.policy.allocation import Tilt, choose

    made, units = problem(2000, 2, 1, seed=3)
    w = Tilt((1, 2), 0.0, 0.0).values(units)
    prices = assign(made, units).prices + 0.01
    widths = np.full(len(prices), 0.01)
    arm = settle(made, w, units, prices, widths)
    sure = arm >= 0
    assert 0 < (~sure).sum() < 400
    for signs in product((-1, 1), repeat=len(prices)):
        there, _ = choose(made, w, units, prices + widths * np.array(signs))
        assert (there[sure] == arm[sure]).all()


def test_costs_are_counted_in_whole_steps_rounded_up() -> None:
    decimals = decimals_for(1.25)
    assert decimals == 8
    steps = steps_above(np.array([0.1, 0.3, 1.25, 1 / 3]), decimals)
    assert steps.tolist() == [10_000_000, 30_000_000, 125_000_000, 33_333_334]
    made = Problem(1, 1, (Constraint("total", BUDGET, 0.3, (0,)),), (0.1,), decimals)
    assert made.limits[0] // made.cost_steps(None)[0, 0] == 3


def test_prices_stay_within_bounds_that_they_are_given() -> None:
    from spark_uplift.policy.allocation import Tilt
    from spark_uplift.policy.duals import Dual, minimise

    made, units = problem(2000, 3, 2, seed=8)
    best = assign(made, units).prices
    dual = Dual(made, Tilt((1, 2, 3), 0.0, 0.0).values(units), units, made.limits / made.unit)
    low, high = best * 1.05, best * 1.1 + 0.01
    found = minimise(dual, best, 1.0, within=(low, high))
    assert ((found >= low * (1 - 1e-12)) & (found <= high * (1 + 1e-12))).all()
    free = minimise(dual, best, 1.0, within=(best * 0.9, best * 1.1 + 1e-9))
    np.testing.assert_allclose(free, best, rtol=2e-3, atol=1e-3)
