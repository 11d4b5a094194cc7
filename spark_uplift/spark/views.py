"""SQL views over the newest run's rows, with columns that a dashboard can show as they are.

A view looks the newest run up in ``job_runs`` each time it is read, so that it is made once and shows every later
run. Where rows were written by functions alone and no job is on record, the run of the newest write is named in the
view; make the views again after the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spark_uplift import schemas
from spark_uplift.errors import TableError, bad_value
from spark_uplift.spark import tables
from spark_uplift.spark.view_columns import DASHBOARD, DashboardView

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["latest", "views"]

_PROPERTY = "spark_uplift.view"
_RUNS = "job_runs"
_MISSING = re.compile("TABLE_OR_VIEW_NOT_FOUND|SCHEMA_NOT_FOUND|not found", re.IGNORECASE)


class _Place(NamedTuple):
    """Where views go: a schema of a catalog (quoted), or nowhere, for temporary ones."""

    schema: str | None
    register: bool

    def named(self, name: str) -> str:
        return tables.quote(name) if self.schema is None else f"{self.schema}.{tables.quote(name)}"


def views(
    spark: SparkSession,
    warehouse: str | Path,
    schema: str | None = None,
    *,
    experiment: str | None = None,
    register: bool = False,
) -> dict[str, str]:
    """Make SQL views over the newest run, ready for a dashboard.

    Views are ``latest_uplift_table``, ``latest_evaluation_metrics``, ``latest_evaluation_curves``,
    ``latest_policy_value``, ``latest_cost_curve`` and ``latest_decision_summary`` (of the list decided last); those
    whose tables are not in the warehouse are left out. Each column has a comment with its meaning and unit.

    Parameters
    ----------
    spark : SparkSession
        Session.
    warehouse : str or Path
        Folder or URI of the tables.
    schema : str, optional
        Schema of the session's catalog that gets the views, ``"schema"`` or ``"catalog.schema"``; it must exist.
        Without it the views are temporary: this session alone sees them.
    experiment : str, optional
        Name of an experiment (``name`` in its configuration): the newest run of that one. Without it the newest run
        of the warehouse.
    register : bool
        Also register the tables in the schema, as external tables under their own names, and let the views read
        these. For catalogs that govern by name, such as Unity Catalog: readers of a view then need no right to the
        files. Without it views read the tables by path.

    Returns
    -------
    dict of str to str
        Name of each view, by table.

    Raises
    ------
    TableError
        When the schema is not there or can't be written, something of the view's name was not made by
        spark_uplift, or no table is in the warehouse.

    Examples
    --------
    >>> su.views(spark, "warehouse", "main.marketing")  # doctest: +SKIP
    >>> spark.sql("SELECT arm, bucket, uplift FROM main.marketing.latest_uplift_table")  # doctest: +SKIP
    """
    place = _Place(None if schema is None else _quoted_schema(schema), register and schema is not None)
    present = [view for view in DASHBOARD if tables.exists(spark, warehouse, view.table)]
    if not present:
        raise TableError(
            f"The warehouse '{warehouse}' must have results to make views of. Got none of "
            f"{[view.table for view in DASHBOARD]}. Hint: run `spark-uplift evaluate` first."
        )
    runs = _source(spark, warehouse, _RUNS, place) if tables.exists(spark, warehouse, _RUNS) else None
    return {
        view.table: _make(spark, view, _source(spark, warehouse, view.table, place), newest, place)
        for view, newest in _with_newest(spark, warehouse, present, runs, experiment)
    }


def latest(spark: SparkSession, warehouse: str | Path, name: str) -> str:
    """Create the temporary SQL view ``latest_<name>`` over the newest write's rows of any table; return its name.

    Raises
    ------
    TableError
        If the table is not there or not ours.
    """
    keys = tables.latest_keys(spark, warehouse, name)
    first = schemas.table(name).keys[0]
    newest = {first: keys[first]} if first in keys else {}
    view_name = f"latest_{name}"
    tables.read(spark, warehouse, name, newest).createOrReplaceTempView(view_name)
    return view_name


def _quoted_schema(schema: str) -> str:
    parts = schema.split(".")
    if len(parts) > 2 or not all(re.fullmatch(r"[^\s`.]+", part) for part in parts):
        expected = "a schema or catalog.schema, without spaces and backticks"
        raise TableError(bad_value("schema", "views", expected, schema))
    return ".".join(tables.quote(part) for part in parts)


def _source(spark: SparkSession, warehouse: str | Path, name: str, place: _Place) -> str:
    """Return how a view names a table: by path, or by the name under which it is registered."""
    location = tables.path(warehouse, name)
    if not place.register:
        return f"delta.{tables.quote(location)}"
    registered = place.named(name)
    _run(
        spark,
        f"CREATE TABLE IF NOT EXISTS {registered} USING delta LOCATION {_text(location)}",
        f"The table {registered} can't be registered",
    )
    found = _properties(spark, registered)
    if found.get(tables.PROPERTY_TABLE) != name:
        raise TableError(
            f"{registered} is not the table {name!r} of spark_uplift and is left alone. Hint: choose another schema."
        )
    return registered


def _with_newest(
    spark: SparkSession,
    warehouse: str | Path,
    present: list[DashboardView],
    runs: str | None,
    experiment: str | None,
) -> Iterator[tuple[DashboardView, str]]:
    """Yield each view with the condition that selects the newest run's rows."""
    of_experiment = (
        ""
        if experiment is None
        else f" AND run_id RLIKE {_text(f'^{re.escape(experiment)}-[0-9a-f]{{12}}$')}"
    )
    for view in present:
        which = f"job = '{view.job}' AND status = 'succeeded'{of_experiment}"
        on_record = runs is not None and bool(
            spark.sql(f"SELECT 1 FROM {runs} WHERE {which} LIMIT 1").take(1)
        )
        if not on_record:
            yield view, _of_newest_write(spark, warehouse, view, experiment)
            continue
        chosen = [view.chosen.get(key, key) for key in view.keys]
        newest = f"SELECT max_by(struct({', '.join(chosen)}), struct(finished_at, run_id)) FROM {runs} WHERE {which}"
        yield view, f"struct({', '.join(f't.{key}' for key in view.keys)}) = ({newest})"


def _of_newest_write(
    spark: SparkSession, warehouse: str | Path, view: DashboardView, experiment: str | None
) -> str:
    """Select the rows of the newest write; of an experiment whose jobs are not on record, none."""
    keys = tables.latest_keys(spark, warehouse, view.table)
    if experiment is not None or "run_id" not in keys:
        return "false" if experiment is not None else "true"
    return f"t.run_id = {_text(keys['run_id'])}"


def _make(spark: SparkSession, view: DashboardView, source: str, newest: str, place: _Place) -> str:
    name = place.named(f"latest_{view.table}")
    columns = ", ".join(f"{tables.quote(c.name)} COMMENT {_text(c.comment)}" for c in view.columns)
    selected = ", ".join(f"{c.expression} AS {tables.quote(c.name)}" for c in view.columns)
    query = f"SELECT {selected} FROM {source} AS t WHERE {newest}"
    if place.schema is None:
        kind, properties = "TEMPORARY VIEW", ""
    else:
        _require_ours(spark, name)
        kind, properties = "VIEW", f" TBLPROPERTIES ('{_PROPERTY}' = '{view.table}')"
    statement = (
        f"CREATE OR REPLACE {kind} {name} ({columns}) COMMENT {_text(view.comment)}{properties} AS {query}"
    )
    _run(spark, statement, f"The view {name} can't be made")
    return name.replace("`", "")


def _require_ours(spark: SparkSession, name: str) -> None:
    """Refuse to replace what somebody else made under the view's name."""
    if spark.catalog.tableExists(name) and _PROPERTY not in _properties(spark, name):
        raise TableError(
            f"{name} was not made by spark_uplift (it lacks the property {_PROPERTY}) and is left alone. "
            "Hint: choose another schema."
        )


def _properties(spark: SparkSession, name: str) -> dict[str, str]:
    return {row["key"]: row["value"] for row in spark.sql(f"SHOW TBLPROPERTIES {name}").collect()}


def _run(spark: SparkSession, statement: str, failure: str) -> None:
    try:
        spark.sql(statement).collect()
    except Exception as error:
        missing = _MISSING.search(str(error))
        hint = (
            " Hint: create the schema first (CREATE SCHEMA …), or choose one that is there."
            if missing
            else ""
        )
        raise TableError(f"{failure}: {tables.first_line(error)}{hint}") from error


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
