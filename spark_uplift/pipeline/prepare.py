"""The use case ``prepare``: split the source into usable and quarantined rows and write the training view.
 Every row of the source ends in ``training_view`` or, with its reason, in ``quarantine``; the sums are
checked before and after writing. The row of ``experiments`` is written last, so a run that has it is
complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as F

from spark_uplift import schemas
from spark_uplift.checks import FAIL, CheckResult
from spark_uplift.checks.wording import count, listed, percent
from spark_uplift.errors import CheckFailedError, DataError, nearest
from spark_uplift.pipeline.audit import public_text
from spark_uplift.pipeline.check import Context
from spark_uplift.spark import tables
from spark_uplift.spark.columns import column as col
from spark_uplift.spark.parallel import side_by_side
from spark_uplift.spark.quarantine import (
    COLUMN,
    DETAIL,
    HOLDOUT,
    REASON,
    TRAIN,
    mark_rows,
    mark_units,
    split_column,
    unit_hash,
)
from spark_uplift.spark.source import Source
from spark_uplift.spark.summary import known_arms

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession

    from spark_uplift.config import RunConfig


@dataclass(frozen=True)
class Counts:
    """Rows in and out.

    Parameters
    ----------
    rows_in, rows_used, rows_quarantined : int
        Rows of the source, of the training view and of the quarantine.
    reasons : mapping of str to int
        Quarantined rows by reason, most frequent first.
    arms : mapping of str to int
        Usable rows by arm, control first.
    splits : mapping of str to int
        Usable rows in ``train`` and ``holdout``.
    """

    rows_in: int
    rows_used: int
    rows_quarantined: int
    reasons: Mapping[str, int]
    arms: Mapping[str, int]
    splits: Mapping[str, int]


@dataclass(frozen=True)
class Prepared:
    """The rows of ``training_view``, ``quarantine`` and ``experiments``, and what they add up to.

    Both DataFrames come from `cached`, which `release` frees.
    """

    view_df: DataFrame
    quarantine_df: DataFrame
    experiment_row: dict[str, Any]
    counts: Counts
    cached: DataFrame

    def release(self) -> None:
        """Give the memory of the cached rows back."""
        self.cached.unpersist()


def build_training_view(spark: SparkSession, config: RunConfig, source: Source, run_id: str) -> Prepared:
    """Split the source's rows; nothing is written.

    Raises
    ------
    DataError
        If there are no rows, no control, one arm only, or an arm without rows in one half of the data.
    CheckFailedError
        If more rows than ``checks.max_quarantined_share`` can't be used.
    """
    marked = mark_units(mark_rows(source.frame(), source), source)
    marked = marked.withColumn("_su_split", split_column(config.seed, config.split.holdout))
    marked = _kept(marked)
    rows_in, groups = side_by_side(
        source.df.count, marked.groupBy("arm", REASON, "_su_split").count().collect
    )
    counts = _counts(source, rows_in, groups)
    _require_usable(source, config, counts, groups)
    view = marked.where(F.col(REASON).isNull()).select(
        F.lit(run_id).alias("run_id"),
        "unit_id",
        unit_hash().alias("unit_hash"),
        *(F.col(name) for name in ("arm", "outcome", "weight", "propensity", "cluster")),
        F.col("_su_split").alias("split"),
        *(col(name) for name in source.features),
    )
    quarantine = marked.where(F.col(REASON).isNotNull()).select(
        F.lit(run_id).alias("run_id"),
        "unit_id",
        F.col(REASON).alias("reason"),
        F.col(COLUMN).alias("column_name"),
        F.col(DETAIL).alias("detail"),
        F.current_timestamp().alias("quarantined_at"),
    )
    experiment = {
        "run_id": run_id,
        "name": config.name,
        "source": public_text(source.name),
        "source_version": source.version,
        "treatment": source.treatment,
        "control": source.control,
        "outcome": source.outcome,
        "features": list(source.features),
        "rows_in": counts.rows_in,
        "rows_quarantined": counts.rows_quarantined,
        "created_at": datetime.now(timezone.utc),
    }
    return Prepared(view, quarantine, experiment, counts, marked)


def prepare(context: Context) -> Counts:
    """Write ``training_view``, ``quarantine``, ``assignments`` and, last, ``experiments``.

    Raises
    ------
    DataError, CheckFailedError
        See `build_training_view`; nothing has been written then.
    TableError
        If the warehouse can't be written.
    """
    spark, warehouse, run_id = context.spark, context.config.warehouse, context.run_id
    prepared = build_training_view(spark, context.config, context.source, run_id)
    assignments = prepared.view_df.select(
        *("run_id", "unit_id", "arm", "propensity", "split"),
        F.current_timestamp().alias("assigned_at"),
        *(F.lit(None).cast("string").alias(name) for name in ("stratum", "recommended")),
    )

    def written(frame: DataFrame, name: str) -> int:
        tables.write(spark, frame, warehouse, name, run_id=run_id)
        return tables.read(spark, warehouse, name, {"run_id": run_id}).count()

    try:
        used, quarantined, _ = side_by_side(
            lambda: written(prepared.view_df, "training_view"),
            lambda: written(prepared.quarantine_df, "quarantine"),
            lambda: tables.write(spark, assignments, warehouse, "assignments", run_id=run_id),
        )
    finally:
        prepared.release()
    _require_sum(context.source, prepared.counts.rows_in, used, quarantined)
    columns = schemas.table("experiments").columns
    schema = ", ".join(f"`{column.name}` {column.type}" for column in columns)
    row = tuple(prepared.experiment_row[column.name] for column in columns)
    tables.write(spark, spark.createDataFrame([row], schema), warehouse, "experiments", run_id=run_id)
    return prepared.counts


def _kept(df: DataFrame) -> DataFrame:
    """Keep the rows for the four uses that follow, where the platform can; serverless Spark can't, and
    recomputes.
    """
    try:
        return df.persist()
    except Exception:
        return df


def _counts(source: Source, rows_in: int, groups: list[Row]) -> Counts:
    reasons: Counter[str] = Counter()
    arms: Counter[str] = Counter()
    splits: Counter[str] = Counter({TRAIN: 0, HOLDOUT: 0})
    for group in groups:
        if group[REASON] is not None:
            reasons[group[REASON]] += group["count"]
        else:
            arms[group["arm"]] += group["count"]
            splits[group["_su_split"]] += group["count"]
    if rows_in == 0:
        raise DataError(
            f"The experiment's source {source.name!r} has no rows. Hint: check the path and its filters."
        )
    _require_sum(source, rows_in, sum(arms.values()), sum(reasons.values()))
    known_arms(source, list(arms))
    return Counts(
        rows_in=rows_in,
        rows_used=sum(arms.values()),
        rows_quarantined=sum(reasons.values()),
        reasons=dict(reasons.most_common()),
        arms=dict(sorted(arms.items(), key=lambda item: (item[0] != source.control, item[0]))),
        splits=dict(splits),
    )


def _require_sum(source: Source, rows_in: int, used: int, quarantined: int) -> None:
    if rows_in != used + quarantined:
        raise DataError(
            f"The source {source.name!r} changed while it was read: {count(rows_in)} rows came in, but "
            f"{count(used)} were "
            f"used and {count(quarantined)} quarantined. Hint: run the job again when nothing writes to it."
        )


def _require_usable(source: Source, config: RunConfig, counts: Counts, groups: list[Row]) -> None:
    """Raise when too many rows can't be used, or what is left is no experiment."""
    share, limit = counts.rows_quarantined / counts.rows_in, config.checks.max_quarantined_share
    by_reason = ", ".join(f"{reason} {count(n)}" for reason, n in counts.reasons.items())
    seen = sorted({group["arm"] for group in groups if group["arm"] is not None})
    if source.control not in counts.arms:
        near = nearest(source.control, [arm for arm in seen if arm != source.control])
        hint = f"did you mean {near!r}?" if near else "set experiment.control to one of the arms"
        lost = f" Rows that can't be used: {by_reason}." if by_reason else ""
        raise DataError(
            f"No usable row of column {source.treatment!r} has the control arm {source.control!r}; it has "
            f"{listed(seen) or 'no arm at all'}.{lost} Hint: {hint}."
        )
    if len(counts.arms) < 2:
        raise DataError(
            f"Column {source.treatment!r} has one arm only among the usable rows, {source.control!r}: "
            "there is nothing to "
            "compare it with. Hint: an uplift model needs the control and at least one treatment."
        )
    if share > limit and "quarantined_share" not in config.checks.warn_only:
        message = (
            f"{count(counts.rows_quarantined)} of {count(counts.rows_in)} rows ({percent(share)}) can't "
            "be used, more "
            f"than checks.max_quarantined_share = {percent(limit)}: {by_reason}."
        )
        hint = "Mend the source, or raise the limit when the loss is understood."
        finding = CheckResult("quarantined_share", FAIL, message, None, share, limit, "share", hint)
        raise CheckFailedError(f"{message} Hint: {hint}", [finding])
    _require_halves(config, counts, groups)


def _require_halves(config: RunConfig, counts: Counts, groups: list[Row]) -> None:
    filled = {(group["arm"], group["_su_split"]) for group in groups if group[REASON] is None}
    lacking = [
        f"{arm!r} has none in {half}"
        for arm in counts.arms
        for half in (TRAIN, HOLDOUT)
        if (arm, half) not in filled
    ]
    if lacking:
        raise DataError(
            "Every arm must have usable rows in both halves of the data (split.holdout = "
            f"{config.split.holdout:g}). Got "
            f"{count(counts.rows_used)} rows, of which {', '.join(lacking)}. Hint: use more rows, or "
            "leave the arm out."
        )
