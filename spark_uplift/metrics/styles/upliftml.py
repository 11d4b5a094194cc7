r"""The numbers of upliftml.

    curve  (y_t/n_t - y_c/n_c) * k/n

at the lower ends of 30 buckets cut at quantiles of the score, from the origin; ``auuc`` is its trapezoid area
over k/n, ``qini`` the area above the straight line to its end. A quantile is the smallest score that at least
its share of the rows does not exceed, and is the lowest score of the bucket above it, so that ties are never
split; equal quantiles make fewer buckets. NaN where the best bucket lacks an arm. upliftml knows no weights;
here rows count by theirs.

Source: upliftml 0.1, ``evaluation.py`` (``estimate_qini``, ``compute_auuc``, ``compute_qini_coefficient``) with
Spark's ``QuantileDiscretizer``, whose relative error of 1e-5 changes nothing below some 30,000 rows.
"""

from __future__ import annotations

import numpy as np

from spark_uplift.metrics.areas import trapezoid
from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.pair import Pair, divide, end, prepend_zero
from spark_uplift.metrics.registry import Metric, register

__all__ = ["bucket_curve"]

_BUCKETS = 30


def bucket_curve(pair: Pair) -> tuple[F64, F64]:
    """Return k/n and the curve's height at the ends of the buckets, origin included, shape (..., 31)."""
    n = end(pair.k)[..., None]
    here = np.diff(prepend_zero(pair.k), axis=-1)
    from_below = n - pair.k + here  # rows whose score is not above the point's
    number = np.floor(divide(from_below, n) * _BUCKETS + 1e-9)
    number = np.minimum(number, _BUCKETS - 1)
    # A bucket ends with the last point (scores descend) that has its number or a higher one.
    ends = np.stack([(number >= b).sum(axis=-1) for b in range(_BUCKETS - 1, -1, -1)], axis=-1)
    n_t, y_t, n_c, y_c = (
        np.take_along_axis(prepend_zero(v), ends, -1)
        for v in (pair.n_treated, pair.y_treated, pair.n_control, pair.y_control)
    )
    fraction = divide(n_t + n_c, n)
    lift = divide(y_t, n_t, empty=np.nan) - divide(y_c, n_c, empty=np.nan)
    height = np.where(ends > 0, lift, 0.0) * fraction
    return prepend_zero(fraction), prepend_zero(height)


def _auuc(pair: Pair) -> F64:
    fraction, height = bucket_curve(pair)
    return trapezoid(height, fraction)


def _qini(pair: Pair) -> F64:
    fraction, height = bucket_curve(pair)
    return trapezoid(height, fraction) - end(height) / 2.0


_AREA = "trapezoid area of (y_t/n_t - y_c/n_c)*k/n over k/n at the ends of 30 quantile buckets"

register(Metric("auuc", "upliftml", _AREA, _auuc, per_row=True))
register(Metric("qini", "upliftml", f"{_AREA}, minus half its end", _qini, per_row=True))
