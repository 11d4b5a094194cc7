"""Steps along hulls: against brute force, a linear programme, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from spark_uplift.policy.curve import Averages, Path, break_even, curve_rows, quantile_edges, return_row
from spark_uplift.policy.curve_steps import (
    hull_steps,
    place,
    rounded,
    settled,
    step_values,
    tally_steps,
    to_arm,
)
from tests.oracles import cost_curve as oracle


def units(n=40, arms=3, seed=0, digits=2):
    rng = np.random.default_rng(seed)
    gain = np.round(rng.normal(0.5, 1.0, (n, arms)), digits)
    return gain, np.round(rng.uniform(0.1, 2.0, (n, arms)), digits)


def path_of(gain, cost, scores, weight=None, money=1.0):
    """The curve of rows in numpy, every key a cell of its own."""
    n, arms = gain.shape[0], gain.shape[1] + 1
    weight = np.ones(n) if weight is None else weight
    steps = hull_steps(gain, cost)
    free, _ = quantile_edges(steps.key[steps.free], 10_000)
    paid, _ = quantile_edges(steps.key[~steps.free], 10_000, extra=(0.0, float(rounded(1.0 / money))))
    values = step_values(steps, weight, scores, np.zeros(n, np.int64), np.zeros(n), arms)
    base = np.zeros((free.shape[0] + paid.shape[0], values.shape[1]))
    np.add.at(base, place(steps, free, paid), values)
    none = np.zeros((*base.shape, 0))
    mass = np.array([weight.sum(), *np.zeros(arms - 1)])
    return Path.of(free.shape[0], base, none, mass, np.zeros((arms, 0)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(0, 2))
def test_curves_are_those_of_choosing_at_every_price(seed, arms, digits):
    gain, cost = units(15, arms, seed, digits)
    cost = np.maximum(cost, 0.1)
    scores = np.random.default_rng(seed).normal(size=(15, arms + 1))
    path = path_of(gain, cost, scores)
    expected = oracle.corners(gain, cost, scores)
    spend = np.cumsum(path.cost)
    assert spend[-1] == pytest.approx(expected[-1, 0], abs=1e-9)
    for x, got, predicted, share in zip(
        spend, np.cumsum(path.gain), np.cumsum(path.predicted), np.cumsum(path.first), strict=True
    ):
        assert (got, predicted, share) == pytest.approx(oracle.at_spend(expected, x), abs=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_predicted_gain_is_the_optimum_of_the_linear_programme(seed):
    gain, cost = units(8, 3, seed)
    path = path_of(gain, cost, np.zeros((8, 4)))
    x = np.concatenate([[0.0], np.cumsum(path.cost)])
    y = np.concatenate([[0.0], np.cumsum(path.predicted)])
    for budget in np.linspace(0.0, cost.mean(), 7):
        units_once = np.kron(np.eye(8), np.ones(3))
        found = linprog(
            -gain.ravel() / 8,
            A_ub=np.vstack([cost.ravel() / 8, units_once]),
            b_ub=np.concatenate([[budget], np.ones(8)]),
            bounds=(0, 1),
        )
        assert np.interp(budget, x, y) == pytest.approx(-found.fun, abs=1e-8)


def test_a_hull_by_hand():
    gain, cost = np.array([[1.0, 3.0, 3.5, -1.0]]), np.array([[1.0, 2.0, 4.0, 0.5]])
    steps = hull_steps(gain, cost)
    assert steps.source.tolist() == [0, 2]  # the first arm lies below the line to the second
    assert steps.target.tolist() == [2, 3]
    assert steps.cost.tolist() == [2.0, 2.0]
    assert steps.gain.tolist() == [3.0, 0.5]
    assert settled(steps, gain, cost, 0.25).target.tolist() == [3]  # exactly worth it counts
    assert settled(steps, gain, cost, 0.26).target.tolist() == [2]
    assert settled(steps, gain, cost, 2.0).target.tolist() == []


def test_arms_that_cost_nothing_come_first_by_their_gain():
    gain = np.array([[1.0, 4.0], [2.0, 2.0], [0.5, -1.0]])
    cost = np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    steps = hull_steps(gain, cost)
    assert list(zip(steps.row.tolist(), steps.target.tolist(), strict=True)) == [
        (0, 1),
        (0, 2),
        (1, 1),
        (2, 1),
    ]
    cells = place(steps, np.array([0.5, 1.0, 2.0]), np.array([3.0]))
    assert cells.tolist() == [1, 3, 0, 2]


def test_without_costs_the_curve_is_the_gain_over_shares():
    gain = np.round(np.random.default_rng(0).normal(0.3, 1, (50, 1)), 1)
    scores = np.random.default_rng(1).normal(size=(50, 2))
    rows = curve_rows(path_of(gain, np.zeros((50, 1)), scores), averages(gain, 0 * gain, scores), 1.0, 0.95)
    assert len(rows) == 101
    assert {row["spend"] for row in rows} == {0.0}
    treated = (gain > 0).mean()
    assert [row["fraction"] for row in rows] == pytest.approx(np.linspace(0, treated, 101))
    order = np.argsort(-gain[:, 0], kind="stable")
    ordered, effect = gain[order, 0], (scores[:, 1] - scores[:, 0])[order]
    for count in np.flatnonzero(np.diff(ordered))[: int(treated * 50) - 1] + 1:  # whole ties
        where = [row for row in rows if row["fraction"] == pytest.approx(count / 50)]
        assert all(row["gain"] == pytest.approx(effect[:count].sum() / 50) for row in where)
    last = rows[-1]
    assert last["break_even"]  # nothing costs anything: all that gain are worth it
    assert last["baseline"] == pytest.approx(treated * effect.mean())
    assert last["net"] == last["gain"]


def averages(gain, cost, scores):
    return Averages(cost.mean(axis=0), gain.mean(axis=0), (scores[:, 1:] - scores[:, :1]).mean(axis=0))


def test_rows_of_a_curve():
    gain, cost = units(200, 2, 3, digits=6)
    scores = np.random.default_rng(4).normal(size=(200, 3))
    money = 0.8
    path = path_of(gain, cost, scores, money=money)
    rows = curve_rows(path, averages(gain, cost, scores), money, 0.95)
    expected = oracle.corners(gain, cost, scores)
    assert [row["point"] for row in rows] == list(range(len(rows)))
    assert (len(rows), sum(row["break_even"] for row in rows)) == (102, 1)
    for row in rows:
        assert (row["gain"], row["predicted"], row["fraction"]) == pytest.approx(
            oracle.at_spend(expected, row["spend"]), abs=1e-9
        )
        assert row["net"] == pytest.approx(row["gain"] * money - row["spend"])
    slopes = [row["marginal"] for row in rows]
    assert slopes == sorted(slopes, reverse=True)
    even = next(row for row in rows if row["break_even"])
    arm = oracle.chosen(gain, cost, 1 / money)
    full = np.concatenate([np.zeros((200, 1)), cost], axis=1)
    assert even["spend"] == pytest.approx(full[np.arange(200), arm].mean())
    assert even["fraction"] == pytest.approx((arm > 0).mean())
    predicted_net = [row["predicted"] * money - row["spend"] for row in rows]
    assert max(predicted_net) == pytest.approx(predicted_net[even["point"]])
    assert break_even(path, money) == pytest.approx(even["spend"])


def test_the_baseline_is_the_hull_of_averages():
    mean = Averages(np.array([1.0, 2.0]), np.array([2.0, 3.0]), np.array([1.5, 4.0]))
    assert [mean.at(x, 0.0) for x in (0.0, 0.5, 1.0, 1.5, 2.0, 9.0)] == [0.0, 0.75, 1.5, 2.75, 4.0, 4.0]
    poor = Averages(np.array([1.0]), np.array([-1.0]), np.array([0.5]))
    assert poor.at(0.5, 0.5) == 0.25  # still what the same spend on random units gains
    free = Averages(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([3.0, 5.0]))
    assert [free.at(0.0, 0.5), free.at(0.0, 1.0), free.at(0.5, 1.0)] == [1.5, 3.0, 4.0]


def test_nobody_gains():
    ones, none = np.ones((5, 2)), np.zeros((5, 3))
    rows = curve_rows(path_of(-ones, ones, none), averages(ones, ones, none), 1.0, 0.9)
    assert len(rows) == 1
    assert rows[0]["break_even"]
    assert rows[0]["gain"] == 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10.0))
def test_units_of_money_change_nothing_but_the_spend(seed, scale):
    gain, cost = units(30, 2, seed, digits=6)
    scores = np.random.default_rng(seed).normal(size=(30, 3))
    one, two = (
        curve_rows(path_of(gain, cost * s, scores, money=s), averages(gain, cost * s, scores), s, 0.95)
        for s in (1.0, scale)
    )
    assert [r["gain"] for r in two] == pytest.approx([r["gain"] for r in one], abs=1e-6)
    assert [r["net"] for r in two] == pytest.approx([scale * r["net"] for r in one], abs=1e-5)


def test_relabelling_arms_changes_nothing():
    gain, cost = units(60, 3, 5, digits=6)
    scores = np.random.default_rng(5).normal(size=(60, 4))
    order = [2, 0, 1]
    moved = scores[:, [0, *(k + 1 for k in order)]]
    one, two = path_of(gain, cost, scores), path_of(gain[:, order], cost[:, order], moved)
    assert np.cumsum(two.gain) == pytest.approx(np.cumsum(one.gain))


def test_tallies_count_rows_as_often_as_they_are_drawn():
    gain, cost = units(20, 2, 1)
    steps = hull_steps(gain, cost)
    cell = np.zeros(steps.row.shape[0], np.int64)
    fine = np.ones((steps.row.shape[0], 4), np.int64)
    counts = np.random.default_rng(0).poisson(1.0, (20, 6)).astype(np.uint8)
    base, sums = np.zeros((1, 4), np.int64), np.zeros((1, 4, 6))
    tally_steps(steps.row, cell, fine, fine.astype(float), counts, base, sums)
    assert base[0, 0] == steps.row.shape[0]
    assert sums[0, 2].tolist() == counts[steps.row].sum(axis=0).tolist()


def test_steps_of_one_arm():
    gain, cost = units(20, 2, 1)
    assert to_arm(gain, cost, 2).row.tolist() == np.flatnonzero(gain[:, 1] > 0).tolist()
    assert to_arm(gain, cost, 2, everybody=True).cost.tolist() == cost[:, 1].tolist()


def test_returns_are_gain_times_value_over_cost():
    sums = np.array([30.0, 60.0, 9.0, 12.0])
    drawn = np.stack([sums, 2 * sums], axis=1)
    found = return_row(
        sums, drawn, np.array([70.0, 30.0]), np.array([[70.0, 70.0], [30.0, 30.0]]), 10.0, 0.95
    )
    assert found["share"] == 0.3
    assert found["cost"] == 0.6
    assert found["gain"] == 0.12
    assert found["return"] == pytest.approx(0.12 * 10 / 0.6)
    assert found["net"] == pytest.approx(0.6)
    assert found["upper"] > found["gain"] > found["lower"]
    by_share = return_row(
        np.array([30.0, 60.0, 9.0, -7.0, 6.0]),
        np.zeros((5, 0)),
        np.array([70.0, 30.0]),
        np.zeros((2, 0)),
        1.0,
        0.9,
    )
    assert by_share["gain"] == pytest.approx(6 / 30 - 7 / 70)
    assert np.isnan(by_share["lower"])


def test_edges():
    keys = np.array([1.0, 2.0, 2.0, 3.0])
    edges, exact = quantile_edges(keys, 3, extra=(0.0, 2.5))
    assert (edges.tolist(), exact) == ([0.0, 1.0, 2.0, 2.5, 3.0], True)
    edges, exact = quantile_edges(np.arange(1000.0), 10)
    assert (edges.shape[0], exact) == (10, False)
    assert quantile_edges(np.zeros(0), 5)[0].tolist() == []


def test_ties_survive_arithmetic():
    gain, cost = np.array([[0.3], [0.1], [0.6]]), np.array([[3.0], [1.0], [6.0]])
    assert len(set((gain / cost).ravel().tolist())) == 2
    assert len(set(hull_steps(gain, cost).key.tolist())) == 1
    assert rounded([0.0, 1e-300, -2.5]).tolist() == pytest.approx([0.0, 1e-300, -2.5])
