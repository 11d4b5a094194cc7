"""A run done again, killed half-way, with steps left out, or stopped by what it finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from spark_uplift.errors import CheckFailedError, TableError
from spark_uplift.pipeline import report as reporting
from spark_uplift.pipeline import score as scoring
from spark_uplift.pipeline import train as training
from spark_uplift.pipeline.context import open_run
from spark_uplift.pipeline.run import run, run_step, step_named
from spark_uplift.spark import tables
from tests.e2e.small import (
    GOOD,
    JOBS,
    TIMES,
    WRITTEN,
    Finished,
    configuration,
    of_run,
    other,
    registered_versions,
    snapshot,
    status,
)


def own_rows(finished: Finished, found: dict[str, pd.DataFrame]) -> dict[str, list[str]]:
    """The run's rows without times, and without the versions of tables, which grow when rows are rewritten."""
    out = {}
    for name, rows in found.items():
        ours = (
            rows["run_id"] == finished.context.run_id
            if "run_id" in rows
            else rows["model_id"] == finished.model_id
        )
        if "list_id" in rows:
            ours &= rows["list_id"] == "experiment"
        dropped = [column for column in (*TIMES, "inputs", "outputs") if column in rows.columns]
        records = rows[ours].drop(columns=dropped).to_dict("records")
        out[name] = sorted(json.dumps(row, default=str, sort_keys=True) for row in records)
    return out


def test_running_again_leaves_the_same_rows_and_one_model_version(spark, finished: Finished) -> None:
    context = open_run(finished.context.config)
    assert context.run_id == finished.context.run_id
    run(context)
    again = own_rows(finished, snapshot(spark, context.warehouse))
    before = own_rows(finished, finished.tables)
    for name in WRITTEN:
        assert again[name] == before[name], name
    assert registered_versions(finished) == [("small-uplift", 1)]


@pytest.mark.parametrize(
    ("job", "first"), [("train", "prepare"), ("evaluate", "train"), ("score", "train"), ("report", "train")]
)
def test_a_step_that_was_left_out_is_named(finished: Finished, job: str, first: str) -> None:
    context = other(finished, name="unprepared")
    with pytest.raises(
        TableError, match=rf"of run 'unprepared-.*Hint: run `spark-uplift {first}` with the same config"
    ):
        run_step(context, step_named(job))


def test_a_warehouse_without_tables_names_the_first_step(finished: Finished, tmp_path: Path) -> None:
    context = other(finished, warehouse=str(tmp_path / "new"))
    with pytest.raises(
        TableError, match=r"'training_view' must be in the warehouse.*Hint: run `spark-uplift prepare`"
    ):
        run_step(context, step_named("train"))


def test_steps_killed_half_way_can_be_run_again(
    spark, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = other(finished)
    for name in ("check", "prepare"):
        run_step(context, step_named(name))

    def killed(*args: Any) -> None:
        raise RuntimeError("the machine went away")

    for module, function, job in (
        (training, "save", "train"),
        (scoring, "_rows", "score"),  # after the scores were written
        (reporting, "write_text", "report"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, function, killed)
            with pytest.raises(RuntimeError, match="went away"):
                run_step(context, step_named(job))
        assert status(spark, context)[job] == ("failed", "RuntimeError: the machine went away")
        context = other(finished)  # another process
        run_step(context, step_named(job))
        assert status(spark, context)[job][0] == "succeeded"
        if job == "train":
            run_step(context, step_named("evaluate"))
    assert sorted(status(spark, context)) == sorted(JOBS)
    model_id = training.trained(context)[1]
    scores = tables.read(spark, context.warehouse, "uplift_scores", {"model_id": model_id}).collect()
    assert sorted(row["rank"] for row in scores) == list(range(1, GOOD + 1))
    trees = tables.read(spark, context.warehouse, "model_trees", {"model_id": model_id}).collect()
    assert len({(row["tree"], row["node"]) for row in trees}) == len(trees) > 3
    assert (finished.folder / "other.html").exists()


# What gets an error and leaves nothing behind


def test_a_file_where_the_warehouse_should_be(finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    context = other(finished, warehouse=str(tmp_path / "file"))
    with pytest.raises(TableError, match=r"The warehouse .*file can't be written"):
        run(context)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_a_table_of_somebody_else_is_left_alone(spark, finished: Finished, tmp_path: Path) -> None:
    theirs = tmp_path / "training_view"
    spark.range(3).write.format("delta").save(str(theirs))
    before = {path: path.stat().st_mtime_ns for path in theirs.rglob("*")}
    context = other(finished, warehouse=str(tmp_path))
    run_step(context, step_named("check"))
    with pytest.raises(
        TableError, match=r"training_view was not made by spark_uplift.*choose another warehouse"
    ):
        run_step(context, step_named("prepare"))
    assert {path: path.stat().st_mtime_ns for path in theirs.rglob("*")} == before
    assert status(spark, context)["prepare"][0] == "failed"
    assert not tables.exists(spark, str(tmp_path), "experiments")  # written last: there is no half of a run
    with pytest.raises(TableError, match="was not made by spark_uplift"):
        run_step(context, step_named("train"))


def test_a_failed_check_stops_the_run_and_is_written(spark, finished: Finished, tmp_path: Path) -> None:
    shares = {"call": 0.5, "control": 0.25, "mail": 0.25}
    context = other(finished, warehouse=str(tmp_path), experiment={"shares": shares})
    with pytest.raises(CheckFailedError, match="arm_counts: The arms' sizes can't be the design's"):
        run(context)
    failed = [row["check"] for row in of_run(spark, context, "check_results") if row["status"] == "fail"]
    assert failed == ["arm_counts"]
    assert list(status(spark, context)) == ["check"]
    assert status(spark, context)["check"][0] == "failed"
    assert not tables.exists(spark, str(tmp_path), "training_view")


def test_a_report_that_cannot_be_written(finished: Finished) -> None:
    config = configuration(
        finished.folder,
        report={"path": str(finished.folder / "rows.parquet" / "r.html")},
        mlflow={"enabled": False},
    )
    with pytest.raises(TableError, match=r"The report .*r.html' can't be written.*--set report.path=FILE"):
        run_step(open_run(config), step_named("report"))
