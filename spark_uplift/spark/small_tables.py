"""Plain rows as a small DataFrame with declared columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from spark_uplift import schemas

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["small_columns", "small_frame", "small_table"]

_TYPES = {
    "STRING": pa.string(),
    "DOUBLE": pa.float64(),
    "BIGINT": pa.int64(),
    "INT": pa.int32(),
    "BOOLEAN": pa.bool_(),
}


def small_table(
    spark: SparkSession, table: str, rows: Sequence[Mapping[str, Any]], without: Sequence[str] = ()
) -> DataFrame:
    """Return rows as a DataFrame with the declared names, order and types; NaN and empty texts become null.

    Parameters
    ----------
    table : str
        Name of the declaration.
    rows : sequence of mapping
        Values by column name; further ones are left out.
    without : sequence of str
        Declared columns that are left out.
    """
    declared = [column for column in schemas.table(table).columns if column.name not in without]
    return small_frame(spark, [(column.name, column.type) for column in declared], rows)


def small_columns(
    spark: SparkSession, table: str, parts: Sequence[Mapping[str, Sequence[Any]]], without: Sequence[str] = ()
) -> DataFrame:
    """Return columns, given in parts that follow one another, as `small_table` returns rows."""
    rows = [
        dict(zip(part, values, strict=True)) for part in parts for values in zip(*part.values(), strict=True)
    ]
    return small_table(spark, table, rows, without)


def small_frame(
    spark: SparkSession, columns: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, Any]]
) -> DataFrame:
    """Return rows as a DataFrame of columns (name, Spark SQL type); NaN and empty texts become null."""
    arrays = [pa.array([_plain(row.get(name)) for row in rows], _TYPES[kind]) for name, kind in columns]
    ddl = ", ".join(f"`{name}` {kind}" for name, kind in columns)
    return spark.createDataFrame(pa.table(arrays, names=[name for name, _ in columns]), schema=ddl)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if value == "" else value
