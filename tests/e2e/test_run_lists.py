"""Scoring a list of other people with the model of a finished run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.pipeline import score as job
from spark_uplift.pipeline.context import RunContext, open_run
from spark_uplift.pipeline.run import run_step, step_named
from spark_uplift.pipeline.train import trained
from spark_uplift.spark import recipients, tables
from tests.e2e.small import BAD, GOOD, Finished, configuration, good_rows, of_run, write_parquet


@pytest.fixture(scope="module")
def prospects(finished: Finished) -> Path:
    """A list of other people: 300 with one row, two of whom with a second one, and three without an id."""
    rows = good_rows(305, seed=5).drop(columns=["arm", "spend"])
    rows["customer"] = (rows["customer"] + 50_000).astype("Int64")
    rows.loc[300:301, "customer"] = [50_001, 50_002]
    rows.loc[302:304, "customer"] = pd.NA
    rows.loc[7, "region"] = "atlantis"
    return write_parquet(rows.assign(note="x"), finished.folder / "prospects.parquet")


def test_a_list_is_scored_by_the_model_that_is_there(spark, finished: Finished, prospects: Path) -> None:
    config = configuration(finished.folder, score={"path": str(prospects)})
    context = open_run(config)
    assert context.run_id == finished.context.run_id  # what is scored does not change the model
    for _ in range(2):
        assert run_step(context, step_named("score")) == 300
    (job,) = [row for row in of_run(spark, context, "job_runs") if row["job"] == "score"]
    assert (job["rows_in"], job["rows_out"], job["rows_quarantined"]) == (305, 300, 5)
    keys = {"model_id": finished.model_id, "list_id": job["outputs"]["list_id"]}
    assert keys["list_id"].startswith(f"{prospects}@")
    scores = tables.read(spark, context.warehouse, "uplift_scores", keys).collect()
    assert sorted(row["rank"] for row in scores) == list(range(1, 301))
    assert {row["unit_id"] for row in scores} == {str(50_001 + i) for i in range(300)}
    aside = tables.read(
        spark, context.warehouse, "quarantine", {"run_id": f"{context.run_id}/{keys['list_id']}"}
    ).collect()
    assert Counter(row["reason"] for row in aside) == {"duplicate_unit": 2, "null_unit_id": 3}
    assert {row["column_name"] for row in aside} == {"customer"}
    # The experiment's own scores and quarantine are still there.
    own = tables.read(spark, context.warehouse, "uplift_scores", {**keys, "list_id": "experiment"})
    assert own.count() == GOOD
    assert len(of_run(spark, context, "quarantine")) == sum(BAD.values())


def test_a_list_without_a_feature_names_the_nearest_column(finished: Finished, prospects: Path) -> None:
    rows = pd.read_parquet(prospects).rename(columns={"region": "regions"})
    path = write_parquet(rows, finished.folder / "renamed.parquet")
    context = open_run(configuration(finished.folder, score={"path": str(path)}))
    with pytest.raises(
        ColumnNotFoundError, match=r"not found: \['region'\].*did you mean 'regions' for 'region'"
    ):
        run_step(context, step_named("score"))


def test_a_list_with_text_for_a_number(finished: Finished, prospects: Path) -> None:
    rows = pd.read_parquet(prospects).astype({"age": str})
    path = write_parquet(rows, finished.folder / "texts.parquet")
    context = open_run(configuration(finished.folder, score={"path": str(path)}))
    with pytest.raises(
        DataError, match=r"'age' of the list must hold numbers as in training. Got string instead"
    ):
        run_step(context, step_named("score"))


def test_a_list_without_rows(finished: Finished, prospects: Path) -> None:
    path = write_parquet(pd.read_parquet(prospects).head(0), finished.folder / "nobody.parquet")
    context = open_run(configuration(finished.folder, score={"path": str(path)}))
    with pytest.raises(DataError, match=r"must have recipients. Got none"):
        run_step(context, step_named("score"))


def test_a_list_that_is_not_there(finished: Finished) -> None:
    path = finished.folder / "prospect.parquet"
    context = open_run(configuration(finished.folder, score={"path": str(path)}))
    with pytest.raises(DataError, match=r"\(score.path\) does not exist"):
        run_step(context, step_named("score"))


def people(n: int, seed: int = 6) -> pd.DataFrame:
    rows = good_rows(n, seed=seed).drop(columns=["arm", "spend"])
    return rows.assign(customer=(rows["customer"] + 90_000).astype("Int64"))


def scoring(finished: Finished, path: Path, **options: Any) -> RunContext:
    return open_run(configuration(finished.folder, score={"path": str(path), **options}))


def scored(context: RunContext, path: Path) -> pd.DataFrame:
    rows = tables.read(context.spark, context.warehouse, "uplift_scores")
    found = rows.where(F.startswith("list_id", F.lit(f"{path}@"))).toPandas()
    return found.sort_values("rank").drop(columns=["scored_at"]).reset_index(drop=True)


def record(context: RunContext) -> Any:
    (row,) = [row for row in of_run(context.spark, context, "job_runs") if row["job"] == "score"]
    return row


def aside(context: RunContext, list_id: str) -> Counter[tuple[str, str]]:
    keys = {"run_id": f"{context.run_id}/{list_id}"}
    rows = tables.read(context.spark, context.warehouse, "quarantine", keys).collect()
    return Counter((row["reason"], row["column_name"]) for row in rows)


def files(folder: Path, rows: pd.DataFrame, n: int) -> Path:
    folder.mkdir()
    for i, part in enumerate(np.array_split(np.arange(len(rows)), n)):
        write_parquet(rows.iloc[part], folder / f"part-{i}.parquet")
    return folder


def test_every_kind_of_bad_recipient(finished: Finished) -> None:
    rows = people(400)
    rows.loc[0:4, "age"] = [np.inf, -np.inf, np.inf, np.nan, np.nan]
    rows.loc[5, "customer"] = pd.NA
    rows.loc[2, "customer"] = pd.NA  # the first reason counts
    rows = pd.concat([rows, rows.iloc[[1, 10, 10, 10]]])
    path = files(finished.folder / "bad recipients", rows, 3)
    context = scoring(finished, path)
    assert run_step(context, step_named("score")) == 396
    row = record(context)
    assert (row["rows_in"], row["rows_out"], row["rows_quarantined"]) == (404, 396, 8)
    assert row["inputs"]["list"] == row["outputs"]["list_id"]
    assert aside(context, row["outputs"]["list_id"]) == {
        ("null_unit_id", "customer"): 2,
        ("infinite_feature", "age"): 3,
        ("duplicate_unit", "customer"): 3,
    }


def test_of_several_rows_of_a_unit_the_lowest_score_stays(finished: Finished) -> None:
    """However often, in whatever order and files the rows come."""
    rows = people(300)
    twins = rows.assign(age=rows["age"].fillna(50)[::-1].to_numpy(), region="north")
    context = scoring(finished, files(finished.folder / "ones", rows, 1))
    run_step(context, step_named("score"))
    once = scored(context, finished.folder / "ones").set_index("unit_id")["best_uplift"]
    both = scoring(finished, files(finished.folder / "others", twins, 1))
    run_step(both, step_named("score"))
    other = scored(both, finished.folder / "others").set_index("unit_id")["best_uplift"]
    mixed = pd.concat([rows, twins, rows]).sample(frac=1.0, random_state=3)
    context = scoring(finished, files(finished.folder / "mixed", mixed, 5))
    assert run_step(context, step_named("score")) == 300
    found = scored(context, finished.folder / "mixed").set_index("unit_id")["best_uplift"]
    expected = np.minimum(once, other.loc[once.index])
    pd.testing.assert_series_equal(found.sort_index(), expected.sort_index())


def test_many_parts_give_what_one_gives(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks go by the score, then by the hash of the id, whatever the work was divided into."""
    rows = people(3000)
    one = files(finished.folder / "one part", rows, 1)
    run_step(scoring(finished, one), step_named("score"))
    monkeypatch.setattr(recipients, "PART", 250)
    monkeypatch.setattr(recipients, "FLUSH", 300)
    many = files(finished.folder / "many parts", rows.sample(frac=1.0, random_state=1), 7)
    context = scoring(finished, many)
    run_step(context, step_named("score"))
    found = scored(context, many).drop(columns="list_id")
    pd.testing.assert_frame_equal(found, scored(context, one).drop(columns="list_id"))
    ids = (
        context.spark.createDataFrame(found[["unit_id"]]).withColumn("hash", F.xxhash64("unit_id")).toPandas()
    )
    drawn = found.merge(ids).assign(hash=lambda d: d["hash"].to_numpy().view(np.uint64))
    order = drawn.sort_values(["best_uplift", "hash"], ascending=[False, True])
    assert order["rank"].tolist() == list(range(1, 3001))
    assert found["decile"].value_counts().to_dict() == dict.fromkeys(range(1, 11), 300)


def test_only_the_id_and_the_features_of_a_wide_list_are_read(finished: Finished) -> None:
    others = pd.DataFrame(1.0, index=range(50), columns=[f"x{i}" for i in range(200)])
    wide = pd.concat([people(50), others], axis=1)
    path = files(finished.folder / "wide", wide, 2)
    context = scoring(finished, path)
    listed = job._recipients(context, trained(context)[0])
    plan = listed.rows._jdf.queryExecution().executedPlan().toString()
    schema = plan.split("ReadSchema: struct<")[1].split(">")[0]
    assert {column.split(":")[0] for column in schema.split(",")} == {
        "customer", "age", "visits before", "region", "member",
    }  # fmt: skip


def after_opening(monkeypatch: pytest.MonkeyPatch, change: Callable[[], Any]) -> None:
    """Change the list right after its snapshot was taken."""
    real = job.open_snapshot

    def opened(*args: Any) -> Any:
        found = real(*args)
        change()
        return found

    monkeypatch.setattr(job, "open_snapshot", opened)


def test_a_delta_list_is_read_in_one_version(spark, finished: Finished, monkeypatch) -> None:
    path = finished.folder / "delta list"
    rows = spark.createDataFrame(people(200).astype({"region": object, "customer": "int64"}))
    rows.write.format("delta").option("delta.columnMapping.mode", "name").save(str(path))
    more = rows.withColumn("customer", F.col("customer") + 1000)
    after_opening(monkeypatch, lambda: more.write.format("delta").mode("append").save(str(path)))
    context = scoring(finished, path, format="delta")
    assert run_step(context, step_named("score")) == 200
    assert record(context)["inputs"]["list"] == f"{path}@delta:0"
    monkeypatch.undo()
    assert run_step(scoring(finished, path, format="delta"), step_named("score")) == 400
    assert scored(context, path)["list_id"].value_counts().to_dict() == {
        f"{path}@delta:0": 200,
        f"{path}@delta:1": 400,
    }


def test_a_table_and_a_view_to_score(spark, finished: Finished, monkeypatch) -> None:
    rows = spark.createDataFrame(people(150).astype({"region": object, "customer": "int64"}))
    path = finished.folder / "tabled"
    rows.write.format("delta").option("delta.columnMapping.mode", "name").save(str(path))
    table = f"delta.`{path}`"
    context = open_run(configuration(finished.folder, score={"table": table}))
    assert run_step(context, step_named("score")) == 150
    assert record(context)["inputs"]["list"] == f"{table}@delta:0"
    rows.createOrReplaceTempView("prospects_view")
    viewed = configuration(finished.folder, score={"table": "prospects_view"})
    assert run_step(open_run(viewed), step_named("score")) == 150
    fewer = rows.limit(100)
    after_opening(monkeypatch, lambda: fewer.createOrReplaceTempView("prospects_view"))
    assert run_step(open_run(viewed), step_named("score")) == 150  # a plan keeps the view that it was made of


def test_files_that_come_later_belong_to_the_next_version(finished: Finished, monkeypatch) -> None:
    path = files(finished.folder / "growing", people(200), 4)
    later = people(50).assign(customer=range(50))
    after_opening(monkeypatch, lambda: write_parquet(later, path / "part-9.parquet"))
    context = scoring(finished, path)
    assert run_step(context, step_named("score")) == 200
    monkeypatch.undo()
    assert run_step(scoring(finished, path), step_named("score")) == 250


@pytest.mark.parametrize("what", ["written to", "gone"])
def test_files_that_change_meanwhile(finished: Finished, monkeypatch, what: str) -> None:
    path = files(finished.folder / f"changing {what}", people(200), 4)
    tally = job.rank.tally

    def change(*args: Any) -> Any:
        found = tally(*args)
        if what == "gone":
            (path / "part-2.parquet").unlink()
        else:
            write_parquet(people(60), path / "part-2.parquet")
        return found

    monkeypatch.setattr(job.rank, "tally", change)
    context = scoring(finished, path)
    with pytest.raises(
        DataError, match=rf"must not change while it is scored: the file .*part-2.parquet .*{what}"
    ):
        run_step(context, step_named("score"))
    assert scored(context, path).empty
    assert record(context)["status"] == "failed"


@pytest.mark.parametrize("where", ["its end", "its middle"])
def test_a_corrupt_file_is_named_and_nothing_is_written(finished: Finished, where: str) -> None:
    path = files(finished.folder / f"corrupt at {where}", people(4000), 4)
    broken = path / "part-2.parquet"
    data = bytearray(broken.read_bytes())
    if where == "its end":
        data = data[:-200]
    else:
        data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    broken.write_bytes(data)
    context = scoring(finished, path)
    with pytest.raises(DataError, match=r"part-2\.parquet"):
        run_step(context, step_named("score"))
    assert scored(context, path).empty
    assert record(context)["status"] == "failed"


def test_two_threads_score_the_same_list(finished: Finished) -> None:
    path = files(finished.folder / "threads", people(500), 2)
    contexts = [scoring(finished, path) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda context: run_step(context, step_named("score")), contexts))
    assert done == [500, 500]
    assert scored(contexts[0], path)["rank"].tolist() == list(range(1, 501))


def test_a_platform_that_keeps_nothing(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Serverless Spark has no persist, and lets few settings be made."""
    from pyspark.sql.classic.dataframe import DataFrame

    def refuse(*_: Any) -> Any:
        raise RuntimeError("not supported on serverless")

    monkeypatch.setattr(DataFrame, "persist", refuse)
    path = files(finished.folder / "serverless", people(300), 2)
    context = scoring(finished, path)
    assert run_step(context, step_named("score")) == 300
    assert scored(context, path)["rank"].tolist() == list(range(1, 301))
