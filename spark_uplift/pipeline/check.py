"""The use case ``check``: is the experiment sound? Findings go to ``check_results``; a failure stops the
run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from spark_uplift import checks, schemas
from spark_uplift.checks import CheckResult
from spark_uplift.errors import CheckFailedError
from spark_uplift.spark import tables
from spark_uplift.spark.source import Source, design_shares
from spark_uplift.spark.summary import summarise

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_uplift.config import RunConfig


class Context(Protocol):
    """What this and the next step need of a run."""

    @property
    def spark(self) -> SparkSession: ...  # noqa: D102

    @property
    def config(self) -> RunConfig: ...  # noqa: D102

    @property
    def run_id(self) -> str: ...  # noqa: D102

    @property
    def source(self) -> Source: ...  # noqa: D102


def run_check(spark: SparkSession, config: RunConfig, source: Source, run_id: str) -> list[CheckResult]:
    """Return what every check of the registry found; nothing is written.

    Raises
    ------
    DataError
        If the source has no rows, or its treatment column can't be one of arms.
    """
    summary = summarise(source, design_shares(source, config.experiment))
    return checks.run(summary, config.checks)


def check(context: Context) -> list[CheckResult]:
    """Check the experiment and write the findings.

    Returns
    -------
    list of CheckResult
        When nothing failed.

    Raises
    ------
    CheckFailedError
        If a check failed; the findings are written all the same.
    DataError
        See `run_check`.
    """
    results = run_check(context.spark, context.config, context.source, context.run_id)
    rows = results_frame(context.spark, results, context.run_id)
    tables.write(context.spark, rows, context.config.warehouse, "check_results", run_id=context.run_id)
    raise_failures(results)
    return results


def results_frame(spark: SparkSession, results: Iterable[CheckResult], run_id: str) -> DataFrame:
    """Return the findings as rows of ``check_results``."""
    columns = schemas.table("check_results").columns
    rows = [result.as_row(run_id) for result in results]
    schema = ", ".join(f"`{column.name}` {column.type}" for column in columns)
    return spark.createDataFrame([tuple(row[column.name] for column in columns) for row in rows], schema)


def raise_failures(results: Sequence[CheckResult]) -> None:
    """Raise `CheckFailedError` when findings fail the experiment.

    Raises
    ------
    CheckFailedError
        With each failed finding and its hint, one a line.
    """
    failed = checks.failures(results)
    if not failed:
        return
    lines = [f"  - {one.check}: {one.message}{f' Hint: {one.hint}' if one.hint else ''}" for one in failed]
    noun = "finding fails" if len(failed) == 1 else "findings fail"
    names = ", ".join(dict.fromkeys(one.check for one in failed))
    raise CheckFailedError(
        "\n".join(
            [
                f"{len(failed)} {noun} the experiment:",
                *lines,
                f"To go on in spite of it: --set checks.warn_only='[{names}]'",
            ]
        ),
        results,
    )
