"""Scoring a list of other people with the model of a finished run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.pipeline.context import open_run
from spark_uplift.pipeline.run import run_step, step_named
from spark_uplift.spark import tables
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
