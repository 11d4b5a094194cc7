"""Adding rows into histograms and reading sums out of them.

A histogram is additive: the histogram of all rows is the sum of the histograms of any parts, and that of a node is the
sum of its children's. `add_rows` is the whole statistical contact with the data.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import LANES, PACKED, UNIT
from spark_uplift.core.jit import inlined, kernel


def offsets(n_codes: npt.NDArray[np.int64], n_arms: int, layout: int) -> npt.NDArray[np.int64]:
    """Return where each feature's cells begin in the flat histogram, and its length at the end.

    Parameters
    ----------
    n_codes : ndarray of shape (F,), dtype=int64
        Number of codes of each feature, "missing" included.

    Returns
    -------
    ndarray of shape (F + 1,), dtype=int64
    """
    return np.concatenate([[0], np.cumsum(n_codes * (n_arms * LANES[layout]))]).astype(np.int64)


@inlined
def read_cell(histogram, position, layout, binary, out):  # type: ignore[no-untyped-def]
    """Write the five statistics (see `dtypes.STATISTICS`) of the cell at ``position`` to ``out``, int64 [5]."""
    if layout == PACKED:
        both = histogram[position]
        n = both & 0xFFFFFFFF
        y = (both - n) >> 32
        out[0] = n
        out[1] = n
        out[2] = y
        out[3] = y if binary else 0
        out[4] = n
    elif layout == UNIT:
        out[0] = histogram[position]
        out[1] = histogram[position]
        out[2] = histogram[position + 1]
        out[3] = histogram[position + 2]
        out[4] = histogram[position]
    else:
        for i in range(5):
            out[i] = histogram[position + i]


@kernel
def add_rows(codes, arms, lanes, rows, features, feature_offsets, n_arms, histogram):  # type: ignore[no-untyped-def]
    """Add rows to a histogram.

    Parameters
    ----------
    codes : ndarray of shape (n, F), dtype=uint8
        IN.
    arms : ndarray of shape (n,), dtype=uint8
        IN.
    lanes : ndarray of shape (n, L), dtype=int64
        IN. Already multiplied by the row's number of copies in the bag.
    rows : ndarray, dtype=int64
        IN. Which rows to add.
    features : ndarray, dtype=int64
        IN. Which features to count.
    feature_offsets : ndarray, dtype=int64
        IN. Where the cells of ``features[j]`` begin in ``histogram``.
    histogram : ndarray, dtype=int64
        OUT, added to.
    """
    n_lanes = lanes.shape[1]
    for r in rows:
        arm = np.int64(arms[r])
        for j in range(features.shape[0]):
            cell = feature_offsets[j] + (np.int64(codes[r, features[j]]) * n_arms + arm) * n_lanes
            for lane in range(n_lanes):
                histogram[cell + lane] += lanes[r, lane]


@kernel
def totals(histogram, n_bins, n_arms, layout, binary, n_lanes):  # type: ignore[no-untyped-def]
    """Return the sums over all bins of a histogram's first feature, int64 of shape (arms, 5)."""
    out = np.zeros((n_arms, 5), np.int64)
    cell = np.zeros(5, np.int64)
    values = np.zeros(5, np.int64)
    for arm in range(n_arms):
        for lane in range(n_lanes):
            cell[lane] = 0
        for code in range(n_bins):
            for lane in range(n_lanes):
                cell[lane] += histogram[(code * n_arms + arm) * n_lanes + lane]
        read_cell(cell, 0, layout, binary, values)
        for i in range(5):
            out[arm, i] = values[i]
    return out
