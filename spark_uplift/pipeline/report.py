"""The use case ``report``: one HTML page from the run's tables, and model, metrics and page into MLflow."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from spark_uplift import __version__
from spark_uplift.errors import TableError
from spark_uplift.pipeline.audit import public_config, record_of, recorded, succeeded
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.publish import publish
from spark_uplift.pipeline.train import trained
from spark_uplift.report.build import render
from spark_uplift.report.inputs import ReportInputs
from spark_uplift.spark import tables
from spark_uplift.spark.parallel import side_by_side
from spark_uplift.spark.source import design_shares
from spark_uplift.spark.versions import local_path
from spark_uplift.spark.views import views

if TYPE_CHECKING:
    from spark_uplift.learners.forest import UpliftForestModel

_LOG = logging.getLogger(__name__)

_HISTOGRAM_BINS = 40
_OPTIONAL = ("model_comparison", "evaluation_checks", "policy_value", "cost_curve", "policy_trees")
_DECIDED = ("decision_summary", "decision_constraints")
_LIBRARIES = ("pyspark", "delta-spark", "mlflow", "numpy", "pandas", "pyarrow", "numba")


def report(context: RunContext) -> Path:
    """Write the page, make the dashboard's views and log the run to MLflow where these are asked for.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    TableError
        When the model has not been evaluated yet, the page can't be written, or the views can't be made.
    """
    with recorded(context, "report") as record:
        model, model_id = trained(context)
        records = context.small_rows("job_runs")
        record_of(records, "evaluate", context.run_id)
        target = report_path(context)
        inputs, published = side_by_side(
            lambda: gather(context, model, model_id, records),
            lambda: publish(context, model, model_id) if context.config.mlflow.enabled else None,
        )
        uri = published.model_uri if published else None
        write_text(target, render(replace(inputs, model_card={**inputs.model_card, "mlflow_model_uri": uri})))
        record.outputs = {"report": str(target)}
        if published:
            published.attach(target)  # only now: the page shows the model's address
            record.outputs["mlflow_model"] = published.model_uri
        if context.config.report.views:
            record.outputs["views"] = ", ".join(dashboard(context, context.config.report.views).values())
        record.digest = model.digest
        record.message = f"report of {target.stat().st_size} bytes"
    return target


def dashboard(context: RunContext, schema: str) -> dict[str, str]:
    """Make the SQL views of this experiment's newest run in a schema; return their names by table."""
    register = context.config.report.register_tables
    return views(context.spark, context.warehouse, schema, experiment=context.config.name, register=register)


def report_path(context: RunContext) -> Path:
    """Return where the page goes: the configured file, or ``report.html`` in the warehouse.

    Of a warehouse that is not on this machine, the working directory.
    """
    if context.config.report.path:
        return Path(context.config.report.path)
    folder = local_path(context.warehouse)
    return (folder if folder is not None else Path()) / "report.html"


def write_text(target: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    TableError
        When it can't be written.
    """
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(target)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise TableError(
            f"The report '{target}' can't be written: {error.strerror or error}. "
            "Hint: choose another file with --set report.path=FILE."
        ) from error


def gather(
    context: RunContext, model: UpliftForestModel, model_id: str, records: list[dict[str, Any]]
) -> ReportInputs:
    """Collect the rows that the page shows; all of them are small.

    Parameters
    ----------
    records : list of dict
        The run's rows of ``job_runs``.
    """
    training = model.forest.training
    config = context.config
    names = (
        "experiments", "check_results", "evaluation_metrics", "evaluation_curves", "uplift_table", "segments",
        "feature_importance", *_OPTIONAL,
    )  # fmt: skip
    reasons, arms, histogram, decided, *tables_read = side_by_side(
        lambda: quarantine_counts(context),
        lambda: arm_counts(context),
        lambda: score_histogram(context, model, model_id, succeeded(records, "score")),
        lambda: decisions(context, succeeded(records, "decide")),
        *[partial(context.small_rows, name) for name in names],
    )
    experiments, *others = tables_read
    return ReportInputs(
        experiment=experiments,
        **dict(zip(names[1:], others, strict=True)),
        score_histogram=histogram,
        quarantine_counts=reasons,
        arm_counts=arms,
        **decided,
        economics=config.economics.model_dump(),
        model_card={
            "config_yaml": yaml.safe_dump(public_config(config), sort_keys=False, allow_unicode=True),
            "data_version": context.source.version,
            "digest": model.digest,
            "library_versions": library_versions(),
            "forest_parameters": {k: v for k, v in training["settings"].items() if v is not None},
            "run_id": context.run_id,
            "model_id": model_id,
            "created_at": record_of(records, "train", context.run_id)["finished_at"],
        },
        outcome={
            "name": config.experiment.outcome,
            "kind": training["outcome"],
            "unit": config.experiment.outcome_unit or config.experiment.outcome,
        },
    )


def decisions(context: RunContext, decided_by: dict[str, Any] | None) -> dict[str, list[dict[str, Any]]]:
    """Return what was decided for the list that was decided last: summary, constraints and counts by reason.

    Parameters
    ----------
    decided_by : dict or None
        The row of the job ``decide`` in ``job_runs``, when there is one.
    """
    from pyspark.sql import functions as F

    list_id = ((decided_by or {}).get("outputs") or {}).get("list_id")
    if list_id is None:
        return {}
    keys = {"run_id": context.run_id, "list_id": list_id}

    def reasons() -> list[dict[str, Any]]:
        if not context.exists("decisions"):
            return []
        rows = tables.read(context.spark, context.warehouse, "decisions", keys)
        counts = rows.groupBy("arm", "reason").agg(F.count("*").alias("count"))
        return [row.asDict() for row in counts.orderBy(F.desc("count"), "arm", "reason").collect()]

    def of_list(name: str) -> list[dict[str, Any]]:
        return [row for row in context.small_rows(name) if row["list_id"] == list_id]

    found = side_by_side(reasons, *[partial(of_list, name) for name in _DECIDED])
    return dict(zip(("decision_reasons", *_DECIDED), found, strict=True))


def quarantine_counts(context: RunContext) -> list[dict[str, Any]]:
    """Return how many rows of the experiment were set aside, by reason, most frequent first."""
    from pyspark.sql import functions as F

    rows = tables.read(context.spark, context.warehouse, "quarantine", {"run_id": context.run_id})
    counts = rows.groupBy("reason").agg(F.count("*").alias("count"))
    return [row.asDict() for row in counts.orderBy(F.desc("count"), "reason").collect()]


def arm_counts(context: RunContext) -> list[dict[str, Any]]:
    """Return the usable rows of every arm, control first, with the design's share where it is known."""
    view = context.rows("training_view", "prepare")
    counts = {row["arm"]: row["count"] for row in view.groupBy("arm").count().collect()}
    shares = design_shares(context.source, context.config.experiment) or {}
    ordered = [context.source.control, *sorted(set(counts) - {context.source.control})]
    return [{"arm": arm, "count": counts.get(arm, 0), "design_share": shares.get(arm)} for arm in ordered]


def library_versions() -> dict[str, str]:
    """Return the versions that a model card names."""
    found = {"spark_uplift": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def score_histogram(
    context: RunContext, model: UpliftForestModel, model_id: str, scored_by: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Return predicted uplift of the list scored last, in equal bins per treatment: (arm, lower, upper, count).

    Parameters
    ----------
    scored_by : dict or None
        The row of the job ``score`` in ``job_runs``, when there is one.
    """
    from pyspark.sql import functions as F

    if scored_by is None:
        return []
    keys = {"model_id": model_id, "list_id": scored_by["outputs"]["list_id"]}
    scored = tables.read(context.spark, context.warehouse, "uplift_scores", keys)
    values = [F.element_at("uplift", t + 1) for t in range(len(model.treatmentNames))]
    bounds = scored.agg(
        *[F.min(value).alias(f"low{t}") for t, value in enumerate(values)],
        *[F.max(value).alias(f"high{t}") for t, value in enumerate(values)],
    ).collect()[0]
    if bounds["low0"] is None:
        return []
    low = np.array([bounds[f"low{t}"] for t in range(len(values))], float)
    high = np.array([bounds[f"high{t}"] for t in range(len(values))], float)
    width = np.where(high > low, (high - low) / _HISTOGRAM_BINS, 1.0)
    places = [
        F.least(F.floor((value - F.lit(float(a))) / F.lit(float(w))), F.lit(_HISTOGRAM_BINS - 1))
        for value, a, w in zip(values, low, width, strict=True)
    ]
    found = (
        scored.select(F.posexplode(F.array(*places)).alias("t", "bin")).groupBy("t", "bin").count().collect()
    )
    counts = {(row["t"], row["bin"]): int(row["count"]) for row in found}
    return [
        {
            "arm": arm,
            "lower": float(low[t] + width[t] * i),
            "upper": float(low[t] + width[t] * (i + 1)),
            "count": counts.get((t, i), 0),
        }
        for t, arm in enumerate(model.treatmentNames)
        for i in range(_HISTOGRAM_BINS)
    ]
