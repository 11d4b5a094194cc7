"""What an evaluation reads: the user's scored rows as a frame of fixed names, checked in one pass.

The frame has the columns ``label string, y, w, e double, unit bigint`` and the scores ``s0, s1, … double``;
`Prepared.coded` adds ``arm int`` (0 control, k the k-th treatment) and, with several scores, ``top double``
(the largest) and ``best int`` (its arm, the first of equal ones).
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
        Their names, in order.
    scores : int
        Number of score columns: one a treatment, or 1 for the treatment that was asked for.
    logged : bool
        Whether propensities are logged.
    rows : int
        Number of rows.
    binary : bool
        Whether every outcome is 0 or 1.
    bounds : dict of str to float
        Largest absolute value of w, wy, wyy, ww (all with w/e for w) and mass (plain w).
    """

    frame: DataFrame
    treatments: tuple[str, ...]
    scores: int
    logged: bool
    rows: int
    binary: bool
    bounds: dict[str, float]

    def coded(self) -> DataFrame:
        """Return the frame with ``arm`` and, with several scores, ``top`` and ``best``."""
        from pyspark.sql import functions as F

        arm: Any = F
        for code, name in enumerate(self.treatments, start=1):
            arm = arm.when(F.col("label") == name, code)
        coded = self.frame.withColumn("arm", arm.otherwise(0))
        if self.scores == 1:
            return coded
        names = [f"s{k}" for k in range(self.scores)]
        best: Any = F
        for code, name in enumerate(names, start=1):
            best = best.when(F.col(name) == F.col("top"), code)
        return coded.withColumn("top", F.greatest(*names)).withColumn("best", best)


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


def _flat(frame: DataFrame, width: int) -> DataFrame:
    """Return the frame with a column for each score: arrays are slow to look into."""
    from pyspark.sql import functions as F

    scores = [F.get(F.col("scores"), F.lit(k)).alias(f"s{k}") for k in range(width)]
    return frame.select("label", "y", "w", "e", "unit", *scores, F.size("scores").alias("size"))


def _summarise(frame: DataFrame, width: int) -> list[Row]:
    """Return one row an arm: counts of unusable values, and the bounds of the additive values."""
    from pyspark.sql import functions as F

    y, w, e = (F.col(name) for name in ("y", "w", "e"))
    # ANSI mode refuses to divide by 0; such rows are reported as faults and their bounds never used.
    weight = F.when((e > 0) & (e <= 1), w / e)

    def count(condition: Column) -> Column:
        return F.sum(F.when(condition, 1).otherwise(0))

    bad_score = F.lit(False)
    for k in range(width):
        bad_score = bad_score | _unusable(F.col(f"s{k}"))
    sums = [
        count(_unusable(y)).alias("bad_y"),
        count(_unusable(w)).alias("bad_w"),
        count(w < 0).alias("negative_w"),
        count(_unusable(e) | (e <= 0) | (e > 1)).alias("bad_e"),
        count((F.col("size") == width) & bad_score | F.col("size").isNull() | (F.col("size") < 0)).alias(
            "bad_score"
        ),
        count((F.col("size") >= 0) & (F.col("size") != width)).alias("bad_size"),
        count((y != 0) & (y != 1)).alias("not_binary"),
        F.max(weight).alias("w"),
        F.max(F.abs(weight * y)).alias("wy"),
        F.max(weight * y * y).alias("wyy"),
        F.max(weight * weight).alias("ww"),
        F.max(w).alias("mass"),
    ]
    return list(frame.groupBy("label").agg(F.count("*").alias("n"), *sums).collect())


_BOUNDS = ("w", "wy", "wyy", "ww", "mass")
_COUNTS = ("n", "bad_y", "bad_w", "negative_w", "bad_e", "bad_score", "bad_size", "not_binary")


def _total(found: Sequence[Row]) -> dict[str, Any]:
    """Return the summary of all arms."""
    counts = {name: sum(row[name] for row in found) for name in _COUNTS}
    return counts | {name: max(row[name] or 0.0 for row in found) for name in _BOUNDS}


def _row_faults(
    total: dict[str, Any], columns: ScoredColumns, width: int, treatments: Sequence[str]
) -> list[str]:
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
        flat = _flat(frame, width)
        found = _summarise(flat, width)
        total = _total(found)
        treatments, faults = _arms({row["label"]: int(row["n"]) for row in found}, columns)
        # One score, about the one arm that was asked for, needs no order of treatments.
        single = width == 1 and columns.arm is not None
        faults += _row_faults(total, columns, width, treatments[:1] if single else treatments)
        if faults:
            raise DataError(faults)
        yield Prepared(
            frame=flat.drop("size"),
            treatments=treatments,
            scores=width,
            logged=columns.propensity is not None,
            rows=total["n"],
            binary=not total["not_binary"],
            bounds={name: float(total[name]) for name in _BOUNDS},
        )
