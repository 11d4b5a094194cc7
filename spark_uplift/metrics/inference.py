"""Intervals: of a difference in means, and of anything that has bootstrap replicates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from spark_uplift.core.dtypes import WW, WY, WYY, W
from spark_uplift.errors import DataError, bad_value
from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.pair import CONTROL, TREATED, divide

__all__ = [
    "Difference",
    "Interval",
    "bootstrap_error",
    "difference_in_means",
    "normal_interval",
    "p_value",
    "percentile_interval",
    "quantile",
]


@dataclass(frozen=True)
class Interval:
    """An estimate with its uncertainty; NaN where it is not defined.

    Parameters
    ----------
    value, std_error, lower, upper : ndarray, dtype=float64
        In the unit of the estimate.
    """

    value: F64
    std_error: F64
    lower: F64
    upper: F64


@dataclass(frozen=True)
class Difference:
    """Means of the two sides and their difference, shape (...)."""

    mean_treated: F64
    mean_control: F64
    uplift: Interval


def quantile(level: float) -> float:
    """Return z such that a normal variable lies within +-z standard deviations with probability `level`.

    Raises
    ------
    DataError
        The level is not in (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise DataError(bad_value("level", "an interval", "a float in the range (0, 1)", level))
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def normal_interval(value: F64, std_error: F64, level: float) -> Interval:
    """Return value +- z * std_error."""
    z = quantile(level)
    return Interval(value, std_error, value - z * std_error, value + z * std_error)


def p_value(value: float, std_error: float, alternative: str) -> float:
    """Return the normal p-value of the hypothesis that the true value is 0; NaN without a standard error.

    Parameters
    ----------
    value, std_error : float
        Estimate and its standard error.
    alternative : {"greater", "two-sided"}
        What is held against the hypothesis.
    """
    if not (math.isfinite(value) and math.isfinite(std_error) and std_error > 0):
        return math.nan
    z = value / std_error
    if alternative == "greater":
        return math.erfc(z / math.sqrt(2.0)) / 2.0
    return math.erfc(abs(z) / math.sqrt(2.0))


def percentile_interval(value: F64, replicates: F64, level: float) -> Interval:
    """Return the central interval of the replicates along axis 0, moved to be centred as `value` is.

    Replicates of a binned curve may be off the exact value by the binning; their spread is what counts:
    [value + q_low - median, value + q_high - median].

    Parameters
    ----------
    value : ndarray of shape (...), dtype=float64
        The estimate.
    replicates : ndarray of shape (R, ...), dtype=float64
        Bootstrap replicates; NaN ones are left out.
    """
    tails = (0.5 - level / 2.0, 0.5, 0.5 + level / 2.0)
    if not 0.0 < level < 1.0:
        raise DataError(bad_value("level", "an interval", "a float in the range (0, 1)", level))
    usable = np.isfinite(replicates).sum(axis=0) >= 2
    filled = np.where(usable, replicates, 0.0)
    low, median, high = np.nanquantile(filled, tails, axis=0)
    undefined = np.where(usable, 0.0, np.nan)
    error = bootstrap_error(replicates)
    return Interval(value, error, value + low - median + undefined, value + high - median + undefined)


def bootstrap_error(replicates: F64) -> F64:
    """Return the standard deviation over axis 0; NaN with fewer than two finite replicates.

    Parameters
    ----------
    replicates : ndarray of shape (R, ...), dtype=float64
        Bootstrap replicates; NaN ones (an arm was missing) are left out.
    """
    finite = np.isfinite(replicates)
    count = finite.sum(axis=0)
    values = np.where(finite, replicates, 0.0)
    mean = divide(values.sum(axis=0), count.astype(np.float64))
    squares = (np.where(finite, values - mean, 0.0) ** 2).sum(axis=0)
    return np.sqrt(divide(squares, np.maximum(count - 1.0, 0.0), empty=np.nan))


def difference_in_means(sides: F64, level: float) -> Difference:
    """Return treated minus control, of weighted (Hajek) means, with a normal interval.

    mean = sum(wy)/sum(w); s^2 = sum(wyy)/sum(w) - mean^2; variance of the mean = s^2 / (n_eff - 1) with
    Kish's n_eff = sum(w)^2 / sum(w^2). With unit weights this is the usual sample variance over n. A side
    without rows gives NaN, never 0; a side whose n_eff is 1 gives a difference without an interval.

    Parameters
    ----------
    sides : ndarray of shape (..., 2, 5), dtype=float64
        Sums (n, w, wy, wyy, ww) of control and treated.
    level : float
        Coverage, in (0, 1).
    """
    weight = sides[..., W]
    mean = divide(sides[..., WY], weight, empty=np.nan)
    spread = np.maximum(divide(sides[..., WYY], weight, empty=np.nan) - mean**2, 0.0)
    effective = divide(weight**2, sides[..., WW])
    variance = np.where(effective > 1.0 + 1e-9, divide(spread, effective - 1.0), np.nan)
    error = np.sqrt(variance[..., TREATED] + variance[..., CONTROL])
    treated, control = mean[..., TREATED], mean[..., CONTROL]
    return Difference(treated, control, normal_interval(np.asarray(treated - control), error, level))
