"""Which features a wide table's outcome models look at: one pass over bins of every feature, sums as whole numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from spark_uplift.metrics.nuisance_design import Design, most_associated
from spark_uplift.metrics.replicates import whole_unit
from spark_uplift.spark import arrow
from spark_uplift.spark.profile import Tally

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["screen"]

_CODES = 256
_SUMS = pa.schema([("part", pa.int32()), ("sums", pa.binary())])
_SUMS_DDL = "part int, sums binary"


def screen(frame: DataFrame, design: Design, tally: Tally, mean_weight: float | None) -> list[int]:
    """Return the places of the features that the outcome is most associated with, see `most_associated`.

    Which features are looked at is chosen from all rows, those of the predicted fold among them; of hundreds of
    features that tells a row's prediction next to nothing of its own outcome.

    Parameters
    ----------
    frame : DataFrame
        Columns arm, y, w, e, unit, f0, f1, ….
    design : Design
        Bins and levels of all features.
    tally : Tally
        Rows and bounds.
    mean_weight : float or None
        Weights are divided by it; None when all are equal.
    """
    heaviest = 1.0 if mean_weight is None else tally.weight_high / mean_weight
    bound = max(abs(tally.low), abs(tally.high))
    units = (whole_unit(heaviest, tally.rows), whole_unit(heaviest * bound, tally.rows))
    worker = _make_counter(design, mean_weight, units)
    parts = frame.mapInArrow(worker, _SUMS_DDL).groupBy("part").applyInArrow(_add, _SUMS_DDL).toArrow()
    sums = np.zeros((2, len(design.features), _CODES))
    for part, values in zip(parts["part"].to_pylist(), parts["sums"], strict=True):
        sums[part] = arrow.binary(values, np.float64).reshape(sums.shape[1:])
    return most_associated(design, sums[0] * units[0], sums[1] * units[1])


def _make_counter(
    design: Design, mean_weight: float | None, units: tuple[float, float]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function of a partition: rows in, sums of weights and of outcomes by feature and code out."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        sums = np.zeros((2, len(design.features), _CODES))
        for batch in batches:
            codes = np.empty((batch.num_rows, len(design.features)), np.uint8)
            arrow.encode_batch(design.features, batch.columns[5:], codes)
            weight = np.ones(batch.num_rows)
            if mean_weight is not None:
                weight = arrow.numbers(batch.column(2)) / mean_weight
            values = (
                np.rint(weight / units[0]),
                np.rint(weight * arrow.numbers(batch.column(1)) / units[1]),
            )
            for j in range(codes.shape[1]):  # whole numbers below 2**53: any order gives the same sums
                for part in range(2):
                    sums[part, j] += np.bincount(codes[:, j], values[part], _CODES)
        payloads = [pa.array([0, 1], pa.int32()), pa.array([part.tobytes() for part in sums], pa.binary())]
        yield pa.RecordBatch.from_arrays(payloads, schema=_SUMS)

    return work


def _add(table: pa.Table) -> pa.Table:
    """Add up the partitions' sums of one part."""
    total: Any = None
    for value in table["sums"]:
        part = arrow.binary(value, np.float64)
        total = part.copy() if total is None else np.add(total, part, out=total)
    return pa.table([table["part"].slice(0, 1), pa.array([total.tobytes()], pa.binary())], schema=_SUMS)
