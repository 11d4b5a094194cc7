"""Into MLflow: what the run was, what it measured, and the model, registered with an alias."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from spark_uplift import tracking
from spark_uplift.pipeline.audit import public_config
from spark_uplift.spark import tables
from spark_uplift.spark.parallel import side_by_side

if TYPE_CHECKING:
    from spark_uplift.learners.forest import UpliftForestModel
    from spark_uplift.pipeline.context import RunContext
    from spark_uplift.tracking import RunInfo

_TABLES = (
    "training_view",
    "quarantine",
    "check_results",
    "evaluation_metrics",
    "uplift_table",
    "uplift_scores",
)


def publish(context: RunContext, model: UpliftForestModel, model_id: str) -> RunInfo:
    """Log the run; a second call for the same model adds to the first one's run, and registers nothing twice."""
    config = context.config
    settings = {k: v for k, v in model.forest.training["settings"].items() if v is not None}
    metrics: dict[str, float | None] = {}
    for row in context.small_rows("evaluation_metrics"):
        arm = "policy" if row["arm"] == "*" else row["arm"]
        name = f"{row['metric']}_{row['style']}/{arm}"
        metrics[name] = row["value"]
        metrics[f"{name}/lower"], metrics[f"{name}/upper"] = row["lower"], row["upper"]
    found = side_by_side(*[partial(_version, context, name) for name in _TABLES])
    versions = {name: version for name, version in zip(_TABLES, found, strict=True) if version is not None}
    tags: dict[str, Any] = {
        "spark_uplift.config_sha256": config.sha256,
        "spark_uplift.data_version": context.source.version,
        "spark_uplift.model_id": model_id,
    }
    return tracking.log_run(
        model,
        warehouse=context.warehouse,
        run_id=context.run_id,
        run_name=context.run_id,
        settings=config.mlflow,
        params={**settings, "rows": model.forest.training["rows"], "holdout": config.split.holdout},
        metrics=metrics,
        tags=tags,
        table_versions=versions,
        config=public_config(config),
        registered_name=config.mlflow.model_name or config.name,
        alias=config.mlflow.alias,
    )


def _version(context: RunContext, name: str) -> int | None:
    return tables.version(context.spark, context.warehouse, name) if context.exists(name) else None
