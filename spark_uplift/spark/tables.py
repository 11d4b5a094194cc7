"""Delta tables: the only module that imports delta.

Tables are declared in ``spark_uplift.schemas`` and live at ``<warehouse>/<name>``, addressed by path: an
in-memory catalog forgets names when the process ends, a path does not. Each carries the properties
``spark_uplift.table`` and ``spark_uplift.schema_version``; whatever lacks them was made by somebody else
and is left alone.

Writes are idempotent. A job replaces exactly the rows that carry its keys (``replaceWhere``), in one
commit: run twice, or killed anywhere and run again, it leaves the same rows. Streams append with a
transaction id (``txn``), which Delta skips when it has seen it.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from spark_uplift import schemas
from spark_uplift.errors import TableError, bad_value
from spark_uplift.spark.session import is_connect

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = [
    "PROPERTY_TABLE",
    "ensure",
    "exists",
    "first_line",
    "latest_keys",
    "path",
    "quote",
    "read",
    "root",
    "version",
    "write",
]

PROPERTY_TABLE = "spark_uplift.table"
_PROPERTY_VERSION = "spark_uplift.schema_version"
_STATISTICS = "delta.dataSkippingStatsColumns"
_REFUSED_IN_NAMES = re.compile(r"[ ,;{}()\n\t=]")  # Delta stores such names only with column mapping
_DISK_FULL = "No space left on device"
_ATTEMPTS = 5  # writers of other runs may commit in between; each attempt reads the table anew


def path(warehouse: str | Path, name: str) -> str:
    """Return where a table lives.

    Parameters
    ----------
    warehouse : str or Path
        Folder or URI of the warehouse; a local folder is made absolute.
    name : str
        A table that ``schemas`` declares.

    Raises
    ------
    TableError
        If no such table is declared, or the path has a character that can't be quoted.
    """
    schemas.table(name)
    return f"{root(warehouse)}/{name}"


def root(warehouse: str | Path) -> str:
    """Return a warehouse as Spark is told: a local folder absolute, since a Connect server runs in a folder of its own.

    Raises
    ------
    TableError
        If the path has a character that can't be quoted.
    """
    given = str(warehouse)
    if "`" in given or any(ord(char) < 32 for char in given):
        expected = "a path without ` and control characters"
        raise TableError(bad_value("warehouse", "the configuration", expected, given))
    return _local(given) or given.rstrip("/")


def exists(spark: SparkSession, warehouse: str | Path, name: str) -> bool:
    """Tell whether the table is there and ours.

    Raises
    ------
    TableError
        If something else lies at the table's path.
    """
    location = path(warehouse, name)
    try:
        rows = spark.sql(f"SHOW TBLPROPERTIES delta.`{location}`").collect()
    except Exception as error:
        if _is_missing(error):
            return False
        raise TableError(f"The table {location} can't be read: {first_line(error)}") from error
    _check_ours(name, location, {row["key"]: row["value"] for row in rows})
    return True


def ensure(spark: SparkSession, warehouse: str | Path, name: str) -> str:
    """Create the table unless it is there, and return its path.

    Raises
    ------
    TableError
        If something that is not ours lies at the path, the table has another schema version, or the
        warehouse can't be written.
    """
    location = path(warehouse, name)
    if not is_connect(spark):  # the folders of a Connect server are not those of this machine
        _require_writable(warehouse)
    if exists(spark, warehouse, name):
        return location
    declared = schemas.table(name)
    comment = declared.comment.replace("\\", "\\\\").replace("'", "\\'")
    cluster = f"CLUSTER BY ({', '.join(declared.clustering)}) " if declared.clustering else ""
    skipping = f"'{_STATISTICS}' = '{','.join(declared.statistics)}', " if declared.statistics else ""
    try:
        # IF NOT EXISTS: of several jobs that get here together, one creates and the others find it.
        spark.sql(
            f"CREATE TABLE IF NOT EXISTS delta.`{location}` ({declared.ddl}) USING delta {cluster}"
            f"COMMENT '{comment}' TBLPROPERTIES ('{PROPERTY_TABLE}' = '{name}', "
            f"'{_PROPERTY_VERSION}' = '{schemas.SCHEMA_VERSION}', {skipping}"
            # Deletion vectors shut out readers that don't know them, and nothing here deletes single rows.
            "'delta.enableDeletionVectors' = 'false')"
        )
    except Exception as error:
        if exists(spark, warehouse, name):
            return location
        raise TableError(_refused("created", name, location, error)) from error
    if not exists(spark, warehouse, name):
        # Where other files lie, IF NOT EXISTS creates nothing and says nothing; a write would put a table around them.
        raise TableError(
            f"The folder {location} holds files that are not the table {name!r} of spark_uplift and is left "
            "alone. Hint: choose another warehouse."
        )
    return location


def write(
    spark: SparkSession,
    df: DataFrame,
    warehouse: str | Path,
    name: str,
    *,
    txn: tuple[str, int] | None = None,
    **keys: str,
) -> str:
    """Write rows so that writing them again changes nothing; return the table's path.

    Parameters
    ----------
    spark : SparkSession
        Session.
    df : DataFrame
        Rows with the declared columns in any order (key columns given in `keys` may be left out); for
        tables of open schema further columns may follow. Values are cast to the declared types.
    warehouse : str or Path
        Folder or URI of the warehouse.
    name : str
        A declared table, created when missing.
    txn : (str, int), optional
        Append under this application id and version instead; Delta skips a version that it has seen. Bind the
        version to the rows: the same version with other rows is skipped as well.
    **keys : str
        Values of the table's ``replace_keys``, at least of the first: the rows that have them are replaced
        by `df`.

    Raises
    ------
    TableError
        If columns are missing or undeclared, keys don't fit the table, or Delta refuses the write.
    """
    declared = schemas.table(name)
    _check_keys(declared, keys, txn)
    rows = _conform(df, declared, keys)
    location = ensure(spark, warehouse, name)
    writer = rows.write.format("delta").option("userMetadata", json.dumps(keys, sort_keys=True))
    writer = writer.option("mergeSchema", "true")  # new columns reach older tables
    if declared.open_schema:
        _allow_names(spark, location, rows.columns)
    if txn is None:
        writer = writer.mode("overwrite").option("replaceWhere", _predicate(keys))
    else:
        writer = writer.mode("append").option("txnAppId", txn[0]).option("txnVersion", str(txn[1]))
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            writer.save(location)
            return location
        except Exception as error:
            if attempt == _ATTEMPTS or not _is_conflict(error):
                raise TableError(_refused("written", name, location, error)) from error
        time.sleep(random.uniform(0.2, 1.0) * attempt)  # writers that collided must not meet again
    raise AssertionError("unreachable")  # the last attempt returns or raises


def read(
    spark: SparkSession, warehouse: str | Path, name: str, where: Mapping[str, str] | None = None
) -> DataFrame:
    """Return a table's rows, those with the given values only.

    Parameters
    ----------
    spark : SparkSession
        Session.
    warehouse : str or Path
        Folder or URI of the warehouse.
    name : str
        A declared table.
    where : mapping of str to str, optional
        Column and value, e.g. ``{"run_id": …}``.

    Raises
    ------
    TableError
        If the table is not there or not ours.
    """
    from pyspark.sql import functions as F

    location = _require(spark, warehouse, name)
    rows = spark.read.format("delta").load(location)
    for column, value in (where or {}).items():
        rows = rows.where(F.col(quote(column)) == F.lit(value))
    return rows


def version(spark: SparkSession, warehouse: str | Path, name: str) -> int:
    """Return the number of the table's latest commit.

    Raises
    ------
    TableError
        If the table is not there or not ours.
    """
    location = _require(spark, warehouse, name)
    return int(spark.sql(f"DESCRIBE HISTORY delta.`{location}` LIMIT 1").select("version").collect()[0][0])


def latest_keys(spark: SparkSession, warehouse: str | Path, name: str) -> dict[str, str]:
    """Return the keys of the newest write, e.g. ``{"run_id": …}``; empty when the log no longer tells.

    Raises
    ------
    TableError
        If the table is not there or not ours.
    """
    location = _require(spark, warehouse, name)
    history = spark.sql(f"DESCRIBE HISTORY delta.`{location}`").select("version", "userMetadata")
    written = history.where("userMetadata IS NOT NULL").orderBy("version", ascending=False).limit(1).collect()
    if not written:
        return {}
    return {str(key): str(value) for key, value in json.loads(written[0]["userMetadata"]).items()}


def _conform(df: DataFrame, declared: schemas.Table, keys: Mapping[str, str]) -> DataFrame:
    """Order and cast the columns as declared, and fill in the keys."""
    from pyspark.sql import functions as F

    present = df.columns
    lower = [column.lower() for column in present]
    doubled = sorted({column for column in present if lower.count(column.lower()) > 1})
    missing = [column for column in declared.column_names if column not in present and column not in keys]
    further = [column for column in present if column not in declared.column_names]
    clashing = [column for column in further if column.lower() in declared.column_names]
    faults = []
    if doubled or clashing:
        faults.append(f"columns {doubled or clashing} differ from others by case alone")
    if missing:
        faults.append(f"columns {missing} are missing")
    if further and not declared.open_schema:
        faults.append(f"columns {further} are not declared")
    if faults:
        raise TableError(f"The rows don't fit the table {declared.name!r}: {'; '.join(faults)}.")
    selected = [
        (
            F.lit(keys[column.name])
            if column.name in keys and column.name not in present
            else F.col(column.name)
        )
        .cast(column.type.lower())
        .alias(column.name)
        for column in declared.columns
    ]
    return df.select(*selected, *(F.col(quote(column)) for column in further))


def _check_keys(declared: schemas.Table, keys: Mapping[str, str], txn: tuple[str, int] | None) -> None:
    strange = [key for key in keys if key not in declared.replace_keys]
    if strange or (txn is None and declared.replace_keys[0] not in keys):
        raise TableError(
            bad_value(
                "keys", f"write to {declared.name!r}", f"values for {list(declared.replace_keys)}", keys
            )
        )
    bad = [key for key, value in keys.items() if not isinstance(value, str) or not value]
    if bad:
        raise TableError(bad_value("keys", f"write to {declared.name!r}", "texts that are not empty", keys))


def _predicate(keys: Mapping[str, str]) -> str:
    escaped = {key: value.replace("\\", "\\\\").replace("'", "\\'") for key, value in keys.items()}
    return " AND ".join(f"{quote(key)} = '{value}'" for key, value in escaped.items())


def quote(name: str) -> str:
    """Return a name as SQL quotes it."""
    return "`" + name.replace("`", "``") + "`"


def _allow_names(spark: SparkSession, location: str, columns: list[str]) -> None:
    """Switch column mapping on only when a feature's name needs it: it narrows the choice of readers."""
    if any(_REFUSED_IN_NAMES.search(column) for column in columns):
        spark.sql(f"ALTER TABLE delta.`{location}` SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')")


def _require(spark: SparkSession, warehouse: str | Path, name: str) -> str:
    location = path(warehouse, name)
    if not exists(spark, warehouse, name):
        raise TableError(f"There is no table {name!r} at {location}. Hint: run the job that writes it first.")
    return location


def _check_ours(name: str, location: str, properties: Mapping[str, str]) -> None:
    if properties.get(PROPERTY_TABLE) != name:
        raise TableError(
            f"The table at {location} was not made by spark_uplift (it lacks the property "
            f"{PROPERTY_TABLE}={name}) and is left alone. Hint: choose another warehouse."
        )
    found = properties.get(_PROPERTY_VERSION)
    if found != str(schemas.SCHEMA_VERSION):
        raise TableError(
            f"The table at {location} has schema version {found}; this release writes version "
            f"{schemas.SCHEMA_VERSION}. Hint: choose another warehouse, or the release that made the table."
        )


def _local(root: str) -> str | None:
    """Return the absolute local path of a warehouse, or None when it lies elsewhere."""
    if root.startswith("file:"):
        return str(Path(re.sub(r"^file:/*", "/", root)).resolve())
    return None if re.match(r"^[a-zA-Z][\w+.-]*:", root) else str(Path(root).expanduser().resolve())


def _require_writable(warehouse: str | Path) -> None:
    local = _local(str(warehouse))
    if local is None:
        return
    try:
        os.makedirs(local, exist_ok=True)
        reason = None if os.access(local, os.W_OK) else "permission denied"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise TableError(
            f"The warehouse {local} can't be written: {reason}. "
            "Hint: choose another folder with --set warehouse=FOLDER."
        )


def _refused(verb: str, name: str, location: str, error: Exception) -> str:
    hint = ""
    if "CANNOT_CREATE_LOG_PATH" in str(error):
        hint = " Hint: choose another folder with --set warehouse=FOLDER."
    if re.search("DELTA_(FAILED_TO_)?MERGE|INCOMPATIBLE|METADATA_MISMATCH", str(error)):
        hint = " Hint: a column of this name has another type there; choose another warehouse."
    if _DISK_FULL in str(error):
        hint = f" {_DISK_FULL}. The table is as it was. Hint: free space, then run the job again."
    return f"The table {name!r} can't be {verb} at {location}: {first_line(error)}{hint}"


def _is_missing(error: Exception) -> bool:
    conditions = "DELTA_TABLE_NOT_FOUND|DELTA_MISSING_DELTA_TABLE|PATH_NOT_FOUND|TABLE_OR_VIEW_NOT_FOUND"
    return re.search(f"{conditions}|is not a Delta table", str(error)) is not None


def _is_conflict(error: Exception) -> bool:
    """Tell whether another writer committed in between; classes differ between classic Spark and Connect."""
    if find_spec("delta") is not None:
        from delta.exceptions import DeltaConcurrentModificationException

        if isinstance(error, DeltaConcurrentModificationException):
            return True
    return bool(re.search(r"DELTA_CONCURRENT_|Concurrent\w*Exception|ProtocolChangedException", str(error)))


def first_line(error: Exception) -> str:
    """Return the sentence of an error without the JVM's stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "[" in line and "]" in line]  # Spark's and Delta's error conditions
    return (named or lines or [type(error).__name__])[0][:500]
