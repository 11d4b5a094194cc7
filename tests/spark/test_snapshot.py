"""Lists are pinned, wherever they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spark_uplift.config import ScoreConfig
from spark_uplift.errors import DataError
from spark_uplift.spark import snapshot, versions
from spark_uplift.spark.snapshot import open_snapshot, unreadable


@pytest.fixture
def folder(spark, tmp_path: Path) -> Path:
    path = tmp_path / "list [1] {a}"
    rows = spark.range(10).selectExpr("id", "id % 2 as half")
    staged = tmp_path / "staged"
    rows.repartition(2).write.partitionBy("half").parquet(str(staged))
    staged.rename(path)  # Spark's own writer and reader take such characters for patterns
    (path / "_SUCCESS").unlink(missing_ok=True)
    return path


@pytest.fixture(params=["local", "remote"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to look at files; an object store is played by this machine."""
    if request.param == "remote":
        monkeypatch.setattr(versions, "local_path", lambda _: None)
    return str(request.param)


def opened(spark, path: Path, **options: Any) -> snapshot.Snapshot:
    return open_snapshot(spark, ScoreConfig(path=str(path), **options))


def plain(folder: Path) -> Path:
    """The same rows at a path without special characters."""
    path = folder.parent / "plain"
    folder.rename(path)
    return path


def test_files_of_partitions_are_pinned(spark, folder: Path, place: str) -> None:
    path = plain(folder)
    found = opened(spark, path)
    assert sorted(map(tuple, found.df.collect())) == [(i, i % 2) for i in range(10)]
    later = path / "half=1" / "later.parquet"
    source = next((path / "half=0").glob("*.parquet"))
    later.write_bytes(source.read_bytes())
    assert found.df.count() == 10
    assert found.changes() is None
    assert opened(spark, path).version != found.version


def test_a_file_that_goes_or_changes(spark, folder: Path, place: str) -> None:
    path = plain(folder)
    found = opened(spark, path)
    one, *_ = sorted((path / "half=0").glob("*.parquet"))
    other = next((path / "half=1").glob("*.parquet"))
    data = one.read_bytes()
    one.write_bytes(other.read_bytes() + b"x")
    with pytest.raises(
        DataError, match=rf"{one.name} was written to\. Nothing was written\. Hint: run the job again"
    ):
        found.require_unchanged()
    one.write_bytes(data)
    one.unlink()
    with pytest.raises(DataError, match=rf"{one.name} has gone"):
        found.require_unchanged()


def test_names_that_look_like_patterns(spark, folder: Path) -> None:
    files = versions.read_files(folder, "parquet")
    assert len(files) >= 2
    escaped = [snapshot._escaped(str(file)) for file in files]
    assert spark.read.parquet(*escaped).count() == 10


def test_a_csv_file_and_a_folder_of_them(spark, tmp_path: Path) -> None:
    one = tmp_path / "one.csv"
    one.write_text("id,age\n1,20\n2,30.5\n")
    found = opened(spark, one, format="csv")
    assert [row.asDict() for row in found.df.collect()] == [{"id": 1, "age": 20.0}, {"id": 2, "age": 30.5}]
    two = tmp_path / "two"
    two.mkdir()
    for i in range(2):
        (two / f"{i}.csv").write_text(f"id,age\n{i},2{i}\n")
    (two / "readme.txt").write_text("not a row")
    found = opened(spark, two, format="csv")
    assert sorted(map(tuple, found.df.collect())) == [(0, 20), (1, 21)]
    (two / "0.csv").write_text("id,age\n7,70\n")
    assert "0.csv was written to" in str(found.changes())


def test_a_delta_table_of_a_catalog_is_read_in_its_version(spark, tmp_path: Path) -> None:
    spark.range(5).write.format("delta").save(str(tmp_path / "t"))
    spark.sql(f"CREATE TABLE pinned_list USING delta LOCATION '{tmp_path / 't'}'")
    try:
        found = open_snapshot(spark, ScoreConfig(table="pinned_list"))
        spark.range(5, 9).write.format("delta").mode("append").saveAsTable("pinned_list")
        assert found.version == "delta:0"
        assert found.df.count() == 5
        assert found.changes() is None
        assert open_snapshot(spark, ScoreConfig(table="pinned_list")).df.count() == 9
    finally:
        spark.sql("DROP TABLE pinned_list")


def test_a_table_without_versions_is_compared_by_content(spark, tmp_path: Path) -> None:
    spark.range(5).write.parquet(str(tmp_path / "t"))
    spark.sql(f"CREATE TABLE plain_list USING parquet LOCATION '{tmp_path / 't'}'")
    try:
        found = open_snapshot(spark, ScoreConfig(table="plain_list"))
        assert found.changes() is None
        spark.range(5, 9).write.mode("append").saveAsTable("plain_list")
        assert "its content was rows:5-" in str(found.changes())
    finally:
        spark.sql("DROP TABLE plain_list")


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("[FAILED_READ_FILE.NO_HINT] Encountered error while reading file file:///a/b c.parquet. SQLSTATE: KD001",
         "file:///a/b c.parquet"),
        ("[FAILED_READ_FILE.CANNOT_READ_FILE_FOOTER] Encountered error while reading file s3://x/y.parquet. Could not",
         "s3://x/y.parquet"),
        ("Caused by [CANNOT_READ_FILE_FOOTER] Could not read footer for file: file:/a/b.parquet", "file:/a/b.parquet"),
        ("[FAILED_READ_FILE] no name", "a file of it"),
        ("[DIVIDE_BY_ZERO] no file", None),
    ],
)  # fmt: skip
def test_the_file_in_an_error(text: str, file: str | None) -> None:
    assert unreadable(RuntimeError(text)) == file
