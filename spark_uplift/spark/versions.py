"""Opening the rows of an experiment, with a version that changes whenever they do.

The version enters the run's id, so a run on the same rows rewrites its own results and a run on others gets
its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pandas as pd
from pyspark.sql import functions as F

from spark_uplift import datasets
from spark_uplift.errors import DataError, nearest
from spark_uplift.spark.session import is_connect

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Place(Protocol):
    """Where rows lie: a section of a configuration."""

    @property
    def path(self) -> str | None: ...  # noqa: D102

    @property
    def table(self) -> str | None: ...  # noqa: D102

    @property
    def format(self) -> str: ...  # noqa: D102


HASHED_BYTES = 256 * 2**20
"""Local files up to this size in all are hashed by content, so that a copy has the same version; reading more
would take longer than the job, and names, sizes and times of change have to do."""


def open_rows(spark: SparkSession, place: Place, section: str = "experiment") -> tuple[DataFrame, str, str]:
    """Return (rows, name, version) of the configured dataset, path or table.

    Parameters
    ----------
    spark : SparkSession
    place : Place
        Has ``path``, ``format`` and ``table``; an experiment may have ``dataset``.
    section : str
        Name of that section of the configuration, for messages.

    Raises
    ------
    DataError
        If there is no such path or table, or Spark can't read it.
    """
    dataset: str | None = getattr(place, "dataset", None)
    if dataset is not None:
        frame = datasets.load(dataset)
        return spark.createDataFrame(frame), dataset, _frame_version(frame)
    if place.path is not None:
        return _open_path(spark, str(place.path), place.format, section)
    return _open_table(spark, str(place.table), section)


def _frame_version(frame: pd.DataFrame) -> str:
    digest = hashlib.sha256(repr([*frame.columns, *map(str, frame.dtypes)]).encode())
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return f"sha256:{digest.hexdigest()[:16]}"


def _open_path(spark: SparkSession, path: str, kind: str, section: str) -> tuple[DataFrame, str, str]:
    local = local_path(path)
    if local is not None and is_connect(spark) and not local.exists():
        local = None  # the server may have it: its disks are not those of this machine
    if local is not None and not local.exists():
        near = (
            nearest(local.name, (p.name for p in local.parent.iterdir())) if local.parent.is_dir() else None
        )
        hint = (
            f" Hint: did you mean {str(local.parent / near)!r}?" if near else f" Hint: check {section}.path."
        )
        raise DataError(f"The path {str(local)!r} ({section}.path) does not exist.{hint}")
    reader = spark.read.format(kind)
    if kind == "csv":
        reader = reader.option("header", "true").option("inferSchema", "true")
    pattern = _pattern(local, kind)
    if pattern:
        reader = reader.option("pathGlobFilter", pattern)
    try:
        # A relative path would mean another folder to a Connect server.
        df = reader.load(path if local is None else str(local.absolute()))
        _ = df.schema  # Spark Connect analyses lazily; fail here, where the path is known
        version = _path_version(spark, path, kind, local, pattern)
    except Exception as error:
        message = f"The {kind} data at {path!r} ({section}.path) can't be read: {_first_line(error)}"
        raise DataError(f"{message} Hint: is {section}.format right?") from error
    return df, path, version


def local_path(path: str) -> Path | None:
    """Return a path of this machine as such, or None for the address of another file system."""
    if path.startswith("file:"):
        return Path(re.sub(r"^file:/*", "/", path))
    return None if re.match(r"^[a-zA-Z][\w+.-]*:", path) else Path(path)


def _path_version(spark: SparkSession, path: str, kind: str, local: Path | None, pattern: str | None) -> str:
    if kind == "delta":
        location = path if local is None else str(local.absolute())
        return _delta_version(spark, f"delta.`{location.replace('`', '``')}`")
    if local is not None:
        return files_version(local, pattern or "*")
    listing = (
        spark.read.format("binaryFile")
        .option("recursiveFileLookup", "true")
        .load(path)
        .select("path", "length", "modificationTime")
    )
    found = listing.agg(
        F.count(F.lit(1)).alias("n"), F.bit_xor(F.xxhash64("path", "length", "modificationTime")).alias("x")
    ).first()
    assert found is not None  # an aggregate without groups has one row
    return f"listing:{found['n']}-{(found['x'] or 0) & (2**64 - 1):016x}"


def _pattern(local: Path | None, kind: str) -> str | None:
    """Return the pattern of the data files in a local folder that has others (a readme) beside them,
    else None.
    """
    if local is None or not local.is_dir() or kind == "delta":
        return None
    files = list(_data_files(local))
    ours = [file for file in files if file.match(f"*.{kind}")]
    return f"*.{kind}" if ours and len(ours) < len(files) else None


def files_version(path: Path, pattern: str = "*", hashed_bytes: int = HASHED_BYTES) -> str:
    """Return the version of a local file or of the files in a folder.

    Parameters
    ----------
    path : Path
    pattern : str
        Which files of a folder count, by their names.
    hashed_bytes : int
        Up to this size in all the content counts; beyond it names, sizes and times of change.
    """
    files = [path] if path.is_file() else sorted(file for file in _data_files(path) if file.match(pattern))
    by_content = sum(file.stat().st_size for file in files) <= hashed_bytes
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        name = file.relative_to(path).as_posix() if file != path else ""
        digest.update(f"{name}\0{stat.st_size}\0".encode())
        if by_content:
            with file.open("rb") as stream:
                while chunk := stream.read(2**20):
                    digest.update(chunk)
        else:
            digest.update(f"{stat.st_mtime_ns}\0".encode())
    return f"{'sha256' if by_content else 'listing'}:{digest.hexdigest()[:16]}"


def read_files(path: Path, kind: str) -> list[Path]:
    """Return the files that are read at a local path, with a format's name for their ending if others lie there."""
    if path.is_file():
        return [path]
    pattern = _pattern(path, kind) or "*"
    return sorted(file for file in _data_files(path) if file.match(pattern))


def _data_files(folder: Path) -> Iterable[Path]:
    """Return the files that Spark would read: none whose path has a part that starts with _ or a dot."""
    for file in folder.rglob("*"):
        parts = file.relative_to(folder).parts
        if file.is_file() and not any(part.startswith((".", "_")) and "=" not in part for part in parts):
            yield file


def _open_table(spark: SparkSession, table: str, section: str) -> tuple[DataFrame, str, str]:
    try:
        df = spark.table(table)
        _ = df.schema
    except Exception as error:
        raise DataError(
            f"The table {table!r} ({section}.table) can't be read: {_first_line(error)} Hint: give its "
            "full name, or "
            f"{section}.path for files."
        ) from error
    quoted = ".".join(f"`{part.strip('`')}`" for part in table.split("."))
    try:
        return df, table, _delta_version(spark, quoted)
    except Exception:
        return df, table, content_version(df)  # a view, or a table of another format, has no history


def _delta_version(spark: SparkSession, quoted: str) -> str:
    row = spark.sql(f"DESCRIBE HISTORY {quoted} LIMIT 1").select("version").first()
    assert row is not None  # a Delta table has at least the commit that made it
    return f"delta:{row['version']}"


def content_version(df: DataFrame) -> str:
    """Return a version from the rows themselves; row order does not matter, equal rows count."""
    row_hash = F.xxhash64(F.to_json(F.struct("*"))).alias("hash")
    found = df.select(row_hash).groupBy("hash").count()
    result = found.agg(F.sum("count").alias("n"), F.bit_xor(F.xxhash64("hash", "count")).alias("x")).first()
    assert result is not None  # an aggregate without groups has one row
    schema = hashlib.sha256(df.schema.json().encode()).hexdigest()[:8]
    return f"rows:{result['n'] or 0}-{schema}-{(result['x'] or 0) & (2**64 - 1):016x}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
