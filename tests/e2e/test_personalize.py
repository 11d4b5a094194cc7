"""Personalization tests from the draw to the measured gain, on recipients whose answers are known beforehand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml

from spark_uplift import cli
from spark_uplift.errors import DataError, TableError
from spark_uplift.pipeline.personalize.context import SEND, TEST, CampaignContext, open_campaign
from spark_uplift.pipeline.personalize.demo import answer, demo_config, run_demo
from spark_uplift.pipeline.personalize.page import page_path
from spark_uplift.pipeline.personalize.run import run_campaign_step
from spark_uplift.synthetic_campaign import ARMS, CampaignWorld

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

N = 20_000
SMALL: dict[str, Any] = {"forest": {"numTrees": 10, "maxDepth": 3}}


@dataclass
class Campaign:
    """A campaign, its world, and what its steps returned."""

    folder: Path
    world: CampaignWorld
    context: CampaignContext
    found: dict[str, Any]

    @classmethod
    def of(cls, folder: Path, n: int, heterogeneity: float) -> Campaign:
        world = CampaignWorld.make(n, heterogeneity)
        return cls(folder, world, *run_demo(world, demo_config(folder, **SMALL), folder))

    def true_gain(self, arm: str) -> float:
        """Return by how many orders a recipient the recommendations are better than the arm for all."""
        sent = self.context.assigned(SEND).toPandas()
        advised = self.world.chance(sent["unit_id"], sent["recommended"])
        return float(np.mean(advised - self.world.chance(sent["unit_id"], [arm] * len(sent))))

    def reopened(self) -> CampaignContext:
        """Return the campaign as another process would see it."""
        return open_campaign(demo_config(self.folder, **SMALL))


def begun(folder: Path, n: int = 2000, **changes: Any) -> tuple[CampaignWorld, CampaignContext]:
    """Return a campaign that nothing has been done for but writing its recipients."""
    world = CampaignWorld.make(n, 0.0)
    world.recipients.to_parquet(folder / "recipients.parquet", index=False)
    return world, open_campaign(demo_config(folder, **{**SMALL, **changes}))


@pytest.fixture(scope="module")
def varied(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A campaign in which it matters who gets what."""
    return Campaign.of(tmp_path_factory.mktemp("varied"), N, heterogeneity=1.0)


@pytest.fixture(scope="module")
def alike(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A campaign in which every arm works alike for all."""
    return Campaign.of(tmp_path_factory.mktemp("alike"), N // 2, heterogeneity=0.0)


def test_the_draw(varied: Campaign) -> None:
    world, context, found = varied.world, varied.context, varied.found
    drawn = context.assigned(TEST).toPandas()
    assert drawn["unit_id"].is_unique
    assert set(drawn["split"]) == {TEST}
    assert len(drawn) == int(found["start"]["tested"]) == pytest.approx(N / 2, rel=0.03)
    counts = drawn.groupby(["stratum", "arm"]).size().unstack()
    assert list(counts.index) == ["desktop", "mobile", "null"]
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()  # balanced within each stratum
    assert drawn["propensity"].to_numpy() == pytest.approx(1 / 3)
    # Who is tested has nothing to do with what is known of them.
    tested = world.recipients["customer"].isin(drawn["unit_id"].astype(int))
    recency = world.recipients["recency"]
    assert abs(recency[tested].mean() - recency[~tested].mean()) < 4 * recency.std() / np.sqrt(N / 4)


def test_heterogeneity_is_found(varied: Campaign) -> None:
    context, found = varied.context, varied.found
    assert found["learn"]["decision"] == "personalised"
    values = {row["policy"]: row for row in context.small_rows("campaign_values")}
    assert set(values) == {
        "personalised", "single", "candidate 1", "candidate 2", "all: mail", "all: no send", "all: sms",
    }  # fmt: skip
    assert values["personalised"]["difference_lower"] > 0
    assert values["personalised"]["p_value"] < 0.05
    assert {policy for policy, row in values.items() if row["chosen"]} == {
        "personalised",
        f"candidate {1 if found['learn']['candidate'] == '{}' else 2}",
    }
    rules = {row["rule"] for row in context.small_rows("segments")}
    assert any("recency" in rule for rule in rules)


def test_the_single_arms_are_worth_what_they_are(varied: Campaign) -> None:
    world, context = varied.world, varied.context
    for row in context.small_rows("campaign_values"):
        if row["policy"].startswith("all: "):
            arm = row["policy"].removeprefix("all: ")
            truth = 20.0 * world.chances[:, ARMS.index(arm)].mean() - (0.1 if arm == "sms" else 0.0)
            assert abs(row["value"] - truth) < 4 * row["std_error"]


def test_the_send(varied: Campaign) -> None:
    context, found = varied.context, varied.found
    tested, sent = context.assigned(TEST).toPandas(), context.assigned(SEND).toPandas()
    assert set(tested["unit_id"]) & set(sent["unit_id"]) == set()
    assert len(tested) + len(sent) == N
    shares = sent["split"].value_counts(normalize=True)
    assert shares["no_send"] == pytest.approx(0.1, abs=0.01)
    assert shares["single"] == pytest.approx(0.2, abs=0.015)
    single = found["learn"]["single"]
    assert set(sent.loc[sent["split"] == "single", "arm"]) == {single}
    assert set(sent.loc[sent["split"] == "no_send", "arm"]) == {"no send"}
    personalised = sent[sent["split"] == "personalised"]
    assert (personalised["arm"] == personalised["recommended"]).all()
    # The logged propensity is the probability of the arm over the three groups.
    expected = (
        0.7 * (sent["arm"] == sent["recommended"])
        + 0.2 * (sent["arm"] == single)
        + 0.1 * (sent["arm"] == "no send")
    )
    assert sent["propensity"].to_numpy() == pytest.approx(expected.to_numpy())


def test_the_measured_gain_holds_the_truth(varied: Campaign) -> None:
    found = varied.found
    rows = {row["comparison"]: row for row in found["measure"]}
    assert set(rows) == {
        "personalised against single",
        "personalised against no_send",
        "single against no_send",
    }
    gain = rows["personalised against single"]
    truth = varied.true_gain(found["learn"]["single"])
    assert truth > 0.01
    assert gain["lower"] < truth < gain["upper"]
    over_nothing = rows["personalised against no_send"]
    assert over_nothing["lower"] < varied.true_gain("no send") < over_nothing["upper"]
    assert gain["total"] == pytest.approx(gain["net"] * gain["n"])


def test_nothing_to_gain_is_refused(alike: Campaign) -> None:
    context, found = alike.context, alike.found
    assert found["learn"]["decision"] == "single"
    sent = context.assigned(SEND).toPandas()
    assert set(sent["split"]) == {"single", "no_send"}
    assert set(sent.loc[sent["split"] == "single", "arm"]) == {found["learn"]["single"]}
    assert [row["comparison"] for row in found["measure"]] == ["single against no_send"]


def test_the_page_says_it(varied: Campaign, alike: Campaign) -> None:
    page = page_path(varied.context).read_text(encoding="utf-8")
    assert "Give each recipient an arm of their own" in page
    assert "EUR" in page
    assert "recency" in page
    assert "points" in page
    assert "<script" not in page
    refused = page_path(alike.context).read_text(encoding="utf-8")
    assert f"Give everybody “{alike.found['learn']['single']}”" in refused


def _without_times(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=["assigned_at"]).sort_values("unit_id").reset_index(drop=True)


def test_every_step_can_be_run_again(alike: Campaign) -> None:
    context, found = alike.context, alike.found
    before = {which: _without_times(context.assigned(which).toPandas()) for which in (TEST, SEND)}
    values = context.small_rows("campaign_values")
    again = alike.reopened()
    assert again.run_id == context.run_id
    for step in ("start", "learn", "send"):
        assert run_campaign_step(again, step) == found[step], step
    assert run_campaign_step(again, "measure") == found["measure"]
    for which, frame in before.items():
        pd.testing.assert_frame_equal(_without_times(again.assigned(which).toPandas()), frame)
    assert again.small_rows("campaign_values") == values


def test_a_draw_stays_when_the_list_changes(alike: Campaign) -> None:
    context, found = alike.context, alike.found
    path = alike.folder / "recipients.parquet"
    world = alike.world
    kept = path.read_bytes()
    before = _without_times(context.assigned(TEST).toPandas())
    try:
        pd.concat(
            [world.recipients, world.recipients.assign(customer=lambda d: d.customer + 1_000_000)]
        ).to_parquet(path, index=False)
        again = alike.reopened()
        assert run_campaign_step(again, "start") == found["start"]
        assert run_campaign_step(again, "send") == found["send"]
        pd.testing.assert_frame_equal(_without_times(again.assigned(TEST).toPandas()), before)
        message = next(r["message"] for r in again.small_rows("job_runs") if r["job"] == "personalize start")
        assert "nothing is changed" in message
    finally:
        path.write_bytes(kept)


def test_steps_in_the_wrong_order(spark: SparkSession, tmp_path: Path) -> None:
    _, context = begun(tmp_path)
    with pytest.raises(TableError, match="`personalize start` of campaign .* must be done first"):
        run_campaign_step(context, "learn")
    with pytest.raises(TableError, match="`personalize learn`"):
        run_campaign_step(context, "send")
    with pytest.raises(TableError, match="`personalize send`"):
        run_campaign_step(context, "measure")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: pd.concat([d, d.head(3)]), "Got 3 ids with several"),
        (
            lambda d: d.assign(customer=d["customer"].astype("Int64").where(d["customer"] > 2)),
            "2 rows in which it is null",
        ),
        (lambda d: d.head(0), "must not be empty"),
        (lambda d: d.rename(columns={"customer": "client"}), "customer"),
        (lambda d: d.assign(arm="x"), "'arm' has a name that the package uses itself"),
        (lambda d: d.head(60), "Each arm of the test must get 20 recipients"),
    ],
)
def test_recipients_that_cannot_be_used(
    spark: SparkSession, tmp_path: Path, spoil: Any, message: str
) -> None:
    world, context = begun(tmp_path, 500)
    spoil(world.recipients).to_parquet(tmp_path / "recipients.parquet", index=False)
    with pytest.raises(DataError, match=message):
        run_campaign_step(context, "start")
    assert not context.exists("assignments")


def test_a_test_that_is_too_small_says_what_it_would_find(spark: SparkSession, tmp_path: Path) -> None:
    _, context = begun(tmp_path, test={"minimum_effect": 0.01, "baseline": 0.1})
    with pytest.raises(DataError, match=r"needs [\d,]+ recipients. Got 2,000, which find 0\.0\d+ at best"):
        run_campaign_step(context, "start")
    _, sized = begun(tmp_path, test={"minimum_effect": 0.09, "baseline": 0.1})
    found = run_campaign_step(sized, "start")
    assert float(found["smallest_effect"]) == 0.09
    assert 0.3 < float(found["share"]) < 1


def test_outcomes_that_cannot_be_used(spark: SparkSession, tmp_path: Path) -> None:
    world, context = begun(tmp_path)
    run_campaign_step(context, "start")
    answer(world, context, tmp_path, TEST)
    rows = pd.read_parquet(tmp_path / "test.parquet")
    pd.concat([rows, rows.head(2)]).to_parquet(tmp_path / "test.parquet", index=False)
    with pytest.raises(DataError, match=r"Got several of 2 recipients.*outcomes.combine"):
        run_campaign_step(begun(tmp_path)[1], "learn")
    rows.assign(ordered="yes").to_parquet(tmp_path / "test.parquet", index=False)
    with pytest.raises(DataError, match="must hold numbers. Got string instead"):
        run_campaign_step(begun(tmp_path)[1], "learn")


def test_the_command_line(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, context = begun(tmp_path)
    config = context.campaign
    conf = tmp_path / "campaign.yaml"
    conf.write_text(yaml.safe_dump(json.loads(config.canonical_json())), encoding="utf-8")
    assert cli.main(["personalize", "start", "--conf", str(conf), "--dry-run"]) == 0
    assert not (tmp_path / "warehouse").exists()
    assert cli.main(["personalize", "start", "--conf", str(conf), "--json"]) == 0
    last = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert last["run_id"] == config.campaign_id
    assert "recipients are tested" in last["message"]
    assert Path(last["page"]).exists()
    assert cli.main(["personalize", "start", "--conf", str(conf), "--set", "test.shar=0.1"]) == 2
