"""Poisson bootstrap of binned curves: a row is counted Poisson(1) times, by a hash of its unit.

A replicate needs nothing but weighted sums per bin and slot, so R of them are R numbers beside each sum and
rows are never copied. Values are put on a grid (a power of two) on which all sums are whole numbers below
2**53: floating-point addition is then exact, and the result is the same for any order and partitioning of the
rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import STATISTICS, WY, N, W
from spark_uplift.core.jit import kernel
from spark_uplift.core.sampling import REPLICATE, count_thresholds, draw, stream_key
from spark_uplift.metrics.curves import F64, Curve

__all__ = ["count_copies", "replicate_curve", "stream_keys", "tally", "tally_integers", "whole_unit"]

# Mean copies per row that sums must have room for; the sum of n Poisson(1) exceeds 4n with probability <
# exp(-2n).
_ROOM = 4
_DIRECT = 6
I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]


def whole_unit(largest: float, rows: int, bits: int = 52) -> float:
    """Return the power of two in which `rows` values up to `largest` add up to at most 2**bits.

    Parameters
    ----------
    largest : float
        Largest absolute value.
    rows : int
        How many are added, before any row is counted repeatedly.
    bits : int
        52 for sums held as float64, 62 for int64.
    """
    if largest <= 0.0:
        return 1.0
    return math.ldexp(1.0, math.frexp(largest)[1] + math.ceil(math.log2(max(rows, 1) * _ROOM)) - bits)


def stream_keys(seed: int, replicates: int) -> U64:
    """Return the stream of each replicate, shape (R,), dtype=uint64."""
    return np.array([stream_key(seed, REPLICATE, r) for r in range(replicates)], np.uint64)


@kernel
def _copies(unit, keys, thresholds, draws, out):  # type: ignore[no-untyped-def]
    """Write the row's number of copies in each replicate to `out`; `core.sampling.poisson_counts` agrees."""
    for r in range(keys.shape[0]):
        draws[r] = draw(keys[r], unit)
    many = False
    for r in range(keys.shape[0]):  # without branches, so that it becomes vector instructions
        value = draws[r]
        count = 0.0
        for k in range(_DIRECT):
            count += 1.0 if value >= thresholds[k] else 0.0
        out[r] = count
        many |= value >= thresholds[_DIRECT]
    if many:
        for r in range(keys.shape[0]):
            k = _DIRECT
            while k < thresholds.shape[0] and draws[r] >= thresholds[k]:
                out[r] += 1.0
                k += 1


@kernel
def _tally(units, own, population, values, keys, thresholds, sums, masses):  # type: ignore[no-untyped-def]
    replicates = keys.shape[0]
    draws = np.empty(replicates, np.uint64)
    count = np.empty(replicates, np.float64)
    for i in range(units.shape[0]):
        _copies(units[i], keys, thresholds, draws, count)
        w, wy, mass = values[i, 0], values[i, 1], values[i, 2]
        for v in range(own.shape[1]):
            cell = own[i, v]
            if cell >= 0:
                weights = sums[cell, 0]
                for r in range(replicates):
                    weights[r] += count[r] * w
                if wy != 0.0:
                    outcomes = sums[cell, 1]
                    for r in range(replicates):
                        outcomes[r] += count[r] * wy
            cell = population[i, v]
            if cell >= 0:
                masses_here = masses[cell]
                for r in range(replicates):
                    masses_here[r] += count[r] * mass


def tally(units: U64, own: I32, population: I32, values: F64, keys: U64, sums: F64, masses: F64) -> None:
    """Add rows to the replicates' sums.

    Parameters
    ----------
    units : ndarray of shape (n,), dtype=uint64
        Hash of each row's unit (or cluster). IN
    own : ndarray of shape (n, views), dtype=int32
        Cell (bin and slot) that the row's weight and outcome go to, -1 for none. IN
    population : ndarray of shape (n, views), dtype=int32
        Bin that its mass goes to, -1 where the mass is not counted apart. IN
    values : ndarray of shape (n, 3), dtype=float64
        w, w*y and mass, whole numbers on the grid. IN
    keys : ndarray of shape (R,), dtype=uint64
        See `stream_keys`. IN
    sums : ndarray of shape (cells, 2, R), dtype=float64
        Sums of w and w*y. IN and OUT
    masses : ndarray of shape (bins, R), dtype=float64
        Sums of mass. IN and OUT
    """
    _tally(units, own, population, values, keys, count_thresholds(True, 1.0), sums, masses)


@kernel
def _count_copies(units, keys, thresholds, out):  # type: ignore[no-untyped-def]
    draws = np.empty(keys.shape[0], np.uint64)
    for i in range(units.shape[0]):
        _copies(units[i], keys, thresholds, draws, out[i])


def count_copies(units: U64, keys: U64) -> F64:
    """Return how often each row is in each replicate, shape (n, R)."""
    out = np.empty((units.shape[0], keys.shape[0]))
    _count_copies(units, keys, count_thresholds(True, 1.0), out)
    return out


@kernel
def _tally_integers(cells, scores, values, sums, low, high):  # type: ignore[no-untyped-def]
    for i in range(cells.shape[0]):
        for v in range(cells.shape[1]):
            cell = cells[i, v]
            if cell < 0:
                continue
            sums[cell, 0] += 1
            for k in range(values.shape[1]):
                sums[cell, 1 + k] += values[i, k]
            low[cell] = min(low[cell], scores[i, v])
            high[cell] = max(high[cell], scores[i, v])


def tally_integers(
    cells: I32, scores: F64, values: npt.NDArray[np.int64], sums: npt.NDArray[np.int64], low: F64, high: F64
) -> None:
    """Add rows to the sums of their cells.

    Parameters
    ----------
    cells : ndarray of shape (n, views), dtype=int32
        Cell of each row in each view, -1 for none. IN
    scores : ndarray of shape (n, views), dtype=float64
        Score of each row in each view. IN
    values : ndarray of shape (n, k), dtype=int64
        Additive values. IN
    sums : ndarray of shape (cells, 1 + k), dtype=int64
        Rows, then the values. IN and OUT
    low, high : ndarray of shape (cells,), dtype=float64
        Smallest and largest score in each cell. IN and OUT
    """
    _tally_integers(cells, scores, values, sums, low, high)


def replicate_curve(
    base: Curve, sums: F64, mass: F64 | None, arm_mass: F64 | None, units: Sequence[float]
) -> Curve:
    """Return the replicates of a curve as one curve with a leading axis.

    Parameters
    ----------
    base : Curve
        The curve on the replicates' bins; gives scores and row counts.
    sums : ndarray of shape (bins, slots, 2, R), dtype=float64
        Sums of w and w*y on the grid.
    mass : ndarray of shape (bins, R), dtype=float64, or None
        Mass of the population on the grid; None: that of the slots.
    arm_mass : ndarray of shape (R, slots), dtype=float64, or None
        Weight of each arm; None: that of the slots, unless the propensities are logged.
    units : sequence of 3 floats
        The grid: unit of w, w*y and mass.
    """
    scaled = np.moveaxis(sums, -1, 0)
    stats = np.zeros((*scaled.shape[:-1], len(STATISTICS)))
    stats[..., N] = base.stats[..., N]
    stats[..., W] = scaled[..., 0] * units[0]
    stats[..., WY] = scaled[..., 1] * units[1]
    shares = None if base.logged else (stats[..., W].sum(axis=-2) if arm_mass is None else arm_mass)
    return Curve(
        low=base.low,
        high=base.high,
        stats=stats,
        mass=stats[..., W].sum(axis=-1) if mass is None else np.moveaxis(mass, -1, 0) * units[2],
        rows=base.rows,
        arm_mass=shares,
        policy=base.policy,
        binary=base.binary,
        score=base.score,
        exact=base.exact,
    )
