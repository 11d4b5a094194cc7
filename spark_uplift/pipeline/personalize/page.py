"""The page of a campaign, made anew after each step."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from spark_uplift.pipeline.personalize.context import CampaignContext
from spark_uplift.pipeline.report import write_text
from spark_uplift.report.campaign import CampaignInputs, render_campaign
from spark_uplift.spark.parallel import side_by_side
from spark_uplift.spark.versions import local_path

_ORDER = ("start", "learn", "send", "measure")


def page_path(context: CampaignContext) -> Path:
    """Return where the page goes: the configured file, or ``<name>.html`` in the warehouse.

    Of a warehouse that is not on this machine, the working directory.
    """
    if context.campaign.page.path:
        return Path(context.campaign.page.path)
    folder = local_path(context.warehouse)
    return (folder if folder is not None else Path()) / f"{context.campaign.name}.html"


def write_page(context: CampaignContext) -> Path:
    """Write the page from what the steps so far have left in the tables; return its path."""
    names = ("campaigns", "check_results", "segments", "campaign_values", "campaign_results")
    steps, checks, segments, values, results = side_by_side(
        *[partial(context.small_rows, name) for name in names]
    )
    campaign = context.campaign
    outcomes = campaign.outcomes or campaign.sent_outcomes
    inputs = CampaignInputs(
        name=campaign.name,
        arms=campaign.arms,
        steps=sorted(steps, key=lambda row: _ORDER.index(row["step"])),
        check_results=checks,
        segments=segments,
        values=values,
        results=results,
        outcome={
            "name": outcomes.column if outcomes else "the outcome",
            "kind": _kind(steps),
            "unit": outcomes.unit if outcomes else None,
        },
        currency=campaign.economics.currency,
        worth=campaign.economics.value != 1.0 or bool(campaign.economics.costs),
        level=campaign.learn.level,
    )
    target = page_path(context)
    write_text(target, render_campaign(inputs))
    return target


def _kind(steps: list[dict[str, Any]]) -> str:
    learnt: dict[str, str] = next((row["facts"] for row in steps if row["step"] == "learn"), {})
    return str(learnt.get("outcome_kind", "continuous"))
