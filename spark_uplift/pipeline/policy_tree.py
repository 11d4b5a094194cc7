"""The decision as a few rules: a policy tree, and one that stands for the forest.

Both are grown on the training half and valued on the holdout, by doubly robust rewards made apart in each half: the
rows that shaped a tree have no say in what it is worth.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_uplift.errors import DataError
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.learners.policy_tree import PolicyTree
from spark_uplift.learners.policy_tree_model import PolicyTreeModel
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.robust import SCORES, robust
from spark_uplift.pipeline.train import half
from spark_uplift.policy.tree_rows import node_rows
from spark_uplift.policy.tree_value import PolicyValue
from spark_uplift.spark.keep import kept
from spark_uplift.spark.parallel import side_by_side

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["Trees", "grow_trees", "policy_tree_rows"]

_LOG = logging.getLogger(__name__)

_LEAST_SHARE = 0.04  # of the training rows: a rule must be worth a sentence


@dataclass(frozen=True)
class Trees:
    """Two trees of decisions.

    Attributes
    ----------
    tree : PolicyTreeModel
        Grown on outcomes, for the largest net value.
    surrogate : PolicyTreeModel
        Stands for the forest: grown on its predictions.
    """

    tree: PolicyTreeModel
    surrogate: PolicyTreeModel

    def policies(self) -> dict[str, Column]:
        """Return the arm that each gives, as an expression of the features."""
        from pyspark.sql import functions as F

        return {"tree": F.expr(self.tree.sql), "surrogate": F.expr(self.surrogate.sql)}


def grow_trees(context: RunContext, model: UpliftForestModel) -> Trees | None:
    """Grow both trees on the training half.

    Returns
    -------
    Trees or None
        None, with a warning, where the half lacks what a tree needs, e.g. an arm.
    """
    learner = _learner(context, model)
    try:
        with kept(robust(context, model, half(context, "train"))) as train:
            return Trees(*side_by_side(lambda: learner.fit(train), lambda: learner.surrogate(model, train)))
    except DataError as error:
        _LOG.warning("there is no policy tree: %s", error)
        return None


def policy_tree_rows(
    context: RunContext, trees: Trees | None, model: UpliftForestModel, model_id: str, holdout: DataFrame
) -> list[dict[str, Any]]:
    """Value the trees, and write ``policy_trees``.

    Parameters
    ----------
    trees : Trees or None
        None writes nothing.
    model : UpliftForestModel
        The run's forest, which the surrogate stands for.
    holdout : DataFrame
        Rows of the holdout, with what `spark_uplift.pipeline.robust.robust` adds; read several times.

    Returns
    -------
    list of dict
        The rows written; none, with a warning, where the holdout lacks an arm.
    """
    if trees is None:
        return []
    try:
        found = _valued(context, trees, model, holdout)
    except DataError as error:
        _LOG.warning("there is no policy tree: %s", error)
        return []
    rows = [{"run_id": context.run_id, "model_id": model_id, **row} for row in found]
    context.write(context.frame("policy_trees", rows), "policy_trees", run_id=context.run_id)
    return rows


def _valued(
    context: RunContext, trees: Trees, model: UpliftForestModel, holdout: DataFrame
) -> list[dict[str, Any]]:
    """Return the nodes of both trees."""
    level = context.config.evaluation.level
    tree, surrogate = trees.tree, trees.surrogate
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
    return PolicyTree(
        featureCols=list(source.features),
        controlName=source.control,
        treatmentNames=model.treatmentNames,
        rewardsCol=SCORES,
        treatmentCol="arm",
        weightCol="weight" if source.weight else None,
        idCol="unit_id",
        clusterCol="cluster" if source.cluster else None,
        outcomeValue=config.economics.value,
        costs={name: cost for name, cost in config.economics.costs.items() if name in arms},
        minInstancesPerNode=max(config.forest.minInstancesPerNode, int(_LEAST_SHARE * rows)),
        minInstancesPerArm=config.forest.minInstancesPerArm,
        seed=config.seed,
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
