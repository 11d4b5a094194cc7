"""Randomness as a function: counter-based hashes of (seed, purpose, index, unit), never a generator's state.

A draw depends on nothing but its key, so it is the same on any partition, in any order, after any retry, and no bag
counts have to be stored (design E3). A unit is a 64-bit hash of its id: Spark's ``xxhash64(cast(id as string))``,
that is xxHash64 with seed 42 of the UTF-8 text, read as an unsigned integer. With clusters it is the cluster's hash.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from spark_uplift.core.jit import inlined, kernel

U64 = npt.NDArray[np.uint64]

# What a draw is for. Draws for different purposes are independent.
BOOTSTRAP = 1
HONEST = 2
FEATURES = 3
BAG = 4
SPLIT = 5
REPLICATE = 6
EDGES = 7
NUISANCE = 8

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _finalise_int(value: int) -> int:
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@inlined
def finalise(value):  # type: ignore[no-untyped-def]
    """Return SplitMix64's finaliser of a uint64 (Steele, Lea & Flood 2014, variant 13 of Stafford)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def stream_key(seed: int, purpose: int, index: int) -> np.uint64:
    """Return the 64-bit key of one stream of draws, e.g. the bootstrap of one tree.

    Parameters
    ----------
    seed : int
        The user's seed; any Python integer, taken modulo 2**64.
    purpose : int
        One of this module's purposes.
    index : int
        Number of the tree, replicate, …
    """
    key = _finalise_int(seed + _GOLDEN)
    key = _finalise_int(key ^ _finalise_int(purpose * _GOLDEN + 1))
    return np.uint64(_finalise_int(key ^ _finalise_int(index * _GOLDEN + 2)))


@kernel
def _mix(key, units, out):  # type: ignore[no-untyped-def]
    for i in range(units.shape[0]):
        out[i] = finalise(finalise(units[i] ^ key) + key)


@inlined
def draw(key, unit):  # type: ignore[no-untyped-def]
    """Return the uniform 64-bit draw of one unit in the stream ``key``."""
    return finalise(finalise(unit ^ key) + key)


def mix(seed: int, purpose: int, index: int, units: U64) -> U64:
    """Return one uniform 64-bit draw a unit.

    Parameters
    ----------
    units : ndarray of shape (n,), dtype=uint64 (or int64, reinterpreted)
        Unit hashes.

    Returns
    -------
    ndarray of shape (n,), dtype=uint64
    """
    units = np.ascontiguousarray(units).view(np.uint64)
    out = np.empty(units.shape[0], np.uint64)
    _mix(stream_key(seed, purpose, index), units, out)
    return out


@lru_cache(maxsize=64)  # asked for again for every block and tree
def count_thresholds(bootstrap: bool, rate: float) -> U64:
    """Return the inverse-CDF table that turns a uniform draw into a number of copies of a row.

    A row enters as often as there are thresholds not above its draw.

    Parameters
    ----------
    bootstrap : bool
        True: Poisson(rate), the bootstrap of rows that are never counted in advance. False: Bernoulli(rate).
    rate : float
        Expected share of the rows, in (0, 1].

    Returns
    -------
    ndarray, dtype=uint64
        Ascending thresholds, ceil(P(count <= k) * 2**64), ended where that reaches 2**64.
    """
    if not bootstrap:
        return np.array([min(_MASK, round((1.0 - rate) * 2**64))], np.uint64)
    thresholds = []
    term = Fraction(math.exp(-rate))
    total = Fraction(0)
    for k in range(64):
        total += term
        limit = math.ceil(total * 2**64)
        if limit > _MASK:
            break
        thresholds.append(limit)
        term = term * Fraction(rate) / (k + 1)
    return np.array(thresholds, np.uint64)


@inlined
def copies(draw_value, thresholds):  # type: ignore[no-untyped-def]
    """Return how many of the ascending ``thresholds`` are not above ``draw_value``."""
    count = 0
    if thresholds.shape[0] >= 4:  # without branches: which of 0..4 a draw gives can't be predicted
        count += draw_value >= thresholds[0]
        count += draw_value >= thresholds[1]
        count += draw_value >= thresholds[2]
        count += draw_value >= thresholds[3]
        if count < 4:
            return count
    while count < thresholds.shape[0] and draw_value >= thresholds[count]:
        count += 1
    return count


@kernel
def _poisson(key, units, thresholds, out):  # type: ignore[no-untyped-def]
    for i in range(units.shape[0]):
        out[i] = copies(draw(key, units[i]), thresholds)


def poisson_counts(
    seed: int, purpose: int, index: int, units: U64, rate: float = 1.0
) -> npt.NDArray[np.uint8]:
    """Return Poisson(rate) counts, one a unit.

    Parameters
    ----------
    units : ndarray of shape (n,), dtype=uint64
        Unit hashes.

    Returns
    -------
    ndarray of shape (n,), dtype=uint8
    """
    units = np.ascontiguousarray(units).view(np.uint64)
    out = np.empty(units.shape[0], np.uint8)
    _poisson(stream_key(seed, purpose, index), units, count_thresholds(True, rate), out)
    return out


@kernel
def choose_features(key, heap, n_features, wanted, out, scratch):  # type: ignore[no-untyped-def]
    """Write the ``wanted`` features of node ``heap`` to ``out``, ascending.

    The features with the smallest draws are taken, so the subset of a node depends on its path from the root and on
    nothing else. ``scratch`` is uint64 of shape (n_features,), OUT.
    """
    node_key = finalise(key ^ finalise(np.uint64(heap)))
    for f in range(n_features):
        scratch[f] = draw(node_key, np.uint64(f))
    if wanted >= n_features:
        for f in range(n_features):
            out[f] = f
        return
    order = np.argsort(scratch[:n_features], kind="mergesort")
    chosen = np.sort(order[:wanted])
    for j in range(wanted):
        out[j] = chosen[j]
