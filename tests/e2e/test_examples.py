"""The example configurations on the real experiments that they describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from spark_uplift import cli
from spark_uplift.config import RunConfig, load_config
from spark_uplift.spark import tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "conf" / "examples"
CAMPAIGN = EXAMPLES / "campaign.yaml"  # of another kind of job
CONFIGURATIONS = sorted({*(ROOT / "conf").glob("*.y*ml"), *EXAMPLES.glob("*.y*ml")} - {CAMPAIGN})
QUICK = ["forest.numTrees=20", "evaluation.bootstrap=20", "mlflow.enabled=false"]
VISITS = {
    "Mens E-Mail": 0.182757,
    "Womens E-Mail": 0.151400,
    "No E-Mail": 0.106167,
}  # published, all 64,000 rows
ABOUT_THE_PLAN = ("idp", "lpi", "fmde")


def options(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_every_configuration_loads(path: Path) -> None:
    config = load_config(path, environ={})
    assert isinstance(config, RunConfig)
    assert config.experiment.features
    assert cli.main(["run", "--conf", str(path), "--dry-run"]) == 0


def test_the_campaign_loads() -> None:
    for step in ("start", "learn", "send", "measure"):
        assert cli.main(["personalize", step, "--conf", str(CAMPAIGN), "--dry-run"]) == 0


def test_there_are_two_examples() -> None:
    assert {"hillstrom.yaml", "randhie.yaml"} <= {path.name for path in CONFIGURATIONS}


# The RAND Health Insurance Experiment


def check_randhie(warehouse: Path, *more: str) -> int:
    arguments = ["check", "--conf", str(EXAMPLES / "randhie.yaml"), *options(f"warehouse={warehouse}", *more)]
    return cli.main(arguments)


def findings(spark: SparkSession, warehouse: Path) -> list[dict[str, Any]]:
    return [row.asDict() for row in tables.read(spark, str(warehouse), "check_results").collect()]


def test_the_health_insurance_experiment_is_sound(spark: SparkSession, tmp_path: Path) -> None:
    assert check_randhie(tmp_path) == 0
    found = findings(spark, tmp_path)
    assert {row["status"] for row in found} <= {"pass", "warn", "skip"}
    leaks = [row for row in found if row["check"] == "arm_auc"]
    assert all(row["status"] == "pass" for row in leaks)


def test_features_that_describe_the_plan_are_named(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = ["physlm", "disea", "hlthg", "hlthf", "hlthp", *ABOUT_THE_PLAN]
    assert check_randhie(tmp_path, f"experiment.features=[{', '.join(features)}]") == 3
    failed = [row for row in findings(spark, tmp_path) if row["status"] == "fail"]
    assert {row["column_name"] for row in failed} == set(ABOUT_THE_PLAN)
    shown = capsys.readouterr().err
    for name in ABOUT_THE_PLAN:
        assert f"'{name}'" in shown
    assert "'physlm'" not in shown
    assert "checks.warn_only" in shown
    (job,) = tables.read(spark, str(tmp_path), "job_runs").collect()
    assert (job["job"], job["status"]) == ("check", "failed")


# Hillstrom's e-mail experiment


@pytest.fixture(scope="module")
def hillstrom(
    spark: SparkSession, shared_data: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """Return the warehouse of a finished run and what it said."""
    source = shared_data("hillstrom") / "hillstrom.parquet"
    warehouse = tmp_path_factory.mktemp("hillstrom")
    rows = ["experiment.dataset=null", f"experiment.path={source}", f"warehouse={warehouse}"]
    arguments = ["run", "--conf", str(EXAMPLES / "hillstrom.yaml"), *options(*rows, *QUICK), "--json"]
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("builtins.print", lambda *values, **_: said.append(" ".join(map(str, values))))
        assert cli.main(arguments) == 0
    return warehouse, said[-1]


def rows_of(spark: SparkSession, warehouse: Path, name: str) -> pd.DataFrame:
    return pd.DataFrame(
        [row.asDict(recursive=True) for row in tables.read(spark, str(warehouse), name).collect()]
    )


def test_the_arms_have_the_published_means(spark: SparkSession, hillstrom: tuple[Path, str]) -> None:
    view = tables.read(spark, str(hillstrom[0]), "training_view")
    means = {row["arm"]: row for row in view.groupBy("arm").agg({"outcome": "avg", "*": "count"}).collect()}
    for arm, mean in VISITS.items():
        assert means[arm]["avg(outcome)"] == pytest.approx(mean, abs=5e-7)
    assert sum(row["count(1)"] for row in means.values()) == 64_000


def test_effects_on_the_holdout_are_the_known_ones(spark: SparkSession, hillstrom: tuple[Path, str]) -> None:
    metrics = rows_of(spark, hillstrom[0], "evaluation_metrics")
    table = rows_of(spark, hillstrom[0], "uplift_table")
    view = tables.read(spark, str(hillstrom[0]), "training_view").where("split = 'holdout'")
    means = {row["arm"]: row["avg(outcome)"] for row in view.groupBy("arm").avg("outcome").collect()}
    for arm in ("Mens E-Mail", "Womens E-Mail"):
        ate = metrics[(metrics["arm"] == arm) & (metrics["metric"] == "ate")].iloc[0]
        assert ate["value"] == pytest.approx(means[arm] - means["No E-Mail"])
        assert ate["lower"] < VISITS[arm] - VISITS["No E-Mail"] < ate["upper"]
        buckets = table[table["arm"] == arm]
        whole = buckets.loc[buckets["bucket"].idxmax()]
        assert whole["cumulative_n"] == buckets["n"].sum()
        assert whole["cumulative_uplift"] == pytest.approx(ate["value"])
        treated = (buckets["mean_treated"] * buckets["n_treated"]).sum() / buckets["n_treated"].sum()
        assert treated == pytest.approx(means[arm])


def test_the_design_passes_its_check_and_nothing_is_set_aside(
    spark: SparkSession, hillstrom: tuple[Path, str]
) -> None:
    checks = rows_of(spark, hillstrom[0], "check_results")
    assert (checks[checks["check"] == "arm_counts"]["status"] == "pass").all()
    (experiment,) = rows_of(spark, hillstrom[0], "experiments").to_dict("records")
    assert (experiment["rows_in"], experiment["rows_quarantined"]) == (64_000, 0)
    assert len(rows_of(spark, hillstrom[0], "uplift_scores")) == 64_000


def test_the_last_line_tells_where_everything_is(hillstrom: tuple[Path, str]) -> None:
    warehouse, line = hillstrom
    found = json.loads(line)
    assert found["run_id"].startswith("hillstrom-")
    assert Path(found["report"]) == warehouse / "report.html"
    assert Path(found["report"]).stat().st_size > 100_000
    assert Path(found["model"]).is_dir()
    assert "mlflow_model" not in found
    page = Path(found["report"]).read_text(encoding="utf-8")
    assert found["digest"] in page
    assert "visits" in page
