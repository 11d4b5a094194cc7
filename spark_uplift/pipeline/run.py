"""The use case ``run``: check, prepare, train, evaluate, score, decide, report, in this order; and its plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spark_uplift.config import RunConfig
from spark_uplift.pipeline.audit import public_text, recorded
from spark_uplift.pipeline.check import check as check_experiment
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.decide import decide
from spark_uplift.pipeline.evaluate import evaluate
from spark_uplift.pipeline.prepare import prepare as prepare_rows
from spark_uplift.pipeline.report import report
from spark_uplift.pipeline.score import score
from spark_uplift.pipeline.train import train
from spark_uplift.spark import tables


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes
    ----------
    name : str
        The CLI verb (after ``personalize`` in a campaign) and the job's name in ``job_runs``.
    text : str
        What it does, in a line.
    writes : tuple of str
        Tables and files that it writes.
    work : callable
        Takes the context: a `RunContext`, or one of a campaign.
    """

    name: str
    text: str
    writes: tuple[str, ...]
    work: Callable[[Any], Any]


def check(context: RunContext) -> Any:
    """Check the experiment; see `spark_uplift.pipeline.check`."""
    with recorded(context, "check") as record:
        results = check_experiment(context)
        counts = {status: sum(r.status == status for r in results) for status in ("pass", "warn", "skip")}
        record.inputs["source"] = f"{context.source.name}@{context.source.version}"
        record.message = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    return results


def prepare(context: RunContext) -> Any:
    """Split usable rows from quarantined ones; see `spark_uplift.pipeline.prepare`."""
    with recorded(context, "prepare") as record:
        counts = prepare_rows(context)
        record.inputs["source"] = f"{context.source.name}@{context.source.version}"
        record.outputs["training_view"] = str(
            tables.version(context.spark, context.warehouse, "training_view")
        )
        record.rows_in, record.rows_out = counts.rows_in, counts.rows_used
        record.rows_quarantined = counts.rows_quarantined
        record.message = f"{counts.rows_used} usable rows, {counts.rows_quarantined} quarantined"
    return counts


STEPS: tuple[Step, ...] = (
    Step("check", "is the experiment sound?", ("check_results",), check),
    Step(
        "prepare",
        "usable rows, and quarantine",
        ("experiments", "assignments", "training_view", "quarantine"),
        prepare,
    ),
    Step("train", "grow the forest", ("model_trees", "feature_importance", "models/"), train),
    Step(
        "evaluate",
        "measure it on the holdout",
        (
            "evaluation_metrics",
            "uplift_table",
            "evaluation_curves",
            "evaluation_checks",
            "model_comparison",
            "segments",
            "policy_value",
            "cost_curve",
            "policy_trees",
        ),
        evaluate,
    ),
    Step("score", "uplift, recommendation and rank of every recipient", ("uplift_scores",), score),
    Step(
        "decide",
        "who gets what, within budgets, capacities and rules",
        ("decisions", "decision_summary", "decision_constraints"),
        decide,
    ),
    Step("report", "one HTML page, and the run in MLflow", ("report.html", "mlflow.db"), report),
)


def skipped(config: RunConfig) -> dict[str, str]:
    """Return the steps that a whole run leaves out, and why."""
    return {} if config.decide is not None else {"decide": "skipped: the configuration has no section decide"}


def step_named(name: str) -> Step:
    """Return the step called ``name``."""
    return next(step for step in STEPS if step.name == name)


def run_step(context: RunContext, step: Step) -> Any:
    """Run one step, telling the progress."""
    context.progress.step(step.name, step.text)
    result = step.work(context)
    context.progress.done(step.name)
    return result


def run(context: RunContext) -> Path:
    """Run every step; return the report's path. Each step can be run again alone, and leaves the same rows."""
    result: Any = None
    for step in STEPS:
        if step.name not in skipped(context.config):
            result = run_step(context, step)
    return Path(result)


def plan(config: RunConfig, names: tuple[str, ...] | None = None) -> list[dict[str, str]]:
    """Return what a run would do, a dict a step; nothing is read or written."""
    experiment = config.experiment
    source = public_text(str(experiment.dataset or experiment.path or experiment.table))
    recipients = config.score.path or config.score.table
    detail = {
        "check": f"read {source}; arms in '{experiment.treatment}', control '{experiment.control}'",
        "prepare": f"hold out {config.split.holdout:.0%} of the units; outcome '{experiment.outcome}'",
        "train": f"{config.forest.numTrees} trees of depth {config.forest.maxDepth}, "
        f"criterion {config.forest.criterion}",
        "evaluate": f"{config.evaluation.bootstrap} bootstrap replicates, {config.evaluation.level:.0%} intervals",
        "score": f"recipients: {public_text(recipients) if recipients else 'the rows of the experiment'}",
        "decide": _decided_by(config),
        "report": f"write {config.report.path or 'report.html'}"
        + (f"; register model '{config.mlflow.model_name or config.name}'" if config.mlflow.enabled else ""),
    }
    if names is None:
        detail.update(skipped(config))
    return [
        {"step": step.name, "what": detail[step.name], "writes": ", ".join(step.writes)}
        for step in STEPS
        if names is None or step.name in names
    ]


def _decided_by(config: RunConfig) -> str:
    if config.decide is None:
        return "needs the section decide"
    explored = f", {config.decide.explore:.0%} explore" if config.decide.explore else ""
    return f"{len(config.decide.budgets)} budgets, {len(config.decide.capacities)} capacities{explored}"
