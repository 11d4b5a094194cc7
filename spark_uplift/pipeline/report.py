"""The use case ``report``: one HTML page from the run's tables, and model, metrics and page into MLflow."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from spark_uplift import __version__
from spark_uplift.pipeline.audit import last_record, public_config, recorded
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.publish import publish
from spark_uplift.pipeline.score import OWN_LIST
from spark_uplift.pipeline.train import trained
from spark_uplift.report.build import render
from spark_uplift.report.inputs import ReportInputs
from spark_uplift.spark import tables
from spark_uplift.spark.versions import local_path

if TYPE_CHECKING:
    from spark_uplift.learners.forest import UpliftForestModel

_LOG = logging.getLogger(__name__)

_HISTOGRAM_BINS = 40
_LIBRARIES = ("pyspark", "delta-spark", "mlflow", "numpy", "pandas", "pyarrow", "numba")


def report(context: RunContext) -> Path:
    """Write the page, and log the run to MLflow where that is enabled; return the page's path."""
    with recorded(context, "report") as record:
        model, model_id = trained(context)
        target = report_path(context)
        # First the model, whose address the page shows; then the page, beside it.
        logged = publish(context, model, model_id) if context.config.mlflow.enabled else None
        write_text(target, render(gather(context, model, model_id, logged.model_uri if logged else None)))
        if logged is not None:
            publish(context, model, model_id, (target,))
        record.digest = model.digest
        record.outputs = {"report": str(target), **({"mlflow_model": logged.model_uri} if logged else {})}
        record.message = f"report of {target.stat().st_size} bytes"
    return target


def report_path(context: RunContext) -> Path:
    """Return where the page goes: the configured file, or ``report.html`` in the warehouse (here, when that is remote)."""
    if context.config.report.path:
        return Path(context.config.report.path)
    folder = local_path(context.warehouse)
    return (folder if folder is not None else Path()) / "report.html"


def write_text(target: Path, text: str) -> None:
    """Write a file whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)


def gather(context: RunContext, model: UpliftForestModel, model_id: str, model_uri: str | None) -> ReportInputs:
    """Collect the rows that the page shows; all of them are small."""
    from pyspark.sql import functions as F

    training = model.forest.training
    config = context.config
    quarantine = tables.read(context.spark, context.warehouse, "quarantine", {"run_id": context.run_id})
    reasons = quarantine.groupBy("reason").agg(F.count("*").alias("count")).orderBy(F.desc("count")).collect()
    view = context.rows("training_view", "prepare")
    arms = {row["arm"]: row["count"] for row in view.groupBy("arm").count().collect()}
    shares = {str(k): v for k, v in (config.experiment.shares or {}).items()}
    ordered = [context.source.control, *sorted(set(arms) - {context.source.control})]
    return ReportInputs(
        experiment=context.small_rows("experiments"),
        check_results=context.small_rows("check_results"),
        evaluation_metrics=context.small_rows("evaluation_metrics"),
        evaluation_curves=context.small_rows("evaluation_curves"),
        uplift_table=context.small_rows("uplift_table"),
        segments=context.small_rows("segments"),
        feature_importance=context.small_rows("feature_importance"),
        score_histogram=score_histogram(context, model, model_id),
        quarantine_counts=[row.asDict() for row in reasons],
        arm_counts=[{"arm": arm, "count": arms.get(arm, 0), "design_share": shares.get(arm)} for arm in ordered],
        model_card={
            "config_yaml": yaml.safe_dump(public_config(config), sort_keys=False, allow_unicode=True),
            "data_version": context.source.version,
            "digest": model.digest,
            "library_versions": library_versions(),
            "forest_parameters": {k: v for k, v in training["settings"].items() if v is not None},
            "run_id": context.run_id,
            "model_id": model_id,
            "mlflow_model_uri": model_uri,
            "created_at": last_record(context, "train")["finished_at"],
        },
        outcome={
            "name": config.experiment.outcome,
            "kind": training["outcome"],
            "unit": config.experiment.outcome_unit or config.experiment.outcome,
        },
    )


def library_versions() -> dict[str, str]:
    """Return the versions that a model card names."""
    found = {"spark_uplift": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def score_histogram(context: RunContext, model: UpliftForestModel, model_id: str) -> list[dict[str, Any]]:
    """Return predicted uplift in equal bins per treatment: rows of (arm, lower, upper, count)."""
    from pyspark.sql import functions as F

    if not tables.exists(context.spark, context.warehouse, "uplift_scores"):
        return []
    keys = {"model_id": model_id}
    own = context.config.score.path is None and context.config.score.table is None
    if own:
        keys["list_id"] = OWN_LIST
    scored = tables.read(context.spark, context.warehouse, "uplift_scores", keys)
    values = [F.element_at("uplift", t + 1) for t in range(len(model.treatmentNames))]
    bounds = scored.agg(
        *[F.min(value).alias(f"low{t}") for t, value in enumerate(values)],
        *[F.max(value).alias(f"high{t}") for t, value in enumerate(values)],
    ).collect()[0]
    if bounds["low0"] is None:
        return []
    rows = []
    for t, (arm, value) in enumerate(zip(model.treatmentNames, values, strict=True)):
        low, high = float(bounds[f"low{t}"]), float(bounds[f"high{t}"])
        width = (high - low) / _HISTOGRAM_BINS or 1.0
        place = F.least(F.floor((value - F.lit(low)) / F.lit(width)), F.lit(_HISTOGRAM_BINS - 1)).alias("bin")
        counts = {row["bin"]: row["count"] for row in scored.select(place).groupBy("bin").count().collect()}
        edges = low + width * np.arange(_HISTOGRAM_BINS + 1)
        rows += [
            {"arm": arm, "lower": float(edges[i]), "upper": float(edges[i + 1]), "count": int(counts.get(i, 0))}
            for i in range(_HISTOGRAM_BINS)
        ]
    return rows
