"""From prices to whole units: nobody is halved, no limit is exceeded, and what is left over is used.

At the best prices all but a few units have one best arm. Those few stand where two arms are worth the same: the linear
programme would split them. Here units near that line are moved one or two at a time: first until no limit is exceeded,
at the least loss, then as long as a move gains and fits. Both look at the units with the smallest regret alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_uplift.core.jit import kernel
from spark_uplift.policy.allocation import F64, I64, Problem, Units, choose, tally

_NEAR = 512
_PAIRED = 192
_ROUNDS = 400


@dataclass(frozen=True)
class Finished:
    """An assignment that keeps within the limits.

    Attributes
    ----------
    moved : ndarray of shape (m,), dtype=int64
        Units that got another arm than the prices say.
    arm : ndarray of shape (m,), dtype=int8
        Which; 0 is control.
    over : ndarray of shape (C,), dtype=int64
        What is used beyond the limits, in steps: 0 unless even control for all near units is not enough.
    """

    moved: I64
    arm: npt.NDArray[np.int8]
    over: I64


@kernel
def _repair(loss, usage, unit, now, slack, price):  # type: ignore[no-untyped-def]
    """Switch units, cheapest first for what they free, until no slack is negative; ``now`` and ``slack`` OUT."""
    m, c = usage.shape
    while True:
        short = False
        for j in range(c):
            if slack[j] < 0:
                short = True
        if not short:
            return True
        best, at = np.inf, -1
        for x in range(m):
            y = now[unit[x]]
            if y == x:
                continue
            freed = 0.0
            for j in range(c):
                more = usage[x, j] - usage[y, j]
                before, after = max(0, -slack[j]), max(0, more - slack[j])
                freed += price[j] * np.float64(before - after)
            if freed > 0.0:
                worth = max(loss[x] - loss[y], 0.0) / freed
                if worth < best:
                    best, at = worth, x
        if at < 0:
            return False
        y = now[unit[at]]
        for j in range(c):
            slack[j] -= usage[at, j] - usage[y, j]
        now[unit[at]] = at


@kernel
def _improve(value, usage, unit, now, slack, paired, rounds):  # type: ignore[no-untyped-def]
    """Make the best switch of one unit or two that gains and fits, again and again; ``now`` and ``slack`` OUT."""
    m, c = usage.shape
    for _ in range(rounds):
        best, one, two = 0.0, -1, -1
        for x in range(m):
            y = now[unit[x]]
            if y == x:
                continue
            gain = value[x] - value[y]
            fits = True
            for j in range(c):
                if usage[x, j] - usage[y, j] > slack[j]:
                    fits = False
            if fits and gain > best:
                best, one, two = gain, x, -1
        for x in range(min(m, paired)):
            y = now[unit[x]]
            if y == x:
                continue
            for x2 in range(x + 1, min(m, paired)):
                y2 = now[unit[x2]]
                if y2 == x2 or unit[x2] == unit[x]:
                    continue
                gain = value[x] - value[y] + value[x2] - value[y2]
                if gain <= best:
                    continue
                fits = True
                for j in range(c):
                    if usage[x, j] - usage[y, j] + usage[x2, j] - usage[y2, j] > slack[j]:
                        fits = False
                        break
                if fits:
                    best, one, two = gain, x, x2
        if one < 0:
            return
        for x in (one, two):
            if x >= 0:
                y = now[unit[x]]
                for j in range(c):
                    slack[j] -= usage[x, j] - usage[y, j]
                now[unit[x]] = x


def finish(problem: Problem, w: F64, units: Units, prices: F64, left: I64) -> Finished:
    """Return the assignment next to what the prices say that keeps within what is left.

    Parameters
    ----------
    w : ndarray of shape (n, K), dtype=float64
    units : Units
    prices : ndarray of shape (C,), dtype=float64
    left : ndarray of shape (C,), dtype=int64
        Limits less what others use, in steps.
    """
    arm, _ = choose(problem, w, units, prices)
    slack = left - problem.used(*tally(problem, units, arm))
    near = _NEAR
    while True:
        found = _finish(problem, w, units, prices, arm, slack.copy(), near)
        if not found.over.any() or near >= 2 * units.size:
            return found
        near *= 8


def _finish(
    problem: Problem, w: F64, units: Units, prices: F64, arm: npt.NDArray[np.int8], slack: I64, near: int
) -> Finished:
    chosen = _nearest(problem, w, units, prices, arm, near)
    k, m = problem.treatments, len(chosen)
    few = units.take(chosen)
    flat, rate = problem.charges(prices)
    cost = problem.cost_rows(few.cost)
    value = np.hstack([np.zeros((m, 1)), w[chosen]])
    reduced = value - np.hstack([np.zeros((m, 1)), flat[few.segment] + rate * cost])
    open_ = np.isfinite(value)
    unit, option = np.nonzero(open_)
    usage = _usage(problem, few, unit, option)
    regret = np.take_along_axis(reduced, arm[chosen][:, None].astype(np.int64), 1) - reduced
    loss = regret[unit, option]
    held = option == arm[chosen][unit]  # they stand last: pairs are of the others
    order = np.lexsort((option, unit, loss, held))
    unit, option, usage, loss = unit[order], option[order], usage[order], loss[order]
    at = np.full((m, k + 1), -1, np.int64)
    at[unit, option] = np.arange(len(unit))
    now = at[np.arange(m), arm[chosen]]
    fits = True
    if len(slack):
        # A contact and a step of money are weighed by their prices, or by size where the price is 0.
        weight = np.maximum(prices / problem.unit, 1e-9 * (1.0 + np.max(prices)) / problem.unit)
        fits = bool(_repair(loss, usage, unit, now, slack, weight))
    if fits:
        _improve(value[unit, option], usage, unit, now, slack, _PAIRED, _ROUNDS)
    ended = option[now].astype(np.int8)
    changed = ended != arm[chosen]
    return Finished(chosen[changed], ended[changed], np.maximum(-slack, 0))


def _nearest(
    problem: Problem, w: F64, units: Units, prices: F64, arm: npt.NDArray[np.int8], near: int
) -> I64:
    """Return the units whose second-best arm is nearest to their best, in the order of the units."""
    if units.size <= near:
        return np.arange(units.size)
    flat, rate = problem.charges(prices)
    reduced = w - flat[units.segment] - rate * problem.cost_rows(units.cost)
    reduced = np.hstack([np.zeros((units.size, 1)), reduced])
    best = np.take_along_axis(reduced, arm[:, None].astype(np.int64), 1)[:, 0].copy()
    np.put_along_axis(reduced, arm[:, None].astype(np.int64), -np.inf, 1)
    regret = best - reduced.max(axis=1)
    return np.sort(np.argpartition(regret, near)[:near])


def _usage(problem: Problem, few: Units, unit: I64, option: I64) -> I64:
    """Return what each unit's option uses, ndarray of shape (options, C), dtype=int64, in steps."""
    out = np.zeros((len(unit), len(problem.constraints)), np.int64)
    steps = np.broadcast_to(problem.cost_steps(few.cost), few.net.shape)
    given = option > 0
    u, a = unit[given], option[given] - 1
    for j, (counts, costs) in enumerate(zip(problem.by_count, problem.by_cost, strict=True)):
        out[given, j] = counts[few.segment[u], a].astype(np.int64) + costs[a].astype(np.int64) * steps[u, a]
    return out
