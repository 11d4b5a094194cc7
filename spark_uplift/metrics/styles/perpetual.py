r"""The numbers of Perpetual.

``auuc`` (its ``normalize=True``): trapezoid area of (y_t/n_t - y_c/n_c) * k/n over k/n from the first row on
(a mean over no rows is 0), minus half its end. ``qini``: trapezoid area of q(k) = y_t - y_c * n_t/n_c over
k/n from the origin, minus half its end; it grows with n. Perpetual breaks ties by the order of the rows; here
the curve is straight within a tie.

Source: perpetual 1.x, ``causal_metrics.py``.
"""

from __future__ import annotations

import numpy as np

from spark_uplift.metrics.areas import excess_area, trapezoid
from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.pair import Pair, divide, end, prepend_zero
from spark_uplift.metrics.registry import Metric, register
from spark_uplift.metrics.styles.sklift import gain_curve, qini_curve

__all__: list[str] = []


def _auuc(pair: Pair) -> F64:
    n = end(pair.k)[..., None]
    share = divide(pair.k, n)
    curve = divide(gain_curve(pair.n_treated, pair.y_treated, pair.n_control, pair.y_control), n)
    # The first row starts the curve; of a tie of r rows at the top it is the first r-th of the straight line.
    row = divide(1.0, end(pair.k))
    first = np.argmax(share > 0, axis=-1)[..., None]
    slope = divide(np.take_along_axis(curve, first, -1), np.take_along_axis(share, first, -1))[..., 0]
    area = trapezoid(prepend_zero(curve), prepend_zero(share)) - np.square(row) * slope / 2.0
    return area - end(curve) / 2.0


def _qini(pair: Pair) -> F64:
    curve = qini_curve(pair.n_treated, pair.y_treated, pair.n_control, pair.y_control)
    return divide(excess_area(curve, pair.k), end(pair.k))


register(
    Metric(
        "auuc",
        "perpetual",
        "trapezoid area of (y_t/n_t - y_c/n_c)*k/n over k/n = 1/n..1, minus half its end",
        _auuc,
        per_row=True,
    )
)
register(
    Metric(
        "qini",
        "perpetual",
        "trapezoid area of y_t - y_c*n_t/n_c over k/n, minus half its end",
        _qini,
        per_row=True,
    )
)
