"""Explaining scores on Spark: each unit's uplift divided among the features, by the same way as scoring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core import attribution, prediction
from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.forest import Forest
from spark_uplift.core.prediction import PackedForest
from spark_uplift.errors import ConfigError, bad_value, nearest
from spark_uplift.spark.columns import column
from spark_uplift.spark.score import arrow_udf, encode, feature_arguments, lists, refuse_taken

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_FOUND = "__spark_uplift_explained"
ADDED = ("explained", "base", "contributions")


def _make_explainer(
    features: tuple[FeatureBins, ...],
    packed: PackedForest,
    rows: npt.NDArray[np.int64],
    treatment: int | None,
) -> Callable[[Iterator[tuple[pa.Array, ...]]], Iterator[pa.Array]]:
    """Return the worker: features in, the number of the explained treatment and its contributions out."""

    def explain(batches: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        # Laid out here, once a task: the paths to the leaves are many times larger than the trees.
        paths = attribution.leaf_paths(packed, rows)
        for arrays in batches:
            codes = encode(features, arrays)
            if treatment is None:  # as `score.recommended` does: the largest uplift, of equal ones the first
                chosen = prediction.predict(packed, codes).argmax(axis=1).astype(np.int32)
            else:
                chosen = np.full(codes.shape[0], treatment, np.int32)
            values = attribution.contributions_of(paths, codes)[np.arange(codes.shape[0]), :, chosen]
            yield pa.StructArray.from_arrays(
                [pa.array(chosen), lists(values)], ["treatment", "contributions"]
            )

    return explain


def explain(df: DataFrame, forest: Forest, treatment: str | None = None) -> DataFrame:
    """Add what each feature contributes to the uplift of one treatment a row.

    Parameters
    ----------
    df : DataFrame
        Recipients, scored or not; other columns are passed through untouched.
    forest : Forest
    treatment : str, optional
        The treatment whose uplift is explained. Without it, each row's own best: the treatment with the largest
        uplift (the recommended one, unless that is the control).

    Returns
    -------
    DataFrame
        ``df`` with ``explained string``, the treatment; ``base double``, its mean predicted uplift over the training
        rows; and ``contributions map<string,double>`` from feature to contribution, all in the outcome's unit:
        ``uplift = base + the sum of the contributions``. See `spark_uplift.core.attribution`.

    Raises
    ------
    ConfigError
        When there is no such treatment.
    ColumnNotFoundError, DataError
        When features are missing or have other types than in training, or the added columns are there already.
    """
    from pyspark.sql import functions as F

    names = forest.treatments
    if treatment is not None and treatment not in names:
        near = nearest(treatment, names)
        hint = f"did you mean '{near}'?" if near else None
        raise ConfigError(bad_value("treatment", "explain", f"one of {list(names)}", treatment, hint))
    refuse_taken(df, ADDED, "explain another copy of the table")
    arguments = feature_arguments(df, forest)
    rows = attribution.cover(forest)
    number = None if treatment is None else names.index(treatment)
    explainer = arrow_udf(
        _make_explainer(forest.features, forest.packed, rows, number),
        "struct<treatment:int,contributions:array<double>>",
        len(arguments),
    )
    bases = attribution.base_of(attribution.leaf_paths(forest.packed, rows))

    def chosen(values: Sequence[str | float]) -> Column:
        return F.element_at(F.array(*[F.lit(v) for v in values]), column(_FOUND)["treatment"] + 1)

    labels = F.array(*[F.lit(bins.name) for bins in forest.features])
    found = df.withColumn(_FOUND, explainer(*arguments))
    return found.withColumns(
        {
            "explained": chosen(names),
            "base": chosen([float(x) for x in bases]),
            "contributions": F.map_from_arrays(labels, column(_FOUND)["contributions"]),
        }
    ).drop(_FOUND)
