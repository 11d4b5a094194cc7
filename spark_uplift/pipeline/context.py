"""What the steps of a run share: session, configuration, source, the run's id, its tables and its progress."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from spark_uplift import schemas
from spark_uplift.config import RunConfig
from spark_uplift.config_loading import Whole
from spark_uplift.errors import TableError
from spark_uplift.spark import tables
from spark_uplift.spark.session import get_session
from spark_uplift.spark.source import Source, read_source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_uplift.learners.forest import UpliftForestModel

_LOG = logging.getLogger(__name__)

_NOT_IDENTIFYING = ("score", "decide", "report", "mlflow", "spark")


class Progress(Protocol):
    """Where a run says what it is doing."""

    def step(self, name: str, text: str) -> None:
        """Say that a step begins."""

    def advance(self, done: int, total: int, seconds: float, parts: str = "trees") -> None:
        """Say how far the step is: parts done, parts in all, seconds so far, and what the parts are."""

    def done(self, text: str) -> None:
        """Say what the step came to."""


class LogProgress:
    """Progress as log lines, for jobs without a terminal."""

    def step(self, name: str, text: str) -> None:
        """Log that a step begins."""
        _LOG.info("%s: %s", name, text)

    def advance(self, done: int, total: int, seconds: float, parts: str = "trees") -> None:
        """Log how far the step is, and when it should end."""
        left = seconds / done * (total - done) if done else float("nan")
        _LOG.info("%d of %d %s, %.0f s so far, about %.0f s left", done, total, parts, seconds, left)

    def done(self, text: str) -> None:
        """Log what the step came to."""
        _LOG.info("%s", text)


@dataclass
class RunContext:
    """One run.

    Parameters
    ----------
    config : RunConfig
    spark : SparkSession
    progress : Progress
    """

    config: RunConfig
    spark: SparkSession
    progress: Progress = field(default_factory=LogProgress)
    model: UpliftForestModel | None = field(default=None, init=False, repr=False)
    """The forest of this run once a step has it, so that the next ones need not read it."""
    # Looking a table up takes a query: tables that were there, and those that had rows of this run.
    _there: set[str] = field(default_factory=set, init=False, repr=False)
    _filled: set[str] = field(default_factory=set, init=False, repr=False)

    @cached_property
    def source(self) -> Source:
        """The experiment's rows, read when first asked for."""
        return read_source(self.spark, self.config.experiment)

    @cached_property
    def run_id(self) -> str:
        """Name and hash of configuration, rows and release: a re-run has the same.

        What changes no result of the run does not count: one model scores many lists, and is reported anew elsewhere.
        """
        sections = {name: RunConfig.model_fields[name].default for name in _NOT_IDENTIFYING}
        return self.config.model_copy(update=sections).run_id(self.source.version)

    @property
    def settings(self) -> Whole:
        """What the user configured, as the audit trail keeps it."""
        return self.config

    @property
    def warehouse(self) -> str:
        """Folder or URI of the tables."""
        return self.config.warehouse

    def rows(self, name: str, made_by: str) -> DataFrame:
        """Return this run's rows of a table.

        Parameters
        ----------
        made_by : str
            The step that writes them.

        Raises
        ------
        TableError
            When there are none yet; says which step to run first.
        """
        if name in self._filled:
            return tables.read(self.spark, self.warehouse, name, {"run_id": self.run_id})
        hint = f"Hint: run `spark-uplift {made_by}` with the same configuration first."
        if not self.exists(name):
            raise TableError(
                f"The table '{name}' must be in the warehouse '{self.warehouse}'. Got none. {hint}"
            )
        found = tables.read(self.spark, self.warehouse, name, {"run_id": self.run_id})
        if not found.take(1):
            raise TableError(f"The table '{name}' must have rows of run '{self.run_id}'. Got none. {hint}")
        self._filled.add(name)
        return found

    def small_rows(self, name: str) -> list[dict[str, Any]]:
        """Return this run's rows of a small table as plain dicts, in the order of its keys; none if there are none."""
        if not self.exists(name):
            return []
        found = tables.read(self.spark, self.warehouse, name, {"run_id": self.run_id}).collect()
        keys = schemas.table(name).keys
        rows = [row.asDict(recursive=True) for row in found]
        return sorted(rows, key=lambda row: tuple((row[k] is not None, row[k]) for k in keys))

    def exists(self, name: str) -> bool:
        """Tell whether a table is there and ours."""
        if name not in self._there and tables.exists(self.spark, self.warehouse, name):
            self._there.add(name)
        return name in self._there

    def write(self, df: DataFrame, name: str, **keys: str) -> str:
        """Write rows to a table, in place of those of the same keys; return the table's path."""
        location = tables.write(self.spark, df, self.warehouse, name, txn=None, **keys)
        self._there.add(name)
        return location

    def frame(self, name: str, rows: Iterable[Mapping[str, Any]]) -> DataFrame:
        """Return plain rows as a DataFrame with a table's declared columns."""
        columns = schemas.table(name).columns
        schema = ", ".join(f"`{column.name}` {column.type}" for column in columns)
        return self.spark.createDataFrame([tuple(row.get(c.name) for c in columns) for row in rows], schema)


def open_run(config: RunConfig, progress: Progress | None = None) -> RunContext:
    """Return the context of a run: the active Spark session, or a local one with the configured settings."""
    spark = get_session(
        app_name=f"spark_uplift {config.name}", master=config.spark.master, conf=config.spark.conf
    )
    return RunContext(config, spark, progress or LogProgress())
