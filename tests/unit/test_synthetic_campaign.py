"""Made-up recipients: what they would do is what they do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spark_uplift.synthetic_campaign import ARMS, CampaignWorld


def test_the_same_arguments_give_the_same_world() -> None:
    one, other = CampaignWorld.make(500, 1.0), CampaignWorld.make(500, 1.0)
    pd.testing.assert_frame_equal(one.recipients, other.recipients)
    assert (one.chances == other.chances).all()
    assert not one.recipients.equals(CampaignWorld.make(500, 1.0, seed=4).recipients)


def test_effects() -> None:
    alike, varied = CampaignWorld.make(5000, 0.0), CampaignWorld.make(5000, 1.0)
    effects = alike.chances[:, 1:] - alike.chances[:, :1]
    assert effects == pytest.approx(0.05)
    recent = varied.recipients["recency"] < 120
    sms = varied.chances[:, 2] - varied.chances[:, 0]
    assert sms[recent] == pytest.approx(0.25)
    assert sms[~recent] == pytest.approx(-0.05)
    assert ((varied.chances >= 0) & (varied.chances <= 1)).all()


def test_answers() -> None:
    world = CampaignWorld.make(20_000, 1.0)
    customers = world.recipients["customer"].to_numpy()
    arms = np.array(ARMS)[customers % 3]
    found = world.answers(customers, arms, seed=1)
    assert list(found.columns) == ["customer", "ordered"]
    assert found["customer"].is_unique
    expected = world.chance(customers, arms)
    assert len(found) == pytest.approx(expected.sum(), abs=4 * np.sqrt((expected * (1 - expected)).sum()))
    shuffled = np.random.default_rng(0).permutation(len(customers))
    pd.testing.assert_frame_equal(
        world.answers(customers[shuffled].astype(str), arms[shuffled], seed=1), found
    )
