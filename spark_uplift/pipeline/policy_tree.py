"""The decision as a few rules: a policy tree, and one that stands for the forest.

Both are grown on the training half and valued on the holdout, by doubly robust rewards made apart in each half: the
rows that shaped a tree have no say in what it is worth.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from spark_uplift.errors import DataError
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.learners.policy_tree import PolicyTree
from spark_uplift.learners.policy_tree_model import PolicyTreeModel
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.train import half
from spark_uplift.policy.tree_rows import node_rows
from spark_uplift.policy.tree_value import PolicyValue
from spark_uplift.spark.keep import kept
from spark_uplift.spark.nuisance import OUTPUTS, doubly_robust
from spark_uplift.spark.parallel import side_by_side

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["policy_tree_rows"]

_LOG = logging.getLogger(__name__)

_LEAST_SHARE = 0.04  # of the training rows: a rule must be worth a sentence


def policy_tree_rows(context: RunContext, model: UpliftForestModel, model_id: str) -> list[dict[str, Any]]:
    """Grow the trees, value them, and write ``policy_trees``.

    Parameters
    ----------
    model : UpliftForestModel
        The run's forest, which the surrogate stands for.

    Returns
    -------
    list of dict
        The rows written; none, with a warning, where a half lacks what a tree needs, e.g. an arm.
    """
    try:
        found = _grown(context, model)
    except DataError as error:
        _LOG.warning("there is no policy tree: %s", error)
        return []
    rows = [{"run_id": context.run_id, "model_id": model_id, **row} for row in found]
    context.write(context.frame("policy_trees", rows), "policy_trees", run_id=context.run_id)
    return rows


def _grown(context: RunContext, model: UpliftForestModel) -> list[dict[str, Any]]:
    """Return the nodes of both trees."""
    learner = _learner(context, model)
    halves: list[DataFrame] = side_by_side(
        lambda: _rewarded(context, model, "train"), lambda: _rewarded(context, model, "holdout")
    )
    with kept(halves[0]) as train, kept(halves[1]) as holdout:
        grown: list[PolicyTreeModel] = side_by_side(
            lambda: learner.fit(train), lambda: learner.surrogate(model, train)
        )
        level = context.config.evaluation.level
        tree, surrogate = grown
        values: list[PolicyValue] = side_by_side(
            lambda: tree.value(holdout, level=level),
            lambda: surrogate.value(holdout, level=level, forest=model),
            lambda: surrogate.kept(model, holdout, level=level),
        )
    single = f"all:{tree.arms[tree.tree.best_single]}"
    return [
        *_rows(tree, values[0], single, "best_single", None),
        *_rows(surrogate, values[1], "model", "forest", values[2].kept("forest")),
    ]


def _learner(context: RunContext, model: UpliftForestModel) -> PolicyTree:
    config, source = context.config, context.source
    rows = int(model.forest.training["rows"])
    arms = [source.control, *model.treatmentNames]
    taken = _taken(context)
    return PolicyTree(
        featureCols=list(source.features),
        controlName=source.control,
        treatmentNames=model.treatmentNames,
        rewardsCol=None if taken else "dr_value",
        treatmentCol="arm",
        labelCol="outcome",
        propensityCol="propensity" if source.propensity else None,
        weightCol="weight" if source.weight else None,
        idCol="unit_id",
        clusterCol="cluster" if source.cluster else None,
        outcomeValue=config.economics.value,
        costs={name: cost for name, cost in config.economics.costs.items() if name in arms},
        minInstancesPerNode=max(config.forest.minInstancesPerNode, int(_LEAST_SHARE * rows)),
        minInstancesPerArm=config.forest.minInstancesPerArm,
        seed=config.seed,
    )


def _taken(context: RunContext) -> bool:
    """Say whether a feature has the name of a doubly robust output: then rewards are inverse-propensity ones."""
    names = {name.lower() for name in context.source.features}
    return bool(names & {name.lower() for name in OUTPUTS})


def _rewarded(context: RunContext, model: UpliftForestModel, split: str) -> DataFrame:
    source = context.source
    rows = half(context, split)
    if _taken(context):
        return rows
    return doubly_robust(
        rows,
        treatmentCol="arm",
        controlName=source.control,
        labelCol="outcome",
        featureCols=list(source.features),
        treatmentNames=model.treatmentNames,
        weightCol="weight" if source.weight else None,
        propensityCol="propensity" if source.propensity else None,
        idCol="unit_id",
        clusterCol="cluster" if source.cluster else None,
        seed=context.config.seed,
    )


def _rows(
    tree: PolicyTreeModel, value: PolicyValue, other: str, policy: str, share: float | None
) -> list[dict[str, Any]]:
    """Return the rows of one tree; the root's says how it compares with another policy."""
    rows = node_rows(tree.tree, value)
    difference = value.differences[policy]
    rows[0] |= {
        "other": other,
        "difference": _number(difference.value),
        "difference_lower": _number(difference.lower),
        "difference_upper": _number(difference.upper),
        "kept": None if share is None else _number(share),
    }
    return rows


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
