"""The command line: one verb a use case, the same functions that jobs and notebooks call.

Exit codes: 0 done, 1 failed, 2 bad configuration or data, 3 a check failed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from spark_uplift import cli_personalize
from spark_uplift.cli_options import AsJson, Conf, DryRun, Set, console_for_output
from spark_uplift.config import RunConfig, load_config
from spark_uplift.errors import SparkUpliftError

app = typer.Typer(
    name="spark-uplift",
    help="Uplift modelling on Spark: check an experiment, grow a forest, evaluate it, score, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(cli_personalize.app, name="personalize")

_DEMO = "randhie.yaml"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def _execute(config: RunConfig, names: tuple[str, ...] | None, dry_run: bool, as_json: bool) -> None:
    """Run the named steps (all of them for None) and show what came out."""
    from spark_uplift.pipeline import run as use_case
    from spark_uplift.terminal import TerminalProgress, plan_table

    console = console_for_output()
    if dry_run:
        console.print(plan_table(use_case.plan(config, names)))
        return
    from spark_uplift.pipeline.audit import public_text
    from spark_uplift.pipeline.context import open_run

    progress = TerminalProgress(console)
    try:
        context = open_run(config, progress)
        line = f"run {context.run_id}, warehouse {public_text(config.warehouse)}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
        for step in use_case.STEPS:
            if names is None and step.name in use_case.skipped(config):
                console.print(
                    f"{step.name:<9} {use_case.skipped(config)[step.name]}", style="dim", highlight=False
                )
            elif names is None or step.name in names:
                use_case.run_step(context, step)
    finally:
        progress.close()
    if names is None or "report" in names:
        _show_summary(console, context)
    if as_json:
        print(json.dumps(_outcome(context)))


def _outcome(context: Any) -> dict[str, Any]:
    """Return where a run's results are."""
    from spark_uplift.pipeline.audit import public_text

    found: dict[str, Any] = {"run_id": context.run_id, "warehouse": public_text(str(context.warehouse))}
    for row in context.small_rows("job_runs"):
        found.update(row["outputs"] or {})
        found["digest"] = row["digest"] or found.get("digest")
    return found


def _show_summary(console: Console, context: Any) -> None:
    from spark_uplift.terminal import summary_tables

    metrics, segments = context.small_rows("evaluation_metrics"), context.small_rows("segments")
    for table in summary_tables(metrics, segments, context.config.experiment.outcome):
        console.print(table)
    found = _outcome(context)
    for title, key in (
        ("report", "report"),
        ("tables", "warehouse"),
        ("model", "model"),
        ("MLflow model", "mlflow_model"),
    ):
        if key in found:
            console.print(f"{title:<13} {found[key]}", highlight=False, markup=False, soft_wrap=True)


def _load(conf: Path, overrides: list[str]) -> RunConfig:
    return load_config(conf, overrides)


@app.command()
def run(conf: Conf, set_: Set = [], dry_run: DryRun = False, as_json: AsJson = False) -> None:  # noqa: B006
    """Check, prepare, train, evaluate, score, decide and report."""
    _execute(_load(conf, set_), None, dry_run, as_json)


@app.command()
def demo(set_: Set = [], dry_run: DryRun = False, as_json: AsJson = False) -> None:  # noqa: B006
    """Run everything on a real experiment: the RAND Health Insurance Experiment."""
    _execute(_load(example(_DEMO), set_), None, dry_run, as_json)


def example(name: str) -> Path:
    """Return the path of an example configuration, in a checkout or in the installed package."""
    checkout = Path(__file__).resolve().parent.parent / "conf" / "examples" / name
    return checkout if checkout.exists() else Path(str(resources.files("spark_uplift") / "examples" / name))


def _add_step(name: str, text: str) -> None:
    def command(conf: Conf, set_: Set = [], dry_run: DryRun = False, as_json: AsJson = False) -> None:  # noqa: B006
        _execute(_load(conf, set_), (name,), dry_run, as_json)

    command.__doc__ = text
    app.command(name)(command)


for _name, _text in (
    ("check", "Check the experiment: arm counts, missing values, features that give the arm away."),
    ("prepare", "Split usable rows from quarantined ones and write the training view."),
    ("train", "Grow the forest on the training half and save it."),
    ("evaluate", "Measure the model on the holdout: metrics, uplift table, curves, segments."),
    ("score", "Score and rank every recipient."),
    ("decide", "Give each recipient an arm, within budgets, capacities and rules."),
    ("report", "Write the report and log the run to MLflow."),
):
    _add_step(_name, _text)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    level = os.environ.get("SPARK_UPLIFT_LOG", "INFO").upper()
    logging.getLogger("spark_uplift").setLevel(level if level in _LEVELS else "INFO")
    try:
        code = app(args=arguments, standalone_mode=False)
    except SparkUpliftError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"[bold red]error[/bold red] {_plain(error)}", highlight=False
        )
        return error.exit_code
    except typer.Abort:
        return 130
    except Exception as error:
        return _unexpected(error)
    return code if isinstance(code, int) else 0  # a number after Ctrl-C, nothing after a command


def _unexpected(error: Exception) -> int:
    # Usage errors are click's, which typer may vendor.
    if hasattr(error, "show") and hasattr(error, "exit_code"):
        error.show()
        return 2
    logging.getLogger("spark_uplift").error("The job failed.", exc_info=error)
    return 1


def _plain(error: SparkUpliftError) -> str:
    from rich.markup import escape

    return escape(str(error))


if __name__ == "__main__":
    sys.exit(main())
