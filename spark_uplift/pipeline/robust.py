"""Rows of one half with doubly robust scores, made once for everything that asks what a policy is worth."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from spark_uplift.errors import DataError
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.pipeline.context import RunContext
from spark_uplift.spark.columns import column
from spark_uplift.spark.nuisance import doubly_robust

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["OWN_PROPENSITY", "PREDICTED", "SCORES", "robust"]

_LOG = logging.getLogger(__name__)

# Names that no feature of a source has.
SCORES = "_su_dr_value"
"""Doubly robust score of each arm, control first."""
PREDICTED = "_su_predicted"
"""Predicted outcome under each arm, control first."""
OWN_PROPENSITY = "_su_own_propensity"
"""Probability of the arm that the unit got."""


def robust(context: RunContext, model: UpliftForestModel, rows: DataFrame) -> DataFrame:
    """Return the rows with `SCORES`, `PREDICTED` and `OWN_PROPENSITY`, cross-fitted within them.

    Parameters
    ----------
    rows : DataFrame
        Rows of ``training_view``, perhaps scored.
    """
    from pyspark.sql import functions as F

    source = context.source
    # A feature may be called as an output of `doubly_robust` is.
    renamed = {name: f"feature_{i}" for i, name in enumerate(source.features)}
    others = [name for name in rows.columns if name not in renamed]
    plain = rows.select(*map(column, others), *[column(name).alias(new) for name, new in renamed.items()])
    try:
        found = _with_models(context, model, plain, list(renamed.values()))
    except DataError as error:  # e.g. too many levels; an experiment's arms have means at any rate
        _LOG.info("policy values are adjusted by the arms' means alone: %s", error)
        found = _with_models(context, model, plain, [])
    code: Any = F
    for number, arm in enumerate([source.control, *model.treatmentNames]):
        code = code.when(F.col("arm") == arm, number)
    return found.select(
        *map(column, others),
        *[column(new).alias(name) for name, new in renamed.items()],
        F.col("dr_value").alias(SCORES),
        F.col("mu").alias(PREDICTED),
        F.get("propensities", code).alias(OWN_PROPENSITY),
    )


def _with_models(
    context: RunContext, model: UpliftForestModel, rows: DataFrame, features: list[str]
) -> DataFrame:
    source = context.source
    return doubly_robust(
        rows,
        treatmentCol="arm",
        controlName=source.control,
        labelCol="outcome",
        featureCols=features,
        treatmentNames=model.treatmentNames,
        weightCol="weight" if source.weight else None,
        propensityCol="propensity" if source.propensity else None,
        idCol="unit_id",
        clusterCol="cluster" if source.cluster else None,
        seed=context.config.seed,
    )
