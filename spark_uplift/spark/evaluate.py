"""`evaluate`: metrics with intervals, uplift table and curves of scored rows, at any size."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_uplift.errors import DataError, bad_value
from spark_uplift.metrics.curves import Curve
from spark_uplift.metrics.evaluation_checks import check_evaluation
from spark_uplift.metrics.pair import Pair
from spark_uplift.metrics.registry import Metric
from spark_uplift.metrics.replicates import INTERVALS
from spark_uplift.metrics.tables import (
    Columns,
    curve_columns,
    metric_columns,
    reported_metrics,
    uplift_columns,
)
from spark_uplift.spark.evaluate_bins import EXACT_POINTS, FINE_BINS
from spark_uplift.spark.evaluate_input import Prepared, ScoredColumns, prepare
from spark_uplift.spark.evaluate_passes import Draws, measure
from spark_uplift.spark.evaluate_views import View, views_of
from spark_uplift.spark.small_tables import small_columns

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["EvaluationResult", "evaluate", "evaluate_metric"]

RUN_COLUMNS = ("run_id", "model_id", "other_model", "split")
_TABLES = ("evaluation_metrics", "uplift_table", "evaluation_curves", "evaluation_checks")


@dataclass(frozen=True)
class EvaluationResult:
    """Small Spark DataFrames, with the columns of the tables of the same names but for run and model.

    Parameters
    ----------
    metrics : DataFrame
        A row for each arm, metric and style: value, interval and the formula (``evaluation_metrics``).
    uplift_table : DataFrame
        A row for each arm and bucket of predicted uplift (``uplift_table``).
    curves : DataFrame
        A row for each arm, curve (qini, uplift, toc) and share of the population (``evaluation_curves``).
    checks : DataFrame
        A row for each arm and check of the evaluation itself (``evaluation_checks``).
    exact : bool
        Whether every distinct score had its own point.
    """

    metrics: DataFrame
    uplift_table: DataFrame
    curves: DataFrame
    checks: DataFrame
    exact: bool


def evaluate(
    scored: DataFrame,
    *,
    treatmentCol: str,
    controlName: str,
    labelCol: str,
    arm: str | None = None,
    scoreCol: str = "uplift",
    treatmentNames: Sequence[str] | None = None,
    weightCol: str | None = None,
    propensityCol: str | None = None,
    drCol: str | None = None,
    idCol: str | None = None,
    clusterCol: str | None = None,
    bootstrap: int = 200,
    intervals: str = "poisson",
    level: float = 0.95,
    buckets: int = 10,
    seed: int = 1,
    exactPoints: int = EXACT_POINTS,
    fineBins: int = FINE_BINS,
) -> EvaluationResult:
    """Evaluate predicted uplift on rows of a randomised experiment.

    Each treatment is compared with control by its own score. With several treatments, arm ``"*"`` is the
    policy that ranks units by their largest predicted effect and gives each its best arm: a treated row
    counts only where it got the arm recommended for it, with weight 1 / P(arm), control rows with 1 /
    P(control); P is the arm's share, or the logged propensity.

    With `drCol` effects are means of doubly robust scores (as `doubly_robust` makes them) wherever a metric averages
    scores: AUTOC, QINI, calibration, gains, the qini, uplift and toc curves and the buckets' uplift. Every row then
    counts for every arm, and propensities may be unequal or estimated. Styles of raw arms stay as they are.

    Ties are never broken. Standard errors and bands come from a bootstrap keyed by unit (or cluster), the numbers
    are the same for any partitioning and order of the rows. The average effect has its analytic interval where rows
    are independent and propensities not logged. Buckets have intervals that hold in small groups.

    Parameters
    ----------
    scored : DataFrame
        Rows with arm, outcome and score; read once where Spark can keep them, else once a pass.
    treatmentCol, labelCol : str
        Columns of the arm (compared as text) and of the outcome (a number, or a boolean).
    controlName : str
        Value of `treatmentCol` that is control.
    arm : str, optional
        Evaluate this treatment only; `scoreCol` may then hold a single number.
    scoreCol : str
        ``array<double>`` with the predicted effect of each treatment; a number will do for one treatment.
    treatmentNames : sequence of str, optional
        Treatments in the order of the scores; by default the arms in the data other than control, sorted.
    weightCol : str, optional
        Weights, 0 or more.
    propensityCol : str, optional
        Logged probability, in (0, 1], of the arm that the row got.
    drCol : str, optional
        ``array<double>`` with a doubly robust score for each treatment; a number will do for one treatment.
    idCol, clusterCol : str, optional
        Unit, and cluster that is resampled as a whole. Without both, the row's content stands for the unit.
    bootstrap : int
        Replicates; 0 leaves intervals null but for differences in means.
    intervals : {"poisson", "half_sample"}
        How a replicate counts units: Poisson(1) times, or in or out with probability 1/2 (as grf does for RATE).
    level : float
        Coverage of the intervals, in (0, 1).
    buckets : int
        Buckets of the uplift table, of about equal population; ties are not split, so fewer may result.
    seed : int
        Seed of the bootstrap.
    exactPoints : int
        Up to about so many distinct scores each is a point of the curve.
    fineBins : int
        Beyond, about how many quantile bins of the score are used; the result then says ``exact`` = false.

    Returns
    -------
    EvaluationResult

    Raises
    ------
    ColumnNotFoundError
        Columns are missing; names the nearest ones.
    DataError
        Unknown arm, no control or treated rows, null or NaN scores and outcomes, negative weights,
        propensities outside (0, 1], a bad parameter; all faults of a stage together.

    Warns
    -----
    UserWarning
        All scores of an arm are equal: its ranking metrics are 0.
    """
    options = Options(bootstrap, intervals, level, buckets, seed, exactPoints, fineBins)
    faults = options.faults("evaluate")
    if faults:
        raise DataError(faults)
    columns = ScoredColumns(
        treatment=treatmentCol,
        control=str(controlName),
        label=labelCol,
        score=scoreCol,
        arm=arm,
        treatments=None if treatmentNames is None else tuple(treatmentNames),
        weight=weightCol,
        propensity=propensityCol,
        unit=idCol,
        cluster=clusterCol,
        dr=drCol,
    )
    with prepare(scored, columns) as prepared:
        views = views_of(prepared, arm)
        draws = Draws(bootstrap, seed, intervals)
        measured = Measured.of(prepared, views, *measure(prepared, views, draws, exactPoints, fineBins))
    warn_of_equal_scores(measured)
    return evaluated(scored.sparkSession, measured, options, columns)


@dataclass(frozen=True)
class Measured:
    """What was measured of one model: name of each arm, its curve and its replicates.

    Parameters
    ----------
    names : tuple of str
        Arms, then ``"*"`` for the policy.
    pairs : tuple of Pair
        Their curves.
    replicates : tuple of Pair or None
        Their replicates; None without any.
    least : tuple of float or None
        Smallest logged propensity of each one's arms; None where none are logged.
    """

    names: tuple[str, ...]
    pairs: tuple[Pair, ...]
    replicates: tuple[Pair | None, ...]
    least: tuple[float | None, ...]

    @classmethod
    def of(
        cls, prepared: Prepared, views: Sequence[View], curves: Sequence[Curve], copies: Sequence[Curve]
    ) -> Measured:
        """Take the views of one model; the only arm of an experiment is the policy too."""
        names = [view.name for view in views]
        pairs = [Pair.of(curve) for curve in curves]
        replicates: list[Pair | None] = [Pair.of(copy) for copy in copies] or [None for _ in pairs]
        least = [_least(prepared, view) for view in views]
        if views[0].alone:
            names, pairs, replicates, least = [*names, "*"], pairs * 2, replicates * 2, least * 2
        return cls(tuple(names), tuple(pairs), tuple(replicates), tuple(least))


def _least(prepared: Prepared, view: View) -> float | None:
    if not prepared.logged:
        return None
    control = prepared.layout.arms[0]
    arms = [control, view.name] if view.code else list(prepared.least_propensity)
    return min(prepared.least_propensity[arm] for arm in arms)


@dataclass(frozen=True)
class Options:
    """How to evaluate; see `evaluate`."""

    bootstrap: int
    intervals: str
    level: float
    buckets: int
    seed: int
    exact_points: int
    fine_bins: int

    def faults(self, owner: str) -> list[str]:
        """Return what is wrong with the parameters of the function `owner`."""
        faults = [
            bad_value(name, owner, f"an int of at least {least}", value)
            for name, value, least in (
                ("bootstrap", self.bootstrap, 0),
                ("buckets", self.buckets, 1),
                ("exactPoints", self.exact_points, 0),
                ("fineBins", self.fine_bins, 2),
            )
            if not isinstance(value, int) or value < least
        ]
        if self.bootstrap == 1:
            wanted = "0, or at least 2: one replicate has no spread"
            faults.append(bad_value("bootstrap", owner, wanted, self.bootstrap))
        if not 0.0 < self.level < 1.0:
            faults.append(bad_value("level", owner, "a float in the range (0, 1)", self.level))
        if self.intervals not in INTERVALS:
            faults.append(bad_value("intervals", owner, f"one of {list(INTERVALS)}", self.intervals))
        return faults


def evaluate_metric(scored: DataFrame, columns: ScoredColumns, metric: Metric) -> float:
    """Return one metric, without interval: of the chosen arm, the only arm, or the policy over several.

    Parameters
    ----------
    scored : DataFrame
        As for `evaluate`.
    columns : ScoredColumns
        Roles of its columns.
    metric : Metric
        See `spark_uplift.metrics.find`.

    Raises
    ------
    ColumnNotFoundError, DataError
        As `evaluate`.
    """
    with prepare(scored, columns) as prepared:
        views = views_of(prepared, columns.arm)
        curves, _ = measure(prepared, views, Draws(0), EXACT_POINTS, FINE_BINS)
    pair = Pair.of(curves[-1])  # the policy comes last
    warn_of_equal_scores(Measured((views[-1].name,), (pair,), (None,), (None,)))
    return float(metric.compute(pair))


def warn_of_equal_scores(measured: Measured, model: str | None = None) -> None:
    """Warn of arms whose rows all have the same score, in a model."""
    for name, pair in zip(measured.names, measured.pairs, strict=True):
        if pair.low.shape[0] == 1 and pair.low[0] == pair.high[0]:
            what = "policy" if name == "*" else f"arm {name!r}"
            what = what if model is None else f"{what} in model {model!r}"
            warnings.warn(
                f"All scores of the {what} are equal ({pair.low[0]:g}): they rank nobody, "
                "and AUTOC and QINI are 0.",
                UserWarning,
                stacklevel=3,
            )


def evaluated(
    spark: SparkSession, measured: Measured, options: Options, columns: ScoredColumns
) -> EvaluationResult:
    """Return what was measured as small DataFrames."""
    # Rows that come in clusters, or with weights that are logged propensities, have no analytic interval.
    independent = columns.cluster is None and (columns.propensity is None or columns.dr is not None)
    metrics = reported_metrics(dr=measured.pairs[0].dr is not None)
    tables: dict[str, list[Columns]] = {name: [] for name in _TABLES}
    for name, pair, drawn, least in zip(
        measured.names, measured.pairs, measured.replicates, measured.least, strict=True
    ):
        # In the policy view rows have weights 1/share, estimated: its spread is left to the bootstrap.
        analytic = independent and (name != "*" or pair.dr is not None)
        found = [finding.row() for finding in check_evaluation(pair, least)]
        for table, part in (
            ("evaluation_metrics", metric_columns(pair, drawn, options.level, metrics, independent=analytic)),
            ("uplift_table", uplift_columns(pair, options.buckets, options.level)),
            ("evaluation_curves", curve_columns(pair, drawn, options.level)),
            ("evaluation_checks", {key: [row[key] for row in found] for key in found[0]}),
        ):
            tables[table].append(of_arm(name, part))
    frames = {table: small_columns(spark, table, parts, RUN_COLUMNS) for table, parts in tables.items()}
    return EvaluationResult(
        metrics=frames["evaluation_metrics"],
        uplift_table=frames["uplift_table"],
        curves=frames["evaluation_curves"],
        checks=frames["evaluation_checks"],
        exact=all(pair.exact for pair in measured.pairs),
    )


def of_arm(name: str, columns: Columns) -> Columns:
    """Return the columns with the arm's name before them."""
    return {"arm": [name] * len(next(iter(columns.values()))), **columns}
