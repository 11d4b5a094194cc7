"""The sums of an off-policy evaluation: lanes, their products and bootstrap replicates, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.metrics.replicates import count_copies, whole_unit
from spark_uplift.policy.value_sums import Layout, Sums, lanes
from spark_uplift.spark.additive import add_up
from spark_uplift.spark.arrow import hashes, numbers
from spark_uplift.spark.keep import kept

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["cluster_sums", "row_sums"]

F64 = npt.NDArray[np.float64]


def lane_bounds(layout: Layout, seen: Mapping[str, Any]) -> F64:
    """Return the largest absolute value of each lane."""
    of = {"clipped_ratio": "ratio", "kept_ratio": "ratio", "clipped": "ips", "switch": "dr"}
    return np.array(
        [
            float(seen[f"{of.get(name, name)}{layout.policies.index(policy) if policy else ''}"] or 0.0)
            for policy, name in layout.lanes
        ]
    )


@dataclass(frozen=True)
class _Grid:
    """Units in which lanes and products are whole numbers; sent to the workers."""

    totals: F64
    products: F64
    replicates: F64

    @classmethod
    def of(cls, layout: Layout, bounds: F64, rows: int) -> _Grid:
        pairs = [bounds[i] * bounds[j] for i, j in layout.pairs]
        return cls(
            np.array([whole_unit(bound, rows, bits=61) for bound in bounds]),
            np.array([whole_unit(bound, rows, bits=61) for bound in pairs]),
            np.array([whole_unit(bound, rows) for bound in bounds]),
        )


Values = Callable[[pa.RecordBatch], F64]


def _make_task(
    layout: Layout, grid: _Grid, values_of: Values, seed: int, bootstrap: int
) -> Callable[[Iterator[pa.RecordBatch]], Sequence[npt.NDArray[Any]]]:
    """Return the function of a partition: independent units in, sums out."""
    first, second = (np.array(side) for side in zip(*layout.pairs, strict=True))

    def task(batches: Iterator[pa.RecordBatch]) -> Sequence[npt.NDArray[Any]]:
        totals, products = np.zeros(len(layout.lanes), np.int64), np.zeros(len(layout.pairs), np.int64)
        replicates, rows = np.zeros((bootstrap, len(layout.lanes))), np.zeros(1, np.int64)
        for batch in batches:
            values = values_of(batch)
            rows += values.shape[0]
            totals += np.rint(values / grid.totals).astype(np.int64).sum(axis=0)
            for number, (i, j) in enumerate(zip(first, second, strict=True)):
                scaled = values[:, i] * values[:, j] / grid.products[number]
                products[number] += np.rint(scaled).astype(np.int64).sum()
            if bootstrap:
                units, whole = hashes(batch.column("unit")), np.rint(values / grid.replicates)
                for start in range(0, values.shape[0], 4096):  # whole numbers: any order gives the same sum
                    part = slice(start, start + 4096)
                    replicates += count_copies(units[part], seed, bootstrap).T @ whole[part]
        return totals, products, replicates, rows

    return task


def _make_values(layout: Layout, clip: float) -> Values:
    """Return the function from a batch of the compact frame to its lanes."""

    def values_of(batch: pa.RecordBatch) -> F64:
        def each(name: str) -> F64:
            return np.stack(
                [numbers(batch.column(f"{name}{j}")) for j in range(len(layout.policies))], axis=1
            )

        r, w, e, q = (numbers(batch.column(name)) for name in ("r", "w", "e", "q"))
        return lanes(layout, r, w, each("p") / e[:, None], clip, q, each("v"), each("c"))

    return values_of


def _make_grouped_values(units: F64) -> Values:
    """Return the function from a batch of clusters to their lanes."""

    def values_of(batch: pa.RecordBatch) -> F64:
        whole = [batch.column(f"l{i}").to_numpy(zero_copy_only=False) for i in range(units.shape[0])]
        return np.stack(whole, axis=1).astype(np.float64) * units

    return values_of


def _added(
    frame: DataFrame,
    layout: Layout,
    grid: _Grid,
    values_of: Values,
    seen: Mapping[str, Any],
    seed: int,
    count: int,
) -> Sums:
    width = len(layout.lanes)
    shapes = [((width,), "int64"), ((len(layout.pairs),), "int64"), ((count, width), "float64")]
    task = _make_task(layout, grid, values_of, seed, count)
    totals, products, replicates, units = add_up(frame, task, [*shapes, ((1,), "int64")])
    return Sums(
        totals * grid.totals,
        products * grid.products,
        replicates * grid.replicates,
        np.array([float(seen[f"rho{j}"]) for j in range(len(layout.policies))]),
        int(seen["n"]),
        int(units[0]),
    )


def row_sums(
    frame: DataFrame, layout: Layout, seen: Mapping[str, Any], clip: float, *, seed: int, count: int
) -> Sums:
    """Add up rows.

    Parameters
    ----------
    frame : DataFrame
        See policy_columns.py.
    seen : mapping
        What the checking pass found.
    clip : float
        M of the methods.
    seed, count : int
        Of the bootstrap replicates.
    """
    bounds = lane_bounds(layout, seen)
    grid = _Grid.of(layout, bounds, int(seen["n"]))
    return _added(frame, layout, grid, _make_values(layout, clip), seen, seed, count)


def cluster_sums(
    frame: DataFrame, layout: Layout, seen: Mapping[str, Any], clip: float, *, seed: int, count: int
) -> Sums:
    """Add up rows by cluster, then the clusters; parameters as for `row_sums`."""
    from pyspark.sql import functions as F

    bounds = lane_bounds(layout, seen)
    units = _Grid.of(layout, bounds, int(seen["n"])).totals
    names = [f"l{i}" for i in range(len(layout.lanes))]
    ddl = ", ".join(["unit bigint", *(f"{name} bigint" for name in names)])
    rows = frame.mapInArrow(_make_rows(_make_values(layout, clip), units, names), ddl)
    with kept(rows.groupBy("unit").agg(*[F.sum(name).alias(name) for name in names])) as grouped:
        largest = grouped.agg(*[F.max(F.abs(name)).alias(name) for name in names]).collect()[0]
        bounds = np.array([float(largest[name] or 0) for name in names]) * units
        grid = _Grid.of(layout, bounds, int(seen["n"]))
        return _added(grouped, layout, grid, _make_grouped_values(units), seen, seed, count)


def _make_rows(
    values_of: Values, units: F64, names: Sequence[str]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function of a partition: rows in, their lanes as whole numbers out."""
    schema = pa.schema([("unit", pa.int64()), *((name, pa.int64()) for name in names)])

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            whole = np.rint(values_of(batch) / units).astype(np.int64)
            columns = [batch.column("unit"), *(pa.array(np.ascontiguousarray(lane)) for lane in whole.T)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return work
