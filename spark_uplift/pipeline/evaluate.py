"""The use case ``evaluate``: how good is the model on units that it has not seen, and is it better than another one?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from spark_uplift.errors import ConfigError, bad_value
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.pipeline.audit import recorded
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.policy import policy_results
from spark_uplift.pipeline.policy_tree import grow_trees, policy_tree_rows
from spark_uplift.pipeline.robust import robust
from spark_uplift.pipeline.segments import segments
from spark_uplift.pipeline.train import half, trained
from spark_uplift.spark.evaluate import EvaluationResult
from spark_uplift.spark.evaluate import evaluate as evaluate_scores
from spark_uplift.spark.evaluate_compare import ComparisonResult, compare
from spark_uplift.spark.keep import kept
from spark_uplift.spark.parallel import side_by_side

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_OWN, _OTHER = "uplift", "uplift_of_the_other_model"


def evaluate(context: RunContext) -> EvaluationResult:
    """Score the holdout; write its metrics, uplift table, curves, checks and segments.

    `policy_results` and `policy_tree_rows` write what treating by the model is worth, and its tree. With
    ``evaluation.compare_to`` also ``model_comparison``, and the other model's curves under its own id.
    """
    with recorded(context, "evaluate") as record:
        model, model_id = trained(context)
        other, other_id = _other(context, model, model_id)
        scored = model.transform(half(context, "holdout"))
        found, parts, *_ = side_by_side(
            partial(_measured, context, model, other, scored),
            lambda: segments(context, model, model_id),
            lambda: _decided(context, model, model_id, scored),
        )
        compared = found if isinstance(found, ComparisonResult) else None
        result = found if compared is None else compared.evaluations[_OWN]
        curves = _tagged(result.curves, model_id=model_id)
        if compared is not None:
            others = compared.evaluations[_OTHER].curves
            curves = curves.unionByName(_tagged(others, model_id=other_id))

        def write(df: DataFrame, name: str, **more: Any) -> None:
            context.write(_tagged(df, run_id=context.run_id, **more), name, run_id=context.run_id)

        jobs = [
            lambda: write(result.metrics, "evaluation_metrics", model_id=model_id),
            lambda: write(result.uplift_table, "uplift_table", model_id=model_id, split="holdout"),
            lambda: write(curves, "evaluation_curves"),
            lambda: write(result.checks, "evaluation_checks", model_id=model_id),
            lambda: context.write(context.frame("segments", parts), "segments", run_id=context.run_id),
        ]
        if compared is not None:
            rows, keys = compared.comparison, {"model_id": model_id, "other_model": other_id}
            jobs.append(lambda: write(rows, "model_comparison", **keys))
            record.inputs["other_model"] = other_id
        side_by_side(*jobs)
        record.digest = model.digest
        record.inputs["model"] = model_id
        record.message = f"{len(parts)} rows of segments; {'exact' if result.exact else 'binned'} curves"
    return cast("EvaluationResult", result)


def _decided(context: RunContext, model: UpliftForestModel, model_id: str, scored: DataFrame) -> None:
    """Write what policies are worth, the cost curve, and trees of decisions: all from the same scores."""
    trees = grow_trees(context, model)
    with kept(robust(context, model, scored)) as rows:
        side_by_side(
            lambda: policy_results(context, model, model_id, rows, trees.policies() if trees else None),
            lambda: policy_tree_rows(context, trees, model, model_id, rows),
        )


def _tagged(df: DataFrame, **values: str) -> DataFrame:
    from pyspark.sql import functions as F

    return df.withColumns({name: F.lit(value) for name, value in values.items()})


def _roles(context: RunContext, model: UpliftForestModel) -> dict[str, Any]:
    """Return what `evaluate` and `compare` are told alike."""
    config, source = context.config, context.source
    return {
        "treatmentCol": "arm",
        "controlName": source.control,
        "labelCol": "outcome",
        "treatmentNames": model.treatmentNames,
        "weightCol": "weight" if source.weight else None,
        "propensityCol": "propensity" if source.propensity else None,
        "idCol": "unit_id",
        "clusterCol": "cluster" if source.cluster else None,
        "bootstrap": config.evaluation.bootstrap,
        "intervals": config.evaluation.intervals,
        "level": config.evaluation.level,
        "buckets": config.evaluation.buckets,
        "seed": config.seed,
    }


def _measured(
    context: RunContext, model: UpliftForestModel, other: UpliftForestModel | None, scored: DataFrame
) -> EvaluationResult | ComparisonResult:
    """Evaluate the model, or both models in one pass."""
    if other is None:
        return evaluate_scores(scored, **_roles(context, model))
    renamed = {other.getParam("upliftCol"): _OTHER, other.getParam("recommendedCol"): f"{_OTHER}_arm"}
    both = other.transform(scored, renamed)
    return compare(both, scoreCols=(_OWN, _OTHER), names=(_OWN, _OTHER), **_roles(context, model))


def _other(
    context: RunContext, model: UpliftForestModel, model_id: str
) -> tuple[UpliftForestModel | None, str]:
    """Return the model to compare with and its id, which is the name of its folder.

    Raises
    ------
    ConfigError
        It is this run's model, or was grown for other treatments.
    ModelError
        There is no model, or it is damaged.
    """
    path = context.config.evaluation.compare_to
    if path is None:
        return None, ""
    other = UpliftForestModel.load(path)
    name = path.rstrip("/").rsplit("/", 1)[-1]
    wanted, got = "", ""
    if name == model_id:
        wanted, got = "another model than the run's own", path
    elif list(other.treatmentNames) != list(model.treatmentNames):
        wanted = f"a model for the treatments {list(model.treatmentNames)}"
        got = f"{path} for {list(other.treatmentNames)}"
    if wanted:
        raise ConfigError(bad_value("evaluation.compare_to", "the configuration", wanted, got))
    return other, name
