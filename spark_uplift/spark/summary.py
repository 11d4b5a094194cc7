"""From an experiment's rows to an `ExperimentSummary`.

ALGORITHM
    Four small jobs run side by side: rows per arm and reason with the moments of the outcome; a sample of the
    features, the first rows by content hash (so it is the same on any partitioning); levels of categorical
    features; units that appear twice. The driver cuts numeric features into bins by the sample. One pass of
    `mapInArrow` then counts arm x bin per feature, each partition into arrays of its own, and a small
    aggregation adds them up. What reaches the driver is the sample and one row a cell, whatever the size of
    the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Window
from pyspark.sql import functions as F

from spark_uplift.checks.summary import (
    CATEGORICAL,
    NUMERIC,
    ArmSummary,
    ExperimentSummary,
    FeatureSummary,
)
from spark_uplift.core.binning import RARE_LEVEL_ROWS
from spark_uplift.errors import DataError
from spark_uplift.spark.cells import CellCounts, count_cells, cut_feature
from spark_uplift.spark.columns import column as col
from spark_uplift.spark.parallel import side_by_side
from spark_uplift.spark.quarantine import ARM_REASONS, REASON, content_hash, finite, mark_rows
from spark_uplift.spark.source import Source

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row

TOP_LEVELS = 50
"""Categories that are counted apart; the rest shares a bin."""

SAMPLE_ROWS = 10_000
MAX_ARMS = 255
_MAX_GROUPS = 5_000  # more (arm, reason) pairs than a sound experiment can have


def summarise(source: Source, shares: Mapping[str, float] | None = None) -> ExperimentSummary:
    """Return what the checks need to know about an experiment.

    Parameters
    ----------
    source : Source
    shares : mapping of str to float, optional
        The design's shares of the arms, see ``source.design_shares``.

    Raises
    ------
    DataError
        If there are no rows, or the treatment column has more values than an experiment can have arms.
    """
    rows = mark_rows(source.frame(), source)
    groups, sample, levels, units, clusters = side_by_side(
        lambda: _arm_groups(rows),
        lambda: _sample(rows, source),
        lambda: _levels(rows, source),
        lambda: _units(rows, source),
        lambda: _clusters(rows, source),
    )
    arms = known_arms(source, [group["arm"] for group in groups if group[REASON] not in ARM_REASONS])
    if not sum(group["rows"] for group in groups):
        raise DataError(
            f"The experiment's source {source.name!r} has no rows. Hint: check the path and its filters."
        )
    arm_summaries = tuple(_arm(arm, groups, clusters) for arm in arms)
    low = min((arm.minimum for arm in arm_summaries if arm.outcome_rows), default=0.0)
    outcomes = np.asarray(sample["outcome"].to_numpy(), np.float64)
    cut = max(low, float(np.median(outcomes))) if outcomes.size else low
    bins = [cut_feature(name, source, sample, levels) for name in source.features]
    cells = count_cells(rows.where(_known()), arms, bins, cut)
    measured = [group for group in groups if group["outcome_rows"] and group[REASON] not in ARM_REASONS]
    return ExperimentSummary(
        treatment=source.treatment,
        outcome=source.outcome,
        control=source.control,
        rows=sum(group["rows"] for group in groups),
        arms=arm_summaries,
        shares=shares,
        null_arm=sum(group["rows"] for group in groups if group[REASON] == "null_arm"),
        unknown_arms=_unknown(groups),
        quarantined=_quarantined(groups, units),
        has_id=source.id is not None,
        duplicate_rows=units["again"],
        units_in_two_arms=units["two"],
        outcome_values=int(np.unique(outcomes).size),
        outcome_binary=bool(measured) and not any(group["not_binary"] for group in measured),
        outcome_whole=bool(measured) and not any(group["not_whole"] for group in measured),
        outcome_cut=cut,
        features=tuple(
            _feature(name, source, counted, sample, levels)
            for name, counted in zip(source.features, cells, strict=True)
        ),
    )


def known_arms(source: Source, found: Sequence[str | None]) -> tuple[str, ...]:
    """Return the arms, control first: the expected ones, or else all that were found.

    Raises
    ------
    DataError
        If there are more than `MAX_ARMS`.
    """
    arms = set(source.arms) if source.arms is not None else {arm for arm in found if arm is not None}
    if len(arms) > MAX_ARMS:
        raise DataError(
            f"The column {source.treatment!r} (experiment.treatment) must have at most {MAX_ARMS} arms. Got "
            f"{len(arms):,} or more instead. Hint: is it the column of the arm, and not of an id or an "
            "amount?"
        )
    return (source.control, *sorted(arms - {source.control}))


def _arm_groups(rows: DataFrame) -> list[Row]:
    outcome = F.when(finite(F.col("outcome")), F.col("outcome"))
    return (
        rows.groupBy("arm", REASON)
        .agg(
            F.count(F.lit(1)).alias("rows"),
            F.count(outcome).alias("outcome_rows"),
            F.avg(outcome).alias("mean"),
            F.var_pop(outcome).alias("variance"),
            F.min(outcome).alias("minimum"),
            F.max(outcome).alias("maximum"),
            F.count_if(~outcome.isin(0.0, 1.0)).alias("not_binary"),
            F.count_if(outcome != F.floor(outcome)).alias("not_whole"),
        )
        .orderBy(F.desc("rows"), "arm", REASON)
        .limit(_MAX_GROUPS)
        .collect()
    )


def _arm(arm: str, groups: Sequence[Row], clusters: Mapping[str, int] | None) -> ArmSummary:
    """Join the parts of an arm that have different reasons (Chan et al. 1979 for the variance)."""
    parts = [group for group in groups if group["arm"] == arm and group[REASON] not in ARM_REASONS]
    rows, filled = sum(part["rows"] for part in parts), [part for part in parts if part["outcome_rows"]]
    clustered = None if clusters is None else clusters.get(arm, 0)
    n = sum(part["outcome_rows"] for part in filled)
    if not n:
        return ArmSummary(arm, rows, clusters=clustered)
    mean = sum(part["outcome_rows"] * part["mean"] for part in filled) / n
    squares = sum(part["outcome_rows"] * (part["variance"] + (part["mean"] - mean) ** 2) for part in filled)
    return ArmSummary(
        arm,
        rows,
        outcome_rows=n,
        mean=mean,
        variance=squares / (n - 1) if n > 1 else float("nan"),
        minimum=min(part["minimum"] for part in filled),
        maximum=max(part["maximum"] for part in filled),
        clusters=clustered,
    )


def _quarantined(groups: Sequence[Row], units: Mapping[str, int]) -> dict[str, int]:
    """Return the rows that can't be used by reason."""
    rows = Counter({"duplicate_unit": units["again"], "unit_in_two_arms": units["two"]})
    for group in groups:
        if group[REASON] is not None:
            rows[group[REASON]] += group["rows"]
    return {reason: number for reason, number in rows.items() if number}


def _unknown(groups: Sequence[Row]) -> dict[str, int]:
    return {group["arm"]: group["rows"] for group in groups if group[REASON] == "unknown_arm"}


def _sample(rows: DataFrame, source: Source) -> pa.Table:
    """Return outcome and numeric features of the first rows by content hash, among those with an arm and
    outcome.
    """
    usable = (F.col(REASON).isNull() | (F.col(REASON) == "infinite_feature")) & finite(F.col("outcome"))
    hashed = content_hash([name for name in rows.columns if not name.startswith("_su_")])
    picked = rows.where(usable).select("outcome", *map(col, source.numeric), hashed.alias("_su_content"))
    return picked.orderBy("_su_content").limit(SAMPLE_ROWS).drop("_su_content").toArrow()


def _levels(rows: DataFrame, source: Source) -> dict[str, Row]:
    """Return per categorical feature: distinct and frequent levels, the top ones, and how many read as
    numbers.
    """
    names = [name for name in source.features if name in source.categorical]
    if not names:
        return {}
    pairs = F.array(*[F.struct(F.lit(name).alias("feature"), col(name).alias("level")) for name in names])
    counted = (
        rows.where(_known())
        .select(F.inline(pairs))
        .where("level is not null")
        .groupBy("feature", "level")
        .agg(F.count(F.lit(1)).alias("n"))
    )
    place = F.row_number().over(Window.partitionBy("feature").orderBy(F.desc("n"), "level"))
    number = F.col("level").try_cast("double").isNotNull()
    found = (
        counted.withColumn("place", place)
        .groupBy("feature")
        .agg(
            F.count(F.lit(1)).alias("distinct"),
            F.count_if(F.col("n") >= RARE_LEVEL_ROWS).alias("frequent"),
            F.sum(F.when(number, F.col("n")).otherwise(0)).alias("numbers"),
            F.min(F.when(~number, F.col("level"))).alias("example"),
            F.sort_array(
                F.collect_list(F.when(F.col("place") <= TOP_LEVELS, F.struct("place", "level", "n")))
            ).alias("top"),
        )
        .collect()
    )
    return {row["feature"]: row for row in found}


def _known() -> Column:
    return F.col(REASON).isNull() | ~F.col(REASON).isin(*ARM_REASONS)


def _units(rows: DataFrame, source: Source) -> Mapping[str, int]:
    """Return how many usable rows repeat a unit or belong to a unit in two arms; `quarantine.mark_units`
    marks the same.
    """
    if source.id is None:
        return {"again": 0, "two": 0}
    usable = F.count_if(F.col(REASON).isNull())
    known = F.when(_known(), F.col("arm"))
    units = (
        rows.where("unit_id is not null")
        .groupBy("unit_id")
        .agg(usable.alias("n"), F.coalesce(F.min(known) != F.max(known), F.lit(False)).alias("two"))
    )
    found = units.agg(
        F.sum(F.when(~F.col("two") & (F.col("n") > 1), F.col("n") - 1).otherwise(0)).alias("again"),
        F.sum(F.when(F.col("two"), F.col("n")).otherwise(0)).alias("two"),
    ).first()
    assert found is not None  # an aggregate without groups has one row
    return {"again": found["again"] or 0, "two": found["two"] or 0}


def _clusters(rows: DataFrame, source: Source) -> dict[str, int] | None:
    if source.cluster is None:
        return None
    counted = rows.where(_known()).groupBy("arm").agg(F.count_distinct("cluster").alias("n"))
    return {row["arm"]: row["n"] for row in counted.collect()}


def _feature(
    name: str, source: Source, counted: CellCounts, sample: pa.Table, levels: Mapping[str, Row]
) -> FeatureSummary:
    missing = counted.cells.rows[:, -1] - counted.infinite
    has_values = bool(counted.cells.rows.sum() > missing.sum())
    common: dict[str, Any] = {
        "name": name,
        "missing": tuple(int(n) for n in missing),
        "cells": counted.cells if has_values else None,
    }
    if name not in source.categorical:
        values = np.asarray(sample[name].to_numpy(), np.float64)
        return FeatureSummary(
            kind=NUMERIC,
            infinite=int(counted.infinite.sum()),
            distinct=int(np.unique(values[np.isfinite(values)]).size),
            minimum=counted.minimum,
            maximum=counted.maximum,
            **common,
        )
    row = levels.get(name)
    if row is None:
        return FeatureSummary(kind=CATEGORICAL, **common)
    return FeatureSummary(
        kind=CATEGORICAL,
        distinct=row["distinct"],
        levels=tuple((item["level"], item["n"]) for item in row["top"]),
        frequent_levels=row["frequent"],
        number_rows=row["numbers"] if name in source.text else 0,
        text_example=row["example"] if name in source.text else None,
        **common,
    )
