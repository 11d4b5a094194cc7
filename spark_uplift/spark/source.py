"""The experiment's rows: where they come from, in which version, and which column plays which role.

`read_source` opens a built-in dataset, files or a table, and resolves the configured columns against its
schema. All faults are collected and raised together. `Source.frame` is the same rows under the names of
``training_view``, which everything after this module works with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DecimalType,
    DoubleType,
    FloatType,
    NumericType,
    StringType,
    StructType,
)

from spark_uplift import schemas
from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.spark import versions
from spark_uplift.spark.columns import column as col

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

    from spark_uplift.config import ExperimentConfig

OUTPUT_COLUMNS = ("uplift", "uplift_lower", "uplift_upper", "recommended")
"""Columns that a model adds to the rows that it scores."""

MAX_NAME = 255
"""Characters in a column's name that every metastore can store."""


@dataclass(frozen=True)
class Source:
    """The rows of an experiment with its columns' roles.

    Parameters
    ----------
    df : DataFrame
        As read, untouched.
    name, version : str
        Where it came from, and a version that changes when the rows do.
    treatment, control, outcome : str
        Columns of arm and outcome; the control arm in the form of `arm_text`.
    features : tuple of str
        In order.
    categorical : frozenset of str
        Those of `features` that are categories.
    text : frozenset of str
        Those of `categorical` that are text and were not declared to be categories.
    id, weight, propensity, cluster : str or None
        Columns.
    arms : tuple of str or None
        Expected arms, the control included; None when every arm is welcome.
    """

    df: DataFrame
    name: str
    version: str
    treatment: str
    control: str
    outcome: str
    features: tuple[str, ...]
    categorical: frozenset[str] = frozenset()
    text: frozenset[str] = frozenset()
    id: str | None = None
    weight: str | None = None
    propensity: str | None = None
    cluster: str | None = None
    arms: tuple[str, ...] | None = None

    @property
    def numeric(self) -> tuple[str, ...]:
        """Features that are numbers, in order."""
        return tuple(name for name in self.features if name not in self.categorical)

    def frame(self) -> DataFrame:
        """Return the rows under the names of ``training_view``.

        Columns: unit_id (text, null without an id column), arm (text), outcome, weight, propensity (double),
        cluster (text), then the features, numbers as double and categories as text. NaN in a feature is a
        missing value and becomes null; in outcome, weight and propensity it is a fault and stays.
        """
        text, number = StringType(), DoubleType()
        types = {field.name: field.dataType for field in self.df.schema.fields}

        def optional(name: str | None, cast: DataType, otherwise: Column) -> Column:
            return col(name).cast(cast) if name else otherwise

        roles = [
            optional(self.id, text, F.lit(None).cast(text)).alias("unit_id"),
            arm_text(self.treatment, types[self.treatment]).alias("arm"),
            col(self.outcome).cast(number).alias("outcome"),
            optional(self.weight, number, F.lit(1.0)).alias("weight"),
            optional(self.propensity, number, F.lit(None).cast(number)).alias("propensity"),
            optional(self.cluster, text, F.lit(None).cast(text)).alias("cluster"),
        ]
        return self.df.select(*roles, *feature_columns(self.df, self.features, self.categorical))


def feature_columns(df: DataFrame, features: Sequence[str], categorical: Collection[str]) -> list[Column]:
    """Return the features of any DataFrame in the form in which models are trained and applied.

    Numbers become double, NaN becomes null; categories become text, see `arm_text`.
    """
    kinds = {field.name: field.dataType for field in df.schema.fields}
    columns = []
    for name in features:
        if name in categorical:
            value = arm_text(name, kinds[name])
        else:
            value = col(name).cast("double")
            if isinstance(kinds[name], (FloatType, DoubleType)):
                value = F.nullif(value, F.lit(float("nan")))
        columns.append(value.alias(name))
    return columns


def arm_text(name: str, kind: DataType) -> Column:
    """Return a column as text; a whole number is written without decimals, so that 1 and 1.0 agree."""
    value = col(name)
    if isinstance(kind, (FloatType, DoubleType, DecimalType)):
        number = value.cast(DoubleType())
        whole = (number == F.floor(number)) & (F.abs(number) < F.lit(2.0**53))
        return F.when(whole, number.cast("bigint").cast("string")).when(
            ~F.isnan(number), value.cast("string")
        )
    return value.cast("string")


def arm_name(arm: str, kind: DataType) -> str:
    """Return the name of an arm in the configuration as `arm_text` writes it for a column of this type."""
    if isinstance(kind, BooleanType):
        return arm.lower()
    if isinstance(kind, NumericType):
        try:
            number = float(arm)
        except ValueError:
            return arm
        return str(int(number)) if number.is_integer() else str(number)
    return arm


def read_source(spark: SparkSession, experiment: ExperimentConfig) -> Source:
    """Open the experiment's rows and resolve its columns.

    Parameters
    ----------
    spark : SparkSession
    experiment : ExperimentConfig
        The section ``experiment`` of the configuration.

    Raises
    ------
    ColumnNotFoundError
        If columns are missing (other faults are listed with them).
    DataError
        If columns have a type or a name that can't be used, or the same column has two roles.
    """
    df, name, version = versions.open_rows(spark, experiment)
    return resolve(df, experiment, name, version)


def resolve(df: DataFrame, experiment: ExperimentConfig, name: str, version: str) -> Source:
    """Match the configured columns with a DataFrame's; see `read_source`."""
    schema = df.schema
    roles = {
        role: column
        for role in ("treatment", "outcome", "id", "weight", "propensity", "cluster")
        if (column := getattr(experiment, role)) is not None
    }
    features = _features(experiment.features, roles, schema)
    faults = name_faults(schema, features) + _role_faults(roles, features, experiment.categorical)
    wanted = [*roles.values(), *features, *experiment.categorical]
    missing = [column for column in dict.fromkeys(wanted) if column not in schema.names]
    faults += _type_faults(df, roles, [name for name in features if name in schema.names])
    if missing:
        raise ColumnNotFoundError([str(ColumnNotFoundError.of(missing, schema.names)), *faults])
    if faults:
        raise DataError(faults)
    kinds = {field.name: field.dataType for field in schema.fields}
    kind = kinds[experiment.treatment]
    control = arm_name(str(experiment.control), kind)
    arms = None
    if experiment.arms is not None:
        arms = tuple(dict.fromkeys([control, *(arm_name(str(arm), kind) for arm in experiment.arms)]))
    return Source(
        df=df,
        name=name,
        version=version,
        control=control,
        arms=arms,
        features=tuple(features),
        categorical=frozenset(
            column
            for column in features
            if column in experiment.categorical or not isinstance(kinds[column], NumericType)
        ),
        text=frozenset(
            column
            for column in features
            if column not in experiment.categorical and isinstance(kinds[column], StringType)
        ),
        **roles,
    )


def design_shares(source: Source, experiment: ExperimentConfig) -> dict[str, float] | None:
    """Return the design's shares with the arms' names in the form of the data; None when they are not
    given.
    """
    if experiment.shares is None:
        return None
    kind = source.df.schema[source.treatment].dataType
    return {arm_name(str(arm), kind): float(share) for arm, share in experiment.shares.items()}


def _features(configured: Sequence[str] | None, roles: dict[str, str], schema: StructType) -> list[str]:
    """Return the configured features, or every column without another role."""
    if configured is not None:
        return list(configured)
    return [name for name in schema.names if name not in roles.values()]


def name_faults(schema: StructType, features: Sequence[str]) -> list[str]:
    """Return what is wrong with the names of features, and of the columns around them."""
    reserved = {*schemas.table("training_view").column_names, *OUTPUT_COLUMNS}
    faults = []
    for name in features:
        if name.lower() in reserved:
            faults.append(
                f"The feature {name!r} has a name that the package uses itself. Hint: rename the column "
                "in the source, or "
                "leave it out of experiment.features."
            )
        elif "`" in name or not name.isprintable() or len(name) > MAX_NAME:
            faults.append(
                f"The feature {name!r} must have a printable name without ` of at most {MAX_NAME} "
                "characters. "
                "Hint: rename the column in the source."
            )
    twins = [name for name, n in Counter(name.lower() for name in schema.names).items() if n > 1]
    if twins:
        faults.append(
            f"The columns {twins} appear more than once, or in several spellings that differ in case "
            "only; Spark can't "
            "tell them apart. Hint: rename them in the source."
        )
    return faults


def _role_faults(roles: dict[str, str], features: Sequence[str], categorical: Sequence[str]) -> list[str]:
    faults = []
    by_column: dict[str, list[str]] = {}
    for role, column in roles.items():
        by_column.setdefault(column, []).append(f"experiment.{role}")
    for column in dict.fromkeys(features):
        if column in by_column:
            by_column[column].append("experiment.features")
    for column, uses in by_column.items():
        if len(uses) > 1 and set(uses) != {"experiment.id", "experiment.cluster"}:
            faults.append(
                f"The column {column!r} must have one role. Got {' and '.join(uses)} instead. "
                "Hint: a feature must be known before the assignment, so it can't be one of the others."
            )
    repeated = [name for name, n in Counter(features).items() if n > 1]
    if repeated:
        faults.append(f"The features {repeated} are listed more than once. Hint: list each once.")
    strangers = [name for name in categorical if name not in features]
    if strangers:
        faults.append(
            f"The columns {strangers} of experiment.categorical are not features. Hint: add them to "
            "experiment.features, or leave them out of experiment.categorical."
        )
    if not features:
        faults.append("There are no features. Hint: list some in experiment.features.")
    return faults


def _type_faults(df: DataFrame, roles: dict[str, str], features: Sequence[str]) -> list[str]:
    kinds = {field.name: field.dataType for field in df.schema.fields}
    faults, texts = [], {}
    for role, column in roles.items():
        kind = kinds.get(column)
        if kind is None:
            continue
        atomic = isinstance(kind, (NumericType, StringType, BooleanType))
        if role in ("outcome", "weight", "propensity"):
            if isinstance(kind, StringType):
                texts[column] = role
            elif not isinstance(kind, (NumericType, BooleanType)):
                faults.append(_wrong_type(f"experiment.{role}", column, "numeric", kind))
        elif role == "treatment" and not atomic:
            faults.append(
                _wrong_type("experiment.treatment", column, "text, a whole number or a boolean", kind)
            )
        elif kind.simpleString().startswith(("array", "map", "struct", "binary", "variant")):
            faults.append(
                _wrong_type(f"experiment.{role}", column, "a single value such as text or a number", kind)
            )
    for column in features:
        if not isinstance(kinds[column], (NumericType, StringType, BooleanType)):
            faults.append(
                _wrong_type("experiment.features", column, "numeric, text or boolean", kinds[column])
            )
    return faults + _text_faults(df, texts)


def _wrong_type(where: str, column: str, expected: str, kind: DataType) -> str:
    hint = "leave it out, or turn it into a number such as days before the assignment"
    if kind.simpleString() not in ("date", "timestamp", "timestamp_ntz"):
        hint = "choose another column, or convert it in the source"
    got = kind.simpleString()
    return f"The column {column!r} ({where}) must be {expected}. Got {got} instead. Hint: {hint}."


def _text_faults(df: DataFrame, texts: dict[str, str]) -> list[str]:
    """Describe columns of text that must be numeric, with one of the values that are no numbers."""
    if not texts:
        return []
    measures = []
    for number, column in enumerate(texts):
        bad = col(column).isNotNull() & col(column).try_cast("double").isNull()
        measures += [F.count_if(bad).alias(f"n{number}"), F.min(F.when(bad, col(column))).alias(f"v{number}")]
    found = df.agg(*measures).first()
    assert found is not None  # an aggregate without groups has one row
    faults = []
    for number, (column, role) in enumerate(texts.items()):
        got, hint = "numbers stored as text", "cast the column to double"
        if bad_rows := found[f"n{number}"]:
            got = f"text, {found[f'v{number}']!r} among others in {bad_rows:,} rows"
            hint = "mend these values (what is missing must be null)"
        faults.append(
            f"The column {column!r} (experiment.{role}) must be numeric. Got {got} instead. Hint: {hint}."
        )
    return faults
