"""The commands of personalization tests: ``spark-uplift personalize start | learn | send | measure``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from spark_uplift.cli_options import AsJson, Conf, DryRun, Set, console_for_output
from spark_uplift.config_campaign import CampaignConfig, load_campaign

app = typer.Typer(
    help="Personalization tests: start a test, learn from it, send each his own, measure the gain.",
    no_args_is_help=True,
)

_DEMO_FOLDER = Path("spark_uplift_out/campaign")


def _execute(config: CampaignConfig, name: str, dry_run: bool, as_json: bool) -> None:
    from spark_uplift.pipeline.personalize import run
    from spark_uplift.terminal import TerminalProgress, plan_table

    console = console_for_output()
    if dry_run:
        console.print(plan_table(run.plan(config, name)))
        return
    from spark_uplift.pipeline.audit import public_text
    from spark_uplift.pipeline.personalize.context import open_campaign
    from spark_uplift.pipeline.personalize.page import page_path

    progress = TerminalProgress(console)
    try:
        context = open_campaign(config, progress)
        line = f"campaign {context.run_id}, warehouse {public_text(config.warehouse)}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
        run.run_campaign_step(context, name)
    finally:
        progress.close()
    done = next(row for row in context.small_rows("job_runs") if row["job"] == f"personalize {name}")
    page = page_path(context)
    console.print(done["message"], highlight=False, markup=False, soft_wrap=True)
    console.print(f"page          {page}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        found = {"run_id": context.run_id, "warehouse": public_text(config.warehouse), "page": str(page)}
        print(json.dumps({**found, "message": done["message"], "digest": done["digest"]}))


def _add_step(name: str, text: str) -> None:
    def command(conf: Conf, set_: Set = [], dry_run: DryRun = False, as_json: AsJson = False) -> None:  # noqa: B006
        _execute(load_campaign(conf, set_), name, dry_run, as_json)

    command.__doc__ = text
    app.command(name)(command)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where everything goes.")] = _DEMO_FOLDER,
    units: Annotated[
        int, typer.Option("--units", min=2000, help="How many recipients are made up.")
    ] = 20_000,
    alike: Annotated[bool, typer.Option("--alike", help="Let every arm work alike for all.")] = False,
) -> None:
    """Run all four steps on made-up recipients whose answers are known beforehand."""
    from spark_uplift.pipeline.personalize.demo import demo_config, run_demo
    from spark_uplift.pipeline.personalize.page import page_path
    from spark_uplift.synthetic_campaign import CampaignWorld
    from spark_uplift.terminal import TerminalProgress

    console = console_for_output()
    progress = TerminalProgress(console)
    try:
        world = CampaignWorld.make(units, heterogeneity=0.0 if alike else 1.0)
        context, _ = run_demo(world, demo_config(folder), folder, progress)
    finally:
        progress.close()
    for row in sorted(context.small_rows("campaigns"), key=lambda row: row["done_at"]):
        console.print(f"{row['step']:<13} {row['message']}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"page          {page_path(context)}", highlight=False, markup=False, soft_wrap=True)


for _name, _text in (
    ("start", "Draw the test among the recipients, by hash, and log the propensities."),
    ("learn", "Check the test, choose a model, and decide whether personalisation pays."),
    ("send", "Give each remaining recipient an arm, and keep groups apart to measure the gain."),
    ("measure", "Measure what the send gained over the best single arm and over no send."),
):
    _add_step(_name, _text)
