"""Packed blocks: what Spark packs is what a count over the rows says, and what can't be packed is told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from spark_uplift.core import histogram, records
from spark_uplift.core.dtypes import PACKED, UNIT, WEIGHTED
from spark_uplift.errors import ColumnNotFoundError, DataError, ModelError
from spark_uplift.spark import profile, train, tree_parallel
from spark_uplift.spark.columns import Columns
from spark_uplift.spark.dataset import Dataset, prepare
from tests.oracles import binning as oracle
from tests.spark.forests import FEATURES, forest, to_spark

ROLES: dict[str, Any] = {"features": tuple(FEATURES), "treatment": "arms", "label": "visit", "unit": "id"}


def packed(df, control: str = "none", **roles: Any) -> Dataset:
    return prepare(df, Columns(**{**ROLES, **roles}), control, max_bins=16, needs_squares=True, seed=1)


def unpacked(data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, arms and lanes of all blocks."""
    width = records.record_words(len(data.features), data.grid.layout)
    words = [np.frombuffer(row["words"], np.uint64).reshape(-1, width) for row in data.blocks().collect()]
    assert [len(w) for w in words] == [row["rows"] for row in data.blocks().select("rows").collect()]
    return records.unpack(np.concatenate(words), len(data.features), data.grid.layout)


def counted(data: Dataset) -> np.ndarray:
    """The engine's histogram of the blocks."""
    codes, arms, lanes = unpacked(data)
    n_codes = np.array([bins.n_codes for bins in data.features])
    n_arms = 1 + len(data.treatments)
    offsets = histogram.offsets(n_codes, n_arms, data.grid.layout)
    cells = np.zeros(offsets[-1], np.int64)
    everything = np.arange(len(arms)), np.arange(len(n_codes))
    histogram.add_rows(codes, arms, lanes, *everything, offsets, n_arms, cells)
    return cells


def lanes_of(data: Dataset, rows: pd.DataFrame, label: str, weight: np.ndarray | None) -> np.ndarray:
    """Each row's integers, by the words of `spark_uplift.core.dtypes`."""
    grid, y = data.grid, rows[label].to_numpy(float)
    one = np.ones(len(rows))
    if grid.layout == PACKED:
        return (one + y * 2.0**32)[:, None].astype(np.int64)
    if grid.layout == UNIT:
        columns = [one, y / grid.outcome_unit, y * y / grid.square_unit]
    else:
        w = weight / weight.mean()
        columns = [one, w / grid.weight_unit, w * y / grid.outcome_unit, w * y * y / grid.square_unit]
        columns.append(w * w / grid.square_weight_unit)
    return np.rint(np.column_stack(columns)).astype(np.int64)


def code_of(bins: Any, value: Any) -> int:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return 0
    if not bins.categorical:
        return oracle.code_of(float(value), bins.edges)
    text = str(value).lower() if isinstance(value, bool) else value
    return 1 + bins.levels.index(text) if text in bins.levels else bins.unseen_code


@pytest.mark.parametrize(
    "layout, roles",
    [
        (PACKED, {}),
        (UNIT, {"label": "spend"}),
        (WEIGHTED, {"label": "spend", "weight": "weight", "propensity": "logged"}),
    ],
)
def test_blocks_count_like_the_rows(units, rows, layout, roles):
    data = packed(units, **roles)
    assert data.grid.layout == layout
    weight = (rows["weight"] / rows["logged"]).to_numpy() if layout == WEIGHTED else None
    lanes = lanes_of(data, rows, roles.get("label", "visit"), weight)
    arm = rows["arms"].map({name: code for code, name in enumerate(("none", *data.treatments))}).to_numpy()
    expected = []
    for bins in data.features:
        codes = [code_of(bins, value) for value in rows[bins.name]]
        cells = np.zeros((bins.n_codes, 3, lanes.shape[1]), np.int64)
        np.add.at(cells, (codes, arm), lanes)
        expected.append(cells.reshape(-1))
    np.testing.assert_array_equal(counted(data), np.concatenate(expected))


def test_facts_of_the_rows(units, rows):
    data = packed(units, label="spend", weight="weight")
    assert (data.rows, data.outcome, data.control, data.treatments) == (
        2000,
        "continuous",
        "none",
        ("call", "mail"),
    )
    assert data.arm_rows == rows["arms"].value_counts().to_dict()
    assert data.missing == ("income", "town")
    assert data.mean_weight == rows["weight"].mean()
    income = rows["income"].dropna()
    edges = oracle.weighted_edges(income.to_list(), rows["weight"][income.index].to_list(), 16)
    assert data.features[0].edges == pytest.approx(edges, abs=1e-12)
    assert data.features[2].levels == ("ash", "birch", "cedar", "dale")
    assert data.features[3].levels == ("false", "true")


def test_rare_levels_share_a_code(spark, rows):
    data = rows.copy()
    data.loc[:4, "town"] = "elm"
    bins = packed(to_spark(spark, data)).features[2]
    assert bins.levels == ("ash", "birch", "cedar", "dale")
    assert bins.pooled


def test_rows_that_change_between_the_passes_are_noticed(units):
    data = packed(units)
    settings = forest().settings(len(FEATURES))
    for other in (data.rows - 1, data.rows + 1):
        with pytest.raises(Exception, match="The training rows changed between two passes over them: "):
            train.train(replace(data, rows=other), settings)


def test_a_lost_tree_is_an_error(monkeypatch, units):
    monkeypatch.setattr(tree_parallel, "_grow_wave", lambda *_: {})
    with pytest.raises(ModelError, match="Training must return 4 trees. Got 0 instead"):
        train.train(packed(units), forest().settings(len(FEATURES)))


# What can't be packed: every fault is told, with the column and the numbers.


def refused(df, *messages: str, error: type[Exception] = DataError, **roles: Any) -> None:
    with pytest.raises(error) as caught:
        packed(df, **roles)
    for message in messages:
        assert caught.match(message)


def test_missing_columns(units):
    refused(
        units,
        r"not found: \['incomes', 'visits'\].*did you mean 'income' for 'incomes', 'visit' for 'visits'\?",
        error=ColumnNotFoundError,
        features=("incomes", "age"),
        label="visits",
    )


def test_columns_of_an_unusable_type_are_told_together(units):
    df = units.withColumns(
        {"day": F.current_date(), "both": F.array("age"), "text": F.col("visit").cast("string")}
    )
    refused(
        df,
        "^4 faults in the data",
        "The feature column 'day' must hold numbers, text or booleans. Got date instead. Hint: turn dates into days",
        r"The feature column 'both' must hold numbers, text or booleans. Got array<bigint> instead",
        "The label column 'text' must hold numbers. Got string instead. Hint: cast it",
        "The weight column 'member' must hold numbers. Got boolean instead",
        features=("day", "both"),
        label="text",
        weight="member",
    )


def test_an_empty_table(units):
    refused(units.where("id < 0"), "The training data must have rows. Got an empty table instead")


def test_bad_rows_are_counted_and_told_together(units):
    first = F.col("id") == 1000
    bad = units.withColumns(
        {
            "arms": F.when(~first, F.col("arms")),
            "visit": F.when(first, math.nan).when(F.col("id") == 1007, math.inf).otherwise(F.col("visit")),
            "weight": F.when(first, -1.0).when(F.col("id") == 1007, None).otherwise(F.col("weight")),
            "logged": F.when(first, 0.0).when(F.col("id") == 1007, 1.5).otherwise(F.col("logged")),
            "income": F.when(first, -math.inf).otherwise(F.col("income")),
            "id": F.when(~first, F.col("id")),
        }
    )
    refused(
        bad,
        "^6 faults in the data",
        "The treatment column 'arms' must not be null. Got 1 of 2000 rows that don't instead. Hint: drop these rows",
        "The id column 'id' must not be null. Got 1 of 2000 rows",
        "The label column 'visit' must hold finite numbers. Got 2 of 2000 rows",
        "The weight column 'weight' must hold finite numbers of 0 or more. Got 2 of 2000 rows",
        r"The propensity column 'logged' must hold numbers in \(0, 1\]. Got 2 of 2000 rows",
        "The feature column 'income' must hold finite numbers or nulls. Got 1 of 2000 rows",
        weight="weight",
        propensity="logged",
    )


def test_null_clusters(units):
    df = units.withColumn("home", F.when(F.col("home") > 3, F.col("home")))
    refused(df, "The cluster column 'home' must not be null. Got [1-9]", cluster="home")


def test_one_arm_of_another_name_without_variation_or_values(units):
    df = units.withColumns({"arms": F.lit("mail"), "visit": F.lit(1), "income": F.lit(None).cast("double")})
    refused(
        df.withColumn("weight", F.lit(0)),
        "^5 faults in the data",
        r"The 'controlName' parameter must be an arm in column 'arms'. Got 'none' instead; the arms are \['mail'\]",
        r"The treatment column 'arms' must hold two arms or more. Got only \['mail'\] instead",
        "The label column 'visit' must vary. Got 1 in every row instead",
        "The weight column 'weight' must have a positive sum. Got 0 instead",
        "The feature column 'income' must hold a value. Got only nulls instead. Hint: leave it out",
        weight="weight",
    )


def test_too_many_arms(units):
    df = units.withColumn("arms", F.when(F.col("id") == 1000, "none").otherwise(F.col("id").cast("string")))
    refused(
        df, "The treatment column 'arms' must hold at most 255 arms. Got 2000 instead. Hint: is it the right"
    )


def test_too_many_categories(spark):
    n = 254 * 20
    data = pd.DataFrame({"id": range(n), "arm": ["none", "mail"] * (n // 2), "visit": np.arange(n) // 2 % 2})
    data["town"] = [f"t{i % 254}" for i in range(n)]
    refused(
        to_spark(spark, data),
        "The categorical column 'town' must have at most 253 levels with 20 rows or more. Got 254 instead",
        features=("town",),
        treatment="arm",
    )


def test_a_text_column_that_is_an_id(monkeypatch, units):
    monkeypatch.setattr(profile, "LEVEL_LIMIT", 500)
    df = units.withColumn("town", F.col("id").cast("string"))
    refused(
        df, "The categorical column 'town' must have at most 500 levels. Got more instead. Hint: is it an id"
    )


def test_a_constant_feature_is_worth_a_warning(units, caplog):
    packed(units.withColumn("age", F.lit(40)))
    assert "The feature column 'age' is constant and can't be split on." in caplog.text


def test_a_sample_that_is_not_whole_is_gathered_again(units, monkeypatch, caplog):
    """Partitions of very unequal size; here the first reducer says so."""
    caplog.set_level("INFO", logger="spark_uplift")
    expected = packed(units).features

    def incomplete(*given: Any) -> Any:
        quotas.append(given[-1])
        return make_task(*given)

    make_task, quotas = profile._make_task, []
    monkeypatch.setattr(profile, "_make_task", incomplete)
    loads = profile.json.loads

    def first_is_short(text: str) -> Any:
        found = loads(text)
        if len(quotas) == 1 and "cuts" in found:
            found["cuts"] = None
        return found

    monkeypatch.setattr(profile.json, "loads", first_is_short)
    assert packed(units).features == expected
    assert quotas == [False, True]
    assert "gathered once more" in caplog.text
