"""A list that stays the same while it is read several times, whatever is written to its place meanwhile.

- A Delta table is read in one version (``versionAsOf``).
- Of files, those that were there at the start are read, by their names; their sizes and times of change are looked at
  again at the end. What is added in between belongs to the next version.
- A view, or a table of another format, has no versions: its content is hashed at the start and at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from spark_uplift.errors import DataError
from spark_uplift.spark import versions
from spark_uplift.spark.session import is_connect

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_uplift.spark.versions import Place

MAX_FILES = 20_000
"""Of more files the names would make a plan too large to send; they are read as a folder, and looked at in the end."""

Facts = Mapping[str, tuple[int, str]]  # path -> size and time of change


@dataclass(frozen=True)
class Snapshot:
    """Rows of one moment.

    Attributes
    ----------
    df : DataFrame
    name, version : str
        Where the rows come from, and what changes when they do.
    changes : callable
        Returns what has changed since in the place that is read, in words; None for nothing.
    """

    df: DataFrame
    name: str
    version: str
    changes: Callable[[], str | None]

    def require_unchanged(self) -> None:
        """Check that the rows read are those of the version.

        Raises
        ------
        DataError
            Says what has changed.
        """
        changes = self.changes()
        if changes:
            raise DataError(
                f"The list '{self.name}' must not change while it is scored: {changes}. Nothing was written. "
                "Hint: run the job again, or keep lists in Delta tables, which are read in one version."
            )


def open_snapshot(spark: SparkSession, place: Place, section: str = "score") -> Snapshot:
    """Open a configured list; see `spark_uplift.spark.versions.open_rows`.

    Parameters
    ----------
    spark : SparkSession
    place : Place
        Has ``path``, ``table`` and ``format``.
    section : str
        Name of that section of the configuration, for messages.

    Raises
    ------
    DataError
        If there is no such path or table, or Spark can't read it.
    """
    df, name, version = versions.open_rows(spark, place, section)
    kind, _, number = version.partition(":")
    if kind == "delta":
        reader = spark.read.format("delta").option("versionAsOf", number)
        if place.path is None:
            return Snapshot(reader.table(name), name, version, _nothing)
        return Snapshot(reader.load(_address(name)), name, version, _nothing)
    if place.path is None:
        return Snapshot(df, name, version, _content(df, version))
    local = versions.local_path(name)
    remote = local is None or (is_connect(spark) and not local.exists())
    look = _make_remote_look(spark, name) if remote else _make_local_look(Path(str(local)), place.format)
    before = look()
    rows = df
    if not (local is not None and local.is_file()) and 0 < len(before) <= MAX_FILES:
        pinned = spark.read.format(place.format).schema(df.schema).option("basePath", _address(name))
        if place.format == "csv":
            pinned = pinned.option("header", "true")
        rows = pinned.load([_escaped(path) for path in sorted(before)])
    return Snapshot(rows, name, version, _make_comparison(before, look))


def _nothing() -> str | None:
    return None


def _address(path: str) -> str:
    local = versions.local_path(path)
    return path if local is None else str(local.absolute())


def _escaped(path: str) -> str:
    """Return a path whose characters all mean themselves; Spark takes some for patterns."""
    return re.sub(r"([{}\[\]*?\\])", r"\\\1", path)


def _make_local_look(path: Path, kind: str) -> Callable[[], Facts]:
    def look() -> Facts:
        found = {}
        for file in versions.read_files(path, kind):
            stat = file.stat()
            found[str(file.absolute())] = (stat.st_size, str(stat.st_mtime_ns))
        return found

    return look


def _make_remote_look(spark: SparkSession, path: str) -> Callable[[], Facts]:
    def look() -> Facts:
        listing = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(path)
        rows = listing.select("path", "length", F.col("modificationTime").cast("string")).collect()
        return {row[0]: (int(row[1]), str(row[2])) for row in rows if not _hidden(row[0], path)}

    return look


def _hidden(file: str, folder: str) -> bool:
    inside = file.rsplit(folder.rstrip("/").rsplit("/", 1)[-1], 1)[-1]
    return any(part.startswith((".", "_")) and "=" not in part for part in inside.split("/"))


def _make_comparison(before: Facts, look: Callable[[], Facts]) -> Callable[[], str | None]:
    def changes() -> str | None:
        now = look()
        gone = [path for path in before if path not in now]
        other = [path for path in before if path in now and now[path] != before[path]]
        if gone:
            return f"the file {gone[0]} has gone" + _and_others(len(gone))
        if other:
            return f"the file {other[0]} was written to" + _and_others(len(other))
        return None

    return changes


def _and_others(n: int) -> str:
    return f" (and {n - 1} others)" if n > 1 else ""


def _content(df: DataFrame, version: str) -> Callable[[], str | None]:
    def changes() -> str | None:
        now = versions.content_version(df)
        return None if now == version else f"its content was {version} and is {now}"

    return changes


def unreadable(error: Exception) -> str | None:
    """Return the file that Spark could not read, as its error tells; None for another error."""
    text = str(error)
    if "FAILED_READ_FILE" not in text and "CANNOT_READ_FILE_FOOTER" not in text:
        return None
    found = re.search(r"(?:reading|for) file:? ?(\S[^\n]*?)(?:\. |\.?$)", text, re.MULTILINE)
    return found.group(1) if found else "a file of it"
