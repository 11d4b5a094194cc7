r"""The numbers of scikit-uplift.

    uplift curve  g(k) = (y_t/n_t - y_c/n_c) * k        (a mean over no rows is 0)
    Qini curve    q(k) = y_t - y_c * n_t/n_c            (the second term is 0 while n_c = 0)

over the k best rows, with the points only where the score changes. A coefficient is the area between the
curve and the diagonal, divided by the same of a "perfect" order that knows outcome and arm: for g treated
responders, then control non-responders, then the larger of the two remaining groups last; for q treated
responders first and control responders last. The perfect order needs outcomes 0 and 1.

Source: scikit-uplift 0.5 (``uplift_auc_score``, ``qini_auc_score``, ``uplift_at_k``,
``weighted_average_uplift``). There `uplift_at_k` breaks ties by the order of the rows; here a tie at the cut
is entered in part.
"""

from __future__ import annotations

import numpy as np

from spark_uplift.core.dtypes import WY, N, W
from spark_uplift.metrics.areas import excess_area
from spark_uplift.metrics.curves import F64
from spark_uplift.metrics.pair import CONTROL, TREATED, Pair, at, at_each, divide, end, prepend_zero
from spark_uplift.metrics.registry import FAMILIES, Metric, register

__all__ = ["gain_curve", "qini_curve", "uplift_at_k", "weighted_average_uplift"]

_BINS = 10


def gain_curve(n_t: F64, y_t: F64, n_c: F64, y_c: F64) -> F64:
    """Return g over cumulative sums of shape (..., points)."""
    return (divide(y_t, n_t) - divide(y_c, n_c)) * (n_t + n_c)


def qini_curve(n_t: F64, y_t: F64, n_c: F64, y_c: F64) -> F64:
    """Return q over cumulative sums of shape (..., points)."""
    return y_t - y_c * divide(n_t, n_c)


def _cells(pair: Pair) -> dict[tuple[int, int], F64]:
    """Return the weight of each (side, outcome), shape (...)."""
    sums = pair.sides.sum(axis=-3)
    return {(side, 1): sums[..., side, WY] for side in (CONTROL, TREATED)} | {
        (side, 0): sums[..., side, W] - sums[..., side, WY] for side in (CONTROL, TREATED)
    }


def _ordered(groups: list[dict[tuple[int, int], F64]]) -> tuple[F64, F64, F64, F64]:
    """Return n_t, y_t, n_c, y_c up to each group of (side, outcome) cells."""
    zero = np.zeros_like(next(iter(groups[0].values())))
    columns = []
    for wanted in (
        [(TREATED, 0), (TREATED, 1)],
        [(TREATED, 1)],
        [(CONTROL, 0), (CONTROL, 1)],
        [(CONTROL, 1)],
    ):
        sums = [sum((group.get(cell, zero) for cell in wanted), start=zero) for group in groups]
        columns.append(np.cumsum(np.stack(sums, axis=-1), axis=-1))
    return columns[0], columns[1], columns[2], columns[3]


def _perfect_gain_area(pair: Pair) -> F64:
    cell = _cells(pair)
    zero = np.zeros_like(cell[TREATED, 1])
    responders_last = cell[CONTROL, 1] <= cell[TREATED, 0]
    third_is_treated = np.where(responders_last, cell[TREATED, 0], zero)
    last_is_treated = np.where(responders_last, zero, cell[TREATED, 0])
    third_is_control = np.where(responders_last, zero, cell[CONTROL, 1])
    last_is_control = np.where(responders_last, cell[CONTROL, 1], zero)
    sums = _ordered(
        [
            {(TREATED, 1): cell[TREATED, 1]},
            {(CONTROL, 0): cell[CONTROL, 0]},
            {(TREATED, 0): third_is_treated, (CONTROL, 1): third_is_control},
            {(TREATED, 0): last_is_treated, (CONTROL, 1): last_is_control},
        ]
    )
    return excess_area(gain_curve(*sums), sums[0] + sums[2])


def _perfect_qini_area(pair: Pair) -> F64:
    cell = _cells(pair)
    sums = _ordered(
        [
            {(TREATED, 1): cell[TREATED, 1]},
            {(TREATED, 0): cell[TREATED, 0], (CONTROL, 0): cell[CONTROL, 0]},
            {(CONTROL, 1): cell[CONTROL, 1]},
        ]
    )
    return excess_area(qini_curve(*sums), sums[0] + sums[2])


def _sums(pair: Pair) -> tuple[F64, F64, F64, F64]:
    return pair.n_treated, pair.y_treated, pair.n_control, pair.y_control


def _ratio(pair: Pair, area: F64, perfect: F64) -> F64:
    if not pair.binary:
        return np.full(np.shape(area), np.nan)
    return divide(area, perfect, empty=np.nan)


def _auuc(pair: Pair) -> F64:
    return _ratio(pair, excess_area(gain_curve(*_sums(pair)), pair.k), _perfect_gain_area(pair))


def _qini(pair: Pair) -> F64:
    return _ratio(pair, excess_area(qini_curve(*_sums(pair)), pair.k), _perfect_qini_area(pair))


def _mean_difference(pair: Pair, cut_treated: F64, cut_control: F64) -> F64:
    """Difference of means among the rows up to each side's position on the curve (index axis)."""
    n_t, n_c = (prepend_zero(v) for v in (pair.n_treated, pair.n_control))
    y_t, y_c = (prepend_zero(v) for v in (pair.y_treated, pair.y_control))
    index = np.broadcast_to(np.arange(n_t.shape[-1], dtype=np.float64), n_t.shape)
    mean_t = divide(at(cut_treated, index, y_t), at(cut_treated, index, n_t), empty=np.nan)
    mean_c = divide(at(cut_control, index, y_c), at(cut_control, index, n_c), empty=np.nan)
    return mean_t - mean_c


def _position(share: float, rows: F64, cumulative: F64) -> F64:
    """Return where on the curve (as a fractional point) the first int(share * rows) rows end."""
    x = prepend_zero(cumulative)
    unit = divide(end(x), rows)
    index = np.broadcast_to(np.arange(x.shape[-1], dtype=np.float64), x.shape)
    return at(np.floor(share * rows) * unit, x, index)


def uplift_at_k(pair: Pair, k: float, strategy: str = "overall") -> F64:
    """Return the difference in means among the best share `k` of all rows, or of each side's rows."""
    counts = pair.sides[..., N].sum(axis=-2)
    if strategy == "overall":
        cut = _position(k, np.broadcast_to(pair.rows.sum(), pair.total.shape), pair.k)
        return _mean_difference(pair, cut, cut)
    treated = _position(k, counts[..., TREATED], pair.n_treated)
    control = _position(k, counts[..., CONTROL], pair.n_control)
    return _mean_difference(pair, treated, control)


def weighted_average_uplift(pair: Pair) -> F64:
    """Return the mean over ten equal bins of their difference in means, weighted by treated rows."""
    rows = int(pair.rows.sum())
    sizes = np.full(_BINS, rows // _BINS) + (np.arange(_BINS) < rows % _BINS)
    cuts = np.concatenate([[0.0], np.cumsum(sizes)]) * (end(pair.k) / rows)[..., None]
    x = prepend_zero(pair.k)
    n_t, y_t, n_c, y_c = (np.diff(at_each(cuts, x, prepend_zero(v)), axis=-1) for v in _sums(pair))
    uplift = divide(y_t, n_t, empty=np.nan) - divide(y_c, n_c, empty=np.nan)
    return divide((n_t * uplift).sum(-1), n_t.sum(-1), empty=np.nan)


def _uplift_at(k: float, strategy: str) -> Metric:
    by_group = strategy == "by_group"
    of = "of each arm's rows" if by_group else "of the rows"
    return Metric(
        f"uplift_at_{100 * k:g}{'_by_group' if by_group else ''}",
        "sklift",
        f"y_t/n_t - y_c/n_c among the best {100 * k:g} % {of}",
        lambda pair: uplift_at_k(pair, k, strategy),
        per_row=True,
        reported=True,
    )


_PERFECT = "(A - D)/(P - D), A trapezoid area of {curve} over k, D of its diagonal, P of the perfect order"

register(
    Metric(
        "auuc",
        "sklift",
        _PERFECT.format(curve="(y_t/n_t - y_c/n_c)*k"),
        _auuc,
        binary_only=True,
        reported=True,
    )
)
register(
    Metric(
        "qini", "sklift", _PERFECT.format(curve="y_t - y_c*n_t/n_c"), _qini, binary_only=True, reported=True
    )
)
register(
    Metric(
        "weighted_average_uplift",
        "sklift",
        "sum over tenths of n_t * (y_t/n_t - y_c/n_c) / sum of n_t",
        weighted_average_uplift,
        per_row=True,
    )
)
FAMILIES["sklift", "uplift_at_k"] = _uplift_at
