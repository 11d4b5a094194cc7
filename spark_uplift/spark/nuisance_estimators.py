"""Nuisance models by estimators of pyspark.ml, cross-fitted: one fit a fold and arm, or a fold for propensities."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from spark_uplift.core.binning import FeatureBins
from spark_uplift.errors import DataError, bad_value
from spark_uplift.metrics.nuisance import fold_of
from spark_uplift.metrics.nuisance_design import LINEAR_STEPS, Design
from spark_uplift.spark import arrow
from spark_uplift.spark.keep import kept
from spark_uplift.spark.nuisance_input import Experiment
from spark_uplift.spark.score import arrow_udf, lists

if TYPE_CHECKING:
    from pyspark.ml import Estimator, Model
    from pyspark.sql import Column, DataFrame

__all__ = ["add"]

LEAST, MOST = 0.01, 0.99
"""Range of estimated propensities."""

_VECTOR, _FOLD = "__x", "__fold"


def add(
    found: Experiment,
    df: DataFrame,
    folds: int,
    seed: int,
    propensity_model: Estimator[Any] | str | None,
    outcome_model: Estimator[Any] | None,
) -> DataFrame:
    """Add ``__mu`` and ``__e`` by the estimators that are given.

    Parameters
    ----------
    found : Experiment
        Checked rows.
    df : DataFrame
        Its `df` with ``__arm``.
    folds, seed : int
        Of the folds.
    propensity_model, outcome_model : estimators
        See `doubly_robust`.
    """
    out = df
    if outcome_model is not None:
        _refuse_classifier(outcome_model, found)
        out = _fitted(found, out, folds, seed, outcome_model, propensity=False)
    if propensity_model is not None:
        estimator = _logistic() if isinstance(propensity_model, str) else propensity_model
        out = _fitted(
            found, out, folds, seed, estimator, propensity=True, bins=isinstance(propensity_model, str)
        )
    return out


def _refuse_classifier(estimator: Estimator[Any], found: Experiment) -> None:
    if estimator.hasParam("probabilityCol") and not found.binary:
        raise DataError(
            bad_value(
                "outcomeModel",
                "doubly_robust",
                "a regressor where outcomes are other than 0 and 1",
                estimator,
            )
        )


def _logistic() -> Estimator[Any]:
    from pyspark.ml.classification import LogisticRegression

    return LogisticRegression(family="multinomial", regParam=1e-3)


def _fitted(
    found: Experiment,
    df: DataFrame,
    folds: int,
    seed: int,
    estimator: Estimator[Any],
    *,
    propensity: bool,
    bins: bool = False,
) -> DataFrame:
    """Add the predictions of an estimator that is fitted on all folds but the row's."""
    from pyspark.sql import functions as F

    design = found.design if bins else _without_bins(found.design)
    arms = range(len(found.arms))
    weight = F.col("w") / F.lit(found.mean_weight or 1.0)
    others = found.frame.columns[3:]
    inputs = found.frame.select(found.code(F.col("arm")).alias("__arm"), "y", weight.alias("w"), *others)
    names = [F.col(name) for name in found.frame.columns[4:]]
    with kept(_with_vector(inputs, design, folds, seed, names)) as rows:
        counts = {(r[_FOLD], r["__arm"]): r["n"] for r in _counted(rows)}
        models: dict[tuple[int, int], Model | float] = {}
        for fold in range(folds):
            training = rows.where(F.col(_FOLD) != fold)
            for arm in [-1] if propensity else arms:
                own = training if arm < 0 else training.where(F.col("__arm") == arm)
                label = "__arm" if propensity else "y"
                size = sum(n for (f, a), n in counts.items() if f != fold and arm in (-1, a))
                models[fold, arm] = (
                    _configured(estimator, found, label).fit(
                        own.withColumn("label", F.col(label).cast("double"))
                    )
                    if size
                    else _mean(training, found.arms[arm])
                )
        if propensity:
            _warn_of_clipping(rows, models, folds, len(arms))
    arguments = found.inputs()[4:]
    vectors = _with_vector(df, design, folds, seed, arguments)
    predicted = _predicted(vectors, models, folds, len(arms), propensity)
    value = F.transform(F.col("__found"), _limits(found, propensity))
    return predicted.withColumn("__e" if propensity else "__mu", value).drop("__found", _VECTOR, _FOLD)


def _limits(found: Experiment, propensity: bool) -> Callable[[Column], Column]:
    from pyspark.sql import functions as F

    low, high = (LEAST, MOST) if propensity else (found.low, found.high)
    return lambda value: F.least(F.greatest(value, F.lit(low)), F.lit(high))


def _counted(rows: DataFrame) -> list[Any]:
    from pyspark.sql import functions as F

    return rows.groupBy(_FOLD, "__arm").agg(F.count("*").alias("n")).collect()


def _mean(training: DataFrame, arm: str) -> float:
    """Return the mean outcome of all arms, for one that has no rows of its own."""
    from pyspark.sql import functions as F

    warnings.warn(
        f"The arm {arm!r} has no rows outside of one of the folds; the mean outcome of all arms stands for its there.",
        UserWarning,
        stacklevel=5,
    )
    weight = F.coalesce(F.col("w"), F.lit(1.0))
    row = training.agg((F.sum(weight * F.col("y")) / F.sum(weight)).alias("mean")).head()
    return float(row["mean"] or 0.0) if row is not None else 0.0


def _configured(estimator: Estimator[Any], found: Experiment, label: str) -> Estimator[Any]:
    """Return a copy of the estimator for our columns."""
    values = {"featuresCol": _VECTOR, "labelCol": "label"}
    if found.mean_weight is not None:
        if not estimator.hasParam("weightCol"):
            raise DataError(
                bad_value(
                    "outcomeModel" if label == "y" else "propensityModel",
                    "doubly_robust",
                    "an estimator with the parameter weightCol where weightCol is given",
                    estimator,
                )
            )
        values["weightCol"] = "w"
    return estimator.copy({estimator.getParam(name): value for name, value in values.items()})


def _predicted(
    df: DataFrame, models: dict[tuple[int, int], Any], folds: int, arms: int, propensity: bool
) -> DataFrame:
    """Add ``__found``: for each arm the prediction of the models of the row's fold."""
    from pyspark.sql import functions as F

    passed = [F.col("`" + name.replace("`", "``") + "`") for name in df.columns]
    chosen: list[Any] = [F for _ in range(arms)]
    out, added = df, []
    for (fold, arm), model in models.items():
        name = f"__p_{fold}_{arm}"
        if isinstance(model, float):
            out = out.withColumn(name, F.array(F.lit(model)))
        else:
            before = set(out.columns)
            renamed = {
                p: f"__m_{p}"
                for p in ("predictionCol", "probabilityCol", "rawPredictionCol")
                if model.hasParam(p)
            }
            transformed = model.copy({model.getParam(p): n for p, n in renamed.items()}).transform(out)
            extra = [c for c in transformed.columns if c not in before]
            out = transformed.withColumn(name, _as_array(model)).drop(*extra)
        added.append(name)
        for a in range(arms) if propensity else [arm]:
            of_classes = not isinstance(model, float) and model.hasParam("probabilityCol")
            place = a if propensity else int(of_classes)
            # A class that the model never saw has no place in its probabilities.
            value = F.coalesce(F.get(F.col(name), F.lit(place)), F.lit(0.0))
            chosen[a] = chosen[a].when(F.col(_FOLD) == fold, value)
    return out.select(*passed, F.array(*chosen).alias("__found"))


def _as_array(model: Any) -> Column:
    """Return the model's answer as array<double>: probabilities of the classes, or one number."""
    from pyspark.ml.functions import vector_to_array
    from pyspark.sql import functions as F

    if not model.hasParam("probabilityCol"):
        return F.array(F.col("__m_predictionCol"))
    return vector_to_array(F.col("__m_probabilityCol"))


def _warn_of_clipping(rows: DataFrame, models: dict[tuple[int, int], Any], folds: int, arms: int) -> None:
    """Warn when the estimated propensity of the arm that a row got lies outside the limits."""
    from pyspark.sql import functions as F

    own = F.get(F.col("__found"), F.col("__arm"))
    outside = F.when((own < LEAST) | (own > MOST), 1).otherwise(0)
    row = (
        _predicted(rows, models, folds, arms, True)
        .agg(F.sum(outside).alias("n"), F.count("*").alias("all"))
        .head()
    )
    count, total = (int(row["n"] or 0), int(row["all"])) if row is not None else (0, 0)
    if count:
        warnings.warn(
            f"{count} of {total} rows have an estimated propensity of their arm outside [{LEAST}, {MOST}]; it was "
            "clipped. Hint: these units hardly ever get another arm, so there is nothing to compare them with; leave "
            "them out.",
            UserWarning,
            stacklevel=6,
        )


def _without_bins(design: Design) -> Design:
    """Return the design without indicators of quantile bins but that of missing."""
    features = tuple(
        bins if bins.categorical or half <= 0.0 else FeatureBins(bins.name)
        for bins, half in zip(design.features, design.half, strict=True)
    )
    return Design(features, design.middle, design.half)


def _with_vector(df: DataFrame, design: Design, folds: int, seed: int, arguments: list[Column]) -> DataFrame:
    """Add the fold and the design as a vector, from unit and features."""
    from pyspark.ml.functions import array_to_vector
    from pyspark.sql import functions as F

    kind = "struct<fold:int,x:array<double>>"
    udf = arrow_udf(_make_expander(design, folds, seed), kind, len(arguments))
    expanded = df.withColumn("__both", udf(*arguments))
    columns = {_FOLD: F.col("__both")["fold"], _VECTOR: array_to_vector(F.col("__both")["x"])}
    return expanded.withColumns(columns).drop("__both")


def _make_expander(
    design: Design, folds: int, seed: int
) -> Callable[[Iterator[tuple[pa.Array, ...]]], Iterator[pa.Array]]:
    def work(batches: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        from spark_uplift.spark.nuisance import encode

        for arrays in batches:
            fold = fold_of(seed, arrow.hashes(arrays[0]), folds)
            codes, linear = encode(design, list(arrays[1:]))
            dense = np.zeros((len(fold), max(1, design.columns - 1)))
            rows = np.arange(len(fold))
            for j, offset in enumerate(design.offsets):
                dense[rows, offset - 1 + codes[:, j]] = 1.0
                if design.linear[j] >= 0:
                    dense[:, design.linear[j] - 1] = linear[:, j] / LINEAR_STEPS
            yield pa.StructArray.from_arrays([pa.array(fold.astype(np.int32)), lists(dense)], ["fold", "x"])

    return work
