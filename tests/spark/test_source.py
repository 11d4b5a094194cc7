from __future__ import annotations

import shutil

import pytest
from pyspark.sql.types import BooleanType, DoubleType, IntegerType, StringType

from spark_uplift.errors import DataError
from spark_uplift.spark.source import arm_name, read_source
from spark_uplift.spark.versions import files_version
from tests.spark.frames import config, frame, rows, source


def opened(spark, **experiment):
    return read_source(spark, config(experiment=experiment).experiment)


@pytest.fixture
def folder(tmp_path):
    """A folder of Parquet with a readme beside the data, as downloads come."""
    data = tmp_path / "plans"
    data.mkdir()
    rows(50).to_parquet(data / "part.parquet", index=False)
    (data / "meta.json").write_text("{}")
    return data


def test_parquet_folder_with_other_files_in_it(spark, folder):
    plans = opened(spark, path=str(folder))
    assert plans.df.count() == 50
    assert plans.features == ("age", "region")
    assert plans.categorical == {"region"}
    assert plans.numeric == ("age",)
    assert plans.version.startswith("sha256:")
    (folder / "meta.json").write_text("{ }")
    assert opened(spark, path=str(folder)).version == plans.version


def test_a_copy_has_the_same_version_and_a_change_another(tmp_path, folder):
    version = files_version(folder)
    shutil.copytree(folder, tmp_path / "copy")
    assert files_version(tmp_path / "copy") == version
    rows(51).to_parquet(folder / "part.parquet", index=False)
    assert files_version(folder) != version
    assert files_version(folder / "part.parquet").startswith("sha256:")


def test_large_files_are_told_apart_by_size_and_time(folder):
    version = files_version(folder, hashed_bytes=0)
    assert version.startswith("listing:")
    assert files_version(folder, hashed_bytes=0) == version
    (folder / "part.parquet").touch()
    assert files_version(folder, hashed_bytes=0) != version


def test_csv_with_a_header(spark, tmp_path):
    rows(50).to_csv(tmp_path / "plans.csv", index=False)
    plans = opened(spark, path=str(tmp_path / "plans.csv"), format="csv")
    assert plans.numeric == ("age",)
    assert plans.df.count() == 50


def test_delta_has_the_version_of_its_log(spark, tmp_path):
    path = str(tmp_path / "plans")
    for version in range(2):
        frame(spark, rows(20)).write.format("delta").mode("append").save(path)
        assert opened(spark, path=path, format="delta").version == f"delta:{version}"


def test_a_view_has_the_version_of_its_rows(spark):
    frame(spark, rows(50)).createOrReplaceTempView("plans_view")
    version = opened(spark, table="plans_view").version
    frame(spark, rows(50).iloc[::-1]).repartition(3).createOrReplaceTempView("plans_view")
    assert opened(spark, table="plans_view").version == version
    frame(spark, rows(50, seed=1)).createOrReplaceTempView("plans_view")
    assert opened(spark, table="plans_view").version != version
    spark.catalog.dropTempView("plans_view")


def test_built_in_dataset(spark):
    pytest.importorskip("statsmodels")
    plans = opened(
        spark, dataset="randhie", id="unit_id", treatment="plan", control="95-100 %", outcome="mdvis"
    )
    assert plans.df.count() == 20_190
    assert (plans.name, plans.version[:7]) == ("randhie", "sha256:")


def test_a_path_that_is_not_there_names_the_nearest(spark, folder):
    with pytest.raises(
        DataError, match=r"path '.*planz' \(experiment.path\) does not exist. Hint: did you mean '.*plans'"
    ):
        opened(spark, path=str(folder.parent / "planz"))


def test_the_wrong_format_is_told(spark, folder):
    with pytest.raises(
        DataError, match="The delta data at .* can't be read: .*Hint: is experiment.format right?"
    ):
        opened(spark, path=str(folder), format="delta")


def test_a_table_that_is_not_there(spark):
    with pytest.raises(DataError, match="table 'nowhere' .* can't be read"):
        opened(spark, table="nowhere")


def test_columns_with_dots_and_spaces(spark):
    data = rows(50).rename(columns={"age": "age.at entry", "region": "region (now)"})
    found = source(spark, data, config())
    assert found.features == ("age.at entry", "region (now)")
    assert found.frame().select("`age.at entry`").count() == 50


@pytest.mark.parametrize(
    ("arm", "kind", "text"),
    [
        ("0", DoubleType(), "0"),
        ("1.0", IntegerType(), "1"),
        ("0.5", DoubleType(), "0.5"),
        ("True", BooleanType(), "true"),
        ("1", StringType(), "1"),
        ("mail", IntegerType(), "mail"),
    ],
)
def test_arms_of_the_configuration_are_written_as_those_of_the_data(arm, kind, text):
    assert arm_name(arm, kind) == text
