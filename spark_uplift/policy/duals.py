"""Prices of constraints: the minimum of the dual, by Newton's method on a smoothed version of it.

The dual ``g(p) = sum_i max(0, max_a w[i, a] - sum_c p[c] usage[c, i, a]) + sum_c p[c] limit[c]`` over ``p >= 0`` is
convex and has a kink wherever a unit changes its arm. With ``tau log sum exp(r / tau)`` in place of the maximum it is
smooth, within ``n tau log(K + 1)`` of g (Nesterov 2005), and its Hessian needs one number a pair of arms and segment.
The temperature tau is lowered until hardly more units are undecided than there are constraints. g at any prices is an
upper bound on what any assignment is worth (weak duality), so how far the result is from the optimum is known, not
hoped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spark_uplift.core.jit import kernel
from spark_uplift.policy.allocation import F64, Problem, Units

_COOLING = 1.0 / 3.0
_COLDEST = 2.0**-40  # of the median value: below, the rounding of doubles shows
_STEPS = 25
_NOTHING = 1e-12  # prices below are none, relative to a typical value
_EXACT = 1e-8  # of the dual's value, that smoothing may add in the end


@kernel
def _smooth(w, segment, cost, flat, rate, tau, counts, spent, m_nn, m_nc, m_cc):  # type: ignore[no-untyped-def]
    n, k = w.shape
    own = cost.shape[0] > 1
    total, undecided = 0.0, 0.0
    r = np.empty(k)
    p = np.empty(k)
    for i in range(n):
        row = i if own else 0
        s = segment[i]
        best, second, arm = 0.0, -np.inf, -1
        for a in range(k):
            r[a] = w[i, a] - flat[s, a] - rate[a] * cost[row, a]
            if r[a] > best:
                second, best, arm = best, r[a], a
            elif r[a] > second:
                second = r[a]
        total += best
        if second < best - 40.0 * tau:
            if arm >= 0:
                counts[s, arm] += 1.0
                spent[arm] += cost[row, arm]
            continue
        z = np.exp(-best / tau)
        largest = z
        for a in range(k):
            p[a] = np.exp((r[a] - best) / tau)
            z += p[a]
            largest = max(largest, p[a])
        total += tau * np.log(z)
        undecided += 1.0 - largest / z
        for a in range(k):
            p[a] /= z
            counts[s, a] += p[a]
            spent[a] += p[a] * cost[row, a]
        for a in range(k):
            for b in range(k):
                m = p[a] * ((1.0 if a == b else 0.0) - p[b]) / tau
                m_nn[s, a, b] += m
                m_nc[s, a, b] += m * cost[row, b]
                m_cc[a, b] += m * cost[row, a] * cost[row, b]
    return total, undecided


@dataclass
class _Point:
    value: float
    gradient: F64
    hessian: F64
    undecided: float


@dataclass(frozen=True)
class Dual:
    """The dual of some units, in scaled prices.

    Attributes
    ----------
    problem : Problem
    w : ndarray of shape (n, K), dtype=float64
        Tilted values, see `Tilt.values`.
    units : Units
    limits : ndarray of shape (C,), dtype=float64
        What these units may use, in money and contacts; may be negative when others use too much.
    """

    problem: Problem
    w: F64
    units: Units
    limits: F64

    def at(self, prices: F64, tau: float) -> _Point:
        """Return the smoothed dual with its derivatives at these prices."""
        p, k, s = self.problem, self.problem.treatments, self.problem.segments
        counts, spent = np.zeros((s, k)), np.zeros(k)
        m_nn, m_nc, m_cc = np.zeros((s, k, k)), np.zeros((s, k, k)), np.zeros((k, k))
        cost = p.cost_rows(self.units.cost)
        total, undecided = _smooth(
            self.w, self.units.segment, cost, *p.charges(prices), tau, counts, spent, m_nn, m_nc, m_cc
        )
        used = np.tensordot(p.by_count, counts, 2) + p.by_cost @ spent
        nn = np.einsum("csa,sab,dsb->cd", p.by_count, m_nn, p.by_count, optimize=True)
        nc = np.einsum("csa,sab,db->cd", p.by_count, m_nc, p.by_cost, optimize=True)
        cc = p.by_cost @ m_cc @ p.by_cost.T
        value = total + float(prices @ self.limits)
        return _Point(value, self.limits - used, nn + nc + nc.T + cc, undecided)


Bounds = tuple[F64, F64]


def minimise(dual: Dual, start: F64, scale: float, hottest: float = 0.3, within: Bounds | None = None) -> F64:
    """Return prices near the minimum of the dual.

    Parameters
    ----------
    dual : Dual
    start : ndarray of shape (C,), dtype=float64
        Prices to begin with.
    scale : float
        A typical value of a contact [money]; temperatures are relative to it.
    hottest : float
        Temperature to begin with, of `scale`.
    within : (ndarray, ndarray), optional
        Least and largest prices, each of shape (C,), dtype=float64; by default from 0.

    Returns
    -------
    ndarray of shape (C,), dtype=float64
        At least 0.
    """
    if len(start) == 0 or dual.units.size == 0:
        return start.copy()
    # A price times this is of the size of values: usage of a budget is measured in its largest cost.
    most = np.maximum(dual.problem.cost_rows(dual.units.cost).max(axis=0), 0.0)
    largest = np.array([max([most[a] for a in c.arms] or [0.0]) for c in dual.problem.constraints])
    size = np.where(np.any(dual.problem.by_cost > 0, axis=1), np.where(largest > 0, largest, 1.0), 1.0)
    bounds = (np.zeros_like(start), np.full_like(start, np.inf)) if within is None else within
    low, high = np.maximum(bounds[0], 0.0) * size, bounds[1] * size
    x, tau = np.clip(start * size, low, high), hottest * scale
    radius = 4.0 * max(scale, float(np.max(x)))
    while True:
        x, point = _newton(dual, x, size, tau, radius, (low, high))
        # The linear programme itself splits up to one unit a constraint: fewer are no aim.
        settled = point.undecided <= 0.5 * len(x) and tau * (point.undecided + 1.0) <= _EXACT * abs(
            point.value
        )
        if tau <= _COLDEST * scale or settled:
            return np.where((x > _NOTHING * scale) | (low > 0), x, 0.0) / size
        tau = max(tau * _COOLING, _COLDEST * scale)
        radius = max(60.0 * tau, 1e-3 * float(np.max(x)))


def _newton(dual: Dual, x: F64, size: F64, tau: float, radius: float, bounds: Bounds) -> tuple[F64, _Point]:
    """Minimise at one temperature by projected Newton steps (Bertsekas 1982) of limited length."""
    here = dual.at(x / size, tau)
    for _ in range(_STEPS):
        gradient, hessian = here.gradient / size, here.hessian / np.outer(size, size)
        free = ~((x <= bounds[0]) & (gradient >= 0)) & ~((x >= bounds[1]) & (gradient <= 0))
        if not free.any():
            break
        step = np.zeros_like(x)
        step[free] = _direction(gradient[free], hessian[np.ix_(free, free)], radius)
        moved, there = _search(dual, x, size, tau, here, step, bounds)
        if there is None:  # the projection may spoil a Newton step, never one along the axes
            step[free] = _direction(gradient[free], np.diag(np.diag(hessian)[free]), radius)
            moved, there = _search(dual, x, size, tau, here, step, bounds)
            if there is None:
                break
        if np.max(np.abs(step)) >= 0.99 * radius:
            radius *= 4.0
        gained = here.value - there.value
        x, here = moved, there
        if gained <= 1e-3 * tau * max(min(here.undecided, 1e3), 0.1):
            break
    return x, here


def _direction(gradient: F64, hessian: F64, radius: float) -> F64:
    """Return the Newton step, held within `radius` along each axis; straight downhill where nothing curves."""
    # The ridge makes the step of a flat direction as long as the radius, and hardly touches others.
    ridge = np.abs(gradient) / radius * 1e-3 + 1e-12 * np.max(np.abs(hessian), initial=0.0) + 1e-300
    step = np.linalg.solve(hessian + np.diag(ridge), -gradient)
    found: F64 = np.clip(np.nan_to_num(step), -radius, radius)
    return found


def _search(
    dual: Dual, x: F64, size: F64, tau: float, here: _Point, step: F64, bounds: Bounds
) -> tuple[F64, _Point | None]:
    length = 1.0
    for _ in range(14):
        moved = np.clip(x + length * step, *bounds)
        expected = float(here.gradient / size @ (moved - x))
        if expected < 0.0:
            there = dual.at(moved / size, tau)
            if there.value <= here.value + 1e-4 * expected:
                return moved, there
        length *= 0.3
    return x, None
