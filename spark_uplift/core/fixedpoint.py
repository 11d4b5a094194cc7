"""Choosing the fixed-point grid, and putting rows on it (design E2)."""

from __future__ import annotations

import math
import sys

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import LANE, LANES, PACKED, UNIT, WEIGHTED, FixedPoint

# A bag may hold a row more often than once. A Poisson(1) bootstrap of n rows holds more than 4n with a probability
# below exp(-2n); four copies on average are therefore room enough.
_BAG_ROOM = 4
_SUM_BITS = 62
_VALUE_BITS = 29
_PACKED_LIMIT = 2**31 - 1
_PACKED_OUTCOME = 2**15 - 1  # a packed record holds the outcome in 16 bits


def _unit(largest: float, rows: int) -> float:
    """Return the power of two that is the finest grid on which ``rows`` values up to ``largest`` sum within int64."""
    if largest <= 0.0:
        return 1.0
    exponent = math.frexp(largest)[1]  # largest < 2**exponent
    row_bits = max(1, math.ceil(math.log2(max(2, rows * _BAG_ROOM))))
    return max(math.ldexp(1.0, exponent - min(_VALUE_BITS, _SUM_BITS - row_bits)), sys.float_info.min)


def choose(
    *,
    rows: int,
    outcome_bound: float,
    outcome_whole: bool,
    outcome_binary: bool,
    weight_bound: float | None,
    needs_squares: bool,
) -> FixedPoint:
    """Return the grid for a data set.

    Parameters
    ----------
    rows : int
        Number of training rows.
    outcome_bound : float
        Largest absolute outcome.
    outcome_whole, outcome_binary : bool
        Whether every outcome is a whole number, and whether it is 0 or 1.
    weight_bound : float or None
        Largest weight, mean weight 1; None when every weight is 1.
    needs_squares : bool
        Whether the criterion looks at sums of squared outcomes.
    """
    if weight_bound is None:
        small = (
            outcome_bound <= _PACKED_OUTCOME and rows * _BAG_ROOM * max(outcome_bound, 1.0) < _PACKED_LIMIT
        )
        if outcome_whole and small and (outcome_binary or not needs_squares):
            return FixedPoint(PACKED, 1.0, 1.0, 1.0, 1.0, outcome_binary)
        exact = outcome_whole and outcome_bound * rows * _BAG_ROOM < 2.0**_SUM_BITS
        unit = 1.0 if exact else _unit(outcome_bound, rows)
        return FixedPoint(UNIT, unit, _unit(outcome_bound**2, rows), 1.0, 1.0, outcome_binary)
    weight_unit = _unit(weight_bound, rows)
    return FixedPoint(
        WEIGHTED,
        _unit(weight_bound * outcome_bound, rows),
        _unit(weight_bound * outcome_bound**2, rows),
        weight_unit,
        _unit(weight_bound**2, rows),
        outcome_binary,
    )


def lanes(
    grid: FixedPoint, outcome: npt.NDArray[np.float64], weight: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.int64]:
    """Return the rows' additive integers.

    Parameters
    ----------
    outcome : ndarray of shape (n,), dtype=float64
        Finite outcomes.
    weight : ndarray of shape (n,), dtype=float64, or None
        Weights with mean 1 over the training data; None: all 1.

    Returns
    -------
    ndarray of shape (n, L), dtype=int64
        See `spark_uplift.core.dtypes`.
    """
    rows = outcome.shape[0]
    out = np.empty((rows, LANES[grid.layout]), LANE)
    if grid.layout == PACKED:
        out[:, 0] = 1 + (outcome.astype(LANE) << 32)
    elif grid.layout == UNIT:
        out[:, 0] = 1
        out[:, 1] = np.rint(outcome / grid.outcome_unit)
        out[:, 2] = np.rint(outcome * outcome / grid.square_unit)
    else:
        weights = np.ones(rows) if weight is None else weight
        out[:, 0] = 1
        out[:, 1] = np.rint(weights / grid.weight_unit)
        out[:, 2] = np.rint(weights * outcome / grid.outcome_unit)
        out[:, 3] = np.rint(weights * outcome * outcome / grid.square_unit)
        out[:, 4] = np.rint(weights * weights / grid.square_weight_unit)
    return out
