"""`compare`: two models on the same rows and the same bootstrap draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from spark_uplift.errors import DataError, bad_value
from spark_uplift.metrics.comparison import COMPARED, chosen_metrics, comparison_columns
from spark_uplift.spark.evaluate import (
    RUN_COLUMNS,
    EvaluationResult,
    Measured,
    Options,
    evaluated,
    of_arm,
    warn_of_equal_scores,
)
from spark_uplift.spark.evaluate_bins import EXACT_POINTS, FINE_BINS
from spark_uplift.spark.evaluate_input import ScoredColumns, prepare
from spark_uplift.spark.evaluate_passes import Draws, measure
from spark_uplift.spark.evaluate_views import views_of
from spark_uplift.spark.small_tables import small_columns

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["ComparisonResult", "compare"]


@dataclass(frozen=True)
class ComparisonResult:
    """Two models side by side.

    Parameters
    ----------
    comparison : DataFrame
        A row for each arm and metric: both values, their difference (first minus second) with standard error,
        interval and two-sided p-value (``model_comparison``).
    curves : DataFrame
        ``model`` (its name), then the columns of ``evaluation_curves``: both models' curves with bands.
    evaluations : dict of str to EvaluationResult
        What `evaluate` would have given for each model, by name.
    """

    comparison: DataFrame
    curves: DataFrame
    evaluations: dict[str, EvaluationResult]


def compare(
    scored: DataFrame,
    *,
    treatmentCol: str,
    controlName: str,
    labelCol: str,
    scoreCols: Sequence[str] = ("uplift_a", "uplift_b"),
    names: Sequence[str] = ("a", "b"),
    arm: str | None = None,
    treatmentNames: Sequence[str] | None = None,
    weightCol: str | None = None,
    propensityCol: str | None = None,
    drCol: str | None = None,
    idCol: str | None = None,
    clusterCol: str | None = None,
    metrics: Sequence[str | tuple[str, str]] = COMPARED,
    bootstrap: int = 200,
    intervals: str = "poisson",
    level: float = 0.95,
    buckets: int = 10,
    seed: int = 1,
    exactPoints: int = EXACT_POINTS,
    fineBins: int = FINE_BINS,
) -> ComparisonResult:
    """Compare two models' predicted uplift on the same rows of a randomised experiment.

    Both are evaluated in one pass, in the same bootstrap replicates, so that the error of the difference is that of
    paired values: as a rule much smaller than the two errors together. The numbers are the same for any partitioning
    and order of the rows, and each model's are those of `evaluate` alone.

    Parameters
    ----------
    scored : DataFrame
        Rows with arm, outcome and the scores of both models.
    scoreCols : sequence of 2 str
        Columns of their predicted effects, as ``scoreCol`` of `evaluate`.
    names : sequence of 2 str
        What to call the models; differences are the first minus the second.
    metrics : sequence of str or (str, str)
        Names of metrics (style grf), or pairs of name and style.
    treatmentCol, controlName, labelCol, arm, treatmentNames, weightCol, propensityCol, drCol, idCol, clusterCol
        As in `evaluate`.
    bootstrap, intervals, level, buckets, seed, exactPoints, fineBins
        As in `evaluate`.

    Returns
    -------
    ComparisonResult

    Raises
    ------
    ColumnNotFoundError, DataError
        As `evaluate`; and unless there are two score columns, two different names, and known metrics.

    Warns
    -----
    UserWarning
        All scores of an arm are equal in a model.
    """
    options = Options(bootstrap, intervals, level, buckets, seed, exactPoints, fineBins)
    faults = options.faults("compare")
    for name, given in (("scoreCols", tuple(scoreCols)), ("names", tuple(names))):
        if (
            isinstance(scoreCols if name == "scoreCols" else names, str)
            or len(set(given)) != 2
            or len(given) != 2
        ):
            faults.append(bad_value(name, "compare", "two different str", given))
    if faults:
        raise DataError(faults)
    wanted = chosen_metrics(metrics)
    columns = ScoredColumns(
        treatment=treatmentCol,
        control=str(controlName),
        label=labelCol,
        score=scoreCols[0],
        rivals=(scoreCols[1],),
        arm=arm,
        treatments=None if treatmentNames is None else tuple(treatmentNames),
        weight=weightCol,
        propensity=propensityCol,
        unit=idCol,
        cluster=clusterCol,
        dr=drCol,
        owner="compare",
    )
    with prepare(scored, columns) as prepared:
        views = [views_of(prepared, arm, model) for model in (0, 1)]
        draws = Draws(bootstrap, seed, intervals)
        curves, copies = measure(prepared, [*views[0], *views[1]], draws, exactPoints, fineBins)
    half = len(views[0])
    one, other = (
        Measured.of(prepared, own, curves[part], copies[part])
        for own, part in zip(views, (slice(half), slice(half, None)), strict=True)
    )
    spark, parts = scored.sparkSession, []
    for i, name in enumerate(one.names):
        pairs = one.pairs[i], other.pairs[i]
        found = comparison_columns(pairs, (one.replicates[i], other.replicates[i]), level, wanted)
        parts.append(of_arm(name, found))
    evaluations = {}
    for model, measured in zip(names, (one, other), strict=True):
        warn_of_equal_scores(measured, model)
        evaluations[model] = evaluated(spark, measured, options, columns)
    return ComparisonResult(
        comparison=small_columns(spark, "model_comparison", parts, RUN_COLUMNS),
        curves=_both(evaluations),
        evaluations=evaluations,
    )


def _both(evaluations: dict[str, EvaluationResult]) -> DataFrame:
    from pyspark.sql import functions as F

    named = [
        result.curves.select(F.lit(name).alias("model"), *result.curves.columns)
        for name, result in evaluations.items()
    ]
    return reduce(lambda one, two: one.unionAll(two), named)
