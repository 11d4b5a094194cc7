"""The use case ``evaluate``: how good is the model on units that it has not seen?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spark_uplift.pipeline.audit import recorded
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.segments import segments
from spark_uplift.pipeline.train import half, trained
from spark_uplift.spark.evaluate import EvaluationResult
from spark_uplift.spark.evaluate import evaluate as evaluate_scores

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def evaluate(context: RunContext) -> EvaluationResult:
    """Score the holdout; write ``evaluation_metrics``, ``uplift_table``, ``evaluation_curves`` and ``segments``."""
    from pyspark.sql import functions as F

    with recorded(context, "evaluate") as record:
        config, source = context.config, context.source
        model, model_id = trained(context)
        scored = model.transform(half(context, "holdout"))
        result = evaluate_scores(
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

        def write(df: DataFrame, name: str, **more: Any) -> None:
            tagged = df.withColumns(
                {"run_id": F.lit(context.run_id), "model_id": F.lit(model_id)} | {k: F.lit(v) for k, v in more.items()}
            )
            context.write(tagged, name, run_id=context.run_id)

        write(result.metrics, "evaluation_metrics")
        write(result.uplift_table, "uplift_table", split="holdout")
        write(result.curves, "evaluation_curves")
        found = segments(context, model_id)
        context.write(context.frame("segments", found), "segments", run_id=context.run_id)
        record.digest = model.digest
        record.inputs["model"] = model_id
        record.message = f"{len(found)} rows of segments; {'exact' if result.exact else 'binned'} curves"
    return result
