"""All four steps on made-up recipients, who answer as `spark_uplift.synthetic_campaign` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spark_uplift.config_campaign import CampaignConfig, parse_campaign
from spark_uplift.pipeline.context import Progress
from spark_uplift.pipeline.personalize.context import SEND, TEST, CampaignContext, open_campaign
from spark_uplift.pipeline.personalize.run import run_campaign_step
from spark_uplift.synthetic_campaign import CampaignWorld

_ANSWERS = {TEST: 1, SEND: 2}  # seeds of the draws


def demo_config(folder: Path, **changes: Any) -> CampaignConfig:
    """Return a campaign on the recipients in a folder; `changes` replace whole sections."""
    values = {
        "name": "autumn",
        "warehouse": str(folder / "warehouse"),
        "recipients": {"path": str(folder / "recipients.parquet"), "id": "customer", "strata": ["device"]},
        "variations": ["mail", "sms"],
        "test": {"share": 0.5, "baseline": 0.1},
        "outcomes": {"path": str(folder / "test.parquet"), "column": "ordered", "unit": "orders"},
        "sent_outcomes": {"path": str(folder / "send.parquet"), "column": "ordered", "unit": "orders"},
        "forest": {"numTrees": 20, "maxDepth": 3},
        "learn": {"folds": 3, "candidates": [{}, {"criterion": "ed"}]},
        "economics": {"value": 20.0, "costs": {"sms": 0.1}, "currency": "EUR"},
        "send": {"no_send": 0.1, "single": 0.2},
    }
    return parse_campaign({**values, **changes})


def run_demo(
    world: CampaignWorld, config: CampaignConfig, folder: Path, progress: Progress | None = None
) -> tuple[CampaignContext, dict[str, Any]]:
    """Run the four steps, with the recipients' answers between them.

    Parameters
    ----------
    world : CampaignWorld
        Recipients and their answers.
    config : CampaignConfig
        See `demo_config`.
    folder : Path
        Where recipients and answers go.
    progress : Progress, optional

    Returns
    -------
    tuple
        The context, and what each step returned, by its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    world.recipients.to_parquet(folder / "recipients.parquet", index=False)
    context = open_campaign(config, progress)
    found = {"start": run_campaign_step(context, "start")}
    answer(world, context, folder, TEST)
    found["learn"] = run_campaign_step(context, "learn")
    found["send"] = run_campaign_step(context, "send")
    answer(world, context, folder, SEND)
    found["measure"] = run_campaign_step(context, "measure")
    return context, found


def answer(world: CampaignWorld, context: CampaignContext, folder: Path, which: str) -> None:
    """Write what the recipients of the test or the send did; made-up recipients are few enough for the driver."""
    drawn = context.assigned(which).select("unit_id", "arm").toArrow().to_pandas()
    rows = world.answers(drawn["unit_id"], drawn["arm"], _ANSWERS[which])
    rows.to_parquet(folder / f"{which}.parquet", index=False)
