"""The promise: the same data, settings and seed give the same forest, however Spark divides the work."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

import spark_uplift as su
from spark_uplift.core import sampling
from spark_uplift.errors import ConfigError
from spark_uplift.spark import dataset as packing
from spark_uplift.spark import slots, tree_parallel
from spark_uplift.spark.columns import Columns, unit_hash
from tests.spark.forests import FEATURES, GIVEN, digest, forest, to_spark

KINDS: dict[str, dict[str, Any]] = {
    "binary": {},
    "continuous, every row once": {"labelCol": "spend", "bootstrap": False, "subsamplingRate": 0.7},
    "weighted and logged": {"labelCol": "spend", "weightCol": "weight", "propensityCol": "logged"},
    "honest little bags of clusters": {
        "clusterCol": "home",
        "honest": True,
        "intervals": True,
        "numTrees": 9,
    },
    "three arms without an id": {"idCol": None, "treatmentCol": "arms", "criterion": "kl"},
}


@pytest.fixture(scope="module")
def reference(units):
    """Digests of the kinds on the rows as they come, each grown once."""
    found: dict[str, str] = {}

    def of(kind: str) -> str:
        if kind not in found:
            found[kind] = digest(units, **KINDS[kind])
        return found[kind]

    return of


@pytest.fixture(scope="module")
def shuffled(spark, rows):
    """The same rows in another order and four partitions, three of one row or none."""
    other = rows.sample(frac=1.0, random_state=5)
    one = to_spark(spark, other.iloc[:1], 3)
    return one.unionByName(to_spark(spark, other.iloc[1:], 1)).cache()


@pytest.mark.parametrize("kind", KINDS)
def test_neither_order_nor_partitions_change_a_bit(shuffled, reference, kind):
    assert digest(shuffled, **KINDS[kind]) == reference(kind)


@pytest.mark.parametrize("partitions", [1, 3, 7])
def test_any_number_of_partitions(units, model, partitions):
    assert digest(units.repartition(partitions), treatmentCol="arms") == model.digest


def test_settings_that_matter_give_other_forests(units, model, reference):
    assert len({model.digest, *map(reference, KINDS)}) == 1 + len(KINDS)
    assert digest(units, treatmentCol="arms", seed=-4) != model.digest


@pytest.mark.parametrize("kind", ["int", "string"])
def test_ids_of_any_type_are_the_same_ids(units, reference, kind):
    assert digest(units.withColumn("id", F.col("id").cast(kind))) == reference("binary")


def test_numbers_of_any_type_are_the_same_numbers(units, reference):
    """Narrow and wide ints, decimals, booleans as text; the outcome as a boolean."""
    other = {"age": "decimal(5,1)", "member": "string", "visit": "boolean", "income": "double"}
    assert digest(units.withColumns({c: F.col(c).cast(t) for c, t in other.items()})) == reference("binary")


@pytest.fixture
def waves_of(monkeypatch):
    """Have every wave hold one tree a task."""

    def set_tasks(tasks: int) -> None:
        monkeypatch.setattr(packing, "parallelism", lambda spark: tasks)
        monkeypatch.setattr(tree_parallel, "_WAVE_SECONDS", 1e-9)

    return set_tasks


def test_neither_tasks_nor_waves_change_a_bit(units, model, waves_of):
    waves_of(3)
    heard: list[tuple[int, int]] = []
    again = forest(treatmentCol="arms").onProgress(lambda done, total, seconds: heard.append((done, total)))
    assert again.fit(units).digest == model.digest
    assert heard == [(3, 4), (4, 4)]


def test_it_grows_where_packed_rows_can_not_be_kept(monkeypatch, units, model, waves_of):
    waves_of(2)

    def refuse(df):
        raise RuntimeError("not supported on serverless compute")

    monkeypatch.setattr(type(units), "persist", refuse)
    assert digest(units, treatmentCol="arms") == model.digest


def test_many_blocks_a_task(monkeypatch, units, reference):
    monkeypatch.setattr(packing, "BLOCK_ROWS", 100)
    assert digest(units) == reference("binary")


def test_a_constant_factor_of_the_weights_changes_nothing(units, reference):
    scaled = units.withColumns({"weight": F.col("weight") * 8, "one": F.lit(3.0)})
    assert digest(scaled, **KINDS["weighted and logged"]) == reference("weighted and logged")
    assert digest(scaled, weightCol="one") == reference("binary")


def keys(df, **roles):
    frame = unit_hash(df, Columns(features=tuple(FEATURES), treatment="arm", label="visit", **roles))
    return sorted(row[0] for row in frame.select("__unit").collect())


def test_repeated_rows_without_an_id_are_different_units(spark, rows):
    """Their content is the same, so an occurrence number tells them apart, which no partitioning can change."""
    twice = pd.concat([rows, rows]).drop(columns="id")
    found = keys(to_spark(spark, twice.sample(frac=1.0, random_state=1), 1))
    assert len(set(found)) == 2 * len(rows)
    assert keys(to_spark(spark, twice.sample(frac=1.0, random_state=2), 3)) == found


def test_nulls_of_different_columns_are_different_content(spark):
    df = spark.createDataFrame([(None, "1"), ("1", None), (None, None)], "a string, b string")
    keyed = unit_hash(df, Columns(features=("a", "b")))
    assert keyed.select("__unit").distinct().count() == 3


def test_clusters_are_drawn_as_a_whole(units, rows):
    """Every row's key is its cluster's, so a draw of half of the units takes all of a cluster's rows or none."""
    model = forest(clusterCol="home", bootstrap=False, subsamplingRate=0.5, numTrees=1, maxDepth=0).fit(units)
    assert len(set(keys(units, unit="id", cluster="home"))) == rows["home"].nunique()
    hashed = units.select("home", F.xxhash64(F.col("home").cast("string")).alias("unit")).toPandas()
    draws = np.empty(len(hashed), np.uint64)
    key = sampling.stream_key(3, sampling.BOOTSTRAP, 0)
    sampling._mix(key, hashed["unit"].to_numpy().view(np.uint64), draws)
    taken = hashed.assign(taken=draws >= 2**63).groupby("home")["taken"]
    assert (taken.nunique() == 1).all()
    assert model.forest.trees[0].stats[0, :, 0].sum() == taken.sum().sum()


def test_a_tree_is_a_forest_with_other_defaults(units, rows):
    given = {**GIVEN, "idCol": "id", "minInstancesPerNode": 100}
    tree = su.UpliftTree(**given)
    others = {"numTrees": 1, "bootstrap": False, "featureSubsetStrategy": "all", "maxDepth": 3}
    spelt_out = su.UpliftForest(**given, **others)
    assert {p.name: tree.value(p.name) for p in tree.params if tree.isDefined(p)} == {
        p.name: spelt_out.value(p.name) for p in spelt_out.params if spelt_out.isDefined(p)
    }
    (grown,) = tree.fit(units).forest.trees
    assert grown.stats[0, :, 0].sum() == len(rows)
    assert grown.depth.max() <= 3
    assert su.UpliftTree(**GIVEN, maxDepth=5).value("maxDepth") == 5


def test_what_a_model_says_of_itself(model, rows):
    assert model.treatmentNames == ["call", "mail"]
    assert list(model.featureImportances) == FEATURES
    assert math.isclose(sum(model.featureImportances.values()), 1.0)
    facts = model.forest.training
    assert facts["rows"] == len(rows)
    assert facts["armRows"] == rows["arms"].value_counts().to_dict()
    assert facts["outcome"] == "binary"
    assert facts["missing"] == ["income", "town"]
    assert facts["settings"]["numTrees"] == 4


def test_parameters_of_one_fit(units, model):
    plain = forest(treatmentCol="arms", seed=9)
    assert plain.fit(units, {plain.seed: 3}).digest == model.digest
    assert plain.copy({plain.seed: 3}).value("seed") == 3
    assert plain.value("seed") == 9


def test_a_criterion_for_another_kind_of_outcome(units):
    with pytest.raises(
        ConfigError,
        match=r"'criterion' parameter of UpliftForest must be one that is defined for a continuous outcome. "
        r"Got 'kl' instead. Hint: 'spend' is continuous; use one of \['ed'",
    ):
        forest(labelCol="spend", criterion="kl").fit(units)


def test_task_slots(spark):
    assert slots.parallelism(spark) == 2
