"""What a worker does to count arm x bin of every feature: Arrow to arrays, one count, arrays to Arrow.

The module is imported by every fresh worker, so it imports nothing but numpy and pyarrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Float = npt.NDArray[np.float64]

_CELLS = pa.schema(
    [
        ("feature", pa.int32()),
        ("arm", pa.int32()),
        ("bin", pa.int32()),
        ("rows", pa.int64()),
        ("outcome_rows", pa.int64()),
        ("high", pa.int64()),
        ("infinite", pa.int64()),
        ("outcome", pa.float64()),
        ("square", pa.float64()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("top", pa.float64()),
    ]
)
CELLS_DDL = (
    "feature int, arm int, bin int, rows bigint, outcome_rows bigint, high bigint, infinite bigint, "
    "outcome double, square double, value double, low double, top double"
)


@dataclass(frozen=True)
class Bins:
    """How one feature is cut: by edges, or by levels; a bin for the rest of the levels, and the last for
    missing.
    """

    name: str
    edges: Float | None
    levels: tuple[str, ...]
    labels: tuple[str, ...]


def counter(
    arms: tuple[str, ...], bins: tuple[Bins, ...], cut: float
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the worker's function: a factory, because Spark Connect binds closures late."""

    def count(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        tallies = [_Tally(len(arms), len(one.labels)) for one in bins]
        for batch in batches:
            arm = pc.index_in(batch.column(0), value_set=pa.array(arms, batch.column(0).type))
            arm_codes = pc.fill_null(arm, -1).to_numpy(zero_copy_only=False)
            outcome = pc.fill_null(batch.column(1), float("nan")).to_numpy(zero_copy_only=False)
            for number, (one, tally) in enumerate(zip(bins, tallies, strict=True)):
                codes, values = _encode(one, batch.column(2 + number))
                tally.add(arm_codes, codes, values, outcome, cut)
        filled = [tally.batch(number) for number, tally in enumerate(tallies)]
        yield from (batch for batch in filled if batch.num_rows)

    return count


def _encode(bins: Bins, column: pa.Array) -> tuple[np.ndarray[Any, Any], Float]:
    """Return (bin, value) per row; the value of a category, and of a number that is not finite, is NaN."""
    last = len(bins.labels) - 1
    if bins.edges is None:
        found = pc.index_in(column, value_set=pa.array(bins.levels, column.type))
        codes = pc.fill_null(found, last - 1).to_numpy(zero_copy_only=False)
        absent = pc.is_null(column).to_numpy(zero_copy_only=False)
        return np.where(absent, last, codes), np.full(len(column), np.nan)
    values = pc.fill_null(column, float("nan")).to_numpy(zero_copy_only=False)
    codes = np.searchsorted(bins.edges, values, side="left")
    return np.where(np.isfinite(values), codes, last), values


class _Tally:
    """Running counts of one feature in one partition; arrays of shape (n_arms * n_bins,)."""

    def __init__(self, n_arms: int, n_bins: int) -> None:
        self.n_bins = n_bins
        size = n_arms * n_bins
        self.counts = {
            name: np.zeros(size, np.int64) for name in ("rows", "outcome_rows", "high", "infinite")
        }
        self.sums = {name: np.zeros(size) for name in ("outcome", "square", "value")}
        self.low, self.top = np.full(size, np.inf), np.full(size, -np.inf)

    def add(
        self,
        arm: np.ndarray[Any, Any],
        codes: np.ndarray[Any, Any],
        values: Float,
        outcome: Float,
        cut: float,
    ) -> None:
        """Add rows: arm (-1 is left out), bin, value and outcome, each of shape (n,)."""
        known = arm >= 0
        cell = (arm * self.n_bins + codes)[known]
        values, outcome = values[known], outcome[known]
        finite_value, finite_outcome = np.isfinite(values), np.isfinite(outcome)
        measured = cell[finite_outcome]
        observed = outcome[finite_outcome]
        for name, cells in (
            ("rows", cell),
            ("outcome_rows", measured),
            ("high", measured[observed > cut]),
            ("infinite", cell[np.isinf(values)]),
        ):
            self.counts[name] += self._count(cells)
        self.sums["outcome"] += self._count(measured, observed)
        self.sums["square"] += self._count(measured, observed**2)
        both = finite_value & finite_outcome
        self.sums["value"] += self._count(cell[both], values[both])
        np.minimum.at(self.low, cell[finite_value], values[finite_value])
        np.maximum.at(self.top, cell[finite_value], values[finite_value])

    def _count(self, cells: np.ndarray[Any, Any], weights: Float | None = None) -> np.ndarray[Any, Any]:
        return np.bincount(cells, weights, len(self.low))

    def batch(self, feature: int) -> pa.RecordBatch:
        """Return the cells that have rows, as the columns of ``_CELLS``."""
        cell = np.flatnonzero(self.counts["rows"])
        arm, place = np.divmod(cell, self.n_bins)
        columns = {
            "feature": np.full(len(cell), feature, np.int32),
            "arm": arm.astype(np.int32),
            "bin": place.astype(np.int32),
            **{name: values[cell] for name, values in (*self.counts.items(), *self.sums.items())},
            "low": self.low[cell],
            "top": self.top[cell],
        }
        return pa.RecordBatch.from_arrays([pa.array(columns[name]) for name in _CELLS.names], schema=_CELLS)
