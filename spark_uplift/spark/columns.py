"""Which column plays which role, and the one frame that training reads: fixed names, fixed types.

Column names of users may hold anything; inside, columns are called ``arm``, ``y``, ``w``, ``e``, ``unit`` and ``f0``,
``f1``, … A feature is numeric (any number type, cast to double) or categorical (text and booleans).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_uplift.errors import ColumnNotFoundError, DataError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType


@dataclass(frozen=True)
class Columns:
    """Names of the user's columns; None for a role that is not filled."""

    features: tuple[str, ...]
    treatment: str | None = None
    label: str | None = None
    unit: str | None = None
    weight: str | None = None
    propensity: str | None = None
    cluster: str | None = None

    def named(self) -> list[str]:
        """Return every column name that is used, each once."""
        roles = (self.treatment, self.label, self.unit, self.weight, self.propensity, self.cluster)
        return list(dict.fromkeys([*self.features, *(name for name in roles if name is not None)]))


def column(name: str) -> Column:
    """Return the column called exactly ``name``: dots and backticks in it are part of the name."""
    from pyspark.sql import functions as F

    return F.col("`" + name.replace("`", "``") + "`")


def is_number(kind: DataType) -> bool:
    """Say whether a type is numeric."""
    from pyspark.sql.types import NumericType

    return isinstance(kind, NumericType)


def is_category(kind: DataType) -> bool:
    """Say whether a type is treated as a category."""
    from pyspark.sql.types import BooleanType, CharType, StringType, VarcharType

    return isinstance(kind, (StringType, CharType, VarcharType, BooleanType))


def validate(df: DataFrame, columns: Columns) -> dict[str, DataType]:
    """Check that the columns exist and have usable types; return the types by name.

    Raises
    ------
    ColumnNotFoundError
        When columns are missing; names the nearest ones.
    DataError
        For all columns of an unusable type together.
    """
    kinds = {field.name: field.dataType for field in df.schema.fields}
    missing = [name for name in columns.named() if name not in kinds]
    if missing:
        raise ColumnNotFoundError.of(missing, list(kinds))
    faults = [
        f"The feature column '{name}' must hold numbers, text or booleans. Got {kinds[name].simpleString()} instead. "
        "Hint: turn dates into days before the assignment, and arrays or structs into one column a value."
        for name in columns.features
        if not (is_number(kinds[name]) or is_category(kinds[name]))
    ]
    for role, name in (
        ("label", columns.label),
        ("weight", columns.weight),
        ("propensity", columns.propensity),
    ):
        allowed = (
            name is None
            or is_number(kinds[name])
            or (role == "label" and kinds[name].typeName() == "boolean")
        )
        if not allowed:
            faults.append(
                f"The {role} column '{name}' must hold numbers. Got {kinds[str(name)].simpleString()} instead. "
                "Hint: cast it, and look at the values that do not convert."
            )
    if faults:
        raise DataError(faults)
    return kinds


def unit_hash(df: DataFrame, columns: Columns) -> DataFrame:
    """Add the column ``__unit``: the 64-bit hash that all randomness of a row is keyed by.

    xxHash64 (seed 42) of the id's text, or of the cluster's when there is one. Without either it is a hash of the
    row's used values together with an occurrence number among rows equal in all of them: rows that differ in nothing
    can change places without changing anything, so this does not depend on partitions. It costs a shuffle.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    name = columns.cluster or columns.unit
    if name is not None:
        return df.withColumn("__unit", F.xxhash64(column(name).cast("string")))
    used = [column(c).cast("string") for c in columns.named()]
    # A null hashes to nothing at all in Spark, so that (null, 1) and (1, null) would collide.
    shown = [F.coalesce(value, F.lit("\u0000")) for value in used]
    hashed = df.withColumn("__content", F.xxhash64(*shown))
    window = Window.partitionBy("__content").orderBy("__content")
    occurrence = F.row_number().over(window)
    return hashed.withColumn("__unit", F.xxhash64("__content", occurrence)).drop("__content")


def feature_columns(columns: Columns, kinds: dict[str, DataType]) -> list[Column]:
    """Return the features as ``f0``, ``f1``, …: double or string."""
    return [
        column(name).cast("double" if is_number(kinds[name]) else "string").alias(f"f{i}")
        for i, name in enumerate(columns.features)
    ]


def training_columns(columns: Columns, kinds: dict[str, DataType]) -> list[Column]:
    """Return arm, y, w, e, unit, f0, f1, … of a frame that has ``__unit`` (`unit_hash`).

    w and e are null where not given; unit is null where the id (or cluster) is, which would otherwise hash to one and
    the same number in all such rows.
    """
    from pyspark.sql import functions as F

    def optional(name: str | None) -> Column:
        return F.lit(None).cast("double") if name is None else column(name).cast("double")

    unit = F.col("__unit")
    keyed_by = columns.cluster or columns.unit
    if keyed_by is not None:
        unit = F.when(column(keyed_by).isNotNull(), unit)
    return [
        column(str(columns.treatment)).cast("string").alias("arm"),
        column(str(columns.label)).cast("double").alias("y"),
        optional(columns.weight).alias("w"),
        optional(columns.propensity).alias("e"),
        unit.alias("unit"),
        *feature_columns(columns, kinds),
    ]


def training_frame(df: DataFrame, columns: Columns, kinds: dict[str, DataType]) -> DataFrame:
    """Return the frame that training reads: arm, y, w, e, unit, f0, f1, …, see `training_columns`."""
    return unit_hash(df, columns).select(*training_columns(columns, kinds))
