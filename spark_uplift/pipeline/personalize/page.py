"""The page of a campaign."""

from __future__ import annotations

from spark_uplift.pipeline.personalize.context import CampaignContext


def write_page(context: CampaignContext) -> None:
    """Write the page."""
