"""What a whole run leaves behind: tables, model, report, MLflow."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xxhash

from spark_uplift import __version__, schemas, tracking
from spark_uplift.core import prediction
from spark_uplift.core.binning import encode_levels, encode_numeric
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.pipeline.report import dashboard
from spark_uplift.pipeline.segments import leaf_column
from spark_uplift.spark import tables, views
from tests.e2e.small import (
    ARMS,
    BAD,
    FEATURES,
    GOOD,
    JOBS,
    SECRET,
    WRITTEN,
    Finished,
    all_rows,
    registered_versions,
    tracking_uri,
)
from tests.e2e.test_report_browser import Browser, browser, drawn, figures_of, root_attribute  # noqa: F401


def test_every_table_is_there_with_rows_and_its_declared_columns(finished: Finished) -> None:
    assert set(finished.tables) == set(WRITTEN)
    for name, rows in finished.tables.items():
        declared = schemas.table(name)
        assert len(rows) > 0, name
        columns = list(rows.columns)
        assert columns[: len(declared.column_names)] == list(declared.column_names), name
        assert columns[len(declared.column_names) :] == (FEATURES if declared.open_schema else []), name
        for key in ("run_id", "model_id"):
            if key in columns:
                assert set(rows[key]) == {
                    finished.context.run_id if key == "run_id" else finished.model_id
                }, name


def test_no_key_stands_twice(finished: Finished) -> None:
    for name, rows in finished.tables.items():
        keys = list(schemas.table(name).keys)
        if name == "quarantine":
            keys = [*keys, "detail"]  # several rows may lack an id
            rows = rows[
                rows["unit_id"].notna() & ~rows["reason"].isin(["duplicate_unit", "unit_in_two_arms"])
            ]
        assert not rows.duplicated(keys).any(), name


def test_tables_carry_our_properties_and_types(spark, finished: Finished) -> None:
    for name in WRITTEN:
        location = tables.path(finished.context.warehouse, name)
        found = {
            row["key"]: row["value"] for row in spark.sql(f"SHOW TBLPROPERTIES delta.`{location}`").collect()
        }
        assert found["spark_uplift.table"] == name
        assert found["spark_uplift.schema_version"] == str(schemas.SCHEMA_VERSION)
        kinds = dict(tables.read(spark, finished.context.warehouse, name).dtypes)
        for column in schemas.table(name).columns:
            assert kinds[column.name] == column.type.lower().replace(" ", ""), f"{name}.{column.name}"


def test_what_came_in_was_used_or_set_aside(finished: Finished) -> None:
    (experiment,) = finished.tables["experiments"].to_dict("records")
    rows_in = GOOD + sum(BAD.values())
    assert experiment["rows_in"] == rows_in
    assert experiment["rows_quarantined"] == sum(BAD.values()) == len(finished.tables["quarantine"])
    view = finished.tables["training_view"]
    assert len(view) == GOOD == len(finished.tables["assignments"])
    assert Counter(finished.tables["quarantine"]["reason"]) == BAD
    assert experiment["features"] == FEATURES
    prepared = finished.job("prepare")
    assert (prepared["rows_in"], prepared["rows_out"], prepared["rows_quarantined"]) == (
        rows_in,
        GOOD,
        sum(BAD.values()),
    )


def test_of_a_unit_with_two_rows_one_is_kept(finished: Finished) -> None:
    view = finished.tables["training_view"].set_index("unit_id")["outcome"]
    for unit in range(1, BAD["duplicate_unit"] + 1):
        assert view[str(unit)] in {row["spend"] for row in all_rows() if row["customer"] == unit}


def test_units_are_split_once_and_alike_everywhere(finished: Finished) -> None:
    view = finished.tables["training_view"].set_index("unit_id")
    assignments = finished.tables["assignments"].set_index("unit_id").loc[view.index]
    assert (view["split"] == assignments["split"]).all()
    assert (view["arm"] == assignments["arm"]).all()
    assert 0.27 < (view["split"] == "holdout").mean() < 0.33


def test_missing_values_are_null_and_categories_text(finished: Finished) -> None:
    view = finished.tables["training_view"]
    assert 0.05 < view["age"].isna().mean() < 0.15
    assert set(view["region"].dropna()) == {"north", "south", "west"}
    assert set(view["member"]) == {"true", "false"}


def test_every_job_has_one_row_that_says_what_it_did(finished: Finished) -> None:
    jobs = finished.tables["job_runs"]
    assert sorted(jobs["job"]) == sorted(JOBS)
    assert set(jobs["status"]) == {"succeeded"}
    assert (jobs["started_at"] <= jobs["finished_at"]).all()
    assert set(jobs["code_version"]) == {__version__}
    assert jobs["message"].str.len().min() > 5
    digests = {name: finished.job(name)["digest"] for name in JOBS}
    assert digests["check"] is digests["prepare"] is None
    assert len({digests[name] for name in ("train", "evaluate", "score", "report")}) == 1
    assert finished.model_id == f"{finished.context.run_id}-{digests['train'][:8]}"
    source = f"{finished.folder / 'rows.parquet'}@sha256:"
    assert dict(finished.job("check")["inputs"])["source"].startswith(source)
    version = dict(finished.job("prepare")["outputs"])["training_view"]
    assert dict(finished.job("train")["inputs"])["training_view"] == version
    assert finished.job("train")["rows_in"] == (finished.tables["training_view"]["split"] == "train").sum()


def test_the_saved_model_is_the_one_recorded(spark, finished: Finished) -> None:
    outputs = dict(finished.job("train")["outputs"])
    assert UpliftForestModel.load(outputs["model"]).digest == finished.job("train")["digest"]


def test_model_trees_are_whole_trees(finished: Finished) -> None:
    rows = finished.tables["model_trees"]
    assert set(rows["tree"]) == set(range(20))
    for _, tree in rows.groupby("tree"):
        nodes = set(tree["node"])
        assert 1 in nodes
        for _, node in tree.iterrows():
            split = node["feature"] is not None
            assert ({2 * node["node"], 2 * node["node"] + 1} <= nodes) == split
            assert (node["rule"] is not None) == split
            assert len(node["n"]) == 3
            assert len(node["effect"]) == 2
            by_level = node["feature"] in ("region", "member")
            assert (node["left_levels"] is not None) == (split and by_level)


def test_importances_are_shares_that_find_the_two_features(finished: Finished) -> None:
    shares = finished.tables["feature_importance"].set_index("feature")["importance"]
    assert sorted(shares.index) == sorted(FEATURES)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[["age", "region"]].sum() > 0.7


def test_every_unit_has_one_score_and_ranks_have_no_gaps(finished: Finished) -> None:
    scores = finished.tables["uplift_scores"].sort_values("rank")
    n = len(scores)
    assert set(scores["unit_id"]) == set(finished.tables["training_view"]["unit_id"])
    assert scores["rank"].tolist() == list(range(1, n + 1))
    assert scores["best_uplift"].is_monotonic_decreasing
    assert set(scores["list_id"]) == {"experiment"}
    ties = scores[scores["best_uplift"].duplicated(keep=False)]
    assert len(ties) > 0
    for _, tie in ties.groupby("best_uplift"):
        drawn = [xxhash.xxh64_intdigest(unit.encode(), seed=42) for unit in tie["unit_id"]]  # favours nobody
        assert drawn == sorted(drawn)
    assert scores["decile"].tolist() == [(rank - 1) * 10 // n + 1 for rank in scores["rank"]]
    effects = np.array(scores["uplift"].tolist())
    np.testing.assert_array_equal(effects.max(axis=1), scores["best_uplift"])
    best = np.where(effects.max(axis=1) > 0, np.array(["call", "mail"])[effects.argmax(axis=1)], "control")
    assert (best == scores["recommended"]).all()
    assert scores["uplift_lower"].isna().all()
    job = finished.job("score")
    assert (job["rows_in"], job["rows_out"], job["rows_quarantined"]) == (n, n, 0)


def test_scores_follow_the_known_effect(finished: Finished) -> None:
    view = finished.tables["training_view"].set_index("unit_id")
    scores = finished.tables["uplift_scores"].set_index("unit_id").loc[view.index]
    mail = scores["uplift"].str[1]
    assert mail[view["age"] < 38].mean() > mail[view["age"] > 42].mean() + 1.0
    call = scores["uplift"].str[0]
    assert call[view["region"] == "north"].mean() > call[view["region"] == "south"].mean() + 1.0


def test_evaluation_tables_hang_together(finished: Finished) -> None:
    metrics, table = finished.tables["evaluation_metrics"], finished.tables["uplift_table"]
    holdout = finished.tables["training_view"].query("split == 'holdout'")
    assert (
        set(metrics["arm"])
        == {"call", "mail", "*"}
        == set(table["arm"])
        == set(finished.tables["evaluation_curves"]["arm"])
    )
    for arm in ("call", "mail"):
        pair = holdout[holdout["arm"].isin([arm, "control"])]
        rows = table[table["arm"] == arm]
        assert rows["n"].sum() == len(pair)
        assert sorted(rows["bucket"]) == list(range(1, len(rows) + 1))
        ate = metrics[(metrics["arm"] == arm) & (metrics["metric"] == "ate")].iloc[0]
        means = pair.groupby("arm")["outcome"].mean()
        assert ate["value"] == pytest.approx(means[arm] - means["control"])
        autoc = metrics[(metrics["arm"] == arm) & (metrics["metric"] == "autoc")].iloc[0]
        assert 0 < autoc["lower"] <= autoc["value"] <= autoc["upper"]
        assert autoc["bootstrap"] == 20
        assert len(autoc["formula"]) > 10
    assert set(table["split"]) == {"holdout"}
    assert set(finished.tables["evaluation_curves"]["curve"]) == {"qini", "uplift", "toc"}


def test_segments_cover_the_holdout_once(finished: Finished) -> None:
    segments = finished.tables["segments"]
    for _, rows in segments.groupby("arm"):
        assert rows["share"].sum() == pytest.approx(1.0)
        assert rows["rule"].is_unique
        assert sorted(rows["segment"]) == list(range(1, len(rows) + 1))
    holdout = finished.tables["training_view"].query("split == 'holdout'")
    assert segments.groupby("arm")["n_treated"].sum().to_dict() == {
        arm: (holdout["arm"] == arm).sum() for arm in ("call", "mail")
    }
    best = segments[segments["segment"] == 1].set_index("arm")
    chosen = best.loc[best["recommended"].iloc[0]]
    assert chosen["lower"] > 0


def test_leaves_by_expression_are_those_of_scoring(spark, finished: Finished) -> None:
    from pyspark.sql import functions as F

    model = UpliftForestModel.load(dict(finished.job("train")["outputs"])["model"])
    forest = model.forest
    odd = pd.DataFrame(
        {"unit_id": ["a", "b", "c"], "age": [None, np.nan, -1e9], "visits before": [9e9, None, 1.0],
         "region": ["atlantis", None, "north"], "member": [None, "maybe", "true"]}
    )  # fmt: skip
    columns = ["unit_id", *FEATURES]
    view = finished.tables["training_view"].head(1500)[columns]
    rows = pd.concat([view, odd[columns]], ignore_index=True).astype({"age": float, "visits before": float})
    values = [
        tuple(None if value is None else value for value in row)
        for row in rows.astype(object).where(rows.notna() | (rows == "b"), None).itertuples(index=False)
    ]
    df = spark.createDataFrame(
        values, "unit_id string, age double, `visits before` double, region string, member string"
    )
    leaves = [leaf_column(tree, forest.features).alias(f"t{i}") for i, tree in enumerate(forest.trees)]
    nan = F.when(F.col("unit_id") == "b", F.lit(float("nan"))).otherwise(F.col("age"))
    found = {row["unit_id"]: row for row in df.withColumn("age", nan).select("unit_id", *leaves).collect()}
    codes = np.empty((len(rows), len(forest.features)), np.uint8)
    for j, bins in enumerate(forest.features):
        if bins.categorical:
            codes[:, j] = encode_levels(bins, [None if pd.isna(v) else v for v in rows[bins.name]])
        else:
            encode_numeric(bins, rows[bins.name].to_numpy(float), j, codes)
    for i in range(len(forest.trees)):
        expected = prediction.leaves(forest.packed, codes, i)
        assert [found[unit][f"t{i}"] for unit in rows["unit_id"]] == expected.tolist()


def test_checks_are_written_and_pass(finished: Finished) -> None:
    checks = finished.tables["check_results"]
    assert set(checks["status"]) <= {"pass", "warn", "skip"}
    assert (checks["status"] == "pass").sum() >= 5
    unknown = checks[checks["check"] == "arm_values"].iloc[0]
    assert unknown["status"] == "warn"
    assert "leaflet" in unknown["message"]


def test_the_report_is_one_whole_page_with_the_digest(finished: Finished) -> None:
    page = finished.report.read_text(encoding="utf-8")
    assert finished.report == finished.folder / "warehouse" / "report.html"
    assert finished.job("train")["digest"] in page
    assert finished.context.run_id in page
    assert page.rstrip().endswith("</html>")
    assert len(page) < 4_000_000
    assert "models:/" in page
    for text in (*ARMS, "visits before", "unit_in_two_arms"):
        assert text in page or text.replace("_", " ") in page


def test_every_chart_of_the_report_is_drawn(browser: str, tmp_path: Path, finished: Finished) -> None:  # noqa: F811
    page = finished.report.read_text(encoding="utf-8")
    visit = Browser(browser, tmp_path)
    dom = visit.dom(page)
    assert root_attribute(dom, "data-errors") is None
    assert root_attribute(dom, "data-charts") == "drawn"
    assert drawn(dom) == len(figures_of(page)) >= 5
    assert visit.requests() == set()


def test_the_alias_leads_to_the_same_forest(finished: Finished) -> None:
    uri = tracking_uri(finished)
    forest = tracking.load_forest("models:/small-uplift@champion", tracking_uri=uri)
    assert forest.digest == finished.job("train")["digest"]
    assert registered_versions(finished) == [("small-uplift", 1)]
    with sqlite3.connect(finished.folder / "warehouse" / "mlflow.db") as database:
        tags = dict(database.execute("SELECT key, value FROM tags").fetchall())
        params = dict(database.execute("SELECT key, value FROM params").fetchall())
        metrics = {row[0] for row in database.execute("SELECT DISTINCT key FROM metrics").fetchall()}
    assert tags["spark_uplift.run_id"] == finished.context.run_id
    assert tags["spark_uplift.data_version"] == finished.context.source.version
    assert tags["spark_uplift.table.uplift_scores"].isdigit()
    assert params["numTrees"] == "20"
    assert {"autoc_grf/mail", "autoc_grf/policy/lower"} <= metrics
    kept = {path.name for path in (finished.folder / "warehouse" / "mlartifacts").rglob("*")}
    assert {"report.html", "config.json"} <= kept


def test_secrets_are_nowhere(finished: Finished) -> None:
    assert SECRET not in finished.tables["job_runs"].to_json()
    shown = json.loads(finished.job("report")["config"])["spark"]["conf"]
    assert shown == {"spark.hadoop.fs.s3a.secret.key": "***", "spark.jars.repositories": "https://***@host/x"}
    warehouse = finished.folder / "warehouse"
    for path in [warehouse / "mlflow.db", finished.report, *(warehouse / "mlartifacts").rglob("*")]:
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_the_newest_run_has_a_view(spark, finished: Finished) -> None:
    name = views.latest(spark, finished.context.warehouse, "segments")
    assert spark.table(name).count() == len(finished.tables["segments"])


def test_a_dashboard_gets_views_of_the_run(spark, finished: Finished) -> None:
    spark.sql("CREATE SCHEMA IF NOT EXISTS whole_run")
    try:
        made = dashboard(finished.context, "whole_run")
        assert {"uplift_table", "evaluation_metrics", "evaluation_curves"} <= set(made)
        for name in ("uplift_table", "evaluation_metrics", "evaluation_curves"):
            assert spark.table(made[name]).count() == len(finished.tables[name])
        shown = spark.sql(f"SELECT sum(uplift * units) AS total FROM {made['uplift_table']}").collect()[0]
        table = finished.tables["uplift_table"]
        assert shown["total"] == pytest.approx((table["uplift"] * table["n"]).sum(), rel=1e-12)
    finally:
        spark.sql("DROP SCHEMA whole_run CASCADE")
