"""Score a list with the model of a small experiment, and tell what came out.

Two arguments: a folder with ``rows.parquet`` (see `tests.e2e.small`), and a JSON object with ``master``, ``conf``,
``path`` and ``format`` of the list, ``part`` (rows of a part), ``warehouse``, and ``crash``: ``scoring`` or
``ranking``, where the first attempt of each task's Python worker ends. Without ``path`` the model is trained.

Prints ``SCORING`` and ``WRITING`` when these begin, and in the end the job's row, or ``{"error": …}``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import spark_uplift as su
from spark_uplift.errors import SparkUpliftError
from spark_uplift.pipeline import score as job
from spark_uplift.pipeline.context import RunContext, open_run
from spark_uplift.pipeline.run import run_step, step_named
from spark_uplift.spark import rank, recipients
from tests.e2e.small import configuration, of_run


def crashing(factory: Callable[..., Any], whole_groups: bool) -> Callable[..., Any]:
    """Return a factory of the same functions, whose worker ends at a task's first attempt."""

    def end_first() -> None:
        from pyspark import TaskContext

        task = TaskContext.get()
        if task is not None and task.attemptNumber() == 0:
            os._exit(11)

    def made(*args: Any) -> Callable[..., Any]:
        function = factory(*args)

        def by_group(table: Any) -> Any:
            end_first()
            return function(table)

        def by_batch(batches: Iterator[Any]) -> Iterator[Any]:
            yield from function(batches)
            end_first()  # after the work is done, and before Spark hears of it

        return by_group if whole_groups else by_batch

    return made


def said(mark: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        print(mark, flush=True)
        return function(*args, **options)

    return call


def context_of(folder: Path, asked: dict[str, Any]) -> RunContext:
    sections: dict[str, Any] = {"forest": {"numTrees": 10, "maxDepth": 4, "minInstancesPerNode": 100}}
    if "warehouse" in asked:
        sections["warehouse"] = asked["warehouse"]
    if "path" in asked:
        sections["score"] = {"path": asked["path"], "format": asked.get("format", "parquet")}
    return open_run(configuration(folder, mlflow={"enabled": False}, **sections))


def main(argv: list[str]) -> int:
    """Train, or score."""
    folder, asked = Path(argv[0]), json.loads(argv[1])
    spark = su.get_session("score_list", master=asked.get("master"), conf=asked.get("conf"))
    context = context_of(folder, asked)
    if "path" not in asked:
        for name in ("prepare", "train"):
            run_step(context, step_named(name))
        print(json.dumps({"run_id": context.run_id}), flush=True)
        return 0
    recipients.PART = asked.get("part", recipients.PART)
    if asked.get("crash") == "scoring":
        recipients._make_scorer = crashing(recipients._make_scorer, False)
    if asked.get("crash") == "ranking":
        rank._make_numberer = crashing(rank._make_numberer, True)
    rank.tally = said("SCORING", rank.tally)
    job._score_rows = said("WRITING", job._score_rows)
    try:
        run_step(context, step_named("score"))
    except SparkUpliftError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        spark.stop()
        return 0
    (row,) = [row for row in of_run(spark, context, "job_runs") if row["job"] == "score"]
    print(json.dumps(row.asDict(recursive=True), default=str), flush=True)
    spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
