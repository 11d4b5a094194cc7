r"""The numbers of CausalML.

    gain curve  lift(k) * k, lift(k) = y_t/n_t - y_c/n_c
    Qini curve  y_t - y_c * n_t/n_c

over the k best rows, k = 0..n. Where lift or the Qini
curve is not defined (an arm is missing; for Qini, control) it is interpolated from 0. Areas are means over
the n + 1 points, not trapezoids. ``normalize`` (CausalML's default) divides the curve by the absolute value
of its end; the names with ``_raw`` do not, and grow with n.

CausalML breaks ties by an unstable sort. Here the curve is straight within a tie, which is what the mean over
all orders of the tied rows comes to (exactly for a curve that is linear in the sums).

``rate_autoc`` and ``rate_qini`` are its ``rate_score``: TOC from differences in means, weights 1/q or q at
the midpoints of rows, normalised to add up to 1. They are other estimands than grf's AUTOC and QINI.

Source: causalml 0.18, ``metrics/visualize.py`` and ``metrics/rate.py``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spark_uplift.metrics.areas import row_sum
from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.pair import Pair, divide, end, prepend_zero
from spark_uplift.metrics.registry import Metric, register

__all__ = ["gain_curve", "lift_curve", "qini_curve"]

# Up to this many tied rows are written out for rate_score, whose weights are not a polynomial of the row
# number.
_WRITTEN_OUT = 64


def _fill_from_origin(curve: F64, known: npt.NDArray[np.bool_], k: F64) -> F64:
    """Replace the leading unknown values by the straight line from (0, 0) to the first known one."""
    first = np.argmax(known, axis=-1)[..., None]
    slope = divide(np.take_along_axis(curve, first, -1), np.take_along_axis(k, first, -1))
    return np.where(known, curve, slope * k)


def lift_curve(pair: Pair) -> F64:
    """Return lift(k), interpolated from 0 while an arm is missing, shape (..., points)."""
    lift = divide(pair.y_treated, pair.n_treated) - divide(pair.y_control, pair.n_control)
    return _fill_from_origin(lift, (pair.n_treated > 0) & (pair.n_control > 0), pair.k)


def gain_curve(pair: Pair) -> F64:
    """Return lift(k) * k."""
    return lift_curve(pair) * pair.k


def qini_curve(pair: Pair) -> F64:
    """Return y_t - y_c * n_t/n_c, interpolated from 0 while control is missing."""
    curve = pair.y_treated - pair.y_control * divide(pair.n_treated, pair.n_control)
    return _fill_from_origin(curve, pair.n_control > 0, pair.k)


def _mean(pair: Pair, curve: F64) -> F64:
    """Mean over the n + 1 points, origin included."""
    weight = np.diff(prepend_zero(pair.k), axis=-1)
    return divide(row_sum(curve, weight, pair.rows), end(pair.k) + 1.0)


def _auuc_raw(pair: Pair) -> F64:
    return _mean(pair, gain_curve(pair))


def _auuc(pair: Pair) -> F64:
    curve = gain_curve(pair)
    return divide(_mean(pair, curve), np.abs(end(curve)), empty=np.nan)


def _qini_raw(pair: Pair) -> F64:
    curve = qini_curve(pair)
    return _mean(pair, curve) - end(curve) / 2.0


def _qini(pair: Pair) -> F64:
    return divide(_qini_raw(pair), np.abs(end(qini_curve(pair))), empty=np.nan)


def _toc(pair: Pair) -> F64:
    """Difference in means of the best k minus that of all; 0 while an arm is missing."""
    lift = divide(pair.y_treated, pair.n_treated) - divide(pair.y_control, pair.n_control)
    both = (pair.n_treated > 0) & (pair.n_control > 0)
    return np.where(both, lift - end(lift)[..., None], 0.0)


def _rate_qini(pair: Pair) -> F64:
    """Sum of q * TOC at the midpoints of rows / sum of q, both straight within a tie."""
    return _rate(pair, inverse=False)


def _rate_autoc(pair: Pair) -> F64:
    return _rate(pair, inverse=True)


def _rate(pair: Pair, *, inverse: bool) -> F64:
    toc = prepend_zero(_toc(pair))
    q = prepend_zero(divide(pair.k, end(pair.k)[..., None]))
    pieces = np.clip(pair.rows, 1, _WRITTEN_OUT).astype(np.int64)
    point = np.repeat(np.arange(pieces.shape[0]), pieces)
    inside = np.arange(point.shape[0]) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    middle = (inside + 0.5) / pieces[point]
    value = toc[..., point] + (toc[..., point + 1] - toc[..., point]) * middle
    share = q[..., point] + (q[..., point + 1] - q[..., point]) * middle
    # Pieces of a long tie stand for several rows each.
    weight = (pair.rows / pieces)[point] * (divide(1.0, share) if inverse else share)
    weight = weight * (np.diff(q, axis=-1)[..., point] > 0)
    return divide((weight * value).sum(-1), weight.sum(-1))


_GAIN = "(y_t/n_t - y_c/n_c)*k"
_Q = "y_t - y_c*n_t/n_c"
_MEAN = "mean over k = 0..n of {curve}{less}{norm}"
_NORM = ", curve divided by |its end|"

for _metric in (
    Metric(
        "auuc", "causalml", _MEAN.format(curve=_GAIN, less="", norm=_NORM), _auuc, per_row=True, reported=True
    ),
    Metric("auuc_raw", "causalml", _MEAN.format(curve=_GAIN, less="", norm=""), _auuc_raw, per_row=True),
    Metric(
        "qini",
        "causalml",
        _MEAN.format(curve=_Q, less=" - straight line to its end", norm=_NORM),
        _qini,
        per_row=True,
        reported=True,
    ),
    Metric(
        "qini_raw",
        "causalml",
        _MEAN.format(curve=_Q, less=" - straight line to its end", norm=""),
        _qini_raw,
        per_row=True,
    ),
    Metric(
        "rate_autoc",
        "causalml",
        "sum of TOC(q)/q / sum of 1/q over midpoints of rows, TOC = lift(k) - lift(n)",
        _rate_autoc,
        per_row=True,
    ),
    Metric(
        "rate_qini",
        "causalml",
        "sum of TOC(q)*q / sum of q over midpoints of rows, TOC = lift(k) - lift(n)",
        _rate_qini,
        per_row=True,
    ),
):
    register(_metric)
