"""Scoring on Spark: features go to Python by Arrow, all other columns stay in the JVM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core import intervals, prediction
from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.forest import Forest
from spark_uplift.core.growing import LITTLE_BAG_TREES
from spark_uplift.core.prediction import PackedForest
from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.spark import arrow
from spark_uplift.spark.columns import column, is_category, is_number

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_SCORED = "__spark_uplift_scored"


def encode(features: tuple[FeatureBins, ...], arrays: tuple[pa.Array, ...]) -> npt.NDArray[np.uint8]:
    """Return the codes of a batch's feature arrays, ndarray of shape (n, F), dtype=uint8."""
    codes = np.empty((len(arrays[0]), len(features)), np.uint8)
    arrow.encode_batch(features, list(arrays), codes)
    return codes


def lists(values: npt.NDArray[np.float64]) -> pa.Array:
    """Return a list<double> array of the rows of ``values``, ndarray of shape (n, K), without a copy of the numbers."""
    n, k = values.shape
    offsets = pa.array(np.arange(0, n * k + 1, k, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))


def predictor(
    packed: PackedForest, level: float | None
) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]]:
    """Return a function from codes to each row's uplifts, then the lower and the upper ends of intervals if any.

    It takes an ndarray of shape (n, F), dtype=uint8, and returns one of shape (n, K) or (n, 3 K), dtype=float64.
    """
    if level is None:
        return lambda codes: prediction.predict(packed, codes)
    sizes = intervals.group_sizes(packed.n_trees, LITTLE_BAG_TREES)  # the last bag may be smaller

    def predict(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        sums = prediction.predict_groups(packed, codes, LITTLE_BAG_TREES)
        squares = prediction.predict_squares(packed, codes)
        return np.hstack(intervals.little_bags(sums, squares, sizes, level))

    return predict


def _make_scorer(
    features: tuple[FeatureBins, ...], packed: PackedForest, level: float | None
) -> Callable[[Iterator[tuple[pa.Array, ...]]], Iterator[pa.Array]]:
    predict = predictor(packed, level)

    def score(batches: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        for arrays in batches:
            found = predict(encode(features, arrays))
            if level is None:
                yield lists(found)
            else:
                ends = [lists(np.ascontiguousarray(values)) for values in np.split(found, 3, axis=1)]
                yield pa.StructArray.from_arrays(ends, ["uplift", "uplift_lower", "uplift_upper"])

    return score


def arrow_udf(function: Callable[..., Iterator[pa.Array]], returns: str, width: int) -> Callable[..., Column]:
    """Wrap an iterator over arrays as a UDF.

    Spark reads the kind of UDF off the annotations and needs one array an argument, so a single feature has its own
    form. Older Sparks know only the pandas kind; there the series are turned into Arrow and back.
    """
    from pyspark.sql import functions as F

    if not hasattr(F, "arrow_udf"):  # Spark 4.0
        return _pandas_udf(function, returns, width)
    if width == 1:

        def one(arrays: Iterator[pa.Array]) -> Iterator[pa.Array]:
            return function((array,) for array in arrays)

        one.__annotations__ = {"arrays": Iterator[pa.Array], "return": Iterator[pa.Array]}
        wrapped: Callable[..., Column] = F.arrow_udf(one, returns)
        return wrapped

    def many(arrays: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        return function(arrays)

    many.__annotations__ = {"arrays": Iterator[tuple[pa.Array, ...]], "return": Iterator[pa.Array]}
    wrapped = F.arrow_udf(many, returns)
    return wrapped


def _pandas_udf(
    function: Callable[..., Iterator[pa.Array]], returns: str, width: int
) -> Callable[..., Column]:
    import pandas as pd
    from pyspark.sql import functions

    F: Any = functions  # pandas_udf's overloads know no string of a struct type

    def convert(batches: Iterator[Any]) -> Iterator[Any]:
        pairs = ((batch,) if width == 1 else batch for batch in batches)
        for array in function(tuple(pa.Array.from_pandas(s) for s in batch) for batch in pairs):
            if pa.types.is_struct(array.type):
                yield pd.DataFrame({f.name: array.field(f.name).to_pandas() for f in array.type})
            else:
                yield array.to_pandas()

    given: Any = Iterator[pd.Series] if width == 1 else Iterator[tuple[pd.Series, ...]]
    given_back: Any = Iterator[pd.DataFrame] if "struct" in returns else Iterator[pd.Series]
    convert.__annotations__ = {"batches": given, "return": given_back}
    wrapped: Callable[..., Column] = F.pandas_udf(convert, returns)
    return wrapped


def feature_arguments(df: DataFrame, forest: Forest) -> list[Column]:
    """Return the features as the forest was trained on them: double or string.

    Raises
    ------
    ColumnNotFoundError
        When feature columns are missing; names the nearest ones.
    DataError
        When a feature has another type than in training.
    """
    kinds = {field.name: field.dataType for field in df.schema.fields}
    missing = [bins.name for bins in forest.features if bins.name not in kinds]
    if missing:
        raise ColumnNotFoundError.of(missing, list(kinds))
    faults = []
    for bins in forest.features:
        kind = kinds[bins.name]
        if kind.typeName() == "void":  # a literal null: missing everywhere
            continue
        if not (is_category(kind) if bins.categorical else is_number(kind)):
            faults.append(
                f"The feature column '{bins.name}' must hold {'text' if bins.categorical else 'numbers'} as in "
                f"training. Got {kind.simpleString()} instead. Hint: cast it."
            )
    if faults:
        raise DataError(faults)
    return [column(b.name).cast("string" if b.categorical else "double") for b in forest.features]


def refuse_taken(df: DataFrame, names: Sequence[str], way_out: str) -> None:
    """Check that columns to be added are not there yet: Spark would replace them, whatever their case.

    Raises
    ------
    DataError
        Names the columns that are there.
    """
    sensitive = str(df.sparkSession.conf.get("spark.sql.caseSensitive")).lower() == "true"
    present = set(df.columns) if sensitive else {name.lower() for name in df.columns}
    taken = [name for name in names if (name if sensitive else name.lower()) in present]
    if taken:
        raise DataError(
            f"The table must not have columns called {taken} before they are added. Got them instead. "
            f"Hint: drop or rename them, or {way_out}."
        )


def recommended(treatments: tuple[str, ...], control: str, uplift: Column) -> Column:
    """Return the arm with the largest positive uplift, or the control when none is positive. Ties: the first."""
    from pyspark.sql import functions as F

    names = F.array(*[F.lit(name) for name in treatments])
    best = F.array_max(uplift)
    return F.when(best > 0, F.element_at(names, F.array_position(uplift, best).cast("int"))).otherwise(
        F.lit(control)
    )


def score(
    df: DataFrame,
    forest: Forest,
    *,
    uplift_col: str = "uplift",
    recommended_col: str = "recommended",
    level: float | None = None,
) -> DataFrame:
    """Add the uplift of every treatment and the recommended arm.

    Parameters
    ----------
    df : DataFrame
        Recipients; columns that are not features are passed through untouched and never leave the JVM.
    forest : Forest
    level : float, optional
        Also add ``<uplift_col>_lower`` and ``_upper``, intervals of this coverage. The forest must have little bags.

    Returns
    -------
    DataFrame
        ``df`` with ``uplift array<double>`` in the order of the forest's treatments, and ``recommended string``.
    """
    ends = ("", "_lower", "_upper") if level is not None else ("",)
    refuse_taken(
        df, [recommended_col, *(uplift_col + end for end in ends)], "set upliftCol and recommendedCol"
    )
    arguments = feature_arguments(df, forest)
    if level is None:
        scorer = arrow_udf(
            _make_scorer(forest.features, forest.packed, None), "array<double>", len(arguments)
        )
        out = df.withColumn(uplift_col, scorer(*arguments))
    else:
        kind = "struct<uplift:array<double>,uplift_lower:array<double>,uplift_upper:array<double>>"
        scorer = arrow_udf(_make_scorer(forest.features, forest.packed, level), kind, len(arguments))
        found = df.withColumn(_SCORED, scorer(*arguments))
        out = found.withColumns({uplift_col + end: column(_SCORED)["uplift" + end] for end in ends}).drop(
            _SCORED
        )
    return out.withColumn(recommended_col, recommended(forest.treatments, forest.control, column(uplift_col)))
