"""Curves of gain against spend, the break-even point and the return of each arm, from sums of steps.

All numbers are per unit of the population: gain in units of the outcome, spend in money.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.metrics.inference import bootstrap_error, quantile
from spark_uplift.policy.curve_steps import LANES, hull_steps

__all__ = [
    "POINTS",
    "Averages",
    "Path",
    "break_even",
    "curve_rows",
    "observed",
    "quantile_edges",
    "return_row",
]

F64 = npt.NDArray[np.float64]

POINTS = 100
"""Points of a curve beside its origin."""

_FREE_POINTS = 20  # of them for steps that cost nothing, where others cost something


@dataclass(frozen=True)
class Path:
    """What the cells of a curve add, the best first, per unit of the population.

    Parameters
    ----------
    free : int
        So many cells, the first, cost nothing.
    first, cost, predicted, gain : ndarray of shape (cells,), dtype=float64
        Share of the units that is treated, spend, predicted and observed gain.
    drawn_first, drawn_cost, drawn_gain : ndarray of shape (R, cells), dtype=float64
        The same in each bootstrap replicate; R may be 0.
    """

    free: int
    first: F64
    cost: F64
    predicted: F64
    gain: F64
    drawn_first: F64
    drawn_cost: F64
    drawn_gain: F64

    @classmethod
    def of(cls, free: int, base: F64, drawn: F64, mass: F64, drawn_mass: F64) -> Path:
        """Scale sums of steps.

        Parameters
        ----------
        free : int
            As above.
        base : ndarray of shape (cells, L), dtype=float64
            Sums of `spark_uplift.policy.curve_steps.step_values`.
        drawn : ndarray of shape (cells, L, R), dtype=float64
            The same of the replicates.
        mass : ndarray of shape (arms,), dtype=float64
            Weight of each arm.
        drawn_mass : ndarray of shape (arms, R), dtype=float64
            The same of the replicates.
        """
        replicates = np.moveaxis(drawn, -1, 0)
        total, drawn_total = mass.sum(), drawn_mass.sum(axis=0)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            return cls(
                free,
                base[:, 0] / total,
                base[:, 1] / total,
                base[:, 2] / total,
                observed(base, mass),
                replicates[..., 0] / drawn_total,
                replicates[..., 1] / drawn_total,
                observed(replicates, drawn_mass.T[:, None, :]),
            )


def observed(sums: F64, mass: F64) -> F64:
    """Return the observed gain per unit of the population.

    Parameters
    ----------
    sums : ndarray of shape (..., L), dtype=float64
        Sums of steps: one lane of scores, or one of w*y for each arm, after the lanes `LANES`.
    mass : ndarray of shape (..., arms), dtype=float64
        Weight of each arm; w*y is divided by the arm's share, the inverse-propensity weight of a design in which
        every unit had the same chances.
    """
    lanes = sums[..., len(LANES) :]
    with np.errstate(divide="ignore", invalid="ignore"):
        if lanes.shape[-1] == 1:
            return np.asarray(lanes[..., 0] / mass.sum(axis=-1))
        return np.asarray((lanes / mass).sum(axis=-1))


@dataclass(frozen=True)
class Averages:
    """Every treatment given to everybody, per unit, ndarrays of shape (K,), dtype=float64."""

    cost: F64
    predicted: F64
    gain: F64

    def hull(self) -> list[tuple[float, float]]:
        """Return the corners (cost, observed gain) along the hull of the average predictions, from (0, 0).

        Money is spent on units picked at random, first on the arm that is best per money on average, then on
        upgrades: the curve of a policy that does not look at the units (Sverdrup et al. 2023, their baseline). Where
        no arm is predicted to bring anything on average, the least bad one is taken.
        """
        steps = hull_steps(self.predicted[None, :], self.cost[None, :])
        arms = [int(target) - 1 for target in steps.target]
        if not arms:
            with np.errstate(divide="ignore", invalid="ignore"):
                per_money = np.where(self.cost > 0, self.predicted / self.cost, self.predicted)
            arms = [int(np.argmax(per_money))]
        return [(0.0, 0.0), *((float(self.cost[k]), float(self.gain[k])) for k in arms)]

    def at(self, spend: float, fraction: float) -> float:
        """Return the gain of the same spend, or where nothing is spent of the same share, on random units."""
        corners = self.hull()
        free = corners[1][1] if corners[1][0] <= 0.0 else 0.0
        if spend <= 0.0:
            return fraction * free
        paid = [corner for n, corner in enumerate(corners) if corner[0] > 0.0 or n == 0]
        x, y = (np.array(side) for side in zip(*paid, strict=True))
        return float(np.interp(spend, x, np.concatenate([[free], y[1:]])))


def _along(x: F64, y: F64, where: F64) -> F64:
    return np.asarray(np.interp(where, np.concatenate([[0.0], x]), np.concatenate([[0.0], y])))


def curve_rows(path: Path, averages: Averages, money: float, level: float) -> list[dict[str, Any]]:
    """Return the points of a curve as rows of ``cost_curve``.

    Points are at equal parts of the spend, after points at equal shares for what costs nothing, with one more at the
    break-even point. Between points of the data all rows of a tie enter alike, in part. Intervals are value +- z *
    standard deviation of the replicates at the same spend (or share).

    Parameters
    ----------
    path : Path
        The curve.
    averages : Averages
        Of everybody, for the baseline.
    money : float
        What one unit of the outcome is worth.
    level : float
        Coverage.
    """
    free, paid = slice(0, path.free), slice(path.free, None)
    free_end, paid_end = float(path.first[free].sum()), float(path.cost[paid].sum())
    free_points = 0 if free_end <= 0 else (_FREE_POINTS if paid_end > 0 else POINTS)
    shares = free_end * np.arange(1, free_points + 1) / max(free_points, 1)
    spends = paid_end * np.arange(1, POINTS - free_points + 1) / max(POINTS - free_points, 1)
    even = break_even(path, money)
    if even > 0:
        spends = np.unique(np.concatenate([spends, [even]]))
    if paid_end <= 0:
        spends = np.zeros(0)
    rows = [_origin(float("nan") if free_points or paid_end <= 0 else _slope(path, paid, 0))]
    rows += _section(path, free, shares, averages, money, level)
    rows += _section(path, paid, spends, averages, money, level)
    marked = max((n for n, row in enumerate(rows) if row["spend"] <= even), default=0)
    for number, row in enumerate(rows):
        row.update(point=number, break_even=number == marked)
    return rows


def _origin(marginal: float) -> dict[str, Any]:
    names = ("fraction", "spend", "gain", "lower", "upper", "net", "baseline", "std_error", "predicted")
    return {**dict.fromkeys(names, 0.0), "marginal": marginal}


def _section(
    path: Path, part: slice, where: F64, averages: Averages, money: float, level: float
) -> list[dict[str, Any]]:
    """Return the points of the free or the paid part, at shares or spends."""
    if not where.shape[0]:
        return []
    is_free = part.stop is not None
    before = slice(0, 0 if is_free else path.free)
    axis = path.first if is_free else path.cost
    drawn_axis = path.drawn_first if is_free else path.drawn_cost
    x = np.cumsum(axis[part])

    def total(values: F64) -> F64:
        return np.asarray(values[before].sum() + _along(x, np.cumsum(values[part]), where))

    gain, spend = total(path.gain), np.zeros_like(where) if is_free else where
    drawn = np.array(
        [
            values[before].sum() + _along(np.cumsum(along[part]), np.cumsum(values[part]), where)
            for values, along in zip(path.drawn_gain, drawn_axis, strict=True)
        ]
    )
    error = bootstrap_error(drawn) if drawn.shape[0] else np.full(where.shape, np.nan)
    z = quantile(level)
    fraction, predicted = total(path.first), total(path.predicted)
    cell = np.minimum(np.searchsorted(x, where * (1 - 1e-12)), max(x.shape[0] - 1, 0))
    return [
        {
            "fraction": float(fraction[n]),
            "spend": float(spend[n]),
            "gain": float(gain[n]),
            "lower": float(gain[n] - z * error[n]),
            "upper": float(gain[n] + z * error[n]),
            "std_error": float(error[n]),
            "net": float(gain[n] * money - spend[n]),
            "marginal": float("nan") if is_free else _slope(path, part, int(cell[n])),
            "baseline": averages.at(float(spend[n]), float(fraction[n])),
            "predicted": float(predicted[n]),
        }
        for n in range(where.shape[0])
    ]


def _slope(path: Path, part: slice, cell: int) -> float:
    cost = float(path.cost[part][cell])
    return float(path.predicted[part][cell]) / cost if cost > 0 else float("nan")


def break_even(path: Path, money: float) -> float:
    """Return the spend up to which every step is predicted to be worth its cost; cells don't straddle that point."""
    cost, predicted = path.cost[path.free :], path.predicted[path.free :]
    worth = predicted * money >= cost * (1.0 - 1e-9)
    return float(cost[worth].sum())


def return_row(
    sums: F64, drawn: F64, mass: F64, drawn_mass: F64, money: float, level: float
) -> dict[str, float]:
    """Return what the units that get an arm cost and bring, per unit of the population.

    Parameters
    ----------
    sums : ndarray of shape (L,), dtype=float64
        Sums of the steps from control to the arm.
    drawn : ndarray of shape (L, R), dtype=float64
        The same of the replicates.
    mass, drawn_mass : ndarray of shape (arms,) and (arms, R), dtype=float64
        Weight of each arm.
    money, level : float
        Worth of an outcome, coverage.
    """
    total = float(mass.sum())
    gain = float(observed(sums, mass))
    replicates = observed(drawn.T, drawn_mass.T)
    error = float(bootstrap_error(replicates)) if replicates.shape[0] else float("nan")
    cost, z = float(sums[1]) / total, quantile(level)

    def per_cost(value: float) -> float:
        return value * money / cost if cost > 0 else float("nan")

    return {
        "share": float(sums[0]) / total,
        "cost": cost,
        "gain": gain,
        "lower": gain - z * error,
        "upper": gain + z * error,
        "net": gain * money - cost,
        "net_lower": (gain - z * error) * money - cost,
        "net_upper": (gain + z * error) * money - cost,
        "return": per_cost(gain),
        "return_lower": per_cost(gain - z * error),
        "return_upper": per_cost(gain + z * error),
        "predicted": float(sums[2]) / total,
    }


def quantile_edges(keys: F64, bins: int, *, extra: Sequence[float] = ()) -> tuple[F64, bool]:
    """Return the lowest key of each cell, ascending, and whether every distinct key has its own cell.

    Parameters
    ----------
    keys : ndarray, dtype=float64
        Keys of a sample of steps.
    bins : int
        About how many cells; so many distinct keys each get one.
    extra : sequence of float
        Keys that a cell must begin with.
    """
    if not keys.shape[0]:
        return np.asarray(sorted(extra), np.float64), True
    distinct = np.unique(keys)
    exact = distinct.shape[0] <= bins
    if not exact:
        ordered = np.sort(keys)
        distinct = np.unique(ordered[np.linspace(0, ordered.shape[0] - 1, bins).astype(np.int64)])
    return np.unique(np.concatenate([distinct, np.asarray(extra, np.float64)])), exact
