"""`known_truth` of a table: predictions against true effects, two passes, the same bits on any partitioning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.errors import ColumnNotFoundError, DataError, bad_value
from spark_uplift.metrics.replicates import whole_unit
from spark_uplift.metrics.truth import KnownTruth, net_values, recommend, row_columns, summarise
from spark_uplift.spark import arrow
from spark_uplift.spark.columns import column, is_number
from spark_uplift.spark.keep import kept

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["known_truth"]

F64 = npt.NDArray[np.float64]
_SUMS = pa.schema([("place", pa.int32()), ("total", pa.int64())])
_SUMS_DDL = "place int, total bigint"


def known_truth(
    df: DataFrame,
    *,
    effectCol: str,
    scoreCol: str = "uplift",
    recommendedCol: str | None = None,
    controlName: str | None = None,
    treatmentNames: Sequence[str] | None = None,
    value: float = 1.0,
    costs: Sequence[float] | None = None,
    weightCol: str | None = None,
) -> KnownTruth:
    """Compare the predicted effects of a simulation's units with the true ones.

    The metrics are those of `spark_uplift.metrics.known_truth`.

    Parameters
    ----------
    df : DataFrame
        Units with true and predicted effects.
    effectCol, scoreCol : str
        ``array<double>`` with the effect of each treatment, in the same order; a number will do for one treatment.
    recommendedCol : str, optional
        Name of the arm that each unit is to get; needs `controlName` and `treatmentNames`. By default the arm with
        the largest predicted net value, control unless a treatment is better.
    controlName, treatmentNames : str, sequence of str, optional
        Names of the arms in `recommendedCol`.
    value : float
        Money, or anything, that a unit of the outcome is worth.
    costs : sequence of K + 1 floats, optional
        Cost of each arm, control first, in the unit of `value`; by default 0.
    weightCol : str, optional
        Weights, 0 or more.

    Returns
    -------
    KnownTruth

    Raises
    ------
    ColumnNotFoundError, DataError
        Columns are missing or of another type; null or infinite values, arrays of different lengths, unknown arms,
        negative weights; all faults of a stage together.
    """
    _check(df, effectCol, scoreCol, recommendedCol, controlName, treatmentNames, weightCol)
    names = (str(controlName), *(treatmentNames or ()))
    frame = df.select(
        _array(df, effectCol).alias("t"),
        _array(df, scoreCol).alias("p"),
        _arm(recommendedCol, names).alias("arm"),
        _weight(weightCol).alias("w"),
    )
    with kept(frame) as rows:
        width, bounds = _bounds(rows, effectCol, scoreCol, recommendedCol, weightCol)
        expected = f"{width + 1} finite numbers, one an arm, control first"
        if costs is not None and (len(costs) != width + 1 or not np.all(np.isfinite(costs))):
            raise DataError(bad_value("costs", "known_truth", expected, costs))
        paid = np.zeros(width + 1) if costs is None else np.asarray(costs, np.float64)
        units, centres = _grid(bounds, width, value, paid)
        worker = _make_adder(width, recommendedCol is not None, value, paid, centres, units)
        totals = _added(rows.mapInArrow(worker, _SUMS_DDL), units.shape[0])
    weighted = totals * units
    if not weighted[-1] > 0.0:
        raise DataError(f"The weight column '{weightCol}' must have a positive sum. Got 0 instead.")
    return summarise(weighted[:-1] / weighted[-1])


def _check(
    df: DataFrame,
    effect: str,
    score: str,
    recommended: str | None,
    control: str | None,
    treatments: Sequence[str] | None,
    weight: str | None,
) -> None:
    kinds = {field.name: field.dataType for field in df.schema.fields}
    missing = [
        name for name in (effect, score, recommended, weight) if name is not None and name not in kinds
    ]
    if missing:
        raise ColumnNotFoundError.of(missing, list(kinds))
    faults = [
        f"The {role} column '{name}' must hold numbers or arrays of numbers. Got {kinds[name].simpleString()} instead."
        for role, name in (("effect", effect), ("score", score))
        if not is_number(getattr(kinds[name], "elementType", kinds[name]))
    ]
    if weight is not None and not is_number(kinds[weight]):
        faults.append(
            f"The weight column '{weight}' must hold numbers. Got {kinds[weight].simpleString()} instead."
        )
    if recommended is not None and (control is None or treatments is None):
        faults.append("controlName and treatmentNames must be given with recommendedCol. Got None instead.")
    if faults:
        raise DataError(faults)


def _array(df: DataFrame, name: str) -> Column:
    from pyspark.sql import functions as F

    if df.schema[name].dataType.typeName() == "array":
        return column(name).cast("array<double>")
    return F.array(column(name).cast("double"))


def _weight(name: str | None) -> Column:
    from pyspark.sql import functions as F

    return F.lit(1.0) if name is None else column(name).cast("double")


def _arm(recommended: str | None, names: Sequence[str]) -> Column:
    """Return the number of the recommended arm, -1 for unknown ones."""
    from pyspark.sql import functions as F

    if recommended is None:
        return F.lit(0)
    code: Any = F
    for k, name in enumerate(names):
        code = code.when(column(recommended).cast("string") == name, k)
    found: Column = code.otherwise(-1)
    return found


def _bounds(
    rows: DataFrame, effect: str, score: str, recommended: str | None, weight: str | None
) -> tuple[int, dict[str, Any]]:
    """Return the number of treatments, and counts, ranges and bounds of the values: one pass."""
    from pyspark.sql import functions as F

    t, p, w = F.col("t"), F.col("p"), F.col("w")

    def unusable(value: Column) -> Column:
        return value.isNull() | F.isnan(value) | (F.abs(value) == float("inf"))

    def count(condition: Column) -> Column:
        return F.sum(F.when(F.coalesce(condition, F.lit(True)), 1).otherwise(0))

    first = rows.select(F.size("t").alias("size")).head()
    if first is None:
        raise DataError("The table must have rows. Got an empty one instead.")
    width = int(first["size"])
    ranges = [
        end(F.get(values, F.lit(k))).alias(f"{end.__name__}_{name}{k}")
        for name, values in (("t", t), ("p", p))
        for k in range(width)
        for end in (F.min, F.max)
    ]
    found = rows.agg(
        F.count("*").alias("n"),
        count((F.size(t) != width) | F.exists(t, unusable)).alias("effect"),
        count((F.size(p) != width) | F.exists(p, unusable)).alias("score"),
        count((F.col("arm") < 0) | (F.col("arm") > width)).alias("arm"),
        count(unusable(w) | (w < 0)).alias("weight"),
        F.max(w).alias("w"),
        *ranges,
    ).head()
    bounds = found.asDict() if found is not None else {}
    length = f"hold {width} finite numbers, as the first row does"
    faults = [
        f"The {role} column '{name}' must {needed}. Got {bounds[role]} of {bounds['n']} rows that don't instead."
        for role, name, needed in (
            ("effect", effect, length),
            ("score", score, length),
            ("arm", recommended, "hold the names of arms"),
            ("weight", weight, "hold finite numbers of 0 or more"),
        )
        if bounds[role]
    ]
    if faults:
        raise DataError(faults)
    return width, bounds


def _grid(bounds: dict[str, Any], width: int, value: float, costs: F64) -> tuple[F64, tuple[F64, F64]]:
    """Return the unit of each sum (the last one is that of the weights), and the middles of the ranges."""
    low_t, high_t, low_p, high_p = (
        np.array([bounds[f"{end}_{name}{k}"] for k in range(width)], np.float64)
        for name in ("t", "p")
        for end in ("min", "max")
    )
    t, p = (high_t - low_t) / 2.0, (high_p - low_p) / 2.0
    error = np.maximum(high_p - low_t, high_t - low_p)
    ends = net_values(np.stack([low_t, high_t]), value, costs)
    largest, spread = np.abs(ends).max(), ends.max() - ends.min()
    parts = [error, error**2, t, p, t**2, p**2, t * p, np.array([largest, spread, 1.0, 1.0])]
    # Half of a range is rounded; a little more holds what is added up for certain.
    limits = np.concatenate(parts) * bounds["w"] * 1.001
    units = np.array([whole_unit(float(limit), bounds["n"], bits=61) for limit in limits])
    return units, (low_t / 2.0 + high_t / 2.0, low_p / 2.0 + high_p / 2.0)


def _make_adder(
    width: int, given: bool, value: float, costs: F64, centres: tuple[F64, F64], units: F64
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function of a partition: rows in, its sums out, one row each."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        totals = np.zeros(units.shape[0], np.int64)
        for batch in batches:
            effects, predicted = (
                arrow.numbers(batch.column(i).flatten()).reshape(batch.num_rows, width) for i in (0, 1)
            )
            arm = batch.column(2).to_numpy(zero_copy_only=False).astype(np.int64)
            chosen = arm if given else recommend(predicted, value, costs)
            columns = row_columns(effects, predicted, chosen, value, costs, centres)
            weight = arrow.numbers(batch.column(3))[:, None]
            values = np.concatenate([columns, np.ones_like(weight)], axis=1) * weight
            totals += np.rint(values / units).astype(np.int64).sum(axis=0)
        places = np.arange(units.shape[0], dtype=np.int32)
        yield pa.RecordBatch.from_arrays([pa.array(places), pa.array(totals)], schema=_SUMS)

    return work


def _added(parts: DataFrame, width: int) -> F64:
    from pyspark.sql import functions as F

    totals = np.zeros(width)
    for row in parts.groupBy("place").agg(F.sum("total").alias("total")).collect():
        totals[row["place"]] = row["total"]
    return totals
