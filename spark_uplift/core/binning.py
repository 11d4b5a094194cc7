"""Binning: numbers and categories to one-byte codes, once.

A given number x has code ``1 + j`` iff ``edges[j - 1] < x <= edges[j]``; missing (NaN) has code 0. A category has the
code of its level; rare levels share one code ("other"), which levels first seen at scoring time take too. Where
training pooled nothing, an unseen level is treated as missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import CODE, MAX_BINS
from spark_uplift.core.jit import kernel

F64 = npt.NDArray[np.float64]

RARE_LEVEL_ROWS = 20
"""A level with fewer training rows than this is pooled into "other"."""

_BLOCK = 512


@dataclass(frozen=True)
class FeatureBins:
    """How one feature is binned.

    Attributes
    ----------
    name : str
    edges : tuple of float
        Ascending cut points of a numeric feature (none when it is constant or never seen); empty for a category.
    levels : tuple of str or None
        Levels of a categorical feature in the order of their codes; None for a numeric feature.
    pooled : bool
        Whether rare levels were pooled.
    """

    name: str
    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] | None = None
    pooled: bool = False

    @property
    def categorical(self) -> bool:
        """Whether the feature is categorical."""
        return self.levels is not None

    @property
    def n_codes(self) -> int:
        """Number of codes, "missing" included."""
        if self.levels is not None:
            return 1 + len(self.levels) + int(self.pooled)
        return 2 + len(self.edges)

    @property
    def unseen_code(self) -> int:
        """Code of a level that training has not seen."""
        return 1 + len(self.levels or ()) if self.pooled else 0

    def label(self, code: int) -> str:
        """Return a category code in words."""
        if code == 0:
            return "missing"
        levels = self.levels or ()
        return levels[code - 1] if code <= len(levels) else "other"


def weighted_edges(values: F64, weights: F64 | None, max_bins: int) -> tuple[float, ...]:
    """Return the cut points of a numeric feature: weighted quantiles of its values.

    With at most ``max_bins`` distinct values every value has its own bin, cut half-way between neighbours. Otherwise
    the cut after distinct value v is taken where the weight up to v passes the next multiple of total / max_bins.

    Parameters
    ----------
    values : ndarray of shape (n,), dtype=float64
        NaN is left out.
    weights : ndarray of shape (n,), dtype=float64, or None
    max_bins : int
        In [2, 254].
    """
    keep = ~np.isnan(values)
    values = values[keep]
    if values.size == 0:
        return ()
    distinct, inverse = np.unique(values, return_inverse=True)
    if distinct.size <= max_bins:
        return tuple(float(x) for x in _midpoints(distinct[:-1], distinct[1:]))
    mass = np.bincount(inverse, weights=None if weights is None else weights[keep], minlength=distinct.size)
    share = np.cumsum(mass) / mass.sum()
    wanted = np.arange(1, max_bins) / max_bins
    position = np.unique(np.searchsorted(share, wanted - 1e-12))
    position = position[position < distinct.size - 1]
    return tuple(float(x) for x in _midpoints(distinct[position], distinct[position + 1]))


def _midpoints(low: F64, high: F64) -> F64:
    """Return cuts between neighbours that keep ``low`` on the left side, also where floats have no number between."""
    # Neighbours as far apart as floats go are cut at the lower one.
    with np.errstate(over="ignore", invalid="ignore"):
        middle = low + (high - low) / 2.0
    return np.where((middle < high) & (middle >= low), middle, low)


def choose_levels(name: str, counts: Mapping[str, int]) -> FeatureBins:
    """Return the codes of a categorical feature from the training rows a level: rare levels are pooled.

    Raises
    ------
    ValueError
        When more than 253 levels are not rare; the message names the feature and the count.
    """
    common = sorted(level for level, rows in counts.items() if rows >= RARE_LEVEL_ROWS)
    pooled = len(common) < len(counts)
    if len(common) + int(pooled) > MAX_BINS - 1:
        raise ValueError(
            f"The categorical column '{name}' must have at most {MAX_BINS - 1} levels with {RARE_LEVEL_ROWS} rows or "
            f"more. Got {len(common)} instead. Hint: group its levels, or leave the column out (is it an id?)."
        )
    return FeatureBins(name, levels=tuple(common), pooled=pooled)


@kernel
def _encode(values, edges, steps, column, out):  # type: ignore[no-untyped-def]
    # Edges are padded with +inf to 2**k - 1, so that every value takes the same k steps and a block of values takes
    # each step together: no branch to mispredict, and the compiler can use vector instructions.
    position = np.empty(_BLOCK, np.int64)
    for first in range(0, values.shape[0], _BLOCK):
        size = min(_BLOCK, values.shape[0] - first)
        for r in range(size):
            position[r] = 0
        for s in range(steps):
            step = np.int64(1) << (steps - 1 - s)
            for r in range(size):
                position[r] += step * np.int64(edges[position[r] + step - 1] < values[first + r])
        for r in range(size):
            out[first + r, column] = 0 if np.isnan(values[first + r]) else position[r] + 1


def encode_numeric(bins: FeatureBins, values: F64, column: int, out: npt.NDArray[np.uint8]) -> None:
    """Write the codes of a numeric feature to ``out[:, column]`` (uint8 [n, F], OUT)."""
    steps = len(bins.edges).bit_length()
    padded = np.full(2**steps - 1, np.inf)
    padded[: len(bins.edges)] = bins.edges
    _encode(np.ascontiguousarray(values, np.float64), padded, steps, column, out)


def encode_levels(bins: FeatureBins, levels: Sequence[Any]) -> npt.NDArray[np.uint8]:
    """Return the codes of distinct levels (None is missing): a table to look dictionary-encoded values up in."""
    index = {level: code for code, level in enumerate(bins.levels or (), start=1)}
    return np.array([0 if x is None else index.get(str(x), bins.unseen_code) for x in levels], CODE)
