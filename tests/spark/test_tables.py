from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.testing import assertDataFrameEqual

from spark_uplift import schemas
from spark_uplift.errors import TableError
from spark_uplift.spark import tables, views

IMPORTANCE = "feature string, method string, importance double, std_error double"


def importance_rows(spark: SparkSession, *rows: tuple[str, float], model: str = "m1"):
    frame = spark.createDataFrame([(name, "gain", value, None) for name, value in rows], IMPORTANCE)
    return frame.withColumn("model_id", F.lit(model))


@pytest.fixture
def warehouse(tmp_path: Path) -> str:
    return str(tmp_path / "warehouse with 'quotes'")


def test_every_declared_table_can_be_created_with_comments(spark: SparkSession, warehouse: str) -> None:
    for name, declared in schemas.TABLES.items():
        location = tables.ensure(spark, warehouse, name)
        fields = spark.read.format("delta").load(location).schema.fields
        assert [field.name for field in fields] == list(declared.column_names)
        assert [field.metadata.get("comment") for field in fields] == [c.comment for c in declared.columns]
        assert [field.dataType.simpleString().upper() for field in fields] == [
            column.type.replace(", ", ",") for column in declared.columns
        ]


def test_ensure_twice_makes_one_commit(spark: SparkSession, warehouse: str) -> None:
    tables.ensure(spark, warehouse, "segments")
    tables.ensure(spark, warehouse, "segments")
    assert tables.version(spark, warehouse, "segments") == 0


def test_a_repeated_write_leaves_the_same_rows(spark: SparkSession, warehouse: str) -> None:
    rows = importance_rows(spark, ("age", 0.75), ("sex", 0.25))
    for _ in range(2):
        tables.write(spark, rows, warehouse, "feature_importance", run_id="r1")
    found = tables.read(spark, warehouse, "feature_importance", {"run_id": "r1"})
    assertDataFrameEqual(found, rows.withColumn("run_id", F.lit("r1")).select(found.columns))


def test_a_run_rewrites_its_own_rows_only(spark: SparkSession, warehouse: str) -> None:
    hostile = "r'1\\ --"
    tables.write(spark, importance_rows(spark, ("age", 1.0)), warehouse, "feature_importance", run_id=hostile)
    tables.write(spark, importance_rows(spark, ("age", 2.0)), warehouse, "feature_importance", run_id="r2")
    tables.write(spark, importance_rows(spark, ("sex", 3.0)), warehouse, "feature_importance", run_id=hostile)
    found = tables.read(spark, warehouse, "feature_importance").orderBy("importance").collect()
    assert [(row.run_id, row.feature) for row in found] == [("r2", "age"), (hostile, "sex")]


def test_two_replace_keys_narrow_what_is_rewritten(spark: SparkSession, warehouse: str) -> None:
    declared = [
        column
        for column in schemas.table("uplift_scores").columns
        if column.name not in ("list_id", "model_id")
    ]
    for list_id, unit in (("a", "1"), ("b", "2"), ("a", "3")):
        row = spark.range(1).select(
            *[
                (F.lit(unit) if column.name == "unit_id" else F.lit(None))
                .cast(column.type.lower())
                .alias(column.name)
                for column in declared
            ]
        )
        tables.write(spark, row, warehouse, "uplift_scores", model_id="m", list_id=list_id)
    found = tables.read(spark, warehouse, "uplift_scores").orderBy("unit_id").collect()
    assert [(row.list_id, row.unit_id) for row in found] == [("b", "2"), ("a", "3")]


def test_a_transaction_that_was_seen_is_skipped(spark: SparkSession, warehouse: str) -> None:
    rows = importance_rows(spark, ("age", 1.0))
    for version in (1, 1, 2):
        tables.write(spark, rows, warehouse, "feature_importance", txn=("stream", version), run_id="r1")
    assert tables.read(spark, warehouse, "feature_importance").count() == 2


def training_rows(spark: SparkSession, features: str):
    declared = [column for column in schemas.table("training_view").columns if column.name != "run_id"]
    nulls = [F.lit(None).cast(column.type.lower()).alias(column.name) for column in declared]
    return spark.range(1).select(*nulls, F.expr(features))


def test_open_tables_take_the_features_of_the_source(spark: SparkSession, warehouse: str) -> None:
    tables.write(spark, training_rows(spark, "1.5D AS age"), warehouse, "training_view", run_id="r1")
    tables.write(
        spark, training_rows(spark, "'x' AS `income (usd)`"), warehouse, "training_view", run_id="r2"
    )
    found = tables.read(spark, warehouse, "training_view").orderBy("run_id")
    assert found.columns[-2:] == ["age", "income (usd)"]
    assert [(row["age"], row["income (usd)"]) for row in found.collect()] == [(1.5, None), (None, "x")]


def test_a_feature_of_another_type_is_refused_with_a_way_out(spark: SparkSession, warehouse: str) -> None:
    tables.write(spark, training_rows(spark, "1.5D AS age"), warehouse, "training_view", run_id="r1")
    with pytest.raises(
        TableError, match=r"'training_view' can't be written .* Hint: .* choose another warehouse"
    ):
        tables.write(spark, training_rows(spark, "array(1) AS age"), warehouse, "training_view", run_id="r2")


def test_a_feature_that_clashes_with_our_column_is_refused(spark: SparkSession, warehouse: str) -> None:
    with pytest.raises(
        TableError, match=r"columns \['Outcome', 'outcome'\] differ from others by case alone"
    ):
        tables.write(spark, training_rows(spark, "1 AS id").withColumnRenamed("id", "Outcome"), warehouse,
                     "training_view", run_id="r1")  # fmt: skip


def test_missing_and_undeclared_columns_are_named_together(spark: SparkSession, warehouse: str) -> None:
    rows = importance_rows(spark, ("age", 1.0)).drop("method").withColumn("extra", F.lit(1))
    with pytest.raises(
        TableError, match=r"columns \['method'\] are missing; columns \['extra'\] are not declared"
    ):
        tables.write(spark, rows, warehouse, "feature_importance", run_id="r1")


def test_rows_of_another_run_are_refused(spark: SparkSession, warehouse: str) -> None:
    rows = importance_rows(spark, ("age", 1.0)).withColumn("run_id", F.lit("other"))
    with pytest.raises(TableError, match="DELTA_REPLACE_WHERE_MISMATCH"):
        tables.write(spark, rows, warehouse, "feature_importance", run_id="r1")


@pytest.mark.parametrize("keys", [{}, {"feature": "age"}, {"run_id": ""}, {"model_id": "m1"}])
def test_keys_must_fit_the_table(spark: SparkSession, warehouse: str, keys: dict[str, str]) -> None:
    with pytest.raises(TableError, match="The 'keys' parameter of write to 'feature_importance' must be"):
        tables.write(spark, importance_rows(spark, ("age", 1.0)), warehouse, "feature_importance", **keys)


def test_a_table_that_is_not_ours_is_left_alone(spark: SparkSession, warehouse: str) -> None:
    location = tables.path(warehouse, "feature_importance")
    spark.range(3).write.format("delta").save(location)
    rows = importance_rows(spark, ("age", 1.0))
    with pytest.raises(TableError, match=r"was not made by spark_uplift \(it lacks the property"):
        tables.write(spark, rows, warehouse, "feature_importance", run_id="r1")
    with pytest.raises(TableError, match="was not made by spark_uplift"):
        tables.read(spark, warehouse, "feature_importance")
    assert spark.read.format("delta").load(location).count() == 3


def test_a_folder_with_other_files_is_left_alone(spark: SparkSession, warehouse: str) -> None:
    folder = Path(tables.path(warehouse, "segments"))
    spark.range(3).write.parquet(str(folder))
    with pytest.raises(TableError, match="holds files that are not the table 'segments'"):
        tables.ensure(spark, warehouse, "segments")
    assert spark.read.parquet(str(folder)).count() == 3


def test_another_schema_version_is_refused(spark: SparkSession, warehouse: str) -> None:
    location = tables.ensure(spark, warehouse, "segments")
    spark.sql(f"ALTER TABLE delta.`{location}` SET TBLPROPERTIES ('spark_uplift.schema_version' = '99')")
    with pytest.raises(TableError, match="has schema version 99; this release writes version 1"):
        tables.read(spark, warehouse, "segments")


def test_an_unwritable_warehouse_is_named(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(
        TableError, match=r"/file/warehouse(/segments:| can't be written:) .* --set warehouse=FOLDER"
    ):
        tables.ensure(spark, tmp_path / "file" / "warehouse", "segments")


def test_reading_what_is_not_there(spark: SparkSession, warehouse: str) -> None:
    with pytest.raises(
        TableError, match="There is no table 'segments' at .* Hint: run the job that writes it first"
    ):
        tables.read(spark, warehouse, "segments")


@pytest.mark.parametrize(
    ("warehouse", "name", "message"),
    [
        ("w", "segment", "There is no table named 'segment'.*did you mean 'segments'"),
        ("a`b", "segments", "without `"),
    ],
)
def test_paths_that_are_refused(warehouse: str, name: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        tables.path(warehouse, name)


def test_paths_of_local_and_remote_warehouses(tmp_path: Path) -> None:
    assert tables.path(tmp_path / "a" / ".." / "b", "segments") == str(tmp_path / "b" / "segments")
    assert tables.path(f"file://{tmp_path}", "segments") == str(tmp_path / "segments")
    assert tables.path("s3://bucket/w/", "segments") == "s3://bucket/w/segments"


def test_the_view_shows_the_newest_run(spark: SparkSession, warehouse: str) -> None:
    for run, value in (("r1", 1.0), ("r2", 2.0), ("r1", 3.0)):
        tables.write(
            spark, importance_rows(spark, ("age", value)), warehouse, "feature_importance", run_id=run
        )
    name = views.latest(spark, warehouse, "feature_importance")
    assert name == "latest_feature_importance"
    assert [(row.run_id, row.importance) for row in spark.sql(f"SELECT * FROM {name}").collect()] == [
        ("r1", 3.0)
    ]
    assert tables.latest_keys(spark, warehouse, "feature_importance") == {"run_id": "r1"}
