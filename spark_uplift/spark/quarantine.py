"""Which rows can be used, and why the others can't; who a row's unit is; which half of the data it belongs
to.
 Nothing here depends on the order or partitioning of the rows (design E3): a unit without an id column is
named by a hash of its content and an occurrence number, the row kept of a unit that appears twice is the
first by content, and the split is a hash of the unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from spark_uplift.spark.columns import column as col
from spark_uplift.spark.source import Source

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

REASON, COLUMN, DETAIL = "_su_reason", "_su_column", "_su_detail"
"""Columns added by `mark_rows`; null in a row that can be used."""

REASONS = (
    "null_arm",
    "unknown_arm",
    "null_unit_id",
    "null_outcome",
    "not_finite_outcome",
    "null_weight",
    "not_finite_weight",
    "negative_weight",
    "null_propensity",
    "propensity_out_of_range",
    "null_cluster",
    "infinite_feature",
    "unit_in_two_arms",
    "duplicate_unit",
)
"""A row that has several gets the first."""

ARM_REASONS = ("null_arm", "unknown_arm")
TRAIN, HOLDOUT = "train", "holdout"


def mark_rows(frame: DataFrame, source: Source) -> DataFrame:
    """Add the reason why a row by itself can't be used.

    Parameters
    ----------
    frame : DataFrame
        `Source.frame`.

    Returns
    -------
    DataFrame
        With ``_su_reason``, ``_su_column`` (of the source) and ``_su_detail``, all null in a usable row.
    """
    rules = _row_rules(source)
    infinite = F.lit(None).cast("string")
    for name in reversed(source.numeric):
        infinite = F.when(F.abs(col(name)) == float("inf"), name).otherwise(infinite)
    reason = column = detail = F.lit(None).cast("string")
    reason = F.when(infinite.isNotNull(), "infinite_feature").otherwise(reason)
    column = infinite
    detail = F.when(infinite.isNotNull(), "infinite, expected a finite number or null").otherwise(detail)
    for name, broken, where, text in reversed(rules):
        reason = F.when(broken, name).otherwise(reason)
        column = F.when(broken, where).otherwise(column)
        detail = F.when(broken, text).otherwise(detail)
    return frame.select("*", reason.alias(REASON), column.alias(COLUMN), detail.alias(DETAIL))


def _row_rules(source: Source) -> list[tuple[str, Column, str, Column]]:
    """Return (reason, condition, column of the source, detail) in the order of `REASONS`."""
    arm, outcome, weight = F.col("arm"), F.col("outcome"), F.col("weight")
    propensity = F.col("propensity")
    rules = [("null_arm", arm.isNull(), source.treatment, F.lit("null, expected an arm"))]
    if source.arms is not None:
        expected = f", expected one of {list(source.arms)}"
        unknown = ~arm.isin(list(source.arms))
        rules.append(("unknown_arm", unknown, source.treatment, F.concat(arm, F.lit(expected))))
    if source.id:
        rules.append(("null_unit_id", F.col("unit_id").isNull(), source.id, F.lit("null, expected an id")))
    rules += [
        ("null_outcome", outcome.isNull(), source.outcome, F.lit("null, expected a number")),
        ("not_finite_outcome", ~finite(outcome), source.outcome, _got(outcome, "a finite number")),
    ]
    if source.weight:
        rules += [
            ("null_weight", weight.isNull(), source.weight, F.lit("null, expected a number >= 0")),
            ("not_finite_weight", ~finite(weight), source.weight, _got(weight, "a finite number >= 0")),
            ("negative_weight", weight < 0, source.weight, _got(weight, "a number >= 0")),
        ]
    if source.propensity:
        outside = F.isnan(propensity) | (propensity <= 0) | (propensity > 1)
        rules += [
            (
                "null_propensity",
                propensity.isNull(),
                source.propensity,
                F.lit("null, expected a number in (0, 1]"),
            ),
            ("propensity_out_of_range", outside, source.propensity, _got(propensity, "a number in (0, 1]")),
        ]
    if source.cluster:
        missing = F.col("cluster").isNull()
        rules.append(("null_cluster", missing, source.cluster, F.lit("null, expected a cluster")))
    return rules


def finite(value: Column) -> Column:
    """Return whether a number is neither NaN nor infinite; null stays null."""
    return ~F.isnan(value) & (F.abs(value) != float("inf"))


def _got(value: Column, expected: str) -> Column:
    return F.concat(value.cast("string"), F.lit(f", expected {expected}"))


def content_hash(names: list[str]) -> Column:
    """Return a 64-bit hash of a row's content that does not depend on the order of the columns.

    xxhash64 skips nulls, so (1, null) and (null, 1) would collide; the pattern of nulls goes in first.
    """
    ordered = sorted(names)
    pattern = F.concat(*[F.when(col(name).isNull(), "1").otherwise("0") for name in ordered])
    return F.xxhash64(pattern, *[col(name) for name in ordered])


def mark_units(marked: DataFrame, source: Source) -> DataFrame:
    """Name units without an id, and add the reasons that show only when rows are compared.

    A unit in two arms has seen both: all its rows are unusable. Of a unit's other rows the first by content
    stays, a usable one if there is any.

    Parameters
    ----------
    marked : DataFrame
        Result of `mark_rows`.
    """
    content = content_hash([name for name in marked.columns if not name.startswith("_su_")])
    # A second hash decides between rows whose first hashes collide; rows equal in both can change places.
    order = [F.col("_su_content"), F.col("_su_content_2")]
    second = F.hash(*[col(name) for name in sorted(marked.columns) if not name.startswith("_su_")])
    rows = marked.select("*", content.alias("_su_content"), second.alias("_su_content_2"))
    if not source.id:
        number = F.row_number().over(Window.partitionBy("_su_content").orderBy(*order))
        named = F.concat(F.lower(F.lpad(F.hex("_su_content"), 16, "0")), F.lit("-"), number.cast("string"))
        return rows.withColumn("unit_id", named).drop("_su_content", "_su_content_2")
    # Rows without an id must not meet in one giant group.
    key = F.coalesce(F.col("unit_id"), F.concat(F.lit("\0"), F.hex("_su_content")))
    unit = Window.partitionBy("_su_key")
    known = F.when(F.col(REASON).isNull() | ~F.col(REASON).isin(*ARM_REASONS), F.col("arm"))
    rows = rows.withColumn("_su_key", key).select(
        "*",
        (F.min(known).over(unit) != F.max(known).over(unit)).alias("_su_two"),
        F.row_number().over(unit.orderBy(F.col(REASON).isNotNull(), *order)).alias("_su_number"),
    )
    two, again = F.coalesce("_su_two", F.lit(False)), F.col("_su_number") > 1
    clean = F.col(REASON).isNull()
    rows = rows.withColumns(
        {
            DETAIL: F.when(clean & two, "the unit appears in more than one arm")
            .when(clean & again, "the unit has another row, which is kept")
            .otherwise(F.col(DETAIL)),
            COLUMN: F.when(clean & (two | again), source.id).otherwise(F.col(COLUMN)),
            REASON: F.when(clean & two, "unit_in_two_arms")
            .when(clean & again, "duplicate_unit")
            .otherwise(F.col(REASON)),
        }
    )
    return rows.drop("_su_content", "_su_content_2", "_su_key", "_su_two", "_su_number")


def split_column(seed: int, holdout: float) -> Column:
    """Return 'holdout' for about this share of the units (clusters, where there are any), 'train' for the
    others.

    The draw is xxHash64 with seed 42 of the UTF-8 text ``split:<seed>:<cluster or unit_id>``, its upper 53
    bits read as a fraction in [0, 1): a function of the unit alone, computable anywhere, and independent of
    the draws in ``core.sampling``, which start from the hash of the bare id.
    """
    key = F.coalesce(F.col("cluster"), F.col("unit_id"))
    draw = F.xxhash64(F.concat(F.lit(f"split:{seed}:"), key))
    fraction = F.shiftrightunsigned(draw, 11).cast("double") / F.lit(2.0**53)
    return F.when(fraction < F.lit(holdout), HOLDOUT).otherwise(TRAIN)


def unit_hash() -> Column:
    """Return the hash of the unit from which all randomness derives, see ``core.sampling``."""
    return F.xxhash64("unit_id")
