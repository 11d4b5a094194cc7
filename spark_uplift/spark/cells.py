"""Counting arm x bin of every feature in one pass over the rows.

Each partition counts into arrays of its own (`mapInArrow`, numpy) and returns one row a cell that has rows;
a small aggregation adds them up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from spark_uplift.checks.summary import Cells
from spark_uplift.core.binning import weighted_edges
from spark_uplift.spark.columns import column as col
from spark_uplift.spark.source import Source
from spark_uplift.spark.tally import CELLS_DDL, Bins, counter

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row

BINS = 64
"""Bins of a numeric feature: one a value when it has no more values than that, else quantiles of the
sample.
"""


@dataclass(frozen=True)
class CellCounts:
    """What one pass finds out about a feature.

    Parameters
    ----------
    cells : Cells
        Infinite values are in the last bin, with the missing ones.
    infinite : ndarray of shape (n_arms,), dtype=int64
        Rows with an infinite value.
    minimum, maximum : float
        Of the finite values; NaN for a category or when there are none.
    """

    cells: Cells
    infinite: np.ndarray[Any, Any]
    minimum: float
    maximum: float


def cut_feature(name: str, source: Source, sample: pa.Table, levels: Mapping[str, Row]) -> Bins:
    """Choose the bins of one feature: by quantiles of the sample, or its most frequent levels."""
    if name in source.categorical:
        row = levels.get(name)
        top = tuple(item["level"] for item in row["top"]) if row is not None else ()
        return Bins(name, None, top, (*(f"= {level!r}" for level in top), "any other", "missing"))
    values = np.asarray(sample[name].to_numpy(), np.float64)
    values = values[np.isfinite(values)]
    distinct = np.unique(values)
    edges = np.array(weighted_edges(values, None, BINS), np.float64)
    if 0 < distinct.size <= BINS:
        labels = [f"= {value:g}" for value in distinct]
    else:
        bounds = [-np.inf, *edges, np.inf]
        labels = [f"in ({low:g}, {high:g}]" for low, high in pairwise(bounds)]
    return Bins(name, edges, (), (*labels, "missing"))


def count_cells(rows: DataFrame, arms: Sequence[str], bins: Sequence[Bins], cut: float) -> list[CellCounts]:
    """Count arm x bin of every feature.

    Parameters
    ----------
    rows : DataFrame
        Columns arm, outcome and the features, as in `Source.frame`; rows of other arms are left out.
    arms : sequence of str
    bins : sequence of Bins
        One a feature.
    cut : float
        An outcome above it counts as high.
    """
    if not bins:
        return []
    picked = rows.select("arm", "outcome", *(col(one.name) for one in bins))
    partial = picked.mapInArrow(counter(tuple(arms), tuple(bins), cut), CELLS_DDL)
    sums = ["rows", "outcome_rows", "high", "infinite", "outcome", "square", "value"]
    merged = (
        partial.groupBy("feature", "arm", "bin")
        .agg(
            *(F.sum(name).alias(name) for name in sums), F.min("low").alias("low"), F.max("top").alias("top")
        )
        .toArrow()
    )
    columns = {name: merged[name].to_numpy() for name in merged.column_names}
    return [_dense(columns, columns["feature"] == number, len(arms), one) for number, one in enumerate(bins)]


def _dense(columns: Mapping[str, Any], mine: Any, n_arms: int, bins: Bins) -> CellCounts:
    """Turn one feature's rows (one a cell) into arrays."""
    place = (columns["arm"][mine], columns["bin"][mine])

    def spread(name: str) -> Any:
        array = np.zeros((n_arms, len(bins.labels)), columns[name].dtype)
        array[place] = columns[name][mine]
        return array

    low = min(columns["low"][mine], default=float("inf"))
    top = max(columns["top"][mine], default=float("-inf"))
    fields = {name: spread(name) for name in ("rows", "outcome_rows", "outcome", "square", "high", "value")}
    return CellCounts(
        Cells(**fields, labels=bins.labels),
        infinite=spread("infinite").sum(axis=1),
        minimum=float(low) if low <= top else float("nan"),
        maximum=float(top) if low <= top else float("nan"),
    )
