"""What a send gained, from groups that were set aside at random.

Two groups of a send differ only in units to whom they give different arms; for all others they do the same, and the
difference of their outcomes is noise. So the groups are compared on the units who would be treated differently, and
the difference is multiplied by the share of such units: unbiased, since both groups were drawn by chance among all, and
with a narrower interval than the plain difference of the groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spark_uplift.metrics.inference import difference_in_means

__all__ = ["Cell", "Gain", "compare"]


@dataclass(frozen=True)
class Cell:
    """Units of a group for whom the model recommends the same arm.

    Parameters
    ----------
    group, recommended : str
        The group, and the arm.
    n, y, yy : float
        Units, sum of their outcomes, and of the squares.
    """

    group: str
    recommended: str
    n: float
    y: float
    yy: float


@dataclass(frozen=True)
class Gain:
    """Gain per unit of one group over another; NaN where there are too few units.

    Parameters
    ----------
    n, n_against : int
        Units of the two groups.
    share_compared : float
        Share of all units, in [0, 1], whom the two treat differently.
    value, lower, upper : float
        Per unit of the population, in the unit of the outcome (or in money).
    """

    n: int
    n_against: int
    share_compared: float
    value: float
    lower: float
    upper: float


def compare(
    cells: Sequence[Cell],
    treated_as: str,
    against: str,
    arm_of: Callable[[str, str], str],
    level: float,
    *,
    worth: float = 1.0,
    costs: Mapping[str, float] | None = None,
) -> Gain:
    """Return the gain of one group over another.

    Parameters
    ----------
    cells : sequence of Cell
        Of all groups; together they say how common each recommendation is.
    treated_as, against : str
        The groups.
    arm_of : callable
        ``arm_of(group, recommended)``: the arm that a unit of the group was given.
    level : float
        Coverage of the normal interval, in (0, 1).
    worth : float
        Money per unit of the outcome; 1 leaves outcomes as they are.
    costs : mapping of str to float, optional
        Money per unit that was given an arm, taken off.
    """
    price = costs or {}
    total = sum(cell.n for cell in cells)
    sides = np.zeros((2, 5))
    counts = [0.0, 0.0]
    compared = 0.0
    for cell in cells:
        differs = arm_of(treated_as, cell.recommended) != arm_of(against, cell.recommended)
        compared += cell.n if differs else 0.0
        for side, group in enumerate((against, treated_as)):
            if cell.group == group:
                counts[side] += cell.n
                if differs:
                    cost = price.get(arm_of(group, cell.recommended), 0.0)
                    sides[side] += _sums(cell, worth, cost)
    share = compared / total if total else float("nan")
    if compared == 0.0:
        return Gain(int(counts[1]), int(counts[0]), share, 0.0, 0.0, 0.0)
    found = difference_in_means(sides, level).uplift
    return Gain(
        n=int(counts[1]),
        n_against=int(counts[0]),
        share_compared=share,
        value=float(found.value) * share,
        lower=float(found.lower) * share,
        upper=float(found.upper) * share,
    )


def _sums(cell: Cell, worth: float, cost: float) -> list[float]:
    """Return (n, w, wy, wyy, ww) of worth * y - cost."""
    y = worth * cell.y - cost * cell.n
    yy = worth**2 * cell.yy - 2.0 * worth * cost * cell.y + cost**2 * cell.n
    return [cell.n, cell.n, y, yy, cell.n]
