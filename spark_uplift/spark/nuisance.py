"""`doubly_robust`: cross-fitted nuisance models and doubly robust scores of every row, at any size.

ALGORITHM
    1. A pass profiles the rows (arms, bounds, quantile bins from a sample by hash, levels).
    2. A pass adds up, for each fold (by hash of the unit) and arm, the sums of products of the additive design,
       as whole numbers; `groupBy(cell)` adds up the partitions. The driver gets one small matrix a fold and arm,
       and solves ridge regressions (metrics/nuisance.py).
    3. The result is lazy: predictions are added by a UDF, scores by expressions. Other columns stay in the JVM.
    With estimators of pyspark.ml instead, the design is a vector column and models are fitted fold by fold.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.errors import DataError, bad_value
from spark_uplift.metrics.nuisance import OutcomeModel, fit_outcomes, fold_of
from spark_uplift.metrics.nuisance_design import Design, Grid, add_rows, predict
from spark_uplift.spark import arrow
from spark_uplift.spark.columns import Columns, column
from spark_uplift.spark.nuisance_input import Experiment, experiment
from spark_uplift.spark.score import arrow_udf, lists, refuse_taken

if TYPE_CHECKING:
    from pyspark.ml import Estimator
    from pyspark.sql import Column, DataFrame

__all__ = ["doubly_robust"]

OUTPUTS = ("propensities", "mu", "dr_value", "dr_score")
_CELLS = pa.schema([("cell", pa.int32()), ("sums", pa.binary()), ("totals", pa.binary())])
_CELLS_DDL = "cell int, sums binary, totals binary"
I64 = npt.NDArray[np.int64]


def doubly_robust(
    df: DataFrame,
    *,
    treatmentCol: str,
    controlName: str,
    labelCol: str,
    featureCols: Sequence[str],
    treatmentNames: Sequence[str] | None = None,
    categoricalCols: Sequence[str] = (),
    weightCol: str | None = None,
    propensityCol: str | None = None,
    idCol: str | None = None,
    clusterCol: str | None = None,
    folds: int = 5,
    propensityModel: Estimator[Any] | str | None = None,
    outcomeModel: Estimator[Any] | None = None,
    seed: int = 1,
) -> DataFrame:
    """Add cross-fitted nuisance predictions and doubly robust (AIPW) scores to an experiment's rows.

    ``dr_value[a] = mu[a] + 1[arm = a] (y - mu[a]) / e[a]`` (Robins, Rotnitzky & Zhao 1994; cross-fitting as in
    Chernozhukov et al. 2018): its mean estimates the mean outcome if everybody got arm a, and is right if either the
    propensities or the outcome models are. Models of a fold are fitted on the other folds; units (or clusters)
    belong to folds by their hash.

    By default the outcome of each arm is predicted by a ridge regression on an additive design (numbers standardised
    and as 8 quantile bins, missing as a bin, levels of categories), its penalty chosen by cross-validation; the sums
    that it needs are whole numbers, so the results are the same for any partitioning. It has at most 512 columns: wide
    tables get fewer bins, and from about 170 numbers on the features that the outcome is most associated with are
    chosen. Predictions are kept within
    the range of the outcomes, so within [0, 1] for binary ones. An arm without rows outside a fold gets the mean
    outcome of all arms there, with a warning.

    Parameters
    ----------
    df : DataFrame
        Rows with arm, outcome and features; nulls in features are allowed.
    treatmentCol, labelCol : str
        Columns of the arm (compared as text) and of the outcome (a number, or a boolean).
    controlName : str
        Value of `treatmentCol` that is control.
    featureCols : sequence of str
        Features known before the assignment; numbers, text or booleans. May be empty: then arms have means only.
    treatmentNames : sequence of str, optional
        Treatments in the order of the scores; by default the arms in the data other than control, sorted.
    categoricalCols : sequence of str
        Features that are categories although they are numbers.
    weightCol : str, optional
        Weights, 0 or more; the models are fitted with them, the scores are not multiplied by them.
    propensityCol : str, optional
        Logged probability, in (0, 1], of the arm that the row got. The score needs no other arm's: ``propensities``
        of the others are null (with one treatment, one minus it).
    idCol, clusterCol : str, optional
        Unit, and cluster that is kept in one fold. Without both, the row's content stands for the unit.
    folds : int
        At least 2.
    propensityModel : "estimate" or pyspark.ml classifier, optional
        By default the logged propensities, else the arms' shares (of weights), which is right for randomised arms.
        ``"estimate"`` fits a multinomial logistic regression. Estimates are clipped to [0.01, 0.99].
    outcomeModel : pyspark.ml regressor or classifier, optional
        Fitted for each fold and arm, with its featuresCol, labelCol and, with weights, weightCol set. Features are
        a vector: standardised numbers (missing as 0), an indicator of missing, indicators of levels. A classifier
        needs a binary outcome; its probability of 1 is taken.
    seed : int
        Seed of the folds.

    Returns
    -------
    DataFrame
        `df` with ``propensities``, ``mu`` and ``dr_value``, array<double> with a value an arm, control first, and
        ``dr_score``, array<double> with a value a treatment: ``dr_value[k] - dr_value[0]``. In units of the outcome.

    Raises
    ------
    ColumnNotFoundError
        Columns are missing; names the nearest ones.
    DataError
        Columns of the results' names are there, arms without rows or unknown, null or not finite outcomes,
        negative weights, propensities outside (0, 1], a bad parameter; all faults of a stage together.

    Warns
    -----
    UserWarning
        An arm lacks rows outside a fold; estimated propensities had to be clipped.
    """
    _check(folds, propensityCol, propensityModel, outcomeModel)
    refuse_taken(df, OUTPUTS, "drop those of an earlier call")
    columns = Columns(
        features=tuple(featureCols),
        treatment=treatmentCol,
        label=labelCol,
        unit=idCol,
        weight=weightCol,
        propensity=propensityCol,
        cluster=clusterCol,
    )
    with experiment(
        df,
        columns,
        control=str(controlName),
        treatments=treatmentNames,
        categorical=categoricalCols,
        seed=seed,
    ) as found:
        added = found.df.withColumn("__arm", found.code(column(treatmentCol).cast("string")))
        totals = None
        if outcomeModel is None:
            sums, totals = _sums(found, folds, seed)
            model = fit_outcomes(sums, found.design, found.grid)
            _warn_of_borrowed(model, found.arms)
            added = added.withColumn("__mu", _predictions(found, model, seed))
        if propensityCol is not None:
            own = column(propensityCol).cast("double")
            added = added.withColumn("__e", _logged(own, len(found.arms)))
        elif propensityModel is None:
            if totals is None:  # the sums of an empty design hold the arms' weights
                totals = _sums(replace(found, design=Design((), (), ())), folds, seed)[1]
            added = added.withColumn("__e", _shares(totals.sum(axis=0)[:, 1].astype(np.float64)))
        if outcomeModel is not None or propensityModel is not None:
            from spark_uplift.spark import nuisance_estimators

            added = nuisance_estimators.add(found, added, folds, seed, propensityModel, outcomeModel)
    return _scores(added, columns, len(found.arms))


def _check(folds: int, propensity: str | None, propensity_model: Any, outcome_model: Any) -> None:
    faults = []
    if not isinstance(folds, int) or not 2 <= folds <= 100:
        faults.append(bad_value("folds", "doubly_robust", "an int in the range [2, 100]", folds))
    wanted = 'None, "estimate" or a classifier of pyspark.ml'
    if isinstance(propensity_model, str) and propensity_model != "estimate":
        faults.append(bad_value("propensityModel", "doubly_robust", wanted, propensity_model))
    elif propensity_model is not None and propensity is not None:
        faults.append(
            bad_value(
                "propensityModel", "doubly_robust", "None where propensityCol is given", propensity_model
            )
        )
    for name, given, needed in (
        ("propensityModel", propensity_model, "probabilityCol"),
        ("outcomeModel", outcome_model, "predictionCol"),
    ):
        if given is None or (name == "propensityModel" and isinstance(given, str)):
            continue
        lacking = [
            p
            for p in ("featuresCol", "labelCol", needed)
            if not (hasattr(given, "hasParam") and given.hasParam(p))
        ]
        if lacking:
            expected = f"an estimator of pyspark.ml with the parameters featuresCol, labelCol and {needed}"
            faults.append(bad_value(name, "doubly_robust", expected, given))
    if faults:
        raise DataError(faults)


def _sums(found: Experiment, folds: int, seed: int) -> tuple[I64, I64]:
    """Return the sums of products of each fold and arm, and their rows and weights: one pass."""
    arms, width = len(found.arms), found.design.columns
    worker = _make_adder(found.design, found.grid, found.arms, found.mean_weight, folds, seed)
    parts = (
        found.frame.mapInArrow(worker, _CELLS_DDL)
        .groupBy("cell")
        .applyInArrow(_add_cells, _CELLS_DDL)
        .toArrow()
    )
    sums = np.zeros((folds * arms, width, width + 2), np.int64)
    totals = np.zeros((folds * arms, 2), np.int64)
    for cell, one, total in zip(parts["cell"].to_pylist(), parts["sums"], parts["totals"], strict=True):
        sums[cell] = arrow.binary(one, np.int64).reshape(width, width + 2)
        totals[cell] = arrow.binary(total, np.int64)
    if int(totals[:, 0].sum()) != found.rows:
        raise DataError(
            f"The rows changed between two passes over them: {found.rows} were counted first, then "
            f"{int(totals[:, 0].sum())}. Write the input to a table first, so that both passes read the same rows."
        )
    return sums.reshape(folds, arms, width, width + 2), totals.reshape(folds, arms, 2)


def encode(design: Design, arrays: list[pa.Array]) -> tuple[npt.NDArray[np.uint8], I64]:
    """Return codes and standardised values of a batch's features, shape (n, F)."""
    rows = len(arrays[0]) if arrays else 0
    codes = np.empty((rows, len(arrays)), np.uint8)
    arrow.encode_batch(design.features, arrays, codes)
    linear = np.zeros((rows, len(arrays)), np.int64)
    for j, (half, array) in enumerate(zip(design.half, arrays, strict=True)):
        if half > 0.0:
            linear[:, j] = design.standardised(j, arrow.numbers(array))
    return codes, linear


def _make_adder(
    design: Design, grid: Grid, arms: tuple[str, ...], mean_weight: float | None, folds: int, seed: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function of a partition: rows in, the sums of its cells out."""
    numbers = {name: code for code, name in enumerate(arms)}

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        width = design.columns
        sums = np.zeros((folds * len(arms), width, width + 2), np.int64)
        totals = np.zeros((folds * len(arms), 2), np.int64)
        for batch in batches:
            if batch.num_rows == 0:
                continue
            arm = arrow.coded(
                batch.column(0), lambda levels: np.array([numbers.get(x, 255) for x in levels], np.uint8)
            )
            cells = fold_of(seed, arrow.hashes(batch.column(4)), folds) * len(arms) + arm
            codes, linear = _features(design, batch)
            weights = None if mean_weight is None else arrow.numbers(batch.column(2)) / mean_weight
            add_rows(
                design, grid, cells, codes, linear, weights, arrow.numbers(batch.column(1)), sums, totals
            )
        for cell in np.flatnonzero(totals[:, 0]).tolist():
            row = [[cell], [sums[cell].tobytes()], [totals[cell].tobytes()]]
            arrays = [pa.array(value, field.type) for value, field in zip(row, _CELLS, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=_CELLS)

    return work


def _features(design: Design, batch: pa.RecordBatch) -> tuple[npt.NDArray[np.uint8], I64]:
    if design.features:
        return encode(design, batch.columns[5:])
    return np.empty((batch.num_rows, 0), np.uint8), np.empty((batch.num_rows, 0), np.int64)


def _add_cells(table: pa.Table) -> pa.Table:
    """Add up the partitions' sums of one cell."""
    columns = [table["cell"].slice(0, 1)]
    for name in ("sums", "totals"):
        total: Any = None
        for value in table[name]:
            part = arrow.binary(value, np.int64)
            total = part.copy() if total is None else np.add(total, part, out=total)
        columns.append(pa.array([total.tobytes()], pa.binary()))
    return pa.table(columns, schema=_CELLS)


def _warn_of_borrowed(model: OutcomeModel, arms: tuple[str, ...]) -> None:
    poor = [arm for a, arm in enumerate(arms) if model.borrowed[:, a].any()]
    if poor:
        warnings.warn(
            f"The arms {poor} have no rows outside of one of the folds; the mean outcome of all arms stands for theirs "
            "there.",
            UserWarning,
            stacklevel=3,
        )


def _predictions(found: Experiment, model: OutcomeModel, seed: int) -> Column:
    """Return mu, a value an arm, as a column of `found.df`."""
    worker = _make_predictor(found.design, model.coefficients, seed, found.low, found.high)
    arguments = found.inputs()[4:]
    return arrow_udf(worker, "array<double>", len(arguments))(*arguments)


def _make_predictor(
    design: Design, coefficients: npt.NDArray[np.float64], seed: int, low: float, high: float
) -> Callable[[Iterator[tuple[pa.Array, ...]]], Iterator[pa.Array]]:
    folds = coefficients.shape[0]

    def work(batches: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
        for arrays in batches:
            fold = fold_of(seed, arrow.hashes(arrays[0]), folds)
            if design.features:
                codes, linear = encode(design, list(arrays[1:]))
            else:
                codes, linear = np.empty((len(fold), 0), np.uint8), np.empty((len(fold), 0), np.int64)
            yield lists(np.clip(predict(design, coefficients, fold, codes, linear), low, high))

    return work


def _shares(weights: npt.NDArray[np.float64]) -> Column:
    from pyspark.sql import functions as F

    return F.array(*[F.lit(float(weight / weights.sum())) for weight in weights])


def _logged(own: Column, arms: int) -> Column:
    """Return the propensities of all arms where that of the row's own arm is known."""
    from pyspark.sql import functions as F

    other = 1.0 - own if arms == 2 else F.lit(None).cast("double")
    return F.array(*[F.when(F.col("__arm") == a, own).otherwise(other) for a in range(arms)])


def _scores(added: DataFrame, columns: Columns, arms: int) -> DataFrame:
    """Return the frame with the results in place of ``__arm``, ``__mu`` and ``__e``."""
    from pyspark.sql import functions as F

    y, arm = column(str(columns.label)).cast("double"), F.col("__arm")
    values = []
    for a in range(arms):
        mu, e = F.get(F.col("__mu"), F.lit(a)), F.get(F.col("__e"), F.lit(a))
        values.append(F.when(arm == a, mu + (y - mu) / e).otherwise(mu))
    scored = added.withColumn("dr_value", F.array(*values))
    control = F.get(F.col("dr_value"), F.lit(0))
    differences = [F.get(F.col("dr_value"), F.lit(a)) - control for a in range(1, arms)]
    named = scored.withColumns(
        {"propensities": F.col("__e"), "mu": F.col("__mu"), "dr_score": F.array(*differences)}
    )
    kept = [column(name) for name in added.columns if name not in ("__unit", "__arm", "__mu", "__e")]
    return named.select(*kept, *OUTPUTS)
