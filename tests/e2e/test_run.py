"""One whole run on a small experiment with every kind of bad row, and what it leaves behind."""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_uplift import __version__, schemas, tracking
from spark_uplift.config import RunConfig, parse_config
from spark_uplift.core import prediction
from spark_uplift.core.binning import encode_levels, encode_numeric
from spark_uplift.errors import CheckFailedError, ColumnNotFoundError, DataError, TableError
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.pipeline import report as reporting
from spark_uplift.pipeline import score as scoring
from spark_uplift.pipeline import train as training
from spark_uplift.pipeline.context import RunContext, open_run
from spark_uplift.pipeline.run import STEPS, run, run_step, step_named
from spark_uplift.pipeline.segments import leaf_column
from spark_uplift.spark import tables
from tests.e2e.test_report_browser import Browser, browser, drawn, figures_of, root_attribute  # noqa: F401

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GOOD = 6000
BAD: dict[str, int] = {
    "null_arm": 3, "unknown_arm": 2, "null_outcome": 4, "not_finite_outcome": 1, "null_unit_id": 2, "duplicate_unit": 5,
    "unit_in_two_arms": 2,
}  # fmt: skip
ARMS = ("call", "control", "mail")
FEATURES = ["age", "visits before", "region", "member"]
SECRET = "hunter2-very-secret"
TIMES = ("created_at", "assigned_at", "quarantined_at", "scored_at", "started_at", "finished_at")
JOBS = [step.name for step in STEPS]


def good_rows(n: int = GOOD, seed: int = 11) -> pd.DataFrame:
    """Mail works for the young, a call for those of the north; ages and regions have gaps."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n).astype(float)
    region = rng.choice(["north", "south", "west"], n)
    arm = rng.choice(ARMS, n, p=(0.3, 0.4, 0.3))
    effect = np.where(arm == "mail", np.where(age < 40, 1.5, -0.3), 0.0)
    effect = effect + np.where(arm == "call", np.where(region == "north", 2.0, 0.1), 0.0)
    before = rng.poisson(2.0, n)
    return pd.DataFrame(
        {
            "customer": np.arange(1, n + 1),
            "arm": arm,
            "spend": np.round(2.0 + 0.5 * before + effect + rng.normal(0, 1.5, n), 2),
            "age": np.where(rng.random(n) < 0.1, np.nan, age),
            "visits before": before.astype("int32"),
            "region": np.where(rng.random(n) < 0.05, None, region),
            "member": rng.random(n) < 0.4,
        }
    )


def all_rows() -> list[dict[str, Any]]:
    good = good_rows().to_dict("records")
    spare = iter(good_rows(50, seed=12).assign(customer=lambda d: d.customer + 10_000).to_dict("records"))
    spoilt = {
        "null_arm": {"arm": None},
        "unknown_arm": {"arm": "leaflet"},
        "null_outcome": {"spend": None},
        "not_finite_outcome": {"spend": math.inf},
        "null_unit_id": {"customer": None},
    }
    bad = [{**next(spare), **change} for reason, change in spoilt.items() for _ in range(BAD[reason])]
    bad += [{**row, "spend": row["spend"] + 100.0} for row in good[: BAD["duplicate_unit"]]]
    bad += [{**next(spare), "customer": 20_000, "arm": arm} for arm in ("mail", "control")]
    return [*bad, *good]


SCHEMA = pa.schema(
    [("customer", pa.int64()), ("arm", pa.string()), ("spend", pa.float64()), ("age", pa.float64()),
     ("visits before", pa.int32()), ("region", pa.string()), ("member", pa.bool_())]
)  # fmt: skip


def write_parquet(rows: list[dict[str, Any]] | pd.DataFrame, path: Path) -> Path:
    if isinstance(rows, pd.DataFrame):
        rows.to_parquet(path, index=False)
    else:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    return path


def configuration(folder: Path, **sections: Any) -> RunConfig:
    experiment = {
        "path": str(folder / "rows.parquet"), "id": "customer", "treatment": "arm", "control": "control",
        "arms": list(ARMS), "shares": {"call": 0.3, "control": 0.4, "mail": 0.3}, "outcome": "spend",
        "features": FEATURES,
    }  # fmt: skip
    values: dict[str, Any] = {
        "name": "small",
        "warehouse": str(folder / "warehouse"),
        "experiment": {**experiment, **sections.pop("experiment", {})},
        "forest": {"numTrees": 20, "maxDepth": 4, "minInstancesPerNode": 100, "shrinkage": 50.0},
        "evaluation": {"bootstrap": 20},
        "mlflow": {"model_name": "small-uplift"},
        # A session is there already: these are only carried along, as those of a cluster are.
        "spark": {
            "conf": {
                "spark.hadoop.fs.s3a.secret.key": SECRET,
                "spark.jars.repositories": f"https://me:{SECRET}@host/x",
            }
        },
    }
    return parse_config({**values, **sections})


@dataclass
class Finished:
    """A run that has ended, and its tables as they were then."""

    context: RunContext
    folder: Path
    report: Path
    tables: dict[str, pd.DataFrame]

    def job(self, name: str) -> pd.Series:
        jobs = self.tables["job_runs"]
        (row,) = [row for _, row in jobs.iterrows() if row["job"] == name]
        return row

    @property
    def model_id(self) -> str:
        return str(dict(self.job("train")["outputs"])["model_id"])


def snapshot(spark: SparkSession, warehouse: str) -> dict[str, pd.DataFrame]:
    """Every table, whole, in an order of its rows' own."""
    found = {}
    for name in schemas.TABLES:
        if tables.exists(spark, warehouse, name):
            rows = [row.asDict(recursive=True) for row in tables.read(spark, warehouse, name).collect()]
            found[name] = pd.DataFrame(
                sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))
            )
    return found


@pytest.fixture(scope="module")
def finished(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("small")
    write_parquet(all_rows(), folder / "rows.parquet")
    context = open_run(configuration(folder))
    report = run(context)
    return Finished(context, folder, report, snapshot(spark, context.warehouse))


# What a run leaves


def test_every_table_is_there_with_rows_and_its_declared_columns(finished: Finished) -> None:
    assert set(finished.tables) == set(schemas.TABLES)
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
    for name in schemas.TABLES:
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
        assert tie["unit_id"].tolist() == sorted(tie["unit_id"])
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


def tracking_uri(finished: Finished) -> str:
    return f"sqlite:///{finished.folder}/warehouse/mlflow.db"


def registered_versions(finished: Finished) -> list[tuple[str, int]]:
    with sqlite3.connect(finished.folder / "warehouse" / "mlflow.db") as database:
        return database.execute("SELECT name, version FROM model_versions ORDER BY version").fetchall()


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
    name = tables.view(spark, finished.context.warehouse, "segments")
    assert spark.table(name).count() == len(finished.tables["segments"])


# Doing it again


def timeless(found: dict[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Rows without times, and without the versions of tables, which grow when rows are rewritten."""
    out = {}
    for name, rows in found.items():
        dropped = [column for column in (*TIMES, "inputs", "outputs") if column in rows.columns]
        records = rows.drop(columns=dropped).to_dict("records")
        out[name] = sorted(json.dumps(row, default=str, sort_keys=True) for row in records)
    return out


def test_running_again_leaves_the_same_rows_and_one_model_version(spark, finished: Finished) -> None:
    context = open_run(finished.context.config)
    assert context.run_id == finished.context.run_id
    run(context)
    again = timeless(snapshot(spark, context.warehouse))
    before = timeless(finished.tables)
    for name in schemas.TABLES:
        assert again[name] == before[name], name
    assert registered_versions(finished) == [("small-uplift", 1)]


def other(finished: Finished, **sections: Any) -> RunContext:
    """Another run in the same warehouse; quick."""
    quick: dict[str, Any] = {
        "name": "other",
        "forest": {"numTrees": 3, "maxDepth": 3, "minInstancesPerNode": 200},
        "evaluation": {"bootstrap": 0},
        "mlflow": {"enabled": False},
        "report": {"path": str(finished.folder / "other.html")},
    }
    return open_run(configuration(finished.folder, **{**quick, **sections}))


def of_run(spark: SparkSession, context: RunContext, name: str) -> list[Any]:
    return tables.read(spark, context.warehouse, name, {"run_id": context.run_id}).collect()


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


def status(spark: SparkSession, context: RunContext) -> dict[str, tuple[str, str]]:
    return {row["job"]: (row["status"], row["message"]) for row in of_run(spark, context, "job_runs")}


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
        (scoring, "_written", "score"),  # after the scores were written
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


# Scoring a list


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
