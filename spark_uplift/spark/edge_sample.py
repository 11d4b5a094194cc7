"""The rows that bins are cut from: a bottom-k sample by unit hash, merged from tasks (design E4).

ALGORITHM
    Every row has a draw, a function of its unit. The sample is the rows with the k smallest draws of all: the same for
    any division of the rows, exact when there are no more than k. A task keeps the smallest draws of its own rows and
    sends them in blocks of features, so that no reducer gets a wide table's values. Of thousands of tasks each holds
    but a few of the k; task p sends ``3 k / (p + 1)`` rows and a few more, and says up to which draw it told all. The
    merged sample is the wanted one if no task's word ends before the k-th draw. If one's does (partitions of very
    unequal size), the pass is repeated with k rows from every task.

COST
    Sent, for P tasks: about ``3 k ln(P) + 20 P`` rows, 8 bytes a feature.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from spark_uplift.core import sampling
from spark_uplift.core.binning import weighted_edges

U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

SAMPLE_ROWS = 50_000
"""Bins are cut from this many rows (all, when there are fewer): a rank error of about 0.2 % at the median."""

BLOCK_FEATURES = 8
"""Numeric features that are sent, and cut, together."""

EVERYTHING = np.uint64(2**64 - 1)


def quota(partition: int | None) -> int:
    """Return how many rows a task sends, by its partition's number (None: send all that could be needed)."""
    if partition is None:
        return SAMPLE_ROWS
    return min(SAMPLE_ROWS, 3 * SAMPLE_ROWS // (partition + 1) + 20)


def bottom(hashes: U64, k: int) -> tuple[np.uint64, npt.NDArray[np.bool_]]:
    """Return the limit draw of a bottom-k sample, and which rows are in it: all of a unit's rows, or none."""
    if hashes.size < k:
        return EVERYTHING, np.ones(hashes.size, np.bool_)
    limit = np.partition(hashes, k - 1)[k - 1]
    return limit, hashes <= limit


@dataclass
class EdgeSample:
    """One task's sample.

    Attributes
    ----------
    key : uint64
        Stream of the draws.
    k : int
        Rows to keep.
    limit : uint64
        Rows with larger draws were left out.
    """

    key: np.uint64
    k: int
    limit: np.uint64 = EVERYTHING
    kept: int = 0
    hashes: list[U64] = field(default_factory=list)
    weights: list[F64] = field(default_factory=list)
    numbers: list[F64] = field(default_factory=list)

    def add(self, units: U64, weights: F64, columns: list[F64]) -> None:
        """Add a batch: unit hashes, weights and the numeric columns."""
        draws = np.empty(units.size, np.uint64)
        sampling._mix(self.key, units, draws)
        keep = np.flatnonzero(draws <= self.limit)
        if keep.size == 0 or not columns:
            return
        self.hashes.append(draws[keep])
        self.weights.append(weights[keep])
        self.numbers.append(np.column_stack([values[keep] for values in columns]))
        self.kept += keep.size
        if self.kept > 2 * self.k:
            self.shrink()

    def shrink(self) -> None:
        """Leave out all but the k smallest draws."""
        if self.kept <= self.k:
            return
        hashes, weights, numbers = self.rows(0)
        limit, keep = bottom(hashes, self.k)
        self.limit = min(self.limit, limit)
        self.hashes, self.weights, self.numbers = [hashes[keep]], [weights[keep]], [numbers[keep]]
        self.kept = int(keep.sum())

    def rows(self, n_numeric: int) -> tuple[U64, F64, F64]:
        """Return draws, weights and numbers [rows, features]; ``n_numeric`` tells the shape when there are none."""
        if not self.hashes:
            return np.empty(0, np.uint64), np.empty(0), np.empty((0, n_numeric))
        return np.concatenate(self.hashes), np.concatenate(self.weights), np.concatenate(self.numbers)


def blocks(n_numeric: int) -> list[slice]:
    """Return the blocks in which numeric features are sent; at least one."""
    return [slice(first, first + BLOCK_FEATURES) for first in range(0, max(1, n_numeric), BLOCK_FEATURES)]


def cut(
    hashes: U64, weights: F64, numbers: F64, told_up_to: U64, max_bins: int, weighted: bool
) -> list[list[float]] | None:
    """Return the edges of each feature of a block from all tasks' rows, None when they are not the whole sample.

    Parameters
    ----------
    numbers : ndarray of shape (rows, features), dtype=float64
    told_up_to : ndarray of shape (tasks,), dtype=uint64
        The draw up to which each task told all of its rows.
    """
    limit, keep = bottom(hashes, SAMPLE_ROWS)
    if numbers.shape[1] and told_up_to.min(initial=EVERYTHING) < limit:
        return None
    hashes, weights, numbers = hashes[keep], weights[keep], numbers[keep]
    cuts: list[Any] = []
    for values in numbers.T:
        if weighted:  # the order of a float sum must not depend on the partitioning
            order = np.lexsort((values, weights, hashes))
            cuts.append(weighted_edges(values[order], weights[order], max_bins))
        else:
            cuts.append(weighted_edges(values, None, max_bins))
    return cuts


__all__ = ["BLOCK_FEATURES", "EVERYTHING", "SAMPLE_ROWS", "EdgeSample", "blocks", "bottom", "cut", "quota"]
