"""Segments: a shallow tree in words, measured on units that it has not seen.

The tree is grown on the training half alone; its leaves' effects are then estimated anew on the holdout, so the rows
that shaped a segment are not those that measure it, and the intervals mean what they say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_uplift.core import rules
from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.forest import Forest
from spark_uplift.core.tree import Tree
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.metrics.inference import difference_in_means
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.train import estimator, half
from spark_uplift.spark.columns import column

if TYPE_CHECKING:
    from pyspark.sql import Column

_DEPTH = 3
_LEAST_SHARE = 0.04  # of the training rows: a segment must be worth a sentence


def segments(context: RunContext, model: UpliftForestModel, model_id: str) -> list[dict[str, Any]]:
    """Return the rows of ``segments``: a row for each segment and treatment, best segment first.

    Parameters
    ----------
    model : UpliftForestModel
        The run's forest; the segments' own tree is grown on as many rows.
    """
    from pyspark.sql import functions as F

    rows = int(model.forest.training["rows"])
    least = max(context.config.forest.minInstancesPerNode, int(_LEAST_SHARE * rows))
    learner = estimator(
        context,
        numTrees=1,
        maxDepth=_DEPTH,
        minInstancesPerNode=least,
        bootstrap=False,
        subsamplingRate=1.0,
        featureSubsetStrategy="all",
        honest=False,
        intervals=False,
    )
    grown: UpliftForestModel = learner.fit(half(context, "train"))
    forest = grown.forest
    tree = forest.trees[0]
    weight = F.col("weight") if context.source.weight else F.lit(1.0)
    if context.source.propensity:
        weight = weight / F.col("propensity")
    cells = (
        half(context, "holdout")
        .select(leaf_column(tree, forest.features).alias("leaf"), "arm", "outcome", weight.alias("w"))
        .groupBy("leaf", "arm")
        .agg(
            F.count("*").alias("n"),
            F.sum("w").alias("w"),
            F.sum(F.col("w") * F.col("outcome")).alias("wy"),
            F.sum(F.col("w") * F.col("outcome") * F.col("outcome")).alias("wyy"),
            F.sum(F.col("w") * F.col("w")).alias("ww"),
        )
        .collect()
    )
    sums = {
        (row["leaf"], row["arm"]): [float(row[k]) for k in ("n", "w", "wy", "wyy", "ww")] for row in cells
    }
    return _measured(context, forest, tree, sums, model_id)


def _measured(
    context: RunContext,
    forest: Forest,
    tree: Tree,
    sums: dict[tuple[int, str], list[float]],
    model_id: str,
) -> list[dict[str, Any]]:
    control = context.source.control
    missing = set(forest.training.get("missing", ()))
    total = sum(values[0] for values in sums.values())
    empty = [0.0] * 5
    found = []
    for leaf, path in rules.leaf_paths(tree).items():
        rows = [sums.get((leaf, arm), empty)[0] for arm in (control, *forest.treatments)]
        pairs = [
            [sums.get((leaf, control), empty), sums.get((leaf, arm), empty)] for arm in forest.treatments
        ]
        effect = difference_in_means(np.array(pairs), context.config.evaluation.level)
        # Which arm to give is decided on the training half; the holdout only measures.
        best = int(np.argmax(tree.effect[leaf]))
        recommended = forest.treatments[best] if tree.effect[leaf][best] > 0 else control
        lines = [
            {
                "run_id": context.run_id,
                "model_id": model_id,
                "rule": rules.path_rule(forest.features, tree, path, missing),
                "share": sum(rows) / total if total else None,
                "arm": arm,
                "n": int(rows[0] + rows[t + 1]),
                "n_treated": int(rows[t + 1]),
                "n_control": int(rows[0]),
                "mean_treated": _number(effect.mean_treated[t]),
                "mean_control": _number(effect.mean_control[t]),
                "uplift": _number(effect.uplift.value[t]),
                "lower": _number(effect.uplift.lower[t]),
                "upper": _number(effect.uplift.upper[t]),
                "recommended": recommended,
            }
            for t, arm in enumerate(forest.treatments)
        ]
        found.append((float(np.max(tree.effect[leaf])), lines))
    found.sort(key=lambda item: -item[0])
    return [{**line, "segment": place} for place, (_, lines) in enumerate(found, start=1) for line in lines]


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def leaf_column(tree: Tree, features: tuple[FeatureBins, ...]) -> Column:
    """Return the row of the leaf that a unit falls into, as a plain Spark expression over the features' columns."""
    from pyspark.sql import functions as F

    def at(node: int) -> Column:
        child = int(tree.left_child[node])
        if child < 0:
            return F.lit(node)
        bins = features[int(tree.feature[node])]
        value = column(bins.name)
        missing = F.isnull(value) if bins.categorical else F.isnull(value) | F.isnan(value.cast("double"))
        if bins.categorical:
            chosen, known = rules.left_codes(bins, tree, node), list(bins.levels or ())
            text = value.cast("string")
            inside = text.isin([level for code, level in enumerate(known, start=1) if code in chosen])
            if bins.unseen_code in chosen:
                inside = inside | ~text.isin(known)
        else:
            edge = rules.threshold_value(bins, int(tree.threshold[node]))
            inside = F.lit(True) if edge is None else value.cast("double") <= edge
        goes_left = F.when(missing, F.lit(bool(tree.missing_left[node]))).otherwise(inside)
        return F.when(goes_left, at(child)).otherwise(at(child + 1))

    return at(0)
