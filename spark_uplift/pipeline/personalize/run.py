"""The steps of a personalization test in their order, for the command line, jobs and notebooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from spark_uplift.pipeline.personalize.context import CampaignContext
from spark_uplift.pipeline.personalize.learn import learn
from spark_uplift.pipeline.personalize.measure import measure
from spark_uplift.pipeline.personalize.page import write_page
from spark_uplift.pipeline.personalize.send import send
from spark_uplift.pipeline.personalize.start import start


@dataclass(frozen=True)
class CampaignStep:
    """One step.

    Attributes
    ----------
    name : str
        The command after ``personalize``.
    text : str
        What it does, in a line.
    writes : tuple of str
        Tables and files that it writes.
    work : callable
        Takes the context.
    """

    name: str
    text: str
    writes: tuple[str, ...]
    work: Callable[[CampaignContext], Any]


STEPS: tuple[CampaignStep, ...] = (
    CampaignStep("start", "draw the test and log the propensities", ("assignments", "campaign_features"), start),
    CampaignStep(
        "learn",
        "choose a model, and decide whether personalisation pays",
        ("check_results", "training_view", "campaign_values", "segments", "model_trees", "models/"),
        learn,
    ),
    CampaignStep("send", "an arm for each remaining recipient, groups kept apart", ("assignments",), send),
    CampaignStep("measure", "what the send gained", ("campaign_results",), measure),
)


def run_campaign_step(context: CampaignContext, name: str) -> Any:
    """Run one step and write the page anew; each can be run again and leaves the same rows."""
    step = next(step for step in STEPS if step.name == name)
    context.progress.step(f"personalize {step.name}", step.text)
    result = step.work(context)
    write_page(context)
    context.progress.done(step.name)
    return result
