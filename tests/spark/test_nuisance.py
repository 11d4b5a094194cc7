"""`doubly_robust` on Spark: truth under confounding, the same bits on any partitioning, clear errors."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import spark_uplift as su
from spark_uplift.errors import ColumnNotFoundError, DataError
from tests.oracles import nuisance as oracle

N = 4000
GIVEN = {"treatmentCol": "arm", "controlName": "none", "labelCol": "y"}
FEATURES = ["age", "spend", "region"]


def rows(seed=0, n=N):
    """Older units are mailed more often and buy more anyway; true effects: mail 1, call 0.5 * age."""
    draw = np.random.default_rng(seed)
    age, spend = draw.normal(size=n), draw.exponential(size=n)
    region = draw.choice(["north", "south", "west"], n, p=[0.6, 0.3, 0.1])
    odds = np.column_stack([np.ones(n), np.exp(age), np.full(n, 0.5)])
    p = odds / odds.sum(axis=1, keepdims=True)
    code = (draw.random(n)[:, None] > np.cumsum(p, axis=1)).sum(axis=1)  # none, mail, call
    y = 3 * age + spend + (region == "south") + (code == 1) + 0.5 * (code == 2) * age + draw.normal(size=n)
    given = np.where(draw.random(n) < 0.1, np.nan, spend)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "arm": np.array(["none", "mail", "call"])[code],
            "y": y,
            "bought": y > 1,
            "age": age,
            "spend": given,
            "region": np.where(draw.random(n) < 0.05, None, region),
            "w": np.round(draw.uniform(0.5, 2.0, n) * 64) / 64,
            "p": p[np.arange(n), code],
            "shop": draw.integers(0, 200, n),
        }
    )


@pytest.fixture(scope="module")
def frame():
    return rows()


@pytest.fixture(scope="module")
def units(spark, frame):
    return spark.createDataFrame(frame).repartition(2).cache()


def run(df, **more):
    return su.doubly_robust(df, **{**GIVEN, "featureCols": FEATURES, "idCol": "id", **more})


def array(df, name):
    found = df.select("id", name).toPandas().sort_values("id")
    return np.array([[np.nan if v is None else v for v in row] for row in found[name]], float)


@pytest.fixture(scope="module")
def logged(units):
    return run(units, propensityCol="p").cache()


def test_the_truth_is_within_the_interval_under_confounding(frame, logged):
    raw = frame.y[frame.arm == "mail"].mean() - frame.y[frame.arm == "none"].mean()
    assert raw > 2  # mailed units are older
    scores = array(logged, "dr_score")  # call, mail
    error = scores.std(axis=0) / np.sqrt(N)
    assert np.all(np.abs(scores.mean(axis=0) - [0.0, 1.0]) < 3 * error)
    assert np.all(error < 0.2)


def test_a_right_outcome_model_alone_will_do(units):
    scores = array(run(units), "dr_score")  # shares as propensities are wrong here
    assert scores.mean(axis=0) == pytest.approx([0.0, 1.0], abs=0.15)


def test_right_propensities_alone_will_do(units):
    scores = array(run(units, featureCols=[], propensityCol="p"), "dr_score")
    assert np.all(np.abs(scores.mean(axis=0) - [0.0, 1.0]) < 3 * scores.std(axis=0) / np.sqrt(N))


def test_scores_are_those_of_the_formula(frame, logged):
    code = frame.arm.map({"none": 0, "call": 1, "mail": 2}).to_numpy()
    values = oracle.aipw(frame.y.to_numpy(), code, frame.p.to_numpy(), array(logged, "mu"))
    assert np.allclose(array(logged, "dr_value"), values, rtol=1e-12)
    assert np.allclose(array(logged, "dr_score"), values[:, 1:] - values[:, :1], rtol=1e-9, atol=1e-12)
    propensities = array(logged, "propensities")
    assert np.array_equal(propensities[np.arange(N), code], frame.p)
    assert np.isnan(propensities).sum() == 2 * N  # those of other arms are not logged


def test_columns_are_added_and_none_is_lost(units, logged):
    assert logged.columns == [*units.columns, "propensities", "mu", "dr_value", "dr_score"]
    assert {f.dataType.simpleString() for f in logged.schema.fields[-4:]} == {"array<double>"}
    assert logged.count() == N


@pytest.mark.parametrize(
    "more", [{}, {"weightCol": "w", "clusterCol": "shop"}, {"idCol": None, "labelCol": "bought"}]
)
def test_the_same_bits_on_any_partitioning(units, more):
    def of(df):
        return run(df, **more).select("id", "mu", "dr_value", "propensities").toPandas().sort_values("id")

    first = of(units.coalesce(1))
    for parts in (3, 7):
        other = of(units.repartition(parts, "age"))
        for name in ("mu", "dr_value", "propensities"):
            assert np.array_equal(np.stack(first[name]), np.stack(other[name]))


def test_the_scale_of_the_weights_does_not_count(units):
    from pyspark.sql import functions as F

    one, other = (
        array(run(df, weightCol="w"), "mu") for df in (units, units.withColumn("w", F.col("w") * 8))
    )
    assert np.array_equal(one, other)


def test_names_of_the_arms_do_not_count(units, logged):
    from pyspark.sql import functions as F

    renamed = units.withColumn("arm", F.when(F.col("arm") == "mail", "a letter").otherwise(F.col("arm")))
    found = array(run(renamed, propensityCol="p"), "dr_score")
    assert np.array_equal(found, array(logged, "dr_score")[:, ::-1])
    ordered = array(run(units, propensityCol="p", treatmentNames=["mail", "call"]), "dr_score")
    assert np.array_equal(ordered, found)


def test_binary_outcomes_are_predicted_within_their_range(units):
    mu = array(run(units, labelCol="bought"), "mu")
    assert mu.min() >= 0.0
    assert mu.max() <= 1.0


def test_shares_are_weighted(units, frame):
    shares = array(run(units, weightCol="w"), "propensities")
    weights = frame.groupby("arm").w.sum()[["none", "call", "mail"]]
    assert shares[0] == pytest.approx((weights / weights.sum()).to_numpy(), rel=1e-12)


def test_one_treatment_has_both_logged_propensities(spark, frame):
    two = frame[frame.arm != "call"]
    found = run(spark.createDataFrame(two), propensityCol="p")
    assert array(found, "propensities").sum(axis=1) == pytest.approx(1.0)


def test_clusters_stay_together(units):
    # With a fold's cluster in one piece its predictions are those of one model: equal features, equal predictions.
    found = run(units, clusterCol="shop", featureCols=[]).select("shop", "mu").toPandas()
    assert (found.groupby("shop").mu.apply(lambda mu: len({tuple(m) for m in mu})) == 1).all()


def test_columns_without_information_do_no_harm(units, logged):
    from pyspark.sql import functions as F

    wider = units.withColumns({"one": F.lit(1.0), "none at all": F.lit(None).cast("double")})
    found = run(wider, featureCols=[*FEATURES, "one", "none at all"], propensityCol="p")
    assert array(found, "mu") == pytest.approx(array(logged, "mu"), abs=0.05)


def test_a_tiny_arm_is_shrunk_to_its_mean_and_an_arm_of_one_row_warns(spark, frame):
    few = frame[(frame.arm != "call") | (frame.index < 60)].copy()
    assert np.isfinite(array(run(spark.createDataFrame(few)), "dr_value")).all()
    one = frame[frame.arm != "call"].copy()
    one.loc[one.index[0], "arm"] = "call"
    with pytest.warns(UserWarning, match=r"arms \['call'\] have no rows outside"):
        found = run(spark.createDataFrame(one))
    assert np.isfinite(array(found, "dr_value")).all()


def test_of_a_wide_table_the_features_that_matter_are_looked_at(spark):
    draw = np.random.default_rng(0)
    wide = pd.DataFrame(draw.normal(size=(500, 180)), columns=[f"n{j}" for j in range(180)])
    data = wide.assign(id=np.arange(500), arm=draw.choice(["none", "mail"], 500), y=4 * wide.n150 + wide.n3)
    df = spark.createDataFrame(data)
    given = {"featureCols": list(wide.columns)}
    first = array(run(df.repartition(1), **given), "mu")
    assert np.corrcoef(first[:, 0], data.y)[0, 1] > 0.8
    assert np.array_equal(first, array(run(df.repartition(5), **given), "mu"))


def test_categories_that_are_numbers(units):
    found = run(units, featureCols=["age", "shop"], categoricalCols=["shop"])
    assert np.isfinite(array(found, "mu")).all()


def test_estimated_propensities(units, frame):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "rows have an estimated propensity")
        found = run(units, propensityModel="estimate", featureCols=["age"], folds=2)
    code = frame.arm.map({"none": 0, "call": 1, "mail": 2}).to_numpy()
    own = array(found, "propensities")[np.arange(N), code]
    assert np.corrcoef(own, frame.p)[0, 1] > 0.97
    assert own.min() >= 0.01
    assert own.max() <= 0.99


def test_clipped_propensities_are_counted(spark, frame):
    sure = frame[frame.arm != "call"].copy()
    sure["arm"] = np.where((sure.age > 0) ^ (sure.id % 500 == 0), "mail", "none")
    with pytest.warns(UserWarning, match=r"rows have an estimated propensity of their arm outside"):
        run(spark.createDataFrame(sure), propensityModel="estimate", featureCols=["age"], folds=2)


def test_estimators_of_pyspark(units):
    from pyspark.ml.classification import LogisticRegression
    from pyspark.ml.regression import LinearRegression

    given = {"propensityCol": "p", "folds": 2, "featureCols": ["age", "region"], "weightCol": "w"}
    scores = array(run(units, outcomeModel=LinearRegression(), **given), "dr_score")
    assert np.all(np.abs(scores.mean(axis=0) - [0.0, 1.0]) < 3 * scores.std(axis=0) / np.sqrt(N))
    mu = array(run(units, outcomeModel=LogisticRegression(), **{**given, "labelCol": "bought"}), "mu")
    assert mu.min() >= 0.0
    assert mu.max() <= 1.0
    assert mu.std() > 0.1
    with pytest.raises(DataError, match=r"outcomeModel.*a regressor where outcomes"):
        run(units, outcomeModel=LogisticRegression(), **given)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"folds": 1}, r"'folds' parameter of doubly_robust must be an int in the range \[2, 100\]"),
        ({"propensityModel": "guess"}, r"'propensityModel' parameter .* Got 'guess'"),
        ({"propensityModel": "estimate", "propensityCol": "p"}, "None where propensityCol is given"),
        ({"outcomeModel": "trees"}, r"outcomeModel.*an estimator of pyspark.ml with the parameters"),
        ({"controlName": "nobody"}, r"rows of every arm. Got none of \['nobody'\]"),
        ({"treatmentNames": ["mail"]}, r"must hold the arms \['none', 'mail'\]. Got \['call'\] too"),
        ({"treatmentNames": ["mail", "call", "sms"]}, r"Got none of \['sms'\]"),
        ({"categoricalCols": ["shop"]}, r"categoricalCols.*among the features"),
        ({"propensityCol": "age"}, r"propensity column 'age' must hold numbers in \(0, 1\]"),
        ({"weightCol": "age"}, "weight column 'age' must hold finite numbers of 0 or more"),
    ],
)
def test_bad_input_is_named(units, more, message):
    with pytest.raises(DataError, match=message):
        run(units, **more)


def test_bad_rows_are_named_together(spark, frame):
    bad = frame.copy()
    bad.loc[0, "arm"] = None
    bad.loc[1, "y"] = np.nan
    bad.loc[2, "age"] = np.inf
    with pytest.raises(
        DataError, match=r"(?s)treatment column 'arm'.*label column 'y'.*feature column 'age'"
    ):
        run(spark.createDataFrame(bad))
    with pytest.raises(DataError, match="must have rows. Got an empty one"):
        run(spark.createDataFrame(frame).limit(0))


def test_columns_that_are_there_or_missing(units, logged):
    with pytest.raises(DataError, match=r"must not have columns called \['propensities', 'mu'"):
        run(logged)
    with pytest.raises(ColumnNotFoundError, match="'age' for 'agee'"):
        run(units, featureCols=["agee"])
