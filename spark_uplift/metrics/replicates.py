"""Bootstrap replicates of binned curves: a row is counted a random number of times, by a hash of its unit.

A replicate needs nothing but weighted sums per bin and slot, so R of them are R numbers beside each sum and
rows are never copied. Values are put on a grid (a power of two) on which all sums are whole numbers below
2**53: floating-point addition is then exact, and the result is the same for any order and partitioning of the
rows.

Two kinds: ``"poisson"`` counts a row Poisson(1) times, ``"half_sample"`` takes each unit or leaves it, with
probability 1/2 (the half-sample bootstrap of grf's `rank_average_treatment_effect`). A count has mean m and
variance m^2 either way, so that the standard deviation of the replicates is the standard error.

One hash of a unit gives the counts of several replicates: 64 bits are 4 Poisson draws of 16 bits (their mean is 1
within 2e-5) or 64 half samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from spark_uplift.core.dtypes import STATISTICS, WY, N, W
from spark_uplift.core.jit import inlined, kernel
from spark_uplift.core.sampling import REPLICATE, draw, stream_key
from spark_uplift.metrics.curves import F64, Curve

__all__ = [
    "INTERVALS",
    "accumulate",
    "count_copies",
    "locate",
    "locator",
    "replicate_curve",
    "stream_keys",
    "tally_integers",
    "whole_unit",
]

INTERVALS = ("poisson", "half_sample")
"""Ways to draw replicates."""

# Mean copies per row that sums must have room for; the sum of n Poisson(1) exceeds 4n with probability <
# exp(-2n).
_ROOM = 4
_LANES = {"poisson": 4, "half_sample": 64}
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
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


def stream_keys(seed: int, replicates: int, intervals: str = "poisson") -> U64:
    """Return the key of each 64-bit draw that the replicates need, shape (ceil(R / lanes),), dtype=uint64."""
    words = -(-replicates // _LANES[intervals])
    return np.array([stream_key(seed, REPLICATE, word) for word in range(words)], np.uint64)


@lru_cache(maxsize=1)
def poisson_limits() -> npt.NDArray[np.uint16]:
    """Return 2**16 * P(count <= k) of Poisson(1), rounded, ascending, as long as it is below 2**16."""
    limits, total, term = [], 0.0, math.exp(-1.0)
    for k in range(1, 20):
        total += term
        if round(total * 65536) >= 65536:
            break
        limits.append(round(total * 65536))
        term /= k
    return np.array(limits, np.uint16)


@kernel
def _poisson_copies(units, keys, limits, words, lanes, counts, out):  # type: ignore[no-untyped-def]
    """Write the counts; `lanes` are the 16-bit parts of `words`. Loops without branches become vector instructions."""
    replicates = out.shape[1]
    for i in range(units.shape[0]):
        for word in range(keys.shape[0]):
            words[word] = draw(keys[word], units[i])
        counts[:] = 0
        for k in range(limits.shape[0]):
            limit = limits[k]
            for r in range(counts.shape[0]):
                counts[r] += np.uint16(lanes[r] >= limit)
        for r in range(replicates):
            out[i, r] = counts[r]


@kernel
def _half_copies(units, keys, out):  # type: ignore[no-untyped-def]
    for i in range(units.shape[0]):
        for word in range(keys.shape[0]):
            value = draw(keys[word], units[i])
            start = 64 * word
            for lane in range(min(64, out.shape[1] - start)):
                out[i, start + lane] = (value >> np.uint64(lane)) & np.uint64(1)


def count_copies(units: U64, seed: int, replicates: int, intervals: str = "poisson") -> U8:
    """Return how often each row is in each replicate.

    Bits 16*(r % 4) and on of the unit's draw r // 4 are a number below 2**16, and the count is how many of
    `poisson_limits` it reaches; a half sample r takes a unit whose draw r // 64 has bit r % 64.

    Parameters
    ----------
    units : ndarray of shape (n,), dtype=uint64
        Hash of each row's unit (or cluster).
    seed, replicates : int
        Seed of the streams, and how many replicates.
    intervals : {"poisson", "half_sample"}
        The kind.

    Returns
    -------
    ndarray of shape (n, R), dtype=uint8
    """
    keys = stream_keys(seed, replicates, intervals)
    out = np.empty((units.shape[0], replicates), np.uint8)
    if intervals == "half_sample":
        _half_copies(units, keys, out)
    else:
        words = np.empty(keys.shape[0], "<u8")
        lanes = words.view("<u2")
        _poisson_copies(units, keys, poisson_limits(), words, lanes, np.empty_like(lanes), out)
    return out


@kernel
def _order(cells, count):  # type: ignore[no-untyped-def]
    """Return the rows in order of their cells (those without one left out), and where each cell starts."""
    starts = np.zeros(count + 1, np.int64)
    for i in range(cells.shape[0]):
        if cells[i] >= 0:
            starts[cells[i] + 1] += 1
    for c in range(count):
        starts[c + 1] += starts[c]
    order = np.empty(starts[count], np.int64)
    place = starts[:count].copy()
    for i in range(cells.shape[0]):
        if cells[i] >= 0:
            order[place[cells[i]]] = i
            place[cells[i]] += 1
    return order, starts


@kernel
def _accumulate(cells, values, copies, sums):  # type: ignore[no-untyped-def]
    order, starts = _order(cells, sums.shape[0])
    replicates = copies.shape[1]
    whole = np.empty(replicates, np.int32)
    for cell in range(sums.shape[0]):
        first, last = starts[cell], starts[cell + 1]
        if first == last:
            continue
        for q in range(values.shape[1]):
            target = sums[cell, q]
            common = 0.0
            alike = True
            for j in range(first, last):
                value = values[order[j], q]
                if value != 0.0:
                    if common == 0.0:
                        common = value
                    elif value != common:
                        alike = False
                        break
            if common == 0.0:
                continue
            if alike:  # weights of 1 and outcomes of 0 and 1: integers add up faster
                whole[:] = 0
                for j in range(first, last):
                    if values[order[j], q] != 0.0:
                        row = copies[order[j]]
                        for r in range(replicates):
                            whole[r] += np.int32(row[r])
                for r in range(replicates):
                    target[r] += common * whole[r]
            else:
                for j in range(first, last):
                    value = values[order[j], q]
                    if value != 0.0:
                        row = copies[order[j]]
                        for r in range(replicates):
                            target[r] += value * row[r]


def accumulate(cells: I32, values: F64, copies: U8, sums: F64) -> None:
    """Add rows to the replicates' sums of their cells, cell after cell, so that a cell stays in the cache.

    Parameters
    ----------
    cells : ndarray of shape (n,), dtype=int32
        Cell of each row, -1 for none. IN
    values : ndarray of shape (n, q), dtype=float64
        Additive values, whole numbers on the grid. IN
    copies : ndarray of shape (n, R), dtype=uint8
        See `count_copies`. IN
    sums : ndarray of shape (cells, q, R), dtype=float64
        IN and OUT
    """
    _accumulate(cells, values, copies, sums)


@inlined
def _drawer(value, low, scale, last):  # type: ignore[no-untyped-def]
    """Return the drawer of a value, never falling as the value rises."""
    place = (value - low) * scale
    if not place > 0.0:
        return 0
    return last if place >= last else int(place)


@kernel
def _fill_drawers(edges, low, scale, starts):  # type: ignore[no-untyped-def]
    """Write how many edges lie in drawers before each one; `starts` is all 0."""
    last = starts.shape[0] - 2
    for i in range(edges.shape[0]):
        starts[_drawer(edges[i], low, scale, last) + 1] += 1
    for d in range(last + 1):
        starts[d + 1] += starts[d]


@kernel
def _locate(edges, low, scale, starts, values, out):  # type: ignore[no-untyped-def]
    last = starts.shape[0] - 2
    for i in range(values.shape[0]):
        drawer = _drawer(values[i], low, scale, last)
        first, end = starts[drawer], starts[drawer + 1]
        while first < end:
            middle = (first + end) >> 1
            if edges[middle] <= values[i]:
                first = middle + 1
            else:
                end = middle
        out[i] = first


@dataclass(frozen=True)
class Locator:
    """Ascending edges, and the equal drawers of their range that each lies in; see `locator`."""

    edges: F64
    low: float
    scale: float
    starts: I64


def locator(edges: F64) -> Locator:
    """Return what `locate` needs: equally wide drawers make the search for an edge a matter of a few steps.

    Parameters
    ----------
    edges : ndarray of shape (m,), dtype=float64
        Ascending.
    """
    drawers = max(4 * edges.shape[0], 1)
    low = float(edges[0]) if edges.shape[0] else 0.0
    width = float(edges[-1]) / drawers - low / drawers if edges.shape[0] else 0.0
    scale = 1.0 / width if width > 1e-300 else 0.0
    starts = np.zeros(drawers + 1, np.int64)
    _fill_drawers(edges, low, scale, starts)
    return Locator(edges, low, scale, starts)


def locate(where: Locator, values: F64) -> I64:
    """Return ``np.searchsorted(edges, values, side="right")``, sooner.

    Parameters
    ----------
    where : Locator
        Of the edges.
    values : ndarray of shape (n,), dtype=float64
        Finite.

    Returns
    -------
    ndarray of shape (n,), dtype=int64
    """
    out = np.empty(values.shape[0], np.int64)
    _locate(where.edges, where.low, where.scale, where.starts, values, out)
    return out


@kernel
def _tally_integers(cells, scores, values, sums, low, high):  # type: ignore[no-untyped-def]
    for i in range(cells.shape[0]):
        cell = cells[i]
        if cell < 0:
            continue
        sums[cell, 0] += 1
        for k in range(values.shape[1]):
            sums[cell, 1 + k] += values[i, k]
        low[cell] = min(low[cell], scores[i])
        high[cell] = max(high[cell], scores[i])


def tally_integers(cells: I32, scores: F64, values: I64, sums: I64, low: F64, high: F64) -> None:
    """Add rows to the sums of their cells.

    Parameters
    ----------
    cells : ndarray of shape (n,), dtype=int32
        Cell of each row, -1 for none. IN
    scores : ndarray of shape (n,), dtype=float64
        Score of each row. IN
    values : ndarray of shape (n, k), dtype=int64
        Additive values. IN
    sums : ndarray of shape (cells, 1 + k), dtype=int64
        Rows, then the values. IN and OUT
    low, high : ndarray of shape (cells,), dtype=float64
        Smallest and largest score in each cell. IN and OUT
    """
    _tally_integers(cells, scores, values, sums, low, high)


def replicate_curve(
    base: Curve,
    sums: F64,
    mass: F64 | None,
    arm_mass: F64 | None,
    units: Sequence[float],
    gain: F64 | None = None,
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
    units : sequence of 4 floats
        The grid: unit of w, w*y, mass and gain.
    gain : ndarray of shape (bins, R), dtype=float64, or None
        Sums of mass times doubly robust score, on the grid.
    """
    scaled = np.moveaxis(sums, -1, 0)
    stats = np.zeros((*scaled.shape[:-1], len(STATISTICS)))
    stats[..., N] = base.stats[..., N]
    stats[..., W] = scaled[..., 0] * units[0]
    stats[..., WY] = scaled[..., 1] * units[1]
    dr = None
    if gain is not None:
        dr = np.zeros((gain.shape[1], gain.shape[0], 3))
        dr[..., 0] = gain.T * units[3]
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
        dr=dr,
    )
