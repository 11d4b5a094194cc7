"""Who gets which arm under budgets and capacities: the problem, and what one unit would choose at given prices.

Give each unit one arm so that the sum of ``w[i, arm]`` is largest, where ``w`` is the net value of a treatment above
control, and every constraint ``sum of usage <= limit`` holds. A budget is used by the cost of its arms, a capacity by 1
a unit of its arms (and segments). At prices ``p`` of the constraints each unit alone takes the arm that maximises
``w[i, a] - sum_c p[c] usage[c, i, a]``: prices are all that units need to know of one another (the Lagrangian dual of
the multiple-choice knapsack; Sinha & Zoltners 1979, Boyd & Vandenberghe 2004, section 5).

Usage is counted in whole numbers: contacts, and money in steps of ``10**-decimals``, costs rounded up. So it is the
same on any partitioning, and "within the limit" is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.core.jit import inlined, kernel

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

BUDGET, CAPACITY = "budget", "capacity"
_MOST = 2**62
_MOST_COST = 5e8  # steps of a cost: the costs of 9e9 units fit an int64
_SAME = 1e-12  # numbers of steps that are this near (relatively) are what somebody wrote as a decimal


@dataclass(frozen=True)
class Constraint:
    """A limit.

    Attributes
    ----------
    name : str
    kind : str
        ``budget`` (used by the cost of its arms, in money) or ``capacity`` (used by 1 a unit).
    limit : float
        At least 0.
    arms : tuple of int
        Treatments that use it, from 0.
    segments : tuple of int or None
        Codes of the segments in which it counts; None for all.
    """

    name: str
    kind: str
    limit: float
    arms: tuple[int, ...]
    segments: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Problem:
    """The constraints, ready for arrays.

    Attributes
    ----------
    treatments : int
        K.
    segments : int
        S; segment codes are below it.
    constraints : tuple of Constraint
    costs : tuple of float or None
        Cost of each treatment [money]; None when every unit has costs of its own.
    decimals : int
        Decimal places in which costs are counted.
    """

    treatments: int
    segments: int
    constraints: tuple[Constraint, ...]
    costs: tuple[float, ...] | None
    decimals: int

    @cached_property
    def limits(self) -> I64:
        """Limits in whole numbers, ndarray of shape (C,), dtype=int64."""
        found = [_steps_below(c.limit, self.decimals if c.kind == BUDGET else 0) for c in self.constraints]
        return np.array(found, np.int64)

    @cached_property
    def unit(self) -> F64:
        """Steps in one unit of usage (money or contacts), ndarray of shape (C,), dtype=float64."""
        return np.array([10.0**self.decimals if c.kind == BUDGET else 1.0 for c in self.constraints])

    @cached_property
    def by_count(self) -> F64:
        """Usage of a unit of a segment that gets an arm, ndarray of shape (C, S, K); 0 for budgets."""
        found = np.zeros((len(self.constraints), self.segments, self.treatments))
        for row, c in zip(found, self.constraints, strict=True):
            if c.kind == CAPACITY:
                segments = range(self.segments) if c.segments is None else c.segments
                row[np.ix_(list(segments), list(c.arms))] = 1.0
        return found

    @cached_property
    def by_cost(self) -> F64:
        """Whether the cost of an arm uses the constraint, ndarray of shape (C, K); 0 for capacities."""
        found = np.zeros((len(self.constraints), self.treatments))
        for row, c in zip(found, self.constraints, strict=True):
            if c.kind == BUDGET:
                row[list(c.arms)] = 1.0
        return found

    def used(self, counts: I64, spent: I64) -> I64:
        """Return what units use of each constraint.

        Parameters
        ----------
        counts : ndarray of shape (S, K), dtype=int64
            Units of a segment that get an arm.
        spent : ndarray of shape (K,), dtype=int64
            What they cost, in steps.

        Returns
        -------
        ndarray of shape (C,), dtype=int64
        """
        of_counts = np.tensordot(self.by_count.astype(np.int64), counts, 2)
        found: I64 = of_counts + self.by_cost.astype(np.int64) @ spent
        return found

    def charges(self, prices: F64) -> tuple[F64, F64]:
        """Return what prices make of an arm: a fee, and a rate on its cost.

        Parameters
        ----------
        prices : ndarray of shape (C,), dtype=float64
            Money a contact, or a unit of money.

        Returns
        -------
        flat : ndarray of shape (S, K), dtype=float64
            Includes the rate on costs that are the same for all units.
        rate : ndarray of shape (K,), dtype=float64
            0 then.
        """
        flat = np.zeros((self.segments, self.treatments))
        rate = np.zeros(self.treatments)
        for price, counts, costs in zip(prices, self.by_count, self.by_cost, strict=True):
            flat += price * counts
            rate += price * costs
        if self.costs is not None:
            flat += rate * np.array(self.costs)
            rate = np.zeros(self.treatments)
        return flat, rate

    def cost_rows(self, costs: F64 | None) -> F64:
        """Return costs as kernels take them: a row a unit, or one row for all."""
        if self.costs is None:
            assert costs is not None
            return costs
        return np.array([self.costs], np.float64)

    def cost_steps(self, costs: F64 | None) -> I64:
        """Return the same in steps, rounded up, dtype=int64."""
        return steps_above(self.cost_rows(costs), self.decimals)


def decimals_for(most: float) -> int:
    """Return in how many decimal places costs of up to `most` are counted."""
    return 0 if most <= 0 else math.floor(math.log10(_MOST_COST / most))


def steps_above(values: F64, decimals: int) -> I64:
    """Return values in steps of ``10**-decimals``, rounded up, but for what is a decimal number already."""
    scaled = np.asarray(values, np.float64) * 10.0**decimals
    near = np.rint(scaled)
    found: I64 = np.where(np.abs(scaled - near) <= _SAME * np.abs(near), near, np.ceil(scaled)).astype(
        np.int64
    )
    return found


def _steps_below(limit: float, decimals: int) -> int:
    scaled = limit * 10.0**decimals
    if scaled >= _MOST:
        return _MOST
    near = round(scaled)
    return near if abs(scaled - near) <= _SAME * abs(near) else math.floor(scaled)


_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9),
    np.uint64(0x85EBCA77C2B2AE63), np.uint64(0x27D4EB2F165667C5),
)  # fmt: skip


@inlined
def hash_long(value, seed):  # type: ignore[no-untyped-def]
    """Return xxHash64 of eight bytes, as Spark's ``xxhash64`` computes it for a bigint (uint64 in, uint64 out)."""
    found = seed + _P5 + np.uint64(8)
    mixed = value * _P2
    found ^= ((mixed << np.uint64(31)) | (mixed >> np.uint64(33))) * _P1
    found = ((found << np.uint64(27)) | (found >> np.uint64(37))) * _P1 + _P4
    found ^= found >> np.uint64(33)
    found *= _P2
    found ^= found >> np.uint64(29)
    found *= _P3
    return found ^ (found >> np.uint64(32))


@kernel
def draws(units, key, out):  # type: ignore[no-untyped-def]
    """Write Spark's ``xxhash64(unit, key)`` to ``out``, uint64 of shape (n,), OUT."""
    for i in range(units.shape[0]):
        out[i] = hash_long(key, hash_long(units[i], np.uint64(42)))


@kernel
def _tilt(units, net, allowed, keys, delta, least, out):  # type: ignore[no-untyped-def]
    n, k = net.shape
    for i in range(n):
        seed = hash_long(units[i], np.uint64(42))
        for a in range(k):
            v = np.float64(net[i, a])
            if (allowed[i] >> np.uint32(a)) & np.uint32(1) and v > 0.0 and v >= least:
                draw = hash_long(keys[a], seed) >> np.uint64(32)
                out[i, a] = v + delta * np.float64(draw)
            else:
                out[i, a] = -np.inf


@kernel
def _choose(w, segment, cost, flat, rate, out, worth):  # type: ignore[no-untyped-def]
    n, k = w.shape
    own = cost.shape[0] > 1
    for i in range(n):
        row = i if own else 0
        best, arm = 0.0, 0
        for a in range(k):
            r = w[i, a] - flat[segment[i], a] - rate[a] * cost[row, a]
            if r > best:
                best, arm = r, a + 1
        out[i] = arm
        worth[i] = best


@kernel
def _settle(w, segment, cost, flat, rate, flat_width, rate_width, out):  # type: ignore[no-untyped-def]
    n, k = w.shape
    own = cost.shape[0] > 1
    for i in range(n):
        row = i if own else 0
        s = segment[i]
        best, arm, width = 0.0, 0, 0.0
        for a in range(k):
            r = w[i, a] - flat[s, a] - rate[a] * cost[row, a]
            if r > best:
                best, arm = r, a + 1
                width = flat_width[s, a] + rate_width[a] * cost[row, a]
        least = best - width
        certain = arm == 0 or least > 0.0
        for a in range(k):
            if a + 1 != arm and w[i, a] > -np.inf:
                r = w[i, a] - flat[s, a] - rate[a] * cost[row, a]
                if r + flat_width[s, a] + rate_width[a] * cost[row, a] >= least:
                    certain = False
        out[i] = arm if certain else -1


@kernel
def add_worth(net, arm, explores, grid, out):  # type: ignore[no-untyped-def]
    """Add net values in steps of 1 / grid to ``out``, int64 of shape (K + 1,), OUT: by arm; of all that do not explore.

    ``net`` is float32 of shape (n, K), ``arm`` int8 and ``explores`` bool of shape (n,).
    """
    k = net.shape[1]
    for i in range(net.shape[0]):
        a = arm[i]
        if a > 0:
            steps = np.int64(np.rint(np.float64(net[i, a - 1]) * grid))
            out[a - 1] += steps
            if not explores[i]:
                out[k] += steps


@dataclass(frozen=True)
class Units:
    """Units as arrays.

    Attributes
    ----------
    unit : ndarray of shape (n,), dtype=uint64
        Hash of the id.
    net : ndarray of shape (n, K), dtype=float32
        Net value of each treatment above control [money].
    allowed : ndarray of shape (n,), dtype=uint32
        Bit a is set where no rule excludes treatment a.
    segment : ndarray of shape (n,), dtype=uint16
    cost : ndarray of shape (n, K), dtype=float64, or None
        Where units have costs of their own [money].
    """

    unit: npt.NDArray[np.uint64]
    net: npt.NDArray[np.float32]
    allowed: npt.NDArray[np.uint32]
    segment: npt.NDArray[np.uint16]
    cost: F64 | None

    @property
    def size(self) -> int:
        """Number of units."""
        return int(self.unit.shape[0])

    def take(self, index: Any) -> Units:
        """Return the units at these places, or where this is true."""
        cost = None if self.cost is None else self.cost[index]
        return Units(self.unit[index], self.net[index], self.allowed[index], self.segment[index], cost)

    def in_order(self) -> Units:
        """Return the same units in the order of the hash, whatever order they came in."""
        return self.take(np.lexsort((*self.net.T, self.unit)))


@dataclass(frozen=True)
class Tilt:
    """How net values are compared: with a small draw added, so that equal ones are decided by the hash.

    Attributes
    ----------
    keys : tuple of int
        Of each treatment's stream of draws, as signed 64-bit numbers.
    delta : float
        What one of 2**32 steps of a draw adds [money]; a power of two.
    least : float
        Net value under which a treatment is not given; a float32.
    """

    keys: tuple[int, ...]
    delta: float
    least: float

    def values(self, units: Units) -> F64:
        """Return w, ndarray of shape (n, K), dtype=float64; -inf where a treatment is not open to a unit.

        A treatment is open where no rule excludes it and its net value is above 0 and not under `least`.
        """
        out = np.empty(units.net.shape, np.float64)
        keys = np.array(self.keys, np.int64).view(np.uint64)
        _tilt(units.unit, units.net, units.allowed, keys, self.delta, self.least, out)
        return out


def choose(problem: Problem, w: F64, units: Units, prices: F64) -> tuple[npt.NDArray[np.int8], F64]:
    """Return each unit's best arm at these prices, and what it is worth then.

    Returns
    -------
    arm : ndarray of shape (n,), dtype=int8
        0 is control.
    worth : ndarray of shape (n,), dtype=float64
        ``max(0, w - charges)``.
    """
    out, worth = np.empty(len(w), np.int8), np.empty(len(w), np.float64)
    _choose(w, units.segment, problem.cost_rows(units.cost), *problem.charges(prices), out, worth)
    return out, worth


def settle(problem: Problem, w: F64, units: Units, prices: F64, widths: F64) -> npt.NDArray[np.int8]:
    """Return the arm of units that choose the same at all prices within ``prices ± widths``; -1 for the others."""
    out = np.empty(len(w), np.int8)
    cost = problem.cost_rows(units.cost)
    _settle(w, units.segment, cost, *problem.charges(prices), *problem.charges(widths), out)
    return out


def tally(problem: Problem, units: Units, arm: npt.NDArray[np.int8]) -> tuple[I64, I64]:
    """Return how many units of each segment get each treatment (S, K), and what that costs in steps (K,)."""
    k, given = problem.treatments, arm > 0
    cell = units.segment[given].astype(np.int64) * k + arm[given] - 1
    counts = np.bincount(cell, minlength=problem.segments * k).reshape(problem.segments, k).astype(np.int64)
    steps = problem.cost_steps(units.cost)
    if problem.costs is not None:
        return counts, counts.sum(axis=0) * steps[0]
    spent = [steps[arm == a + 1, a].sum() for a in range(k)]
    return counts, np.array(spent, np.int64)
