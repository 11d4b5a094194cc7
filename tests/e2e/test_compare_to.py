"""A run that compares its model with another saved one on the same holdout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spark_uplift.errors import ConfigError, ModelError
from spark_uplift.pipeline.run import run_step, step_named
from tests.e2e.small import Finished, of_run, other


def steps(context: Any, *names: str) -> None:
    for name in names:
        run_step(context, step_named(name))


def model_folder(finished: Finished) -> str:
    return f"{finished.folder}/warehouse/models/{finished.model_id}"


def test_both_models_are_measured_on_the_same_rows(spark, finished: Finished, tmp_path: Path) -> None:
    evaluation = {"bootstrap": 20, "compare_to": model_folder(finished), "intervals": "half_sample"}
    context = other(finished, evaluation=evaluation, warehouse=str(tmp_path / "warehouse"))
    steps(context, "check", "prepare", "train", "evaluate")
    rows = of_run(spark, context, "model_comparison")
    assert {row["other_model"] for row in rows} == {finished.model_id}
    assert {row["arm"] for row in rows} == {"call", "mail", "*"}
    (autoc,) = [row for row in rows if (row["arm"], row["metric"]) == ("*", "autoc")]
    own = of_run(spark, context, "evaluation_metrics")
    (value,) = [row["value"] for row in own if (row["arm"], row["metric"]) == ("*", "autoc")]
    assert autoc["value"] == value
    assert autoc["difference"] == pytest.approx(value - autoc["other_value"])
    assert autoc["lower"] < autoc["difference"] < autoc["upper"]
    curves = of_run(spark, context, "evaluation_curves")
    models = {row["model_id"] for row in curves}
    assert models == {autoc["model_id"], finished.model_id}
    checks = of_run(spark, context, "evaluation_checks")
    assert {row["check"] for row in checks} >= {"overlap", "ties", "effective_sample_size", "score_mass"}
    assert {row["model_id"] for row in checks} == {autoc["model_id"]}


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/nowhere/model", ModelError, "/nowhere/model"),
        ("own", ConfigError, "must be another model than the run's own. Got '.*models/"),
    ],
)
def test_a_model_that_is_none_or_no_other_one(
    finished: Finished, path: str, error: type[Exception], message: str
) -> None:
    from spark_uplift.pipeline.evaluate import _other
    from spark_uplift.pipeline.train import trained

    context = finished.context
    model, model_id = trained(context)
    other_path = model_folder(finished) if path == "own" else path
    evaluation = context.config.evaluation.model_copy(update={"compare_to": other_path})
    original, context.config = context.config, context.config.model_copy(update={"evaluation": evaluation})
    try:
        with pytest.raises(error, match=message):
            _other(context, model, model_id)
    finally:
        context.config = original
