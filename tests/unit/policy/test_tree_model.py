"""Policy trees without Spark: JSON, words, and estimates from sums."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_uplift.core.binning import FeatureBins
from spark_uplift.errors import ModelError
from spark_uplift.policy.tree_model import from_header, from_records
from spark_uplift.policy.tree_rows import node_rows
from spark_uplift.policy.tree_sql import literal, number, sql
from spark_uplift.policy.tree_value import Estimate, PolicyValue, estimate
from tests.spark.policy_trees import random_tree

BINS = (FeatureBins("x", edges=(0.1, 0.2, 0.3)), FeatureBins("town", levels=("ash", "birch"), pooled=True))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_a_tree_comes_back_from_json(seed: int) -> None:
    tree = random_tree(np.random.default_rng(seed), BINS, ("none", "mail", "call"))
    again = from_header(json.loads(json.dumps(tree.header())), "here")
    assert again.digest == tree.digest
    assert again.header() == tree.header()
    assert (sql(again), again.rules) == (sql(tree), tree.rules)
    rows = node_rows(again)
    assert [row["node"] for row in rows] == sorted(row["node"] for row in rows)
    assert all((row["arm"] is None) == (row["condition"] is not None) for row in rows)
    assert rows[0]["sql"] == sql(tree)


def test_another_format_and_damage_are_named() -> None:
    tree = random_tree(np.random.default_rng(1), BINS, ("none", "mail"))
    with pytest.raises(ModelError, match="must have format 1. Got format 2"):
        from_header({**tree.header(), "format": 2}, "here")
    with pytest.raises(ModelError, match="at 'here' is damaged"):
        from_header({**tree.header(), "nodes": [{"node": 1}]}, "here")


def test_the_digest_tells_decisions_apart() -> None:
    def leaf(action: int) -> str:
        record = {"node": 1, "feature": -1, "left": [], "action": action, "rows": 5, "gain": 0.0}
        return from_records((), ("none", "mail"), [record], {}).digest

    assert leaf(0) != leaf(1)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number_literals_have_all_digits(value: float) -> None:
    assert float(number(value).removesuffix("D")) == value


def test_strings_without_awkward_characters_are_plain() -> None:
    assert literal("No E-Mail") == "'No E-Mail'"
    assert literal("") == "''"
    assert literal("it's") == "concat('it', char(39), 's')"
    assert literal("a\\b") == "concat('a', char(92), 'b')"
    assert literal("${x}$") == "concat(char(36), '{x}$')"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 60))
def test_an_estimate_is_that_of_the_units(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    w, x = rng.uniform(0.1, 3.0, n), rng.normal(5.0, 2.0, n)
    d = w * x
    sums = np.array([[d.sum(), (d**2).sum(), (d * w).sum(), w.sum(), (w**2).sum(), n, n]])
    found = estimate(sums, 0, 0.9)
    mean = np.average(x, weights=w)
    error = math.sqrt((w**2 * (x - mean) ** 2).sum() * n / (n - 1)) / w.sum()
    assert found.value == pytest.approx(mean)
    assert found.std_error == pytest.approx(error, rel=1e-6)
    assert found.upper - found.value == pytest.approx(1.6448536 * error, rel=1e-6)


def test_few_units_have_no_interval() -> None:
    one = estimate(np.array([[2.0, 4.0, 2.0, 1.0, 1.0, 1, 1]]), 0, 0.95)
    assert one.value == 2.0
    assert math.isnan(one.std_error)
    assert math.isnan(estimate(np.zeros((1, 7)), 0, 0.95).value)
    assert math.isnan(one.p_value)
    assert Estimate(1.96, 1.0, 0.0, 3.92, 9).p_value == pytest.approx(0.05, abs=1e-3)


def test_a_share_of_no_gain_is_not_a_number() -> None:
    def of(value: float) -> Estimate:
        return Estimate(value, 0.1, value - 0.2, value + 0.2, 10)

    values = {"tree": of(3.0), "forest": of(5.0), "control": of(1.0)}
    assert PolicyValue(values, {}, {}, {}, {}, 0.95).kept("forest") == 0.5
    assert math.isnan(PolicyValue({**values, "forest": of(1.0)}, {}, {}, {}, {}, 0.95).kept("forest"))
