"""What a run leaves of its policy trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.small import Finished

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_both_trees_cover_the_holdout_and_decide_in_sql(spark: SparkSession, finished: Finished) -> None:
    trees = finished.tables["policy_trees"]
    assert set(trees["kind"]) == {"policy", "surrogate"}
    holdout = finished.context.rows("training_view", "prepare").where("split = 'holdout'")
    size = holdout.count()
    for _, rows in trees.groupby("kind"):
        root = rows[rows["node"] == 1].iloc[0]
        leaves = rows[rows["arm"].notna()]
        assert root["n"] == leaves["n"].sum() == size
        assert leaves["share"].sum() == pytest.approx(1.0)
        assert (leaves["value"] * leaves["share"]).sum() == pytest.approx(root["value"])
        assert root["lower"] > 0  # the arms work for some, and the tree finds whom
        assert root["difference_lower"] <= root["difference"] <= root["difference_upper"]
        given = holdout.selectExpr(f"{root['sql']} AS arm").groupBy("arm").count().collect()
        assert {row["arm"]: row["count"] for row in given} == leaves.groupby("arm")["n"].sum().to_dict()
    surrogate = trees[(trees["kind"] == "surrogate") & (trees["node"] == 1)].iloc[0]
    assert surrogate["other"] == "model"
    assert 0.5 < surrogate["kept"] <= 1.0
