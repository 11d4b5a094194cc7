"""The steps of a personalization test in their order, for the command line, jobs and notebooks."""

from __future__ import annotations

from typing import Any

from spark_uplift.config_campaign import CampaignConfig
from spark_uplift.pipeline.audit import public_text
from spark_uplift.pipeline.personalize.context import CampaignContext
from spark_uplift.pipeline.personalize.learn import learn
from spark_uplift.pipeline.personalize.measure import measure
from spark_uplift.pipeline.personalize.page import write_page
from spark_uplift.pipeline.personalize.send import send
from spark_uplift.pipeline.personalize.start import start
from spark_uplift.pipeline.run import Step

STEPS: tuple[Step, ...] = (
    Step(
        "start",
        "draw the test and log the propensities",
        ("assignments", "campaign_features", "campaigns"),
        start,
    ),
    Step(
        "learn",
        "choose a model, and decide whether personalisation pays",
        ("check_results", "training_view", "campaign_values", "segments", "model_trees", "models/"),
        learn,
    ),
    Step("send", "an arm for each remaining recipient, groups kept apart", ("assignments",), send),
    Step("measure", "what the send gained", ("campaign_results",), measure),
)


def run_campaign_step(context: CampaignContext, name: str) -> Any:
    """Run one step and write the page anew; each can be run again and leaves the same rows."""
    step = next(step for step in STEPS if step.name == name)
    context.progress.step(f"personalize {step.name}", step.text)
    result = step.work(context)
    write_page(context)
    context.progress.done(step.name)
    return result


def plan(config: CampaignConfig, name: str) -> list[dict[str, str]]:
    """Return what a step would do; nothing is read or written."""
    wanted, test, learn_, kept = config.recipients, config.test, config.learn, config.send
    size = (
        f"{test.share:.0%} of them" if test.share else f"as many as find an effect of {test.minimum_effect:g}"
    )
    source = public_text(str(wanted.path or wanted.table))
    detail = {
        "start": f"recipients: {source}; test {size}; arms {', '.join(config.arms)}",
        "learn": f"{len(learn_.candidates)} candidates, {learn_.folds} folds, {learn_.level:.0%} intervals",
        "send": f"recipients: {source}; {kept.no_send:.0%} no send, {kept.single:.0%} the best single arm",
        "measure": "gain over the best single arm and over no send",
    }
    step = next(step for step in STEPS if step.name == name)
    return [{"step": name, "what": detail[name], "writes": ", ".join(step.writes)}]
