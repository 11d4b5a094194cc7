"""Every array layout and statistic order of the engine, declared once.

Codes
    ``uint8 [n, F]``, row-major: a row's codes lie side by side because a row is what kernels visit. Code 0 is
    "missing". A numeric value x has code ``1 + #{edges < x}``. A category has code ``1 + its index`` in the sorted list
    of levels, and the pooled rest ("other") the code after the last level.

Lanes
    The additive integers of a row, ``int64 [n, L]``, on a fixed-point grid (see `FixedPoint`): integer sums don't
    depend on order, so neither do the trees. Which lanes there are depends on the data: fewer lanes are faster.

    ========== === ==========================================================================================
    PACKED      1   n + (y << 32) in one integer: unit weights, small whole outcomes; y*y is known only if binary
    UNIT        3   n, y, y*y: unit weights
    WEIGHTED    5   n, w, w*y, w*y*y, w*w
    ========== === ==========================================================================================

Statistics
    Whatever the lanes, sums are reported as ``int64 [.., arm, 5]`` in the order of `STATISTICS`: the raw number of rows
    serves minimum checks, w*w the effective number of rows (Kish).

Histogram
    ``int64``, flat: for feature f from ``offsets[f]``, in the order [bin, arm, lane].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PACKED, UNIT, WEIGHTED = 0, 1, 2
LANES = {PACKED: 1, UNIT: 3, WEIGHTED: 5}

STATISTICS = ("n", "w", "wy", "wyy", "ww")
N, W, WY, WYY, WW = range(5)

MISSING = 0
MAX_BINS = 254  # codes are one byte; 0 is "missing", 255 stays free
MASK_WORDS = 4  # a set of codes is a 256-bit mask

CODE = np.uint8
ARM = np.uint8
LANE = np.int64
UNIT_HASH = np.uint64


class FixedPoint(NamedTuple):
    """The grid on which outcomes and weights are integers, and the layout of the lanes.

    A weight w is stored as ``round(w / weight_unit)``, w*y as ``round(w * y / outcome_unit)``, w*y*y by `square_unit`
    and w*w by `square_weight_unit`. The units are powers of two, so that turning sums back into numbers is exact. They
    are chosen once, from the data's bounds and row count, and stored in the model.
    """

    layout: int
    outcome_unit: float
    square_unit: float
    weight_unit: float
    square_weight_unit: float
    binary: bool


class TreeParams(NamedTuple):
    """What a kernel must know to grow a tree; all plain numbers, so that compiled kernels can be cached."""

    n_arms: int
    layout: int
    binary: int
    weight_unit: float  # multiplies the lane sums, see FixedPoint
    wy_unit: float
    wyy_unit: float
    ww_unit: float
    max_depth: int
    min_node: int
    min_arm: int
    n_reg: float
    normalization: int
    features_per_node: int
