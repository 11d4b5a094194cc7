"""The use case ``evaluate``: how good is the model on units that it has not seen?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from spark_uplift.pipeline.audit import recorded
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.policy import policy_results
from spark_uplift.pipeline.policy_tree import policy_tree_rows
from spark_uplift.pipeline.segments import segments
from spark_uplift.pipeline.train import half, trained
from spark_uplift.spark.evaluate import EvaluationResult
from spark_uplift.spark.evaluate import evaluate as evaluate_scores
from spark_uplift.spark.parallel import side_by_side

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def evaluate(context: RunContext) -> EvaluationResult:
    """Score the holdout; write ``evaluation_metrics``, ``uplift_table``, ``evaluation_curves`` and ``segments``.

    `policy_tree_rows` writes ``policy_trees``.
    """
    from pyspark.sql import functions as F

    with recorded(context, "evaluate") as record:
        config, source = context.config, context.source
        model, model_id = trained(context)
        scored = model.transform(half(context, "holdout"))

        def measured() -> EvaluationResult:
            return evaluate_scores(
                scored,
                treatmentCol="arm",
                controlName=source.control,
                labelCol="outcome",
                treatmentNames=model.treatmentNames,
                weightCol="weight" if source.weight else None,
                propensityCol="propensity" if source.propensity else None,
                idCol="unit_id",
                clusterCol="cluster" if source.cluster else None,
                bootstrap=config.evaluation.bootstrap,
                level=config.evaluation.level,
                buckets=config.evaluation.buckets,
                seed=config.seed,
            )

        result, found, *_ = side_by_side(
            measured,
            lambda: segments(context, model, model_id),
            lambda: policy_results(context, model, model_id, scored),
            lambda: policy_tree_rows(context, model, model_id),
        )

        def write(df: DataFrame, name: str, **more: Any) -> None:
            keys = {"run_id": context.run_id, "model_id": model_id, **more}
            tagged = df.withColumns({key: F.lit(value) for key, value in keys.items()})
            context.write(tagged, name, run_id=context.run_id)

        side_by_side(
            lambda: write(result.metrics, "evaluation_metrics"),
            lambda: write(result.uplift_table, "uplift_table", split="holdout"),
            lambda: write(result.curves, "evaluation_curves"),
            lambda: context.write(context.frame("segments", found), "segments", run_id=context.run_id),
        )
        record.digest = model.digest
        record.inputs["model"] = model_id
        record.message = f"{len(found)} rows of segments; {'exact' if result.exact else 'binned'} curves"
    return cast("EvaluationResult", result)
