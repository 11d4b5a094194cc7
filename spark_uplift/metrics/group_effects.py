"""The effect in a group of rows with an interval that holds in small groups, empty sides included."""

from __future__ import annotations

import numpy as np

from spark_uplift.core.dtypes import WW, WY, WYY, W
from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.inference import Difference, Interval, quantile
from spark_uplift.metrics.pair import CONTROL, TREATED, divide

__all__ = ["group_effects", "mean_scores", "wilson"]

# A side whose effective number of rows is not above this has no spread of its own.
_ONE_ROW = 1.0 + 1e-9


def wilson(share: F64, effective: F64, level: float) -> tuple[F64, F64]:
    """Return Wilson's score interval of a probability; [0, 1] without rows.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22.

    Parameters
    ----------
    share : ndarray of shape (...), dtype=float64
        Observed share; its value does not matter where there are no rows.
    effective : ndarray of shape (...), dtype=float64
        Number of rows; with weights Kish's effective number.
    level : float
        Coverage, in (0, 1).
    """
    z = quantile(level)
    p = np.clip(np.where(effective > 0, share, 0.5), 0.0, 1.0)
    middle = (effective * p + z * z / 2.0) / (effective + z * z)
    half = z * np.sqrt(effective * p * (1.0 - p) + z * z / 4.0) / (effective + z * z)
    return np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)


def group_effects(sides: F64, overall: F64, level: float, *, binary: bool) -> Difference:
    """Return treated minus control in groups of rows, with intervals for groups of any size.

    Binary outcomes: Newcombe's hybrid score interval (his method 10), Wilson's interval of each side put together;
    a side without rows has [0, 1], and the interval of the difference is then that of all it could be.

    Other outcomes: Welch's t. A side that shows no spread (no row, one row, or all outcomes equal) takes its arm's
    spread over all groups, with that arm's degrees of freedom; a side without rows counts as one row at its arm's
    mean, because the mean of a group lies about that of the arm with at most the spread of the outcomes.

    With weights, numbers of rows are Kish's effective ones, sum(w)^2 / sum(w^2). The difference itself is NaN where
    a side has no rows; its interval is not (unless the whole arm shows no spread).

    Newcombe (1998), "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17; Welch (1947), Biometrika 34.

    Parameters
    ----------
    sides : ndarray of shape (..., 2, 5), dtype=float64
        Sums (n, w, wy, wyy, ww) of control and treated in each group.
    overall : ndarray of shape (2, 5), dtype=float64
        The same over all rows.
    level : float
        Coverage, in (0, 1).
    binary : bool
        Whether every outcome is 0 or 1.
    """
    mean = divide(sides[..., WY], sides[..., W], empty=np.nan)
    effective = divide(np.square(sides[..., W]), sides[..., WW])
    interval = _newcombe(mean, effective, level) if binary else _welch(sides, mean, effective, overall, level)
    return Difference(mean[..., TREATED], mean[..., CONTROL], interval)


def _newcombe(mean: F64, effective: F64, level: float) -> Interval:
    low, high = wilson(mean, effective, level)
    known = (effective > 0).all(axis=-1)
    p = np.where(effective > 0, mean, 0.0)
    difference = p[..., TREATED] - p[..., CONTROL]
    down = np.hypot(p[..., TREATED] - low[..., TREATED], high[..., CONTROL] - p[..., CONTROL])
    up = np.hypot(high[..., TREATED] - p[..., TREATED], p[..., CONTROL] - low[..., CONTROL])
    lower = np.where(known, difference - down, low[..., TREATED] - high[..., CONTROL])
    upper = np.where(known, difference + up, high[..., TREATED] - low[..., CONTROL])
    value = np.where(known, difference, np.nan)
    return Interval(value, (upper - lower) / (2.0 * quantile(level)), lower, upper)


def _spread(stats: F64, mean: F64, effective: F64) -> F64:
    """Return the unbiased variance of the outcomes; NaN where the rows show none."""
    square = divide(stats[..., WYY], stats[..., W])
    spread = square - np.square(mean)
    shown = (effective > _ONE_ROW) & (spread > 1e-12 * square)
    return np.where(shown, spread * divide(effective, effective - 1.0), np.nan)


def _welch(sides: F64, mean: F64, effective: F64, overall: F64, level: float) -> Interval:
    from scipy.special import stdtrit

    all_mean = divide(overall[..., WY], overall[..., W], empty=np.nan)
    all_effective = divide(np.square(overall[..., W]), overall[..., WW])
    arm_spread = _spread(overall, all_mean, all_effective)
    own = _spread(sides, mean, effective)
    borrowed = np.isnan(own)
    variance = np.where(borrowed, arm_spread, own) / np.maximum(effective, 1.0)
    freedom = np.where(borrowed, all_effective, effective) - 1.0
    total = variance.sum(axis=-1)
    spent = divide(np.square(variance), np.maximum(freedom, 1e-9)).sum(axis=-1)
    t = stdtrit(np.maximum(divide(np.square(total), spent, empty=np.nan), 1e-3), 0.5 + level / 2.0)
    centre = np.where(effective > 0, mean, all_mean)
    difference = centre[..., TREATED] - centre[..., CONTROL]
    error = np.sqrt(total)
    value = np.asarray(mean[..., TREATED] - mean[..., CONTROL])
    # Where the whole arm has one value there is no spread to speak of, and no interval.
    return Interval(value, error, difference - t * error, difference + t * error)


def mean_scores(dr: F64, mass: F64, overall: F64, level: float) -> Interval:
    """Return the mean doubly robust score of groups with a t interval.

    s^2 / n_eff with Kish's effective number of rows; a group without spread of its own takes that of all rows.

    Parameters
    ----------
    dr : ndarray of shape (..., 3), dtype=float64
        Sums of (w*G, w*G^2, w^2) in each group.
    mass : ndarray of shape (...), dtype=float64
        Sums of w.
    overall : ndarray of shape (4,), dtype=float64
        (w*G, w*G^2, w^2, w) over all rows.
    level : float
        Coverage, in (0, 1).
    """
    from scipy.special import stdtrit

    def described(gain: F64, square: F64, weights: F64, total: F64) -> tuple[F64, F64, F64]:
        mean = divide(gain, total, empty=np.nan)
        effective = divide(np.square(total), weights)
        spread = divide(square, total) - np.square(mean)
        return (
            mean,
            effective,
            np.where(effective > _ONE_ROW, spread * divide(effective, effective - 1.0), np.nan),
        )

    mean, effective, own = described(dr[..., 0], dr[..., 1], dr[..., 2], mass)
    _, all_effective, everybody = described(*(np.asarray(v) for v in overall))
    spread = np.maximum(np.where(np.isnan(own), everybody, own), 0.0)
    error = np.sqrt(spread / np.maximum(effective, 1.0))
    freedom = np.where(np.isnan(own), all_effective, effective) - 1.0
    t = stdtrit(np.maximum(freedom, 1e-3), 0.5 + level / 2.0)
    return Interval(mean, error, mean - t * error, mean + t * error)
