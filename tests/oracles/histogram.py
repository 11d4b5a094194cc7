"""Histograms by loops over rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import PACKED, UNIT, FixedPoint

I64 = npt.NDArray[np.int64]


def row_statistics(grid: FixedPoint, lanes: Sequence[int]) -> list[int]:
    """Return (n, w, wy, wyy, ww) of a row from its lanes."""
    values = [int(x) for x in lanes]
    if grid.layout == PACKED:
        n = values[0] % 2**32
        y = (values[0] - n) // 2**32
        return [n, n, y, y if grid.binary else 0, n]
    if grid.layout == UNIT:
        n, y, yy = values
        return [n, n, y, yy, n]
    return values


def statistics(
    grid: FixedPoint, arms: npt.NDArray[np.uint8], lanes: I64, rows: Iterable[int], n_arms: int
) -> I64:
    """Return the statistics of some rows by arm, int64 of shape (arms, 5)."""
    out = np.zeros((n_arms, 5), np.int64)
    for r in rows:
        for s, value in enumerate(row_statistics(grid, lanes[r])):
            out[arms[r], s] += value
    return out


def by_code(
    grid: FixedPoint,
    codes: npt.NDArray[np.uint8],
    arms: npt.NDArray[np.uint8],
    lanes: I64,
    rows: Iterable[int],
    feature: int,
    n_codes: int,
    n_arms: int,
) -> I64:
    """Return the statistics of some rows by the code of a feature and arm, int64 of shape (codes, arms, 5)."""
    rows = list(rows)
    return np.stack(
        [
            statistics(grid, arms, lanes, [r for r in rows if codes[r, feature] == code], n_arms)
            for code in range(n_codes)
        ]
    )
