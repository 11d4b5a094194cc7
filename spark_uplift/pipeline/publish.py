"""Into MLflow: what the run was, what it measured, and the model, registered with an alias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark_uplift.learners.forest import UpliftForestModel
    from spark_uplift.pipeline.context import RunContext


def publish(context: RunContext, model: UpliftForestModel, model_id: str) -> Any:
    return None
