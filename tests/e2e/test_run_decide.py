"""Deciding the list of a finished run: limits from the configuration, rules from the list's columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from spark_uplift import cli
from spark_uplift.config import load_config
from spark_uplift.errors import ConfigError, DataError, TableError
from spark_uplift.pipeline.context import RunContext, open_run
from spark_uplift.pipeline.run import plan, run_step, step_named
from spark_uplift.spark import tables
from tests.e2e.small import GOOD, Finished, configuration, good_rows, of_run, write_parquet

EXAMPLES = Path(__file__).resolve().parents[2] / "conf" / "examples"
DECIDE: dict[str, Any] = {
    "budgets": [{"name": "total", "limit": 400.0}, {"name": "people", "limit": 250.0, "arms": ["call"]}],
    "capacities": [{"limit": 100, "arms": ["call"], "segment": ["south"]}],
    "segment": "region",
    "exclusions": {"*": ["member AND age > 70"], "call": ["`visits before` >= 5"]},
    "explore": 0.05,
    "seed": 3,
}


def context(finished: Finished, **sections: Any) -> RunContext:
    return open_run(configuration(finished.folder, **{"decide": DECIDE, **sections}))


def rows(spark: Any, run: RunContext, name: str, list_id: str = "experiment") -> pd.DataFrame:
    return tables.read(spark, run.warehouse, name, {"run_id": run.run_id, "list_id": list_id}).toPandas()


def test_the_list_of_the_run_is_decided_and_again_alike(spark: Any, finished: Finished) -> None:
    run = context(finished)
    assert run.run_id == finished.context.run_id  # what is decided does not change the model
    assert run_step(run, step_named("decide")) == GOOD
    found = rows(spark, run, "decisions").set_index("unit_id").sort_index()
    people = good_rows().astype({"customer": str}).set_index("customer")
    data = people.loc[found.index]
    assert len(found) == GOOD
    assert set(found.model_id) == {finished.model_id}
    assert not ((found.arm != "control") & data.member & (data.age > 70)).any()
    assert not ((found.arm == "call") & (data["visits before"] >= 5)).any()
    assert ((found.arm == "call") & (data.region == "south")).sum() <= 100
    limits = rows(spark, run, "decision_constraints").set_index("constraint")
    assert (limits.used <= limits.limit).all()
    summary = rows(spark, run, "decision_summary").set_index("arm")
    assert summary.n.drop("*").to_dict() == found.arm.value_counts().to_dict()
    assert summary.cost["*"] == pytest.approx(found.cost.sum())
    assert summary.predicted["*"] == pytest.approx(found.gain.sum(), rel=1e-6)
    whole = summary.loc["*"]
    assert (whole.basis, whole.n) == ("holdout", GOOD)
    assert whole.lower < whole.gain < whole.upper
    (job,) = [row for row in of_run(spark, run, "job_runs") if row["job"] == "decide"]
    assert (job["status"], job["rows_in"], job["rows_out"]) == ("succeeded", GOOD, GOOD)
    assert job["message"].startswith(
        f"Spend {whole.cost:,.2f}, expect {whole.gain:,.2f} ({whole.lower:,.2f} to "
    )
    assert job["outputs"]["list_id"] == "experiment"
    run_step(context(finished), step_named("decide"))
    again = rows(spark, run, "decisions").set_index("unit_id").sort_index()
    pd.testing.assert_frame_equal(again.drop(columns="decided_at"), found.drop(columns="decided_at"))


def test_a_list_of_others_with_second_rows(spark: Any, finished: Finished) -> None:
    people = good_rows(200, seed=6).drop(columns=["arm", "spend"])
    people["customer"] += 70_000
    people.loc[199, ["customer", "member", "age"]] = [70_001, True, 75.0]  # a second row that a rule closes
    people.loc[0, ["member", "age"]] = [False, 30.0]
    path = write_parquet(people, finished.folder / "others.parquet")
    run = context(finished, score={"path": str(path)}, economics={"costs": {"call": 0.25}})
    with pytest.raises(TableError, match=r"rows of the list .*others.parquet@.* Got none"):
        run_step(context(finished, score={"path": str(path)}), step_named("decide"))
    run = context(finished, score={"path": str(path)})
    run_step(run, step_named("score"))
    run_step(run, step_named("decide"))
    (job,) = [row for row in of_run(spark, run, "job_runs") if row["job"] == "decide"]
    found = rows(spark, run, "decisions", job["outputs"]["list_id"]).set_index("unit_id")
    assert len(found) == 199
    assert found.arm["70001"] == "control"


def test_what_the_list_lacks_is_named(finished: Finished) -> None:
    wrong = {"segment": "regions", "exclusions": {"call": ["agee > 3"]}}
    with pytest.raises(DataError, match=r"(?s)did you mean 'region' for 'regions'.*agee > 3"):
        run_step(context(finished, decide=wrong), step_named("decide"))
    unknown = {"budgets": [{"name": "x", "limit": 1.0, "arms": ["fax"]}]}
    with pytest.raises(DataError, match=r"among the treatments \['call', 'mail'\]. Got 'fax'"):
        run_step(context(finished, decide=unknown), step_named("decide"))


def test_without_the_section_a_run_skips_the_step(finished: Finished) -> None:
    run = open_run(configuration(finished.folder))
    with pytest.raises(ConfigError, match="must have a section 'decide'"):
        run_step(run, step_named("decide"))
    told = {step["step"]: step["what"] for step in plan(run.config)}
    assert told["decide"] == "skipped: the configuration has no section decide"
    assert plan(context(finished).config)[5]["what"] == "2 budgets, 1 capacities, 5% explore"


def test_the_example_with_limits_loads() -> None:
    config = load_config(EXAMPLES / "hillstrom_budget.yaml", environ={})
    assert config.decide is not None
    assert [budget.limit for budget in config.decide.budgets] == [3000, 1800]
    assert cli.main(["decide", "--conf", str(EXAMPLES / "hillstrom_budget.yaml"), "--dry-run"]) == 0
