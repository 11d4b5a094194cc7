r"""The numbers of Yggdrasil Decision Forests, which are those of Guelman's "separate" Qini.

    curve(q) = y_t/N_t - y_c/N_c

over the best share q of the weight, with the arms' *total* weights N; AUUC is its trapezoid area, Qini the
area above the straight line. With e = N_t/(N_t + N_c) this Qini is grf's QINI.

Source: Yggdrasil Decision Forests, ``metric/uplift.cc``; Guelman, Guillen & Perez-Marin (2015).
"""

from __future__ import annotations

from spark_uplift.metrics.areas import trapezoid
from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.pair import Pair, divide, end, prepend_zero
from spark_uplift.metrics.registry import Metric, register

__all__ = ["separate_curve"]


def separate_curve(pair: Pair) -> F64:
    """Return y_t/N_t - y_c/N_c at each point, shape (..., points)."""
    treated = divide(pair.y_treated, end(pair.n_treated)[..., None])
    return treated - divide(pair.y_control, end(pair.n_control)[..., None])


def _auuc(pair: Pair) -> F64:
    share = prepend_zero(divide(pair.population, pair.total[..., None]))
    return trapezoid(prepend_zero(separate_curve(pair)), share)


def _qini(pair: Pair) -> F64:
    return _auuc(pair) - end(separate_curve(pair)) / 2.0


_AREA = "trapezoid area of y_t/N_t - y_c/N_c over the share of weight"

register(Metric("auuc", "ydf", _AREA, _auuc, reported=True))
register(Metric("qini", "ydf", f"{_AREA}, minus half its end", _qini, reported=True))
