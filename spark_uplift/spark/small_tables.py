"""Plain rows as a small DataFrame with the columns of a declared table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from spark_uplift import schemas

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["small_table"]

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
    arrays = [
        pa.array([_plain(row.get(column.name)) for row in rows], _TYPES[column.type]) for column in declared
    ]
    ddl = ", ".join(f"`{column.name}` {column.type}" for column in declared)
    return spark.createDataFrame(pa.table(arrays, names=[column.name for column in declared]), schema=ddl)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if value == "" else value
