"""A curve seen as treated against control, in units of rows, with its cumulative sums.

Every metric starts here. Weights are rescaled so that they add up to the number of rows: then "the k best
rows" means the same with and without weights, and multiplying all weights by a constant changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spark_uplift.core.dtypes import WW, WY, WYY, N, W
from spark_uplift.metrics.curves import F64, Curve

__all__ = ["Pair", "at", "at_each", "divide", "end", "prepend_zero"]

CONTROL, TREATED = 0, 1


@dataclass(frozen=True)
class Pair:
    """Treated against control along the distinct scores, best first; leading axes are replicates.

    Parameters
    ----------
    low, high : ndarray of shape (points,), dtype=float64
        Lowest and highest score at each point.
    sides : ndarray of shape (..., points, 2, 5), dtype=float64
        Sums (n, w, wy, wyy, ww) of control and treated. In the policy view the arms are added up with weights
        1 / P(arm).
    mass : ndarray of shape (..., points), dtype=float64
        Population, in rows: adds up to the number of rows.
    rows : ndarray of shape (points,), dtype=float64
        Rows of the population at each point.
    scale : ndarray of shape (..., 2), dtype=float64
        Factor that makes sum(w*y) of control and treated an inverse-propensity estimate over the population.
    binary, exact : bool
        See `Curve`.
    score : ndarray of shape (points,), dtype=float64
        Mean score at each point.
    dr : ndarray of shape (..., points, 3), dtype=float64, or None
        Sums of (w*G, w*G^2, w^2) over the population, weights in rows; see `Curve`.
    """

    low: F64
    high: F64
    sides: F64
    mass: F64
    rows: F64
    scale: F64
    binary: bool
    exact: bool
    score: F64
    dr: F64 | None = None

    @classmethod
    def of(cls, curve: Curve) -> Pair:
        """Return the two-sided view of a curve."""
        total_rows = curve.rows.sum()
        slots = curve.stats.shape[-2]
        if curve.arm_mass is None:
            inverse = np.ones((*curve.stats.shape[:-3], slots))
        else:
            inverse = divide(curve.arm_mass.sum(-1, keepdims=True), curve.arm_mass)
        as_weight = inverse if curve.policy else np.ones_like(inverse)
        sides = _two_sides(curve.stats, as_weight)
        to_rows = divide(total_rows, sides[..., W].sum((-1, -2)))
        sides = _weighted(sides, to_rows[..., None, None])
        mass_to_rows = divide(total_rows, curve.mass.sum(-1))
        # stats * scale must be in the unit of the mass, whatever the weights were multiplied by
        unit = divide(mass_to_rows, to_rows)[..., None]
        scale = np.broadcast_to(unit, (*unit.shape[:-1], 2)) if curve.policy else inverse * unit
        return cls(
            low=curve.low,
            high=curve.high,
            sides=sides,
            mass=curve.mass * mass_to_rows[..., None],
            rows=curve.rows,
            scale=scale,
            binary=curve.binary,
            exact=curve.exact,
            score=curve.score,
            dr=None if curve.dr is None else _in_rows(curve.dr, mass_to_rows),
        )

    @cached_property
    def total(self) -> F64:
        """Rows of the population, shape (...)."""
        return np.asarray(self.mass.sum(-1))

    @cached_property
    def gain(self) -> F64:
        """Sum of the rows' scores G at each point, shape (..., points).

        G is the doubly robust score where there is one, else the inverse-propensity score
        y*t/e - y*(1-t)/(1-e).
        """
        if self.dr is not None:
            return np.asarray(self.dr[..., 0])
        scaled = self.sides[..., WY] * self.scale[..., None, :]
        return np.asarray(scaled[..., TREATED] - scaled[..., CONTROL])

    @cached_property
    def ate(self) -> F64:
        """Mean of those scores: the average effect, shape (...)."""
        return divide(self.gain.sum(-1), self.total)

    @cached_property
    def adjusted(self) -> F64:
        """Sum of the scores with the arms' means taken out of the weighting, shape (..., points).

        m_1 - m_0 + t*(y - m_1)/e - (1-t)*(y - m_0)/(1-e) with m the arms' mean outcomes: the doubly robust
        score whose outcome model is one number an arm. Its mean is the difference of the means, and a chance
        imbalance of the arms along the scores is no longer read as an effect, as it is by G.
        """
        if self.dr is not None:
            return self.gain
        sums = self.sides.sum(axis=-3)
        means = divide(sums[..., WY], sums[..., W])
        rest = self.sides[..., WY] - means[..., None, :] * self.sides[..., W]
        rest = rest * self.scale[..., None, :]
        effect = means[..., TREATED] - means[..., CONTROL]
        return np.asarray(rest[..., TREATED] - rest[..., CONTROL] + self.mass * effect[..., None])

    @cached_property
    def population(self) -> F64:
        """Rows of the population up to each point, shape (..., points)."""
        return np.asarray(np.cumsum(self.mass, axis=-1))

    @cached_property
    def cumulative(self) -> F64:
        """Sums up to each point, shape (..., points, 2, 5)."""
        return np.asarray(np.cumsum(self.sides, axis=-3))

    @property
    def n_treated(self) -> F64:
        """Weighted treated rows up to each point."""
        return np.asarray(self.cumulative[..., TREATED, W])

    @property
    def n_control(self) -> F64:
        """Weighted control rows up to each point."""
        return np.asarray(self.cumulative[..., CONTROL, W])

    @property
    def y_treated(self) -> F64:
        """Weighted outcomes of the treated up to each point."""
        return np.asarray(self.cumulative[..., TREATED, WY])

    @property
    def y_control(self) -> F64:
        """Weighted outcomes of control up to each point."""
        return np.asarray(self.cumulative[..., CONTROL, WY])

    @property
    def k(self) -> F64:
        """Weighted rows of both sides up to each point."""
        return self.n_treated + self.n_control


def _in_rows(dr: F64, factor: F64) -> F64:
    """Return the doubly robust sums with weights multiplied by `factor`, shape (...)."""
    powers = np.stack([factor, factor, np.square(factor)], axis=-1)
    return np.asarray(dr * powers[..., None, :])


def _weighted(stats: F64, factor: F64) -> F64:
    """Return the sums that rows would have with weights multiplied by `factor` (without the last axis)."""
    powers = np.ones((*np.shape(factor), stats.shape[-1]))
    powers[..., W] = powers[..., WY] = powers[..., WYY] = factor
    powers[..., WW] = np.square(factor)
    powers[..., N] = 1.0
    return np.asarray(stats * powers)


def _two_sides(stats: F64, factor: F64) -> F64:
    """Add up the treatments' slots, each with its factor, shape (..., slots)."""
    weighted = _weighted(stats, factor[..., None, :])
    control = weighted[..., :1, :]
    treated = weighted[..., 1:, :].sum(axis=-2, keepdims=True)
    return np.concatenate([control, treated], axis=-2)


def divide(numerator: float | F64, denominator: F64, empty: float = 0.0) -> F64:
    """Return the quotient, and `empty` where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    out = np.full(shape, empty)
    np.divide(numerator, denominator, out=out, where=np.broadcast_to(denominator != 0, shape))
    return out


def prepend_zero(values: F64) -> F64:
    """Return the curve with its origin."""
    return np.concatenate([np.zeros((*values.shape[:-1], 1)), values], axis=-1)


def end(values: F64) -> F64:
    """Return the curve's last value, shape (...)."""
    return np.asarray(values[..., -1])


def at(where: float | F64, x: F64, y: F64) -> F64:
    """Interpolate curves linearly; a tie is so entered in part, each of its rows alike.

    Parameters
    ----------
    where : float or ndarray of shape (...), dtype=float64
        One position a curve.
    x, y : ndarray of shape (..., points), dtype=float64
        Curves, origin included; x ascends (equal neighbours allowed).

    Returns
    -------
    ndarray of shape (...), dtype=float64
    """
    return np.asarray(at_each(np.asarray(where, np.float64)[..., None], x, y)[..., 0])


def at_each(where: F64, x: F64, y: F64) -> F64:
    """Interpolate curves as `at` does, at m positions each.

    Parameters
    ----------
    where : ndarray of shape (..., m) or (m,), dtype=float64
        Positions.
    x, y : ndarray of shape (..., points), dtype=float64
        Curves, origin included.

    Returns
    -------
    ndarray of shape (..., m), dtype=float64
    """
    lead = np.broadcast_shapes(where.shape[:-1], x.shape[:-1])
    flat = (np.broadcast_to(v, (*lead, v.shape[-1])).reshape(-1, v.shape[-1]) for v in (where, x, y))
    out = np.array([np.interp(q, xs, ys) for q, xs, ys in zip(*flat, strict=True)])
    return np.asarray(out.reshape(*lead, -1))
