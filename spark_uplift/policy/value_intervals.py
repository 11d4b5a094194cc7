"""Intervals of values: empirical Bernstein, and percentiles of replicates."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spark_uplift.policy.value_sums import METHODS

__all__ = ["bernstein_radius", "percentiles", "term_width"]

F64 = npt.NDArray[np.float64]


def bernstein_radius(variance: float, n: int, width: float, level: float) -> float:
    """Return the half width of the two-sided empirical Bernstein interval of a mean.

    Maurer & Pontil 2009, Theorem 4, for each side with delta = (1 - level)/2: with probability 1 - delta the mean
    of n independent values in an interval of length `width` exceeds its expectation by no more than
    sqrt(2 * variance * ln(2/delta) / n) + 7 * width * ln(2/delta) / (3 * (n - 1)).

    Parameters
    ----------
    variance : float
        Sample variance, divisor n - 1.
    n : int
        Independent values.
    width : float
        Length of the interval that holds every possible value.
    level : float
        Coverage of both sides together.
    """
    if n < 2:
        return math.nan
    log = math.log(4.0 / (1.0 - level))
    return math.sqrt(2.0 * variance * log / n) + 7.0 * width * log / (3.0 * (n - 1))


def term_width(method: str, low: float, high: float, largest: float) -> float:
    """Return the length of the range of a row's term."""
    if method == "dm":
        return high - low
    if METHODS[method].predicts:
        return (high - low) * (1.0 + 2.0 * largest)
    return max(0.0, largest * high) - min(0.0, largest * low)


def percentiles(replicates: F64, level: float) -> tuple[float, float]:
    """Return the central interval of the finite replicates, shape (R,); NaN with fewer than two."""
    finite = replicates[np.isfinite(replicates)]
    if finite.shape[0] < 2:
        return math.nan, math.nan
    low, high = np.quantile(finite, [0.5 - level / 2.0, 0.5 + level / 2.0])
    return float(low), float(high)
