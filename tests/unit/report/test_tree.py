from __future__ import annotations

import dataclasses

from spark_uplift.report import ReportInputs
from spark_uplift.report.format import Scale
from spark_uplift.report.tree import trees_view
from tests.unit.report import samples_decided

SCALE = Scale(name="mdvis", kind="continuous", unit="visits", level=0.95)


def test_without_a_tree_there_is_no_section() -> None:
    assert trees_view(ReportInputs(experiment=[]), SCALE) == []


def test_leaves_are_rules_the_commonest_first_and_the_root_has_value_and_sql() -> None:
    (view,) = trees_view(samples_decided.everything(n=3000), SCALE)
    assert [leaf["arm"] for leaf in view["leaves"]] == [
        "free care",
        "25 % coinsurance",
        "50 % coinsurance",
        "control",
    ]
    assert view["leaves"][0]["rule"] == "disea > 6.9 and physlm > 0.12"
    assert view["sql"] == samples_decided.SQL
    assert view["value"].startswith("It gains +1,040 (950 to 1,130) EUR per 1,000 units over control")
    assert "Zhou, Athey & Wager" in view["caption"]


def test_policy_tree_first_then_the_surrogate() -> None:
    inputs = samples_decided.everything(n=3000)
    both = [*({**row, "kind": "surrogate"} for row in inputs.policy_trees), *inputs.policy_trees]
    views = trees_view(dataclasses.replace(inputs, policy_trees=both), SCALE)
    assert [view["kind"] for view in views] == ["policy", "surrogate"]
    assert "the model’s predictions" in views[1]["caption"]


def test_a_tree_that_is_one_leaf_covers_all_units() -> None:
    inputs = samples_decided.everything(n=3000)
    root = {**inputs.policy_trees[0], "arm": "free care", "rule": ""}
    (view,) = trees_view(dataclasses.replace(inputs, policy_trees=[root]), SCALE)
    assert [leaf["rule"] for leaf in view["leaves"]] == ["all units"]


def test_the_picture_follows_the_page_s_theme_and_keeps_markup_out() -> None:
    inputs = samples_decided.everything(n=3000)
    (view,) = trees_view(inputs, SCALE)
    assert view["picture"].startswith("<svg ")
    assert 'fill="var(--p2, #009e73)"' in view["picture"]
    hostile = [{**row, "condition": "<img src=x>", "rule": "</svg><script>"} for row in inputs.policy_trees]
    (view,) = trees_view(dataclasses.replace(inputs, policy_trees=hostile), SCALE)
    assert "<img" not in view["picture"]
    assert "<script" not in view["picture"]


def test_a_surrogate_says_how_much_of_the_forest_it_keeps() -> None:
    inputs = samples_decided.everything(n=3000)
    more = {
        "kept": 0.93,
        "other": "model",
        "difference": -0.1,
        "difference_lower": -0.3,
        "difference_upper": 0.1,
    }
    rows = [{**row, "kind": "surrogate", **(more if row["node"] == 1 else {})} for row in inputs.policy_trees]
    (view,) = trees_view(dataclasses.replace(inputs, policy_trees=rows), SCALE)
    text = view["value"].replace("\u202f", " ")
    assert "It keeps 93 % of what the forest itself gains." in text
    assert "Against “this model”: −100 (−300 to 100) EUR per 1,000 units, not told apart." in text
