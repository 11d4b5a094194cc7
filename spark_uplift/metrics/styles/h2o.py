r"""The numbers of H2O's UpliftDRF, with every distinct score as a threshold (its ``auuc_nbins = -1``).

Curves over the k best rows: qini = y_t - y_c * n_t/n_c, lift = y_t/n_t - y_c/n_c, gain = lift * k; where not
defined (an arm is missing; for qini, control), interpolated from 0 by the number of the threshold. AUUC = sum
of curve * rows at the threshold / (n + 1). AECU is the AUUC minus that of the straight line to the curve's
end; "normalized" divides by |the end| (lift is not divided). H2O itself uses at most 1,000 quantiles, and its
values depend on their number.

Source: h2o-3 3.46, ``hex/AUUC.java``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.pair import Pair, divide, end, prepend_zero
from spark_uplift.metrics.registry import Metric, register

__all__ = ["gain_curve", "lift_curve", "qini_curve"]

CurveOf = Callable[[Pair], F64]


def _interpolated(curve: F64, known: npt.NDArray[np.bool_]) -> F64:
    first = np.argmax(known, axis=-1)[..., None]
    number = np.arange(1, curve.shape[-1] + 1)
    return np.where(known, curve, np.take_along_axis(curve, first, -1) * number / (first + 1))


def _both(pair: Pair) -> npt.NDArray[np.bool_]:
    return np.asarray((pair.n_treated > 0) & (pair.n_control > 0))


def _difference(pair: Pair) -> F64:
    return divide(pair.y_treated, pair.n_treated) - divide(pair.y_control, pair.n_control)


def lift_curve(pair: Pair) -> F64:
    """Return y_t/n_t - y_c/n_c at each threshold."""
    return _interpolated(_difference(pair), _both(pair))


def gain_curve(pair: Pair) -> F64:
    """Return lift * k at each threshold."""
    return _interpolated(_difference(pair) * pair.k, _both(pair))


def qini_curve(pair: Pair) -> F64:
    """Return y_t - y_c * n_t/n_c at each threshold."""
    curve = pair.y_treated - pair.y_control * divide(pair.n_treated, pair.n_control)
    return _interpolated(curve, pair.n_control > 0)


def _area(pair: Pair, curve: F64) -> F64:
    rows = np.diff(prepend_zero(pair.k), axis=-1)
    return divide((curve * rows).sum(-1), end(pair.k) + 1.0)


def _auuc(curve_of: CurveOf) -> CurveOf:
    return lambda pair: _area(pair, curve_of(pair))


def _normalized(curve_of: CurveOf) -> CurveOf:
    def compute(pair: Pair) -> F64:
        curve = curve_of(pair)
        return divide(_area(pair, curve), np.abs(end(curve)), empty=np.nan)

    return compute


def _aecu(curve_of: CurveOf) -> CurveOf:
    def compute(pair: Pair) -> F64:
        curve = curve_of(pair)
        straight = divide(end(curve), end(pair.k))[..., None] * pair.k
        return _area(pair, curve - straight)

    return compute


_CURVES = {
    "qini": (qini_curve, "y_t - y_c*n_t/n_c"),
    "gain": (gain_curve, "(y_t/n_t - y_c/n_c)*k"),
    "lift": (lift_curve, "y_t/n_t - y_c/n_c"),
}
_AREA = "sum over thresholds of ({curve}) * rows / (n + 1)"

for _kind, (_curve_of, _text) in _CURVES.items():
    _formula = _AREA.format(curve=_text)
    register(Metric(f"auuc_{_kind}", "h2o", _formula, _auuc(_curve_of), per_row=True))
    register(
        Metric(
            f"aecu_{_kind}",
            "h2o",
            f"{_formula}, minus that of the straight line",
            _aecu(_curve_of),
            per_row=True,
        )
    )
    if _kind != "lift":
        register(
            Metric(
                f"auuc_{_kind}_normalized",
                "h2o",
                f"{_formula}, / |end|",
                _normalized(_curve_of),
                per_row=True,
            )
        )
register(
    Metric(
        "qini",
        "h2o",
        f"{_AREA.format(curve=_CURVES['qini'][1])}, minus that of the straight line (= aecu_qini)",
        _aecu(qini_curve),
        per_row=True,
    )
)
