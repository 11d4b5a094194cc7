"""Scoring on Spark: the forest's predictions, beside columns that nobody touched."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from spark_uplift.core.binning import encode_levels, encode_numeric
from spark_uplift.core.forest import Forest
from spark_uplift.errors import ColumnNotFoundError, DataError, ModelError
from tests.spark.forests import FEATURES, forest, to_spark


def codes_of(grown: Forest, rows: pd.DataFrame) -> np.ndarray:
    """Codes of the features, not by way of Arrow."""
    out = np.zeros((len(rows), len(grown.features)), np.uint8)
    for j, bins in enumerate(grown.features):
        if bins.categorical:
            levels = [
                None if v is None else str(v).lower() if isinstance(v, bool) else v for v in rows[bins.name]
            ]
            out[:, j] = encode_levels(bins, levels)
        else:
            encode_numeric(bins, rows[bins.name].to_numpy(np.float64), j, out)
    return out


def scores(df, name: str = "uplift") -> np.ndarray:
    return np.array([row[0] for row in df.orderBy("id").select(name).collect()])


@pytest.fixture(scope="module")
def scored(units, model):
    return model.transform(units)


@pytest.fixture(scope="module")
def wide(units):
    """A model with intervals; its last little bag is not full."""
    return forest(intervals=True, honest=True, numTrees=10, intervalLevel=0.8).fit(units)


def plan_of(df) -> str:
    return df._jdf.queryExecution().executedPlan().toString()


def test_scores_are_the_forests_predictions(scored, model, rows):
    expected = model.forest.predict(codes_of(model.forest, rows))
    np.testing.assert_array_equal(scores(scored), expected)
    assert scored.schema["uplift"].dataType.simpleString() == "array<double>"


def test_other_columns_stay_as_they_are(units, scored, rows):
    assert scored.columns == [*units.columns, "uplift", "recommended"]
    back = scored.orderBy("id").drop("uplift", "recommended").toPandas()
    pd.testing.assert_frame_equal(back, rows, check_dtype=False)


def test_only_features_go_to_python(units, model):
    """Casts of the four features are arguments of one UDF; neither the id nor an outcome is."""
    plan = plan_of(
        model.transform(units.withColumn("note", F.lit("x"))).select("id", "note", "uplift", "recommended")
    )
    evaluations = [line for line in plan.splitlines() if "ArrowEvalPython" in line]
    assert len(evaluations) == 1
    arguments = evaluations[0].split("many(")[1].split(")#")[0]
    assert arguments.count("#") == len(FEATURES)
    for name in ("id", "visit", "note", "weight"):
        assert f"{name}#" not in arguments


def test_the_recommended_arm(spark, rows):
    """The best arm if it does any good, else the control; of equal ones the first by name."""
    from spark_uplift.spark.score import recommended

    df = spark.createDataFrame(
        [
            ([0.1, 0.3], "mail"),
            ([0.3, 0.1], "call"),
            ([0.2, 0.2], "call"),
            ([-0.1, 0.0], "none"),
            ([-2.0, -1.0], "none"),
        ],
        "uplift array<double>, expected string",
    )
    found = df.withColumn("found", recommended(("call", "mail"), "none", F.col("uplift")))
    assert [row["found"] for row in found.collect()] == [row["expected"] for row in df.collect()]


def test_recommendations_follow_the_scores(scored):
    found = scored.select("uplift", "recommended").toPandas()
    uplift = np.array(found["uplift"].to_list())
    best = np.array(["call", "mail"])[uplift.argmax(axis=1)]
    assert found["recommended"].to_list() == np.where(uplift.max(axis=1) > 0, best, "none").tolist()
    assert found["recommended"].nunique() > 1


def test_missing_and_unseen_values(spark, units, model):
    strange = units.limit(3).withColumns(
        {
            "town": F.lit("nowhere"),
            "income": F.lit(None).cast("double"),
            "age": F.lit(999),
            "member": F.lit(None),
        }
    )
    expected = {"town": [None] * 3, "income": [np.nan] * 3, "age": [999.0] * 3, "member": [None] * 3}
    codes = codes_of(model.forest, pd.DataFrame(expected, dtype=object))
    np.testing.assert_array_equal(scores(model.transform(strange)), model.forest.predict(codes))
    with_nan = strange.withColumn("income", F.lit(float("nan")))
    np.testing.assert_array_equal(scores(model.transform(with_nan)), model.forest.predict(codes))


def test_other_types_of_the_same_values(units, scored, model):
    other = units.withColumns(
        {
            "age": F.col("age").cast("decimal(9,2)"),
            "member": F.col("member").cast("string"),
            "income": F.col("income"),
        }
    )
    np.testing.assert_array_equal(scores(model.transform(other)), scores(scored))


def test_no_rows(units, model):
    assert model.transform(units.where("id < 0")).collect() == []


def test_intervals_hold_the_uplift(units, wide, rows):
    found = wide.transform(units)
    assert found.columns[-4:] == ["uplift", "uplift_lower", "uplift_upper", "recommended"]
    lower, uplift, upper = (scores(found, name) for name in ("uplift_lower", "uplift", "uplift_upper"))
    assert np.all(lower < uplift)
    assert np.all(uplift < upper)
    expected = wide.forest.predict_interval(codes_of(wide.forest, rows), 0.8)
    for ours, theirs in zip((uplift, lower, upper), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    wider = wide.transform(units, {wide.intervalLevel: 0.99})
    assert np.all(scores(wider, "uplift_upper") > upper)
    assert plan_of(found).count("ArrowEvalPython") == 1


@pytest.mark.parametrize("features", [["income"], FEATURES])
def test_the_same_scores_where_spark_knows_pandas_udfs_alone(monkeypatch, units, rows, features):
    fitted = forest(featureCols=features, intervals=True, numTrees=8).fit(units)
    plain, level = fitted.copy(), fitted.transform(units)
    monkeypatch.delattr("pyspark.sql.functions.arrow_udf")
    for name in ("uplift", "uplift_lower"):
        np.testing.assert_array_equal(scores(fitted.transform(units), name), scores(level, name))
    assert plain.digest == fitted.digest


def test_names_with_dots_spaces_and_backticks(units, rows, scored, model):
    names = {"income": "in.come `€` %", "age": "how old", "town": "a.b.c", "member": "`member`"}
    renamed = units.withColumnsRenamed(names)
    given = [names[name] for name in FEATURES]
    same = forest(treatmentCol="arms", featureCols=given).fit(renamed)
    found = same.transform(renamed, {same.upliftCol: "up.lift", same.recommendedCol: "`to do`"})
    assert found.columns[-2:] == ["up.lift", "`to do`"]
    np.testing.assert_array_equal(scores(found, "`up.lift`"), scores(scored))


def test_other_output_columns(units, model):
    found = model.transform(units, {model.upliftCol: "gain", model.recommendedCol: "action"})
    assert found.columns[-2:] == ["gain", "action"]


def test_the_estimators_parameters_name_the_models(units):
    small = forest(numTrees=1)
    assert small.fit(units).transform(units, {small.upliftCol: "gain"}).columns[-2:] == [
        "gain",
        "recommended",
    ]


@pytest.mark.parametrize("name", ["recommended", "uplift", "UPLIFT"])
def test_a_column_that_is_there_already(units, model, name):
    with pytest.raises(
        DataError,
        match=f"columns called \\['{name.lower()}'\\] before they are added.*set upliftCol and recommendedCol",
    ):
        model.transform(units.withColumn(name, F.lit(1)))


def test_ends_of_intervals_that_are_there_already(units, wide):
    with pytest.raises(DataError, match=r"columns called \['uplift_upper'\]"):
        wide.transform(units.withColumn("uplift_upper", F.lit(1)))


def test_missing_features(units, model):
    with pytest.raises(
        ColumnNotFoundError, match=r"not found: \['income', 'town'\].*did you mean 'incomes' for 'income'"
    ):
        model.transform(units.withColumnRenamed("income", "incomes").drop("town"))


def test_features_of_another_type(units, model):
    df = units.withColumns({"income": F.lit("much"), "town": F.lit(3)})
    with pytest.raises(DataError, match="^2 faults in the data") as caught:
        model.transform(df)
    assert caught.match("column 'income' must hold numbers as in training. Got string instead. Hint: cast it")
    assert caught.match("column 'town' must hold text as in training. Got int instead")


def test_a_model_without_a_forest(units):
    import spark_uplift as su

    with pytest.raises(
        ModelError, match="must have a forest. Got none. Hint: fit an UpliftForest, or load a model"
    ):
        su.UpliftForestModel().transform(units)


def test_rows_without_features_known_in_training_score_alike(spark, units, rows, model):
    """A second reading in other batches and partitions gives the same numbers."""
    again = model.transform(to_spark(spark, rows.sample(frac=1.0, random_state=2), 3))
    np.testing.assert_array_equal(scores(again), scores(model.transform(units)))
