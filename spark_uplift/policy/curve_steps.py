"""Upgrades: the steps in which money is best spent on a unit, and sums of what they bring.

A unit may get control (cost 0) or a treatment a with cost c_a and predicted gain t_a. With money to spend, it goes
along the upper concave hull of its points (c_a, t_a) from (0, 0): each step is an upgrade from one arm to another
with a cost and a predicted gain, and gain per cost falls from step to step. Over all units, the steps in falling
order of gain per cost are the optimal spending of every budget at once: the multiple-choice knapsack, whose linear
relaxation this solves exactly (Sinha & Zoltners 1979; as a curve with doubly robust scores: Sverdrup, Wu, Athey &
Wager 2023, "Qini curves for multi-armed treatment rules").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spark_uplift.core.jit import kernel

__all__ = [
    "LANES",
    "Steps",
    "hull_steps",
    "place",
    "rounded",
    "settled",
    "step_values",
    "tally_steps",
    "to_arm",
]

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

LANES = ("first", "cost", "predicted")
"""Lanes of a step before those of the observed gain: weight if it leaves control, cost, predicted gain."""


@dataclass(frozen=True)
class Steps:
    """Steps of rows, those of a row together and in order.

    Parameters
    ----------
    row : ndarray of shape (m,), dtype=int64
        Row of each step.
    source, target : ndarray of shape (m,), dtype=int32
        Arm before and after, 0 for control.
    cost, gain : ndarray of shape (m,), dtype=float64
        What the step costs [money], 0 or more, and what it is predicted to bring [outcome].
    """

    row: I64
    source: I32
    target: I32
    cost: F64
    gain: F64

    def where(self, chosen: npt.NDArray[np.bool_]) -> Steps:
        """Return the chosen steps."""
        return Steps(*(values[chosen] for values in vars(self).values()))

    @property
    def free(self) -> npt.NDArray[np.bool_]:
        """Whether a step costs nothing."""
        return np.asarray(self.cost <= 0.0)

    @property
    def key(self) -> F64:
        """What steps are ordered by: gain per money, or the gain itself where they cost nothing; `rounded`."""
        return rounded(self.gain / np.where(self.free, 1.0, self.cost))


def rounded(key: npt.ArrayLike) -> F64:
    """Return keys to 40 bits, about 12 digits: (0.3 - 0.1) / 2 and 0.1 are a tie."""
    mantissa, exponent = np.frexp(np.asarray(key, np.float64))
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, 40)), exponent - 40))


@kernel
def _hull(gain, cost, row, source, target, d_cost, d_gain):  # type: ignore[no-untyped-def]
    arms = gain.shape[1]
    order, chain = np.empty(arms, np.int32), np.empty(arms + 1, np.int32)
    at_cost, at_gain = np.empty(arms + 1), np.empty(arms + 1)
    found = 0
    for i in range(gain.shape[0]):
        used = 0
        for k in range(arms):  # by cost, the larger gain first, then the number of the arm
            if not gain[i, k] > 0.0:
                continue
            place = used
            while place > 0:
                other = order[place - 1]
                later = cost[i, other] > cost[i, k] or (
                    cost[i, other] == cost[i, k] and gain[i, other] < gain[i, k]
                )
                if not later:
                    break
                order[place] = other
                place -= 1
            order[place] = k
            used += 1
        top = 0
        chain[0], at_cost[0], at_gain[0] = 0, 0.0, 0.0
        for n in range(used):
            c, g = cost[i, order[n]], gain[i, order[n]]
            if g <= at_gain[top]:
                continue
            while top > 0:
                before = (at_gain[top] - at_gain[top - 1]) * (c - at_cost[top])
                after = (g - at_gain[top]) * (at_cost[top] - at_cost[top - 1])
                if before > after:
                    break
                top -= 1
            top += 1
            chain[top], at_cost[top], at_gain[top] = order[n] + 1, c, g
        for n in range(top):
            row[found], source[found], target[found] = i, chain[n], chain[n + 1]
            d_cost[found] = at_cost[n + 1] - at_cost[n]
            d_gain[found] = at_gain[n + 1] - at_gain[n]
            found += 1
    return found


def hull_steps(gain: F64, cost: F64) -> Steps:
    """Return the steps along each row's hull; arms that are predicted to bring nothing are on none.

    Parameters
    ----------
    gain, cost : ndarray of shape (n, K), dtype=float64
        Predicted gain over control and cost over control, at least 0, of each treatment.
    """
    size = gain.shape[0] * gain.shape[1]
    row, source, target = np.empty(size, np.int64), np.empty(size, np.int32), np.empty(size, np.int32)
    d_cost, d_gain = np.empty(size), np.empty(size)
    gain, cost = np.ascontiguousarray(gain), np.ascontiguousarray(cost)
    found = _hull(gain, cost, row, source, target, d_cost, d_gain)
    return Steps(row[:found], source[:found], target[:found], d_cost[:found], d_gain[:found])


def to_arm(gain: F64, cost: F64, arm: int, *, everybody: bool = False) -> Steps:
    """Return the steps from control to one arm: of rows with a predicted gain, or of everybody."""
    chosen = np.flatnonzero(everybody | (gain[:, arm - 1] > 0.0)).astype(np.int64)
    fixed = np.zeros(chosen.shape[0], np.int32)
    return Steps(chosen, fixed, fixed + np.int32(arm), cost[chosen, arm - 1], gain[chosen, arm - 1])


def settled(steps: Steps, gain: F64, cost: F64, price: float) -> Steps:
    """Return a step from control to the arm that each row has when every step of at least this gain per money is taken.

    Parameters
    ----------
    steps : Steps
        Of `hull_steps`.
    gain, cost : ndarray of shape (n, K), dtype=float64
        What they were made of.
    price : float
        Least gain per money.
    """
    taken = steps.where(steps.free | (steps.key >= rounded(price)))
    last = np.ones(taken.row.shape[0], bool)
    last[:-1] = taken.row[1:] != taken.row[:-1]
    kept = taken.where(last)
    arm = kept.target - 1
    zero = np.zeros_like(kept.source)
    return Steps(kept.row, zero, kept.target, cost[kept.row, arm], gain[kept.row, arm])


def place(steps: Steps, free_edges: F64, paid_edges: F64) -> I64:
    """Return the cell of each step, the best first: free steps by gain, then the others by gain per money.

    Parameters
    ----------
    steps : Steps
        Of some rows.
    free_edges, paid_edges : ndarray, dtype=float64
        Lowest key of each cell, ascending.
    """
    key, free = steps.key, steps.free
    cell = np.empty(key.shape[0], np.int64)
    for chosen, edges, start in ((free, free_edges, 0), (~free, paid_edges, free_edges.shape[0])):
        found = np.maximum(np.searchsorted(edges, key[chosen], side="right") - 1, 0)
        cell[chosen] = start + edges.shape[0] - 1 - found
    return cell


def step_values(steps: Steps, weight: F64, scores: F64 | None, arm: I64, outcome: F64, arms: int) -> F64:
    """Return the additive values of steps.

    Parameters
    ----------
    steps : Steps
        Of n rows.
    weight : ndarray of shape (n,), dtype=float64
        Row weights.
    scores : ndarray of shape (n, arms), dtype=float64, or None
        Score of each arm whose mean is the outcome under it; a step then has one lane of observed gain. None: a
        lane for each arm with w*y of its rows, to be divided by the arm's share.
    arm : ndarray of shape (n,), dtype=int64
        Arm of each row, for `scores` None.
    outcome : ndarray of shape (n,), dtype=float64
        Outcome, for `scores` None.
    arms : int
        Arms, control included.

    Returns
    -------
    ndarray of shape (m, 3 + 1) or (m, 3 + arms), dtype=float64
    """
    w = weight[steps.row]
    head = [w * (steps.source == 0), w * steps.cost, w * steps.gain]
    if scores is not None:
        apart = scores[steps.row, steps.target] - scores[steps.row, steps.source]
        return np.stack([*head, w * apart], axis=1)
    own, wy = arm[steps.row], w * outcome[steps.row]
    lanes = [
        wy * ((own == a) & (steps.target == a)) - wy * ((own == a) & (steps.source == a)) for a in range(arms)
    ]
    return np.stack([*head, *lanes], axis=1)


@kernel
def _tally_steps(row, cell, fine, coarse, counts, base, sums):  # type: ignore[no-untyped-def]
    for m in range(row.shape[0]):
        for lane in range(fine.shape[1]):
            if fine[m, lane] == 0:
                continue
            base[cell[m], lane] += fine[m, lane]
            value = coarse[m, lane]
            into, times = sums[cell[m], lane], counts[row[m]]
            for r in range(into.shape[0]):
                into[r] += times[r] * value


def tally_steps(
    row: I64, cell: I64, fine: I64, coarse: F64, counts: npt.NDArray[np.uint8], base: I64, sums: F64
) -> None:
    """Add steps to the sums of their cells.

    Parameters
    ----------
    row, cell : ndarray of shape (m,), dtype=int64
        Row and cell of each step. IN
    fine : ndarray of shape (m, L), dtype=int64
        Values on the grid of `base`. IN
    coarse : ndarray of shape (m, L), dtype=float64
        Values on the grid of `sums`, whole numbers. IN
    counts : ndarray of shape (n, R), dtype=uint8
        Copies of each row in each replicate. IN
    base : ndarray of shape (cells, L), dtype=int64
        Sums. IN and OUT
    sums : ndarray of shape (cells, L, R), dtype=float64
        Sums of the replicates. IN and OUT
    """
    _tally_steps(row, cell, fine, coarse, counts, base, sums)
