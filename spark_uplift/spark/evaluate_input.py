"""What an evaluation reads: the user's scored rows as a frame of fixed names, checked in one pass.

The frame has the columns ``label string, y, w, e double, scores array<double>, unit bigint``;
`Prepared.coded` adds ``arm int`` (0 control, k the k-th treatment) and ``best int`` (the arm with the largest
score, the first of equal ones).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_uplift.errors import ColumnNotFoundError, DataError, bad_value, nearest
from spark_uplift.spark.columns import Columns, column, is_number, unit_hash

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row

__all__ = ["Prepared", "ScoredColumns", "prepare"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScoredColumns:
    """Columns and arms of scored rows; None for a role that is not filled.

    Parameters
    ----------
    treatment, control : str
        Column of the arm, and the value that is control.
    label, score : str
        Outcome; predicted effect(s): an array with one value a treatment, or a number.
    arm : str or None
        The one treatment to evaluate.
    treatments : tuple of str or None
        Treatments in the order of the scores; None: the arms in the data, sorted.
    weight, propensity, unit, cluster : str or None
        Optional columns.
    """

    treatment: str
    control: str
    label: str
    score: str = "uplift"
    arm: str | None = None
    treatments: tuple[str, ...] | None = None
    weight: str | None = None
    propensity: str | None = None
    unit: str | None = None
    cluster: str | None = None

    def named(self) -> list[str]:
        """Return every column name that is used."""
        optional = (self.weight, self.propensity, self.unit, self.cluster)
        return [self.treatment, self.label, self.score, *(name for name in optional if name is not None)]


@dataclass(frozen=True)
class Prepared:
    """Checked rows and what one pass found out about them.

    Parameters
    ----------
    frame : DataFrame
        See the module.
    treatments : tuple of str
        In the order of the scores.
    logged : bool
        Whether propensities are logged.
    rows : int
        Number of rows.
    binary : bool
        Whether every outcome is 0 or 1.
    bounds : dict of str to float
        Largest absolute value of w, wy, wyy, ww (all with w/e for w) and mass (plain w).
    distinct : tuple of int
        About how many distinct scores each treatment has, then the largest score over treatments.
    """

    frame: DataFrame
    treatments: tuple[str, ...]
    logged: bool
    rows: int
    binary: bool
    bounds: dict[str, float]
    distinct: tuple[int, ...]

    def coded(self) -> DataFrame:
        """Return the frame with ``arm`` and ``best``."""
        from pyspark.sql import functions as F

        names = F.array(*[F.lit(name) for name in self.treatments])
        best = F.array_position("scores", F.array_max("scores"))
        return self.frame.withColumns(
            {"arm": F.array_position(names, F.col("label")).cast("int"), "best": best.cast("int")}
        )


def check_types(df: DataFrame, columns: ScoredColumns) -> None:
    """Check names and types of the columns.

    Raises
    ------
    ColumnNotFoundError
        Columns are missing; names the nearest ones.
    DataError
        Types are unusable; all faults together.
    """
    kinds = {field.name: field.dataType for field in df.schema.fields}
    missing = [name for name in columns.named() if name not in kinds]
    if missing:
        raise ColumnNotFoundError.of(missing, list(kinds))
    faults = []
    for role, name in (
        ("label", columns.label),
        ("weight", columns.weight),
        ("propensity", columns.propensity),
    ):
        boolean_label = name is not None and role == "label" and kinds[name].typeName() == "boolean"
        if name is not None and not is_number(kinds[name]) and not boolean_label:
            faults.append(
                f"The {role} column '{name}' must hold numbers. Got {kinds[name].simpleString()} instead."
            )
    kind = kinds[columns.score]
    inner = getattr(kind, "elementType", kind)
    if not is_number(inner):
        faults.append(
            f"The score column '{columns.score}' must hold numbers or arrays of numbers. "
            f"Got {kind.simpleString()} instead."
        )
    if faults:
        raise DataError(faults)


def _compact(df: DataFrame, columns: ScoredColumns) -> DataFrame:
    from pyspark.sql import functions as F

    def optional(name: str | None) -> Column:
        return F.lit(1.0) if name is None else column(name).cast("double")

    is_array = df.schema[columns.score].dataType.typeName() == "array"
    score = column(columns.score)
    scores = score.cast("array<double>") if is_array else F.array(score.cast("double"))
    # Without an id the content stands for the unit: the more columns, the fewer rows that look the same.
    content = tuple(f.name for f in df.schema.fields if f.dataType.typeName() not in ("map", "variant"))
    hashed = unit_hash(df, Columns(features=content, unit=columns.unit, cluster=columns.cluster))
    return hashed.select(
        column(columns.treatment).cast("string").alias("label"),
        column(columns.label).cast("double").alias("y"),
        optional(columns.weight).alias("w"),
        optional(columns.propensity).alias("e"),
        scores.alias("scores"),
        F.col("__unit").alias("unit"),
    )


def _unusable(value: Column) -> Column:
    from pyspark.sql import functions as F

    return value.isNull() | F.isnan(value) | (F.abs(value) == float("inf"))


def _summarise(frame: DataFrame, width: int) -> list[Row]:
    """Return one row an arm, and one for all rows (``everything`` = 1)."""
    from pyspark.sql import functions as F

    y, w, e, scores = (F.col(name) for name in ("y", "w", "e", "scores"))
    # ANSI mode refuses to divide by 0; such rows are reported as faults and their bounds never used.
    weight = F.when((e > 0) & (e <= 1), w / e)

    def count(condition: Column) -> Column:
        return F.sum(F.when(condition, 1).otherwise(0))

    sums = [
        count(_unusable(y)).alias("bad_y"),
        count(_unusable(w)).alias("bad_w"),
        count(w < 0).alias("negative_w"),
        count(_unusable(e) | (e <= 0) | (e > 1)).alias("bad_e"),
        count(scores.isNull() | F.exists(scores, _unusable)).alias("bad_score"),
        count(F.size(scores) != width).alias("bad_size"),
        count((y != 0) & (y != 1)).alias("not_binary"),
        F.max(weight).alias("w"),
        F.max(F.abs(weight * y)).alias("wy"),
        F.max(weight * y * y).alias("wyy"),
        F.max(weight * weight).alias("ww"),
        F.max(w).alias("mass"),
        *[F.approx_count_distinct(F.get(scores, F.lit(k))).alias(f"distinct{k}") for k in range(width)],
        F.approx_count_distinct(F.array_max(scores)).alias(f"distinct{width}"),
    ]
    grouped = frame.rollup("label").agg(
        F.grouping("label").alias("everything"), F.count("*").alias("n"), *sums
    )
    return list(grouped.collect())


def _row_faults(total: Row, columns: ScoredColumns, width: int, treatments: Sequence[str]) -> list[str]:
    checks = (
        ("bad_y", columns.label, "outcomes are null, NaN or infinite"),
        ("bad_w", columns.weight, "weights are null, NaN or infinite"),
        ("negative_w", columns.weight, "weights are negative"),
        ("bad_e", columns.propensity, "propensities are null or outside (0, 1]"),
        ("bad_score", columns.score, "scores are null, NaN or infinite"),
        ("bad_size", columns.score, f"scores have another length than {width}, that of the first row"),
    )
    faults = [f"Column '{name}': {total[key]} {text}." for key, name, text in checks if total[key] and name]
    if width != len(treatments):
        faults.append(
            f"Column '{columns.score}': {width} scores a row, but there are {len(treatments)} treatments "
            f"{list(treatments)}. Hint: pass treatmentNames= in their order, or arm= with one score."
        )
    return faults


def _arms(counts: dict[str | None, int], columns: ScoredColumns) -> tuple[tuple[str, ...], list[str]]:
    """Return the treatments in the order of the scores, and faults."""
    faults = []
    found = sorted(arm for arm in counts if arm is not None)
    if None in counts:
        faults.append(f"Column '{columns.treatment}': {counts[None]} arms are null.")
    if columns.control not in counts:
        near = nearest(columns.control, found)
        hint = f" Hint: did you mean {near!r}?" if near else ""
        faults.append(
            f"Column '{columns.treatment}': there are no control rows, no value equals {columns.control!r}. "
            f"Values found: {found[:20]}.{hint}"
        )
    treatments = columns.treatments or tuple(arm for arm in found if arm != columns.control)
    unknown = [arm for arm in found if arm != columns.control and arm not in treatments]
    if unknown:
        faults.append(
            f"Column '{columns.treatment}': unknown arms {unknown}. Treatments: {list(treatments)}."
        )
    if columns.arm is not None and columns.arm not in treatments:
        near = nearest(columns.arm, treatments)
        faults.append(
            bad_value(
                "arm",
                "evaluate",
                f"one of {list(treatments)}",
                columns.arm,
                near and f"did you mean {near!r}?",
            )
        )
    for arm in [columns.arm] if columns.arm in treatments else treatments:
        if arm not in counts:
            faults.append(f"Column '{columns.treatment}': there are no rows of the treatment {arm!r}.")
    if not treatments:
        faults.append(f"Column '{columns.treatment}': there are no treated rows, only {columns.control!r}.")
    return treatments, faults


@contextmanager
def _kept(frame: DataFrame) -> Iterator[DataFrame]:
    """Keep a frame between passes where Spark can; scoring above it would otherwise run once a pass."""
    kept = False
    try:
        frame.persist()
        kept = True
    except Exception as error:  # serverless compute refuses it with an error of its own
        _LOG.info("scored rows can't be kept between passes here and are read again for each: %s", error)
    try:
        yield frame
    finally:
        if kept:
            frame.unpersist()


@contextmanager
def prepare(df: DataFrame, columns: ScoredColumns) -> Iterator[Prepared]:
    """Check scored rows, and keep them for the passes that follow.

    Parameters
    ----------
    df : DataFrame
        Scored rows of an experiment.
    columns : ScoredColumns
        Their roles.

    Raises
    ------
    ColumnNotFoundError, DataError
        All faults of a stage (names and types, then values) together.
    """
    from pyspark.sql import functions as F

    check_types(df, columns)
    with _kept(_compact(df, columns)) as frame:
        first = frame.select(F.size("scores")).head()
        if first is None:
            raise DataError(
                "The scored table has no rows. Hint: look at the filter or the split that made it."
            )
        width = max(int(first[0] or 0), 1)
        found = _summarise(frame, width)
        total = next(row for row in found if row["everything"])
        counts = {row["label"]: int(row["n"]) for row in found if not row["everything"]}
        treatments, faults = _arms(counts, columns)
        single = width == 1 and columns.arm is not None and len(treatments) > 1
        if single:  # one score, about the one arm that was asked for
            frame = _spread(frame, treatments, columns.arm)
        faults += _row_faults(total, columns, width, (columns.arm or "",) if single else treatments)
        if faults:
            raise DataError(faults)
        yield _prepared(frame, treatments, columns, total, width if not single else 0)


def _spread(frame: DataFrame, treatments: Sequence[str], arm: str | None) -> DataFrame:
    from pyspark.sql import functions as F

    score = F.get(F.col("scores"), F.lit(0))
    return frame.withColumn("scores", F.array(*[score if name == arm else F.lit(0.0) for name in treatments]))


def _prepared(
    frame: DataFrame, treatments: tuple[str, ...], columns: ScoredColumns, total: Row, width: int
) -> Prepared:
    every: list[Any] = [total[f"distinct{k}"] for k in range(width + 1)]
    distinct = every if width else every * (len(treatments) + 1)
    return Prepared(
        frame=frame,
        treatments=treatments,
        logged=columns.propensity is not None,
        rows=int(total["n"]),
        binary=not total["not_binary"],
        bounds={name: float(total[name]) for name in ("w", "wy", "wyy", "ww", "mass")},
        distinct=tuple(int(count) for count in distinct),
    )
