"""A campaign with known truth: what each recipient would do under each arm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spark_uplift.config_campaign import CampaignConfig, parse_campaign
from spark_uplift.pipeline.personalize.context import SEND, TEST, CampaignContext, open_campaign
from spark_uplift.pipeline.personalize.run import run_campaign_step

ARMS = ("no send", "mail", "sms")


@dataclass
class World:
    """Recipients, and the probability of an order under each arm, shape (n, 3) in the order of `ARMS`."""

    folder: Path
    recipients: pd.DataFrame
    chances: np.ndarray

    @classmethod
    def of(cls, folder: Path, n: int, heterogeneity: float, seed: int = 3) -> World:
        """Mail works a little for all; with heterogeneity, a text message does for those who bought of late."""
        rng = np.random.default_rng(seed)
        recipients = pd.DataFrame(
            {
                "customer": np.arange(1, n + 1),
                "recency": rng.integers(1, 365, n),
                "device": rng.choice(["mobile", "desktop", None], n, p=[0.6, 0.35, 0.05]),
                "orders": rng.poisson(2.0, n),
            }
        )
        base = 0.10 + 0.02 * (recipients["orders"].to_numpy() > 2)
        recent = recipients["recency"].to_numpy() < 120
        sms = 0.05 + heterogeneity * np.where(recent, 0.20, -0.10)
        mail = 0.05 + heterogeneity * np.where(recent, -0.02, 0.01)
        chances = np.clip(np.stack([base, base + mail, base + sms], axis=1), 0.0, 1.0)
        recipients.to_parquet(folder / "recipients.parquet", index=False)
        return cls(folder, recipients, chances)

    def config(self, **changes: Any) -> CampaignConfig:
        values = {
            "name": "autumn",
            "warehouse": str(self.folder / "warehouse"),
            "recipients": {
                "path": str(self.folder / "recipients.parquet"), "id": "customer", "strata": ["device"],
            },
            "variations": ["mail", "sms"],
            "test": {"share": 0.5, "baseline": 0.1},
            "outcomes": {"path": str(self.folder / "test.parquet"), "column": "ordered", "unit": "orders"},
            "sent_outcomes": {"path": str(self.folder / "send.parquet"), "column": "ordered"},
            "forest": {"numTrees": 10, "maxDepth": 3},
            "learn": {"folds": 3, "candidates": [{}, {"criterion": "ed"}]},
            "economics": {"value": 20.0, "costs": {"sms": 0.1}, "currency": "EUR"},
            "send": {"no_send": 0.1, "single": 0.2},
        }  # fmt: skip
        return parse_campaign({**values, **changes})

    def answer(self, context: CampaignContext, which: str) -> None:
        """Write what the assigned recipients did: a row for each who ordered."""
        drawn = context.assigned(which).toPandas().sort_values("unit_id")
        unit = drawn["unit_id"].astype(int).to_numpy()
        chance = self.chances[unit - 1, [ARMS.index(arm) for arm in drawn["arm"]]]
        rng = np.random.default_rng({TEST: 1, SEND: 2}[which])
        ordered = unit[rng.random(len(unit)) < chance]
        frame = pd.DataFrame({"customer": ordered, "ordered": np.ones(len(ordered))})
        frame.to_parquet(self.folder / f"{which}.parquet", index=False)

    def true_gain(self, context: CampaignContext, single: str) -> float:
        """Return by how many orders a recipient the recommendations are better than the single arm for all."""
        sent = context.assigned(SEND).toPandas()
        unit = sent["unit_id"].astype(int).to_numpy() - 1
        advised = self.chances[unit, [ARMS.index(arm) for arm in sent["recommended"]]]
        return float(np.mean(advised - self.chances[unit, ARMS.index(single)]))


def run_all(world: World) -> tuple[CampaignContext, dict[str, Any]]:
    """Run the four steps, with the world's answers between them; return what each step returned."""
    context = open_campaign(world.config())
    found: dict[str, Any] = {"start": run_campaign_step(context, "start")}
    world.answer(context, TEST)
    found["learn"] = run_campaign_step(context, "learn")
    found["send"] = run_campaign_step(context, "send")
    world.answer(context, SEND)
    found["measure"] = run_campaign_step(context, "measure")
    return context, found
