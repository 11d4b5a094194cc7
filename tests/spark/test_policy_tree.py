"""Policy trees on Spark: growth, values, surrogates, files and faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

import spark_uplift as su
from spark_uplift.errors import ColumnNotFoundError, ConfigError, DataError, ModelError
from spark_uplift.policy.tree_rows import node_rows
from tests.spark import forests
from tests.spark.policy_trees import by_codes

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ARMS = ["none", "call", "mail"]
COSTS = {"call": 1.0, "mail": 0.4}


def learner(**settings: Any) -> su.PolicyTree:
    given: dict[str, Any] = {
        "featureCols": forests.FEATURES, "controlName": "none", "treatmentNames": ARMS[1:], "rewardsCol": "rewards",
        "treatmentCol": "arms", "idCol": "id", "costs": COSTS, "minInstancesPerNode": 60, "minInstancesPerArm": 10,
        "maxBins": 12,
    }  # fmt: skip
    return su.PolicyTree(**{**given, **settings})


def rewarded(data: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    """Add rewards of every arm: calls pay with a high income, mail for members of other towns than ash."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 2, (len(data), 3))
    high = (data["income"] > 0.2).to_numpy()
    member = (data["member"] & (data["town"] != "ash")).to_numpy()
    means = np.stack([np.full(len(data), 5.0), 5 + 3.0 * high, 5 + 2.0 * member], axis=1)
    return data.assign(rewards=list(means + noise))


@pytest.fixture(scope="module")
def data(rows: pd.DataFrame) -> pd.DataFrame:
    return rewarded(rows)


@pytest.fixture(scope="module")
def scored(spark: SparkSession, data: pd.DataFrame) -> DataFrame:
    return forests.to_spark(spark, data).cache()


@pytest.fixture(scope="module")
def grown(scored: DataFrame) -> su.PolicyTreeModel:
    return learner().fit(scored)


def net(data: pd.DataFrame) -> np.ndarray:
    return np.stack(data["rewards"].to_numpy()) - np.array([0.0, 1.0, 0.4])


def actions(model: su.PolicyTreeModel, df: DataFrame) -> pd.Series:
    found = model.transform(df).select("id", "action").toPandas().set_index("id")["action"]
    return found.sort_index()


def test_the_tree_finds_who_is_worth_what(
    grown: su.PolicyTreeModel, data: pd.DataFrame, scored: DataFrame
) -> None:
    assert {bins.name for bins in grown.tree.features} == {"income", "member"}
    given = actions(grown, scored).map({name: code for code, name in enumerate(ARMS)})
    values = net(data.sort_values("id"))
    worth = values[np.arange(len(values)), given.to_numpy()].mean()
    assert worth > values.mean(axis=0).max() + 0.5
    leaves = [row for row in node_rows(grown.tree) if row["arm"] is not None]
    assert sum(row["n"] for row in leaves) == len(data)
    assert min(row["n"] for row in leaves) >= 60
    assert sum(grown.tree.gain[grown.tree.leaves]) == pytest.approx(worth - values[:, 0].mean(), rel=1e-9)
    assert len(grown.rules) == len(leaves)


def test_sql_and_transform_and_the_codes_of_training_agree(
    spark: SparkSession, grown: su.PolicyTreeModel, scored: DataFrame
) -> None:
    for model in (grown, learner(maxDepth=4, minInstancesPerNode=20, minInstancesPerArm=2).fit(scored)):
        scored.createOrReplaceTempView("units")
        by_sql = spark.sql(f"SELECT {model.sql} AS action, * FROM units")
        expected = [model.arms[code] for code in by_codes(model.tree, scored)]
        assert [row.action for row in by_sql.select("action").collect()] == expected
        assert [row.action for row in model.transform(scored).select("action").collect()] == expected


def test_neither_order_nor_partitions_matter(
    spark: SparkSession, data: pd.DataFrame, grown: su.PolicyTreeModel
) -> None:
    shuffled = forests.to_spark(spark, data.sample(frac=1.0, random_state=5), partitions=7)
    again = learner().fit(shuffled)
    assert again.digest == grown.digest
    one = grown.value(shuffled, clusterCol="home")
    two = grown.value(forests.to_spark(spark, data, partitions=1), clusterCol="home")
    assert one == two


def test_three_levels_are_grown_in_two_passes_and_gain_more(
    scored: DataFrame, grown: su.PolicyTreeModel
) -> None:
    deep = learner(maxDepth=3).fit(scored)
    total = [sum(model.tree.gain[model.tree.leaves]) for model in (grown, deep)]
    assert total[1] >= total[0]
    assert deep.tree.tree.depth.max() == 3


def test_value_is_that_of_the_rows_one_by_one(
    scored: DataFrame, data: pd.DataFrame, grown: su.PolicyTreeModel
) -> None:
    data = data.sort_values("id")
    values, weight = net(data), data["weight"].to_numpy()
    codes = actions(grown, scored).map({name: code for code, name in enumerate(ARMS)}).to_numpy()
    mine, best = values[np.arange(len(values)), codes], values[:, grown.tree.best_single]
    for w, cluster, columns in (
        (np.ones(len(data)), data["id"], {}),
        (weight, data["id"], {"weightCol": "weight"}),
        (weight, data["home"], {"weightCol": "weight", "clusterCol": "home"}),
    ):
        found = grown.value(scored, **columns)
        for estimate, x in (
            (found.values["tree"], mine),
            (found.values["control"], values[:, 0]),
            (found.differences["best_single"], mine - best),
            (found.differences["control"], mine - values[:, 0]),
        ):
            mean = np.average(x, weights=w)
            residual = pd.Series(w * (x - mean)).groupby(cluster.to_numpy()).sum()
            n = len(residual)
            error = np.sqrt((residual**2).sum() * n / (n - 1)) / w.sum()
            assert estimate.value == pytest.approx(mean, rel=1e-9)
            assert estimate.std_error == pytest.approx(error, rel=1e-7)
            assert estimate.n == n
    assert found.nodes[1] == found.differences["control"]


def test_values_of_nodes_add_up(scored: DataFrame, grown: su.PolicyTreeModel) -> None:
    for columns in ({}, {"clusterCol": "home"}):
        found = grown.value(scored, **columns)
        leaves = [int(grown.tree.tree.heap[leaf]) for leaf in grown.tree.leaves]
        total = sum(found.nodes[heap].value * found.shares[heap] for heap in leaves)
        assert total == pytest.approx(found.nodes[1].value, rel=1e-9)
        assert sum(found.rows[heap] for heap in leaves) == found.rows[1] == 2000


def test_rewards_are_made_by_inverse_propensity(scored: DataFrame, data: pd.DataFrame) -> None:
    settings: dict[str, Any] = {"rewardsCol": None, "labelCol": "spend", "costs": {}, "outcomeValue": 2.0}
    model = learner(**settings, maxDepth=1).fit(scored)
    shares = data["arms"].value_counts(normalize=True)
    found = model.value(scored)
    for name in ("control", "best_single"):
        arm = "none" if name == "control" else model.arms[model.tree.best_single]
        expected = 2.0 * (data["spend"] * (data["arms"] == arm)).mean() / shares[arm]
        assert found.values[name].value == pytest.approx(expected, rel=1e-9)
    logged = learner(**settings, propensityCol="logged", maxDepth=0).fit(scored).value(scored)
    here = data["arms"] == "none"
    expected = 2.0 * (data["spend"] / data["logged"])[here].sum() / len(data)
    assert logged.values["control"].value == pytest.approx(expected, rel=1e-9)
    many = scored.withColumn("all", F.array(F.lit(0.5), F.lit(0.25), F.lit(0.25)))
    found = learner(**settings, propensityCol="all", maxDepth=0).fit(many).value(many)
    assert found.values["control"].value == pytest.approx(2.0 * data["spend"][here].sum() / 0.5 / len(data))


def test_what_doubly_robust_adds_is_taken_as_it_is(units: DataFrame) -> None:
    robust = su.doubly_robust(
        units,
        treatmentCol="arms",
        controlName="none",
        labelCol="spend",
        featureCols=forests.FEATURES,
        idCol="id",
    )
    model = learner(rewardsCol="dr_value", maxDepth=1).fit(robust)
    assert model.value(robust).values["tree"].value >= model.value(robust).values["best_single"].value


def test_a_cost_that_nothing_repays_leaves_everybody_alone(scored: DataFrame) -> None:
    model = learner(costs={"call": 50.0, "mail": 50.0}).fit(scored)
    assert model.sql == "'none'"
    assert model.rules == ["everybody: none (100 % of units)"]
    assert model.transform(scored).where("action != 'none'").count() == 0
    assert "<svg" in model.svg


def test_halves_value_each_other(scored: DataFrame) -> None:
    found = learner().crossValue(scored)
    assert found.differences["control"].lower > 0
    assert found.values["tree"].value > found.values["best_single"].value
    assert found.values["tree"].n == 2000


def test_a_surrogate_keeps_much_of_a_forest(units: DataFrame, model: su.UpliftForestModel) -> None:
    tree = learner(maxDepth=3, costs={"call": 0.02, "mail": 0.02}, minInstancesPerNode=20).surrogate(
        model, units
    )
    assert tree.tree.facts["kind"] == "surrogate"
    kept = tree.kept(model, units)
    assert 0.6 < kept.kept("forest") <= 1.0
    assert kept.differences["forest"].value <= 0.0
    outcomes: dict[str, Any] = {"rewardsCol": None, "labelCol": "visit", "treatmentCol": "arms"}
    found = tree.value(units, forest=model, **outcomes)
    assert set(found.values) == {"tree", "best_single", "forest", "control"}
    assert found.differences["forest"].lower < found.differences["forest"].upper


def test_a_given_policy_is_valued(scored: DataFrame, grown: su.PolicyTreeModel) -> None:
    found = grown.value(scored.withColumn("mine", F.lit("mail")), policyCols={"all:mail": "mine"})
    assert found.values["all:mail"].value == pytest.approx(
        scored.select(F.avg(F.col("rewards")[2] - 0.4)).head()[0], rel=1e-9
    )
    with pytest.raises(DataError, match="every policy must give an arm"):
        grown.value(scored.withColumn("mine", F.lit("letter")), policyCols={"mine": "mine"})


def test_a_saved_tree_is_the_same(grown: su.PolicyTreeModel, scored: DataFrame, tmp_path: Path) -> None:
    path = str(tmp_path / "tree")
    grown.save(path)
    loaded = su.PolicyTreeModel.load(path)
    assert (loaded.digest, loaded.sql, loaded.rules, loaded.svg) == (
        grown.digest, grown.sql, grown.rules, grown.svg,
    )  # fmt: skip
    assert loaded.value(scored) == grown.value(scored)
    with pytest.raises(ModelError, match="must not hold a model yet"):
        grown.save(path)
    grown.write().overwrite().save(path)
    line = next(file for file in (tmp_path / "tree" / "metadata").glob("part-*") if file.stat().st_size)
    for old, new, message in (
        ('"action": 1', '"action": 2', "must have the digest"),
        ('"format": 1', '"format": 9', "must have format 1"),
        ('"nodes"', '"knots"', "is damaged"),
        ('"sparkUpliftPolicyTree"', '"other"', "must be a policy tree"),
    ):
        text = json.dumps(json.loads(line.read_text()))
        (tmp_path / "bad" / "metadata").mkdir(parents=True, exist_ok=True)
        (tmp_path / "bad" / "metadata" / "part-0").write_text(text.replace(old, new))
        with pytest.raises(ModelError, match=message):
            su.PolicyTreeModel.load(str(tmp_path / "bad"))
    with pytest.raises(ModelError, match="must hold a saved model"):
        su.PolicyTreeModel.load(str(tmp_path / "none"))


def test_many_features_are_reduced_to_those_that_gain(scored: DataFrame, grown: su.PolicyTreeModel) -> None:
    noise = [F.pmod(F.xxhash64("id", F.lit(i)), F.lit(50)).alias(f"noise{i}") for i in range(6)]
    wide = scored.select("*", *noise)
    features = [f"noise{i}" for i in range(6)] + forests.FEATURES
    model = learner(featureCols=features, maxFeatures=4).fit(wide)
    assert {bins.name for bins in model.tree.features} == {"income", "member"}
    assert len(model.tree.facts["leftOut"]) == 6
    assert model.sql == grown.sql


def test_rare_levels_of_a_wide_category_are_taken_as_one(scored: DataFrame) -> None:
    wide = scored.withColumn("street", F.concat(F.lit("s"), F.pmod("id", F.lit(40)).cast("string")))
    model = learner(featureCols=["street"], maxDepth=1, minInstancesPerNode=1, minInstancesPerArm=0).fit(wide)
    assert len(model.tree.features[0].levels or ()) == 11
    assert [row.action for row in model.transform(wide).collect()] == [
        model.arms[code] for code in by_codes(model.tree, wide)
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"maxDepth": 5}, r"'maxDepth' .* in \[0, 4\]"),
        ({"minGain": -1.0}, "'minGain' .* 0 or more"),
        ({"featureCols": []}, "'featureCols' .* one column or more"),
        ({"outcomeValue": 0.0}, "'outcomeValue' .* above 0"),
    ],
)
def test_settings_that_cannot_be(scored: DataFrame, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        learner(**settings).fit(scored)


def test_costs_must_be_numbers_by_arm() -> None:
    with pytest.raises(ConfigError, match="a dict of numbers by arm"):
        learner(costs=[1.0])
    with pytest.raises(ConfigError, match="did you mean 'maxDepth'"):
        learner().assign({"maxDept": 3})


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        ({"costs": {"letter": 1.0}}, {}, "'costs' .* Got 'letter'"),
        ({"costs": {"mail": -1.0}}, {}, "'costs' .* 0 or more"),
        ({"rewardsCol": None}, {}, "Got neither rewardsCol nor both"),
        ({"treatmentCol": None, "treatmentNames": None}, {}, "'treatmentNames' .* given"),
        ({"treatmentNames": ["mail"], "costs": {}}, {}, r"unknown arms \['call'\]"),
        ({"controlName": "nobody", "treatmentNames": None}, {}, "'controlName' .* an arm in column 'arms'"),
        ({"rewardsCol": "spend"}, {}, "rewards column 'spend' must hold arrays of numbers"),
        ({}, {"rewards": "array(1.0D, 2.0D)"}, "'rewards' must hold arrays of 3 finite numbers"),
        ({}, {"rewards": "array(1.0D, null, 2.0D)"}, "Got 2000 of 2000 rows"),
        ({}, {"rewards": "array(1.0D, double('nan'), 2.0D)"}, "Got 2000 of 2000 rows"),
        ({"weightCol": "weight"}, {"weight": "-1.0D"}, "'weight' must hold finite numbers of 0 or more"),
        ({"weightCol": "weight"}, {"weight": "0.0D"}, "'weight' must have a positive sum"),
        ({}, {"income": "double('inf')"}, "'income' must hold finite numbers or nulls"),
        ({}, {"id": "cast(null as bigint)"}, "id column 'id' must not be null"),
        (
            {"rewardsCol": None, "labelCol": "spend", "propensityCol": "logged"},
            {"logged": "0.0D"},
            "propensities lie",
        ),
    ],
)
def test_rows_that_cannot_be_used(
    scored: DataFrame, settings: dict[str, Any], change: dict[str, str], message: str
) -> None:
    changed = scored.withColumns({name: F.expr(text) for name, text in change.items()})
    with pytest.raises(DataError, match=message):
        learner(**settings).fit(changed)


def test_columns_that_are_not_there(scored: DataFrame, grown: su.PolicyTreeModel) -> None:
    with pytest.raises(ColumnNotFoundError, match="'rewards' for 'reward'"):
        learner(rewardsCol="reward").fit(scored)
    with pytest.raises(ColumnNotFoundError, match="'income' for 'incom'"):
        learner(featureCols=["incom"]).fit(scored)
    with pytest.raises(DataError, match="set actionCol"):
        grown.transform(scored.withColumn("action", F.lit(1)))
    with pytest.raises(ConfigError, match="of PolicyTreeModel.value"):
        grown.value(scored, features=["age"])
    with pytest.raises(DataError, match="Got an empty table"):
        grown.value(scored.limit(0))
    with pytest.raises(DataError, match="Got an empty table"):
        learner().fit(scored.limit(0))
    odd = scored.withColumnRenamed("age", "a${b}")
    with pytest.raises(DataError, match="SQL takes for a variable"):
        learner(featureCols=["a${b}"]).fit(odd)
