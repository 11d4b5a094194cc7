"""What the report gathers of decisions: those of the list that was decided last."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spark_uplift.config import parse_config
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.report import decisions

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RUN = "small-0123456789ab"


@pytest.fixture(scope="module")
def context(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """Two decided lists of one run, and one of another run."""
    folder = tmp_path_factory.mktemp("decided")
    config = parse_config(
        {
            "name": "small",
            "warehouse": str(folder),
            "experiment": {"dataset": "randhie", "treatment": "plan", "control": "a", "outcome": "y"},
        }
    )
    context = RunContext(config, spark)
    context.__dict__["run_id"] = RUN  # no source is read here
    for run, list_id, units in ((RUN, "first", 2), (RUN, "second", 5), ("other-0123456789ab", "second", 9)):
        keys = {"run_id": run, "model_id": "m", "list_id": list_id}
        arms = ["mail" if i % 2 else "control" for i in range(units)]
        rows: list[dict[str, Any]] = [
            {**keys, "unit_id": str(i), "arm": arm, "reason": "best net value" if i % 2 else "excluded"}
            for i, arm in enumerate(arms)
        ]
        context.write(context.frame("decisions", rows), "decisions", **keys)
        summary = [{**keys, "arm": "*", "n": units, "cost": 1.0, "gain": 2.0}]
        context.write(context.frame("decision_summary", summary), "decision_summary", **keys)
    return context


def test_the_list_decided_last_is_shown(context: RunContext) -> None:
    found = decisions(context, {"outputs": {"list_id": "second"}})
    assert [(row["list_id"], row["n"]) for row in found["decision_summary"]] == [("second", 5)]
    assert found["decision_constraints"] == []
    assert found["decision_reasons"] == [
        {"arm": "control", "reason": "excluded", "count": 3},
        {"arm": "mail", "reason": "best net value", "count": 2},
    ]


@pytest.mark.parametrize("record", [None, {"outputs": None}, {"outputs": {}}])
def test_without_a_decided_list_there_is_nothing(context: RunContext, record: Any) -> None:
    assert decisions(context, record) == {}


def test_a_warehouse_without_decisions_has_none(
    spark: SparkSession, context: RunContext, tmp_path: Path
) -> None:
    empty = RunContext(context.config.model_copy(update={"warehouse": str(tmp_path)}), spark)
    empty.__dict__["run_id"] = RUN
    assert decisions(empty, {"outputs": {"list_id": "second"}}) == {
        "decision_reasons": [],
        "decision_summary": [],
        "decision_constraints": [],
    }
