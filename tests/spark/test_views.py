"""Dashboard views: the newest run's rows, in columns that plain SQL can use."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import spark_uplift as su
from spark_uplift import schemas
from spark_uplift.errors import TableError
from spark_uplift.spark import tables
from spark_uplift.spark.view_columns import DASHBOARD

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

START = datetime(2026, 1, 1)
OLD, NEW, ELSEWHERE = "mail-0123456789ab", "mail-abcdefabcdef", "letters-0123456789ab"


def write(
    spark: SparkSession, warehouse: str, name: str, rows: list[dict[str, Any]], run: str, **keys: str
) -> None:
    columns = schemas.table(name).columns
    schema = ", ".join(f"`{c.name}` {c.type}" for c in columns)
    filled = [tuple({"run_id": run, **row}.get(c.name) for c in columns) for row in rows]
    tables.write(spark, spark.createDataFrame(filled, schema), warehouse, name, run_id=run, **keys)


def job(
    spark: SparkSession,
    warehouse: str,
    run: str,
    hours: int,
    status: str = "succeeded",
    name: str = "evaluate",
    outputs: dict[str, str] | None = None,
) -> None:
    columns = schemas.table("job_runs").columns
    schema = ", ".join(f"`{c.name}` {c.type}" for c in columns)
    row = {
        "run_id": run,
        "job": name,
        "status": status,
        "started_at": START,
        "finished_at": START + timedelta(hours=hours),
        "outputs": outputs or {},
    }
    frame = spark.createDataFrame([tuple(row.get(c.name) for c in columns)], schema)
    tables.write(spark, frame, warehouse, "job_runs", run_id=run, job=name)


def uplift_rows(scale: float) -> list[dict[str, Any]]:
    return [
        {
            "model_id": f"m{scale}",
            "split": "holdout",
            "arm": arm,
            "bucket": bucket,
            "n": 100 * bucket,
            "n_treated": 50,
            "n_control": 50,
            "predicted": scale / bucket,
            "uplift": scale / bucket,
            "lower": scale / bucket - 1.0,
            "upper": scale / bucket + 1.0,
            "cumulative_n": (100, 300, 600)[bucket - 1],
        }
        for arm in ("*", "mail's")
        for bucket in (1, 2, 3)
    ]


def metric_rows(value: float) -> list[dict[str, Any]]:
    row = {"model_id": "m", "arm": "*", "style": "grf", "level": 0.95, "n": 600, "bootstrap": 200}
    return [
        {
            **row,
            "metric": "autoc",
            "value": value,
            "lower": value - 0.1,
            "upper": value + 0.1,
            "formula": "it's",
        },
        {**row, "metric": "auuc", "value": value, "lower": None, "upper": None},
    ]


@pytest.fixture(scope="module")
def warehouse(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three runs of two experiments; the newest one was written before an older one was written again."""
    folder = str(tmp_path_factory.mktemp("it's a warehouse"))
    for run, scale, hours in ((NEW, 2.0, 5), (ELSEWHERE, 9.0, 3), (OLD, 1.0, 1)):
        write(spark, folder, "uplift_table", uplift_rows(scale), run)
        if run == NEW:
            write(spark, folder, "evaluation_metrics", metric_rows(scale), run)
        job(spark, folder, run, hours)
    return folder


@pytest.fixture
def schema(spark: SparkSession) -> Iterator[str]:
    name = f"dash_{uuid.uuid4().hex[:8]}"
    spark.sql(f"CREATE SCHEMA {name}")
    yield name
    spark.sql(f"DROP SCHEMA {name} CASCADE")


@pytest.mark.parametrize("view", DASHBOARD, ids=lambda view: view.table)
def test_every_column_says_what_it_is(view: Any) -> None:
    assert all(column.comment and column.name.islower() for column in view.columns)
    assert len({column.name for column in view.columns}) == len(view.columns)


def test_temporary_views_show_the_newest_run(spark: SparkSession, warehouse: str) -> None:
    made = su.views(spark, warehouse)
    assert made == {
        "uplift_table": "latest_uplift_table",
        "evaluation_metrics": "latest_evaluation_metrics",
    }
    rows = spark.sql("SELECT DISTINCT run_id, model_id FROM latest_uplift_table").collect()
    assert [tuple(row) for row in rows] == [(NEW, "m2.0")]


def test_plain_sql_gives_the_numbers_of_the_tables(spark: SparkSession, warehouse: str, schema: str) -> None:
    made = su.views(spark, warehouse, schema)
    assert made["uplift_table"] == f"{schema}.latest_uplift_table"
    rows = spark.sql(
        f"SELECT arm, bucket, units, uplift, uplift_lower, share_treated FROM {schema}.latest_uplift_table "
        "ORDER BY arm, bucket"
    ).collect()
    assert [tuple(row) for row in rows] == [
        (arm, bucket, 100 * bucket, 2.0 / bucket, 2.0 / bucket - 1.0, (1 / 6, 0.5, 1.0)[bucket - 1])
        for arm in ("best arm for each unit", "mail's")
        for bucket in (1, 2, 3)
    ]
    metrics = spark.sql(
        f"SELECT metric, value, reading, formula FROM {schema}.latest_evaluation_metrics"
    ).collect()
    assert {tuple(row) for row in metrics} == {("autoc", 2.0, "above 0", "it's"), ("auuc", 2.0, None, None)}


def test_a_view_follows_later_runs_without_being_made_again(
    spark: SparkSession, tmp_path: Path, schema: str
) -> None:
    folder, view = str(tmp_path / "w"), f"{schema}.latest_evaluation_metrics"

    def shown() -> set[tuple[str, float]]:
        return {tuple(row) for row in spark.sql(f"SELECT DISTINCT run_id, value FROM {view}").collect()}

    write(spark, folder, "evaluation_metrics", metric_rows(1.0), OLD)
    job(spark, folder, OLD, 1)
    su.views(spark, folder, schema)
    assert shown() == {(OLD, 1.0)}
    write(spark, folder, "evaluation_metrics", metric_rows(7.0), NEW)
    job(spark, folder, NEW, 2, status="failed")
    assert shown() == {(OLD, 1.0)}
    job(spark, folder, NEW, 3)
    assert shown() == {(NEW, 7.0)}


def test_columns_have_comments_and_views_can_be_made_again(
    spark: SparkSession, warehouse: str, schema: str
) -> None:
    for _ in range(2):
        su.views(spark, warehouse, f"spark_catalog.{schema}")
    described = {
        row.col_name: row.comment for row in spark.sql(f"DESCRIBE {schema}.latest_uplift_table").collect()
    }
    assert described["uplift"] == "Measured uplift: mean_treated - mean_control [outcome]"
    assert all(described.values())


def test_an_experiment_of_many_has_its_own_newest_run(spark: SparkSession, warehouse: str) -> None:
    su.views(spark, warehouse, experiment="letters")
    assert {row.run_id for row in spark.table("latest_uplift_table").collect()} == {ELSEWHERE}
    su.views(spark, warehouse, experiment="nothing of the kind")
    assert spark.table("latest_uplift_table").count() == 0


def test_tables_can_be_registered_for_catalogs_that_govern_by_name(
    spark: SparkSession, warehouse: str, schema: str
) -> None:
    for _ in range(2):
        su.views(spark, warehouse, schema, register=True)
    listed = spark.sql(f"SHOW TABLES IN {schema}").collect()
    names = {row.tableName for row in listed if not row.isTemporary}  # other tests leave temporary views
    assert names == {
        *("job_runs", "uplift_table", "evaluation_metrics"),
        *("latest_uplift_table", "latest_evaluation_metrics"),
    }
    text = spark.sql(f"SHOW CREATE TABLE {schema}.latest_uplift_table").collect()[0][0]
    assert "delta.`" not in text
    assert {row.run_id for row in spark.table(f"{schema}.latest_uplift_table").collect()} == {NEW}


def test_decisions_are_those_of_the_list_decided_last(spark: SparkSession, tmp_path: Path) -> None:
    folder = str(tmp_path / "w")
    for run, lists in ((OLD, ("a", "b")), (NEW, ("c",))):
        rows = [
            {"model_id": "m", "list_id": x, "arm": "*", "n": 5, "cost": 2.5, "net": float(ord(x))}
            for x in lists
        ]
        for row in rows:
            write(spark, folder, "decision_summary", [row], run, model_id="m", list_id=row["list_id"])
    job(spark, folder, NEW, 1, name="decide", outputs={"list_id": "c"})
    job(spark, folder, OLD, 2, name="decide", outputs={"list_id": "a"})
    made = su.views(spark, folder)
    rows = spark.sql(f"SELECT list_id, units, spend, net FROM {made['decision_summary']}").collect()
    assert [tuple(row) for row in rows] == [("a", 5, 2.5, 97.0)]
    job(spark, folder, OLD, 3, name="decide", outputs={"list_id": "b"})
    assert [row.list_id for row in spark.table(made["decision_summary"]).collect()] == ["b"]


def test_every_view_can_be_made(spark: SparkSession, tmp_path: Path) -> None:
    folder = str(tmp_path / "w")
    known = [view.table for view in DASHBOARD]
    for name in known:
        tables.ensure(spark, folder, name)
    made = su.views(spark, folder)
    assert sorted(made) == sorted(known)
    for view in DASHBOARD:
        assert spark.table(made[view.table]).columns == [column.name for column in view.columns]


def test_rows_that_no_job_wrote_are_those_of_the_newest_write(spark: SparkSession, tmp_path: Path) -> None:
    folder = str(tmp_path / "w")
    write(spark, folder, "evaluation_metrics", metric_rows(1.0), NEW)
    write(spark, folder, "evaluation_metrics", metric_rows(2.0), OLD)
    assert su.views(spark, folder) == {"evaluation_metrics": "latest_evaluation_metrics"}
    assert {row.run_id for row in spark.table("latest_evaluation_metrics").collect()} == {OLD}


def test_what_others_made_is_left_alone(spark: SparkSession, warehouse: str, schema: str) -> None:
    spark.sql(f"CREATE VIEW {schema}.latest_uplift_table AS SELECT 1 AS theirs")
    with pytest.raises(TableError, match="was not made by spark_uplift"):
        su.views(spark, warehouse, schema)
    assert spark.table(f"{schema}.latest_uplift_table").columns == ["theirs"]
    spark.sql(f"CREATE TABLE {schema}.uplift_table (x INT) USING delta")
    with pytest.raises(TableError, match="is not the table 'uplift_table' of spark_uplift"):
        su.views(spark, warehouse, schema, register=True)


def test_a_schema_must_be_there_and_named(spark: SparkSession, warehouse: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="Hint: create the schema first"):
        su.views(spark, warehouse, "not_there")
    with pytest.raises(TableError, match="a schema or catalog.schema"):
        su.views(spark, warehouse, "a.b.c")
    with pytest.raises(TableError, match="must have results to make views of"):
        su.views(spark, str(tmp_path / "empty"))
