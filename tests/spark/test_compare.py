"""`compare` on Spark: each model's numbers, and the difference in the same replicates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import spark_uplift as su
from spark_uplift import metrics, schemas
from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.metrics.replicates import count_copies
from tests.oracles.metrics import copied
from tests.spark.test_evaluate import GIVEN, numbers, rows, same


@pytest.fixture(scope="module")
def frame():
    """Model a knows more of the effects than model b."""
    found = rows(3)
    noise = np.random.default_rng(0).normal(size=(len(found), 2))
    return found.assign(uplift_a=found["uplift"], uplift_b=np.round(0.3 * noise, 2).tolist())


@pytest.fixture(scope="module")
def scored(spark, frame):
    return spark.createDataFrame(frame)


def run(df, **more):
    return su.compare(df, **{**GIVEN, "idCol": "id", "bootstrap": 30, **more})


@pytest.fixture(scope="module")
def result(scored):
    return run(scored)


def differences(found):
    return {(r["arm"], r["style"], r["metric"]): r for r in found.comparison.collect()}


@pytest.mark.parametrize("name", ["a", "b"])
def test_each_model_has_the_numbers_of_its_own_evaluation(scored, result, name):
    alone = su.evaluate(scored, **GIVEN, idCol="id", bootstrap=30, scoreCol=f"uplift_{name}")
    own = result.evaluations[name]
    same(own, alone)
    pd.testing.assert_frame_equal(own.checks.toPandas(), alone.checks.toPandas())
    curves = result.curves.where(f"model = '{name}'").drop("model")
    pd.testing.assert_frame_equal(curves.toPandas(), alone.curves.toPandas())


def test_values_and_differences_are_of_both_models(result):
    one, other = (numbers(result.evaluations[name]) for name in "ab")
    found = differences(result)
    assert {arm for arm, _, _ in found} == {"call", "mail", "*"}
    assert {("grf", "autoc"), ("grf", "gates_at_20"), ("sklift", "qini")} <= {key[1:] for key in found}
    for key, row in found.items():
        assert (row["value"], row["other_value"]) == (one[key]["value"], other[key]["value"])
        assert row["difference"] == row["value"] - row["other_value"]
        assert row["lower"] < row["difference"] < row["upper"]
        assert (row["n"], row["bootstrap"]) == (one[key]["n"], 30)
    gain = found["*", "grf", "heterogeneity"]  # model a knows of the effects, model b does not
    assert gain["difference"] > 0
    assert min(row["p_value"] for row in found.values()) < 0.05


def test_the_error_is_that_of_paired_replicates(spark, scored, frame):
    from pyspark.sql import functions as F

    hashed = scored.select(F.xxhash64(F.col("id").cast("string")).alias("u")).toPandas()
    kept = (frame["arm"] != "call").to_numpy()
    counts = count_copies(hashed["u"].to_numpy().view(np.uint64)[kept], 5, 8)
    y, t = frame["y"].to_numpy()[kept], (frame["arm"] == "mail").to_numpy()[kept].astype(int)
    scores = [np.array(frame[f"uplift_{name}"].tolist())[kept, 1] for name in "ab"]
    drawn = []
    for r in range(8):
        values = []
        for s in scores:
            ys, ts, ss = copied(counts[:, r], y, t, s)
            values.append(metrics.score("auuc", style="ydf", y=ys, arm=ts, score=ss))
        drawn.append(values[0] - values[1])
    found = differences(run(scored, arm="mail", bootstrap=8, seed=5, metrics=[("auuc", "ydf")]))
    assert set(found) == {("mail", "ydf", "auuc")}
    assert found["mail", "ydf", "auuc"]["std_error"] == pytest.approx(np.std(drawn, ddof=1), rel=1e-9)


def test_a_model_against_itself_differs_by_nothing(scored):
    twin = scored.selectExpr("*", "uplift_a AS twin")
    for row in run(twin, scoreCols=("uplift_a", "twin")).comparison.collect():
        assert (row["difference"], row["std_error"], row["p_value"]) == (0.0, 0.0, None)


@pytest.mark.parametrize("given", [{}, {"exactPoints": 5, "fineBins": 900, "intervals": "half_sample"}])
def test_partitions_and_order_change_nothing(spark, frame, given):
    shuffled = frame.sample(frac=1, random_state=1)
    base = run(spark.createDataFrame(frame).coalesce(1), weightCol="w", **given)
    again = run(spark.createDataFrame(shuffled).repartition(5), weightCol="w", **given)
    for one, two in ((base.comparison, again.comparison), (base.curves, again.curves)):
        pd.testing.assert_frame_equal(one.toPandas(), two.toPandas(), check_exact=True)


def test_columns_are_those_of_the_table(result):
    declared = [c for c in schemas.table("model_comparison").columns[2:] if c.name != "other_model"]
    assert result.comparison.columns == [c.name for c in declared]
    kinds = [field.dataType.simpleString() for field in result.comparison.schema]
    assert kinds == [c.type.lower() for c in declared]


@pytest.mark.parametrize(
    "more, message",
    [
        ({"names": ("a", "a")}, r"'names' parameter of compare must be two different str. Got \('a', 'a'\)"),
        ({"scoreCols": ("uplift_a",)}, "'scoreCols' parameter of compare must be two different str"),
        ({"metrics": ["autocc"]}, "did you mean 'autoc'"),
        ({"bootstrap": -1}, "'bootstrap' parameter of compare must be an int of at least 0"),
        ({"arm": "mial"}, "'arm' parameter of compare must be one of"),
    ],
)
def test_bad_parameters(scored, more, message):
    with pytest.raises(DataError, match=message):
        run(scored, **more)


def test_faults_of_either_score_are_named(scored):
    bad = scored.selectExpr("*", "IF(id < 2, NULL, uplift_b) AS broken")
    with pytest.raises(DataError, match="Column 'broken': 2 scores are null, NaN or infinite"):
        run(bad, scoreCols=("uplift_a", "broken"))
    with pytest.raises(ColumnNotFoundError, match="did you mean 'uplift_b' for 'uplift_c'"):
        run(scored, scoreCols=("uplift_a", "uplift_c"))


def test_equal_scores_of_a_model_warn(scored):
    flat = scored.selectExpr("id", "arm", "y", "uplift_a", "array(0D, 0D) AS constant")
    with pytest.warns(UserWarning, match=r"All scores of the arm 'call' in model 'b' are equal \(0\)"):
        found = differences(run(flat, scoreCols=("uplift_a", "constant"), arm="call", metrics=["autoc"]))
    row = found["call", "grf", "autoc"]
    assert row["other_value"] == pytest.approx(0.0, abs=1e-12)
    assert row["difference"] > 0
