"""Random allocation problems, and an assignment by the same steps that a task takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spark_uplift.policy.allocation import (
    BUDGET,
    CAPACITY,
    Constraint,
    Problem,
    Tilt,
    Units,
    choose,
    decimals_for,
    tally,
)
from spark_uplift.policy.allocation_finish import finish
from spark_uplift.policy.duals import Dual, minimise


def problem(
    n: int, treatments: int, segments: int, seed: int, *, own: bool = False, rich: bool = False
) -> tuple[Problem, Units]:
    """Budgets for all and for two arms, a capacity an arm and a segment; arms closed to some units."""
    rng = np.random.default_rng(seed)
    fixed = rng.choice([0.0, 0.05, 0.2, 0.5, 1.0, 1.25], treatments)
    costs = np.round(rng.gamma(2, 0.3, (n, treatments)), 4) if own else None
    cost = fixed[None, :] if costs is None else costs
    net = (rng.normal(0.5, 1.0, (n, treatments)) - cost).astype(np.float32)
    limits: list[Constraint] = [
        Constraint("total", BUDGET, float(np.round(n * rng.uniform(0.02, 0.3), 2)), tuple(range(treatments)))
    ]
    if treatments > 1:
        limits.append(Constraint("two", BUDGET, float(np.round(n * rng.uniform(0.01, 0.2), 2)), (0, 1)))
    for a in range(min(treatments, 3)):
        limits.append(Constraint(f"cap {a}", CAPACITY, float(int(n * rng.uniform(0.0, 0.4))), (a,)))
    for s in range(1, segments):
        arm = int(rng.integers(treatments))
        limits.append(
            Constraint(
                f"segment {s}", CAPACITY, float(int(n / segments * rng.uniform(0.0, 0.5))), (arm,), (s,)
            )
        )
    if rich:
        limits = [Constraint(c.name, c.kind, 10.0 * n, c.arms, c.segments) for c in limits]
    made = Problem(
        treatments,
        segments,
        tuple(limits),
        None if own else tuple(map(float, fixed)),
        decimals_for(float(cost.max())),
    )
    units = Units(
        unit=rng.integers(0, 2**63, n).astype(np.uint64),
        net=net,
        allowed=rng.integers(1, 2**treatments, n).astype(np.uint32),
        segment=rng.integers(0, segments, n).astype(np.uint16),
        cost=costs,
    )
    return made, units


@dataclass
class Assigned:
    """An assignment: arms, its net value, an upper bound on any, what it uses, the prices."""

    arm: Any
    value: float
    bound: float
    used: Any
    prices: Any


def assign(made: Problem, units: Units, least: float = 0.0) -> Assigned:
    """Solve as one task does."""
    best = units.net.max(axis=1, initial=0.0)
    scale = float(2.0 ** np.floor(np.log2(np.median(best[best > 0])))) if (best > 0).any() else 1.0
    w = Tilt(tuple(range(1, made.treatments + 1)), scale * 2.0**-52, least).values(units)
    left = made.limits
    prices = minimise(Dual(made, w, units, left / made.unit), np.zeros(len(left)), scale)
    end = finish(made, w, units, prices, left)
    assert not end.over.any()
    arm, worth = choose(made, w, units, prices)
    arm[end.moved] = end.arm
    given = np.flatnonzero(arm > 0)
    value = float(units.net[given, arm[given] - 1].astype(np.float64).sum())
    bound = float(worth.sum() + prices @ (left / made.unit))
    return Assigned(arm, value, bound, made.used(*tally(made, units, arm)), prices)


def is_open(made: Problem, units: Units) -> Any:
    """Return which treatments no rule excludes, shape (n, K)."""
    return ((units.allowed[:, None] >> np.arange(made.treatments)) & 1).astype(bool)


def costs_of(made: Problem, units: Units) -> Any:
    """Return costs, shape (n, K)."""
    return np.broadcast_to(made.cost_rows(units.cost), units.net.shape)
