"""Sums and integrals over a distinct-score curve, ties included."""

from __future__ import annotations

import numpy as np

from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.pair import divide, end, prepend_zero

__all__ = ["digamma_difference", "excess_area", "row_sum", "trapezoid"]

# Below this the asymptotic series of digamma is not exact to double precision; the recurrence is used
# instead.
_SHIFT = 12


def trapezoid(y: F64, x: F64) -> F64:
    """Return the area below curves of shape (..., points)."""
    return np.asarray(((y[..., 1:] + y[..., :-1]) * np.diff(x, axis=-1)).sum(-1) / 2.0)


def excess_area(y: F64, x: F64) -> F64:
    """Return the area between a curve that starts at the origin and the straight line to its end.

    Parameters
    ----------
    y, x : ndarray of shape (..., points), dtype=float64
        The curve without its origin.
    """
    return trapezoid(prepend_zero(y), prepend_zero(x)) - end(y) * end(x) / 2.0


def row_sum(curve: F64, mass: F64, rows: F64) -> F64:
    """Return the sum over rows of a curve known at its distinct scores, each row with its weight.

    Within a tie the curve is a straight line, and its rows lie evenly on it: of r tied rows the j-th has
    a + (b - a) * j / r, which adds up to r*a + (b - a) * (r + 1) / 2.

    Parameters
    ----------
    curve : ndarray of shape (..., points), dtype=float64
        Values at the end of each tie.
    mass : ndarray of shape (..., points), dtype=float64
        Weight of each tie's rows together.
    rows : ndarray of shape (points,), dtype=float64
        Number of rows in each tie.
    """
    before = np.concatenate([np.zeros((*curve.shape[:-1], 1)), curve[..., :-1]], axis=-1)
    step = divide(mass, np.broadcast_to(rows, mass.shape))
    return np.asarray((step * (rows * before + (curve - before) * (rows + 1.0) / 2.0)).sum(-1))


def digamma_difference(start: F64, count: F64) -> F64:
    """Return psi(start + count) - psi(start), which is sum of 1/(start + j) over j < count, for start > 0.

    Taken as one difference: the two values agree in almost all digits when `start` is large. Series:
    Abramowitz & Stegun 6.3.18, recurrence 6.3.5.

    Parameters
    ----------
    start, count : ndarray, dtype=float64
        Of the same shape; counts may be fractional.
    """
    low, high = start + _SHIFT, start + count + _SHIFT
    out = np.log1p(count / low)
    out += 0.5 * (1.0 / low - 1.0 / high)
    for power, factor in ((2, 12.0), (4, -120.0), (6, 252.0), (8, -240.0), (10, 132.0)):
        out += (low**-power - high**-power) / factor
    for j in range(_SHIFT):
        out += 1.0 / (start + j) - 1.0 / (start + count + j)
    return np.asarray(out)
