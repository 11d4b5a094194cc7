"""What a run says about the value of its model: `policy_value` and `cost_curve`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spark_uplift.errors import DataError
from spark_uplift.pipeline.evaluate import evaluate
from spark_uplift.pipeline.policy import best_arm
from spark_uplift.pipeline.prepare import prepare
from spark_uplift.pipeline.train import train
from tests.e2e.small import ARMS, Finished, of_run, other


@pytest.fixture(scope="module")
def values(finished: Finished) -> pd.DataFrame:
    return finished.tables["policy_value"].set_index(["policy", "method"])


def holdout(finished: Finished) -> pd.DataFrame:
    view = finished.tables["training_view"]
    return view[view["split"] == "holdout"]


def test_values_of_the_policies(finished: Finished, values: pd.DataFrame) -> None:
    singles = {f"all:{arm}" for arm in ARMS}
    assert set(values.index.get_level_values("policy")) == {"model", "tree", "surrogate", "logged", *singles}
    rows = holdout(finished)
    assert values.loc[("logged", "mean"), "value"] == pytest.approx(rows["outcome"].mean())
    for arm in ARMS:  # the arms' shares are the propensities, so SNIPS is the arm's mean
        expected = rows.loc[rows["arm"] == arm, "outcome"].mean()
        assert values.loc[(f"all:{arm}", "snips"), "value"] == pytest.approx(expected)
        robust = values.loc[(f"all:{arm}", "dr")]
        assert robust["lower"] < expected < robust["upper"]
        assert robust["std_error"] < values.loc[(f"all:{arm}", "ips"), "std_error"]
    assert values["message"].isna().all()
    assert values["cost"].isna().all()
    assert (values["n"] == len(rows)).all()


def test_the_model_beats_the_best_single_arm(values: pd.DataFrame) -> None:
    model = values.loc[("model", "dr")]
    best = max(f"all:{arm}" for arm in ARMS if values.loc[(f"all:{arm}", "dr"), "value"] == max(
        values.loc[(f"all:{name}", "dr"), "value"] for name in ARMS
    ))  # fmt: skip
    assert model["baseline"] == best
    assert model["difference"] == pytest.approx(model["value"] - values.loc[(best, "dr"), "value"])
    assert model["difference_lower"] > 0
    # the truth: mail brings 1.5 below 40 years, a call 2 in the north
    assert model["lower"] < values.loc[("logged", "mean"), "value"] + 1.0


def test_the_curve_without_costs_is_over_shares(finished: Finished) -> None:
    curve = finished.tables["cost_curve"]
    assert set(curve["policy"]) == {"model", "only:call", "only:mail"}
    for _, rows in curve.sort_values("point").groupby("policy"):
        assert (rows["spend"] == 0).all()
        assert rows["fraction"].is_monotonic_increasing
        assert rows["point"].tolist() == list(range(len(rows)))
        assert rows["break_even"].sum() == 1
        assert (rows["upper"] >= rows["gain"]).all()
        assert rows["gain"].iloc[-1] > 0


def test_costs_change_whom_the_model_treats(spark, finished: Finished, tmp_path: Path) -> None:
    money = {"value": 2.0, "costs": {"call": 1.5, "mail": 0.2, "control": 0.0}, "currency": "EUR"}
    context = other(finished, economics=money, warehouse=str(tmp_path / "warehouse"))
    for step in (prepare, train, evaluate):
        step(context)
    values = {(r["policy"], r["method"]): r for r in of_run(spark, context, "policy_value")}
    for arm, cost in money["costs"].items():
        one = values[f"all:{arm}", "dr"]
        assert one["cost"] == pytest.approx(cost)
        assert one["net"] == pytest.approx(2.0 * one["value"] - cost)
    model = values["model", "dr"]
    assert 0.0 < model["cost"] < 1.5
    assert model["net"] > max(values[f"all:{arm}", "dr"]["net"] for arm in ARMS)
    curve = pd.DataFrame([r.asDict() for r in of_run(spark, context, "cost_curve")])
    whole = curve[curve["policy"] == "model"].sort_values("point")
    even = whole[whole["break_even"]].iloc[0]
    assert 0 < even["spend"] < whole["spend"].iloc[-1]
    assert even["spend"] == pytest.approx(model["cost"], rel=1e-9)  # the same units get the same arms
    control = values["all:control", "dr"]["value"]
    assert even["gain"] == pytest.approx(model["value"] - control, rel=1e-9)
    assert even["net"] == pytest.approx(2.0 * even["gain"] - even["spend"])
    assert np.isfinite(whole["marginal"]).all()


def test_of_equal_arms_control_is_given(spark) -> None:
    df = spark.createDataFrame(
        [([0.0, -1.0],), ([0.5, 0.5],), ([0.4, 0.5],), ([1.0, 3.0],)], "uplift array<double>"
    )
    costs = {"a": 0.5, "b": 1.5}
    found = df.select(best_arm("none", ["a", "b"], costs, 1.0).alias("arm")).collect()
    assert [row["arm"] for row in found] == ["none", "none", "none", "b"]
    assert [r["arm"] for r in df.select(best_arm("none", ["a", "b"], {}, 1.0).alias("arm")).collect()] == [
        "none", "a", "b", "b",
    ]  # fmt: skip


def test_a_model_that_does_not_fit_falls_back_to_means(finished: Finished, monkeypatch, caplog) -> None:
    from spark_uplift.pipeline import policy, robust

    real, asked = robust.doubly_robust, []

    def refusing(df, *, featureCols, **more):
        asked.append(featureCols)
        if featureCols:
            raise DataError("too many levels")
        return real(df, featureCols=featureCols, **more)

    monkeypatch.setattr(robust, "doubly_robust", refusing)
    context = finished.context
    model = context.model
    scored = model.transform(context.rows("training_view", "prepare").where("split = 'holdout'"))
    written = []
    monkeypatch.setattr(
        type(context), "write", lambda self, df, name, **keys: written.append((name, df.count()))
    )
    with caplog.at_level("INFO"):
        rows = robust.robust(context, model, scored)
        found = policy.policy_results(context, model, finished.model_id, rows, {"twin": rows["recommended"]})
    assert [len(names) for names in asked] == [4, 0]
    assert "too many levels" in caplog.text
    by_policy = {one.policy: one.value for one in found if one.method == "dr"}
    assert by_policy["twin"] == by_policy["model"]  # without costs it is what the model recommends
    assert sorted(name for name, _ in written) == ["cost_curve", "policy_value"]
