"""The use case ``train``: grow the forest on the training half and keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spark_uplift.core import rules
from spark_uplift.core.forest import Forest
from spark_uplift.core.splitting import CATEGORICAL
from spark_uplift.errors import ModelError
from spark_uplift.learners.forest import UpliftForest, UpliftForestModel
from spark_uplift.pipeline.audit import last_record, recorded
from spark_uplift.pipeline.context import RunContext
from spark_uplift.spark import tables
from spark_uplift.spark.parallel import side_by_side

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame


def estimator(context: RunContext, **changes: Any) -> UpliftForest:
    """Return the configured forest over the columns of ``training_view``."""
    config, source = context.config, context.source
    settings = {**config.forest.model_dump(), **changes}
    return UpliftForest(
        treatmentCol="arm",
        controlName=source.control,
        labelCol="outcome",
        featureCols=list(source.features),
        idCol="unit_id",
        weightCol="weight" if source.weight else None,
        propensityCol="propensity" if source.propensity else None,
        clusterCol="cluster" if source.cluster else None,
        seed=config.seed,
        **settings,
    )


def half(context: RunContext, split: str) -> DataFrame:
    """Return the rows of one half of ``training_view``, ``"train"`` or ``"holdout"``."""
    view = context.rows("training_view", "prepare")
    return view.where(view["split"] == split)


def train(context: RunContext) -> UpliftForestModel:
    """Grow the forest; write the model, ``model_trees`` and ``feature_importance``.

    Returns
    -------
    UpliftForestModel
        Also saved at ``<warehouse>/models/<model_id>``.
    """
    with recorded(context, "train") as record:
        rows = half(context, "train")
        version = tables.version(context.spark, context.warehouse, "training_view")
        record.inputs["training_view"] = str(version)
        learner = estimator(context).onProgress(context.progress.advance)
        model: UpliftForestModel = learner.fit(rows)
        model_id = f"{context.run_id}-{model.digest[:8]}"
        path = model_path(context, model_id)
        keys = {"run_id": context.run_id, "model_id": model_id}
        shares = [
            {**keys, "feature": name, "method": "gain", "importance": share}
            for name, share in model.featureImportances.items()
        ]
        importance = context.frame("feature_importance", shares)
        trees = context.spark.createDataFrame(tree_rows(model.forest, model_id))
        side_by_side(
            lambda: save(model, path),
            lambda: context.write(trees, "model_trees", model_id=model_id),
            lambda: context.write(importance, "feature_importance", run_id=context.run_id),
        )
        context.model = model
        record.digest = model.digest
        record.rows_in = int(model.forest.training["rows"])
        record.outputs = {"model": path, "model_id": model_id}
        record.message = f"{len(model.forest.trees)} trees on {record.rows_in} rows"
    return model


def model_path(context: RunContext, model_id: str) -> str:
    """Return where a run keeps its model."""
    return f"{tables.root(context.warehouse)}/models/{model_id}"


def save(model: UpliftForestModel, path: str) -> None:
    """Save the model, unless the very same one is already there whole."""
    try:
        if UpliftForestModel.load(path).digest == model.digest:
            return
    except Exception:  # nothing there, or what a killed job left
        model.write().overwrite().save(path)
        return
    model.write().overwrite().save(path)


def trained(context: RunContext) -> tuple[UpliftForestModel, str]:
    """Return this run's model and its id.

    Raises
    ------
    TableError
        When ``train`` has not run.
    ModelError
        When the saved model is not the one that was recorded.
    """
    record = last_record(context, "train")
    model_id, digest = record["outputs"]["model_id"], record["digest"]
    if context.model is not None and context.model.digest == digest:
        return context.model, model_id
    path = model_path(context, model_id)
    model = UpliftForestModel.load(path)
    if model.digest != digest:
        raise ModelError(
            f"The model at '{path}' must have the digest {digest}. Got {model.digest} instead. "
            "Hint: run `spark-uplift train` again."
        )
    context.model = model
    return model, model_id


def tree_rows(forest: Forest, model_id: str) -> pa.Table:
    """Return the forest as rows of ``model_trees``."""
    import pyarrow as pa

    missing = set(forest.training.get("missing", ()))
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "model_id", "tree", "node", "depth", "feature", "rule", "threshold", "left_levels", "missing_left", "gain",
            "n", "effect",
        )
    }  # fmt: skip
    for number, tree in enumerate(forest.trees):
        depth = tree.depth
        for node in range(tree.n_nodes):
            leaf = tree.left_child[node] < 0
            bins = None if leaf else forest.features[int(tree.feature[node])]
            by_levels = bins is not None and int(tree.threshold[node]) == CATEGORICAL
            values = {
                "model_id": model_id,
                "tree": number,
                "node": int(tree.heap[node]),
                "depth": int(depth[node]),
                "feature": None if bins is None else bins.name,
                "rule": None
                if bins is None
                else rules.condition(bins, tree, node, True, bins.name in missing),
                "threshold": None
                if bins is None or by_levels
                else rules.threshold_value(bins, int(tree.threshold[node])),
                "left_levels": rules.left_levels(bins, tree, node)
                if bins is not None and by_levels
                else None,
                "missing_left": None if leaf else bool(tree.missing_left[node]),
                "gain": None if leaf else float(tree.gain[node]),
                "n": np.asarray(tree.stats[node, :, 0]).tolist(),
                "effect": tree.effect[node].tolist(),
            }
            for name, value in values.items():
                columns[name].append(value)
    kinds = [
        pa.string(), pa.int32(), pa.int64(), pa.int32(), pa.string(), pa.string(), pa.float64(),
        pa.list_(pa.string()), pa.bool_(), pa.float64(), pa.list_(pa.int64()), pa.list_(pa.float64()),
    ]  # fmt: skip
    arrays = [pa.array(values, kind) for values, kind in zip(columns.values(), kinds, strict=True)]
    return pa.table(dict(zip(columns, arrays, strict=True)))
