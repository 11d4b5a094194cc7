"""A run that compares its model with another saved one on the same holdout."""

from __future__ import annotations

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


def test_both_models_are_measured_on_the_same_rows(spark, finished: Finished) -> None:
    evaluation = {"bootstrap": 20, "compare_to": model_folder(finished), "intervals": "half_sample"}
    context = other(finished, name="challenger", evaluation=evaluation)
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


def test_a_model_that_is_not_there_is_named(finished: Finished) -> None:
    context = other(finished, name="lost", evaluation={"bootstrap": 0, "compare_to": "/nowhere/model"})
    steps(context, "check", "prepare", "train")
    with pytest.raises(ModelError, match="/nowhere/model"):
        steps(context, "evaluate")


def test_the_own_model_is_no_other_one(finished: Finished) -> None:
    context = finished.context
    config = context.config.model_copy(
        update={
            "evaluation": context.config.evaluation.model_copy(update={"compare_to": model_folder(finished)})
        }
    )
    from spark_uplift.pipeline.evaluate import _other
    from spark_uplift.pipeline.train import trained

    model, model_id = trained(context)
    original, context.config = context.config, config
    try:
        with pytest.raises(ConfigError, match="must be another model than the run's own. Got '.*models/"):
            _other(context, model, model_id)
    finally:
        context.config = original
