"""`evaluate` on Spark: the curve of the rows, whatever the partitions, and clear errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import spark_uplift as su
from spark_uplift import metrics, schemas
from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.metrics.replicates import count_copies
from tests.oracles.metrics import copied

N = 3000


def rows(seed=0, n=N, binary=True):
    """An experiment with two treatments and scores of two digits (ties)."""
    rng = np.random.default_rng(seed)
    arm = rng.choice(["none", "mail", "call"], n, p=[0.5, 0.3, 0.2])
    x = rng.random((n, 2))
    effect = np.where(arm == "call", x[:, 0], 0) + np.where(arm == "mail", x[:, 1], 0)
    y = (rng.random(n) < 0.2 + 0.3 * effect).astype(float) if binary else 1 + effect + rng.normal(size=n)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "arm": arm,
            "y": y,
            "w": rng.uniform(0.5, 2.0, n),
            "shop": rng.integers(0, 300, n),
            "p": np.select([arm == "none", arm == "mail"], [0.5, 0.3], 0.2),
            "uplift": np.round(x + 0.2 * rng.normal(size=(n, 2)), 2).tolist(),
        }
    )


@pytest.fixture(scope="module")
def frame():
    return rows()


@pytest.fixture(scope="module")
def scored(spark, frame):
    return spark.createDataFrame(frame)


GIVEN = {"treatmentCol": "arm", "controlName": "none", "labelCol": "y"}


def run(df, **more):
    return su.evaluate(df, **{**GIVEN, "idCol": "id", "bootstrap": 0, **more})


def numbers(result):
    return {(r["arm"], r["style"], r["metric"]): r for r in result.metrics.collect()}


@pytest.fixture(scope="module")
def result(scored):
    return run(scored, bootstrap=40)


def given_to_score(frame, arm=None, **more):
    effects = np.array(frame["uplift"].tolist())
    ours = {"y": frame["y"], "arm": frame["arm"].to_numpy(), "control": "none", "treatment": arm, **more}
    return {**ours, "score": effects if arm is None else effects[:, ["call", "mail"].index(arm)]}


@pytest.mark.parametrize("arm", ["call", "mail", "*"])
def test_metrics_are_those_of_the_rows(result, frame, arm):
    found = numbers(result)
    given = given_to_score(frame, None if arm == "*" else arm)
    for (of_arm, style, name), row in found.items():
        if of_arm == arm:
            assert row["value"] == pytest.approx(metrics.score(name, style=style, **given), rel=1e-9), (
                style,
                name,
            )
            assert row["exact"]
            assert row["formula"]


def test_columns_are_those_of_the_tables(result):
    for table, df in (
        ("evaluation_metrics", result.metrics),
        ("uplift_table", result.uplift_table),
        ("evaluation_curves", result.curves),
    ):
        declared = [c for c in schemas.table(table).columns if c.name not in ("run_id", "model_id", "split")]
        assert df.columns == [c.name for c in declared]
        assert [f.dataType.simpleString() for f in df.schema] == [c.type.lower() for c in declared]


def test_weights_and_logged_propensities(scored, frame):
    found = numbers(run(scored, weightCol="w", propensityCol="p"))
    for arm in ("call", "mail", "*"):
        given = given_to_score(frame, None if arm == "*" else arm, weight=frame["w"], propensity=frame["p"])
        for style, name in (("grf", "autoc"), ("grf", "ate"), ("sklift", "qini"), ("ydf", "auuc")):
            expected = metrics.score(name, style=style, **given)
            assert found[arm, style, name]["value"] == pytest.approx(expected, rel=1e-9)


def with_scores(frame, seed=4):
    """Doubly robust scores of two treatments, known to be right on average."""
    rng = np.random.default_rng(seed)
    truth = np.array(frame["uplift"].tolist())
    return frame.assign(dr=(truth + rng.normal(size=truth.shape)).tolist())


@pytest.mark.parametrize("arm", ["call", "mail", "*"])
@pytest.mark.parametrize("propensity", [None, "p"])
def test_doubly_robust_scores_take_the_place_of_inverse_propensity_ones(spark, frame, arm, propensity):
    scored = with_scores(frame)
    more = {"weightCol": "w", "propensityCol": propensity, "drCol": "dr", "bootstrap": 10}
    found = numbers(run(spark.createDataFrame(scored), **more))
    given = given_to_score(scored, None if arm == "*" else arm, weight=frame["w"], dr=scored["dr"].tolist())
    given["propensity"] = None if propensity is None else frame["p"]
    for (of_arm, style, name), row in found.items():
        if of_arm == arm:
            expected = metrics.score(name, style=style, **given)
            assert row["value"] == pytest.approx(expected, rel=1e-9), (style, name)
    assert {"uplift_at_10", "uplift_at_20"} <= {name for _, style, name in found if style == "grf"}


def test_confounded_rows_are_evaluated_without_bias(spark):
    """The treatment goes to units with high outcomes; the interval of the scores covers the truth."""
    rng = np.random.default_rng(8)
    n = 6000
    x, effect = rng.random(n), rng.random(n)
    e = 0.1 + 0.8 * x
    t = rng.random(n) < e
    y = 3 * x + t * effect + rng.normal(size=n)
    rest = y - 3 * x - t * effect
    frame = pd.DataFrame(
        {
            "id": range(n),
            "arm": np.where(t, "t", "none"),
            "y": y,
            "uplift": effect,
            "dr": effect + np.where(t, rest / e, -rest / (1 - e)),
        }
    )
    df = spark.createDataFrame(frame)
    for intervals in ("poisson", "half_sample"):
        found = numbers(run(df, drCol="dr", bootstrap=100, intervals=intervals, level=0.999))
        for name, truth in (("ate", 0.5), ("autoc", 0.25), ("qini", 1 / 12), ("calibration_slope", 1.0)):
            row = found["t", "grf", name]
            assert row["lower"] < truth < row["upper"], name
        assert found["t", "grf", "heterogeneity"]["p_value"] < 1e-3
    plain = numbers(run(df, bootstrap=100))["t", "grf", "ate"]
    assert plain["lower"] > 1.0


def test_half_samples_give_the_same_standard_errors(scored):
    poisson, half = (
        numbers(run(scored, bootstrap=300, intervals=kind)) for kind in ("poisson", "half_sample")
    )
    for name in ("autoc", "qini", "calibration_slope", "gain_at_20"):
        one, two = poisson["*", "grf", name]["std_error"], half["*", "grf", name]["std_error"]
        assert one != two
        assert one == pytest.approx(two, rel=0.2), name


def test_continuous_outcomes(spark):
    frame = rows(1, binary=False)
    found = numbers(run(spark.createDataFrame(frame)))
    expected = metrics.score("autoc", **given_to_score(frame, "mail"))
    assert found["mail", "grf", "autoc"]["value"] == pytest.approx(expected, rel=1e-9)
    assert ("mail", "sklift", "qini") not in found


def test_replicates_are_rows_written_out_as_often_as_their_hash_says(spark, scored, frame):
    from pyspark.sql import functions as F

    hashed = scored.select(F.xxhash64(F.col("id").cast("string")).alias("u")).toPandas()
    unit = hashed["u"].to_numpy().view(np.uint64)
    kept = (frame["arm"] != "call").to_numpy()
    y, t = frame["y"].to_numpy()[kept], (frame["arm"] == "mail").to_numpy()[kept].astype(int)
    s = np.array(frame["uplift"].tolist())[kept, 1]
    kinds, drawn = [("ydf", "auuc"), ("sklift", "qini"), ("grf", "autoc")], []
    for r in range(8):
        counts = count_copies(unit[kept], 5, 8)[:, r]
        ys, ts, ss = copied(counts, y, t, s)
        drawn.append([metrics.score(name, style=style, y=ys, arm=ts, score=ss) for style, name in kinds])
    found = numbers(run(scored, arm="mail", bootstrap=8, seed=5))
    errors = [found["mail", style, name]["std_error"] for style, name in kinds]
    # A mean over rows depends on how many rows a tie has, and writing them out changes that a little.
    assert errors[:2] == pytest.approx(np.std(drawn, axis=0, ddof=1)[:2], rel=1e-9)
    assert errors[2] == pytest.approx(np.std(drawn, axis=0, ddof=1)[2], rel=0.05)


def same(a, b):
    for one, two in ((a.metrics, b.metrics), (a.uplift_table, b.uplift_table), (a.curves, b.curves)):
        pd.testing.assert_frame_equal(one.toPandas(), two.toPandas(), check_exact=True)


@pytest.mark.parametrize("partitions", [1, 3, 7])
def test_partitions_and_order_change_nothing_at_all(spark, frame, partitions):
    shuffled = frame.sample(frac=1, random_state=partitions)
    given = {"bootstrap": 20, "weightCol": "w"}
    base = run(spark.createDataFrame(frame).coalesce(1), **given)
    same(run(spark.createDataFrame(shuffled).repartition(partitions), **given), base)


@pytest.mark.parametrize("given", [{"intervals": "half_sample"}, {"exactPoints": 5, "fineBins": 900}])
def test_partitions_change_nothing_with_doubly_robust_scores(spark, frame, given):
    scored = with_scores(frame)
    given = {"bootstrap": 20, "weightCol": "w", "propensityCol": "p", "drCol": "dr", **given}
    shuffled = scored.sample(frac=1, random_state=0)
    base = run(spark.createDataFrame(scored).coalesce(1), **given)
    same(run(spark.createDataFrame(shuffled).repartition(5), **given), base)


@pytest.mark.parametrize("partitions", [1, 4])
def test_without_an_id_the_content_stands_for_the_unit(spark, frame, partitions):
    plain = frame.drop(columns=["id", "w", "shop", "p"])
    shuffled = plain.sample(frac=1, random_state=partitions)
    base = run(spark.createDataFrame(plain), idCol=None, bootstrap=10)
    same(run(spark.createDataFrame(shuffled).repartition(partitions), idCol=None, bootstrap=10), base)


def test_binned_scores_are_close_and_say_so(spark, scored, result):
    binned = run(scored, bootstrap=10, exactPoints=20, fineBins=1000)
    again = run(scored.repartition(5), bootstrap=10, exactPoints=20, fineBins=1000)
    same(binned, again)
    assert not binned.exact
    exact = numbers(result)
    for key, row in numbers(binned).items():
        assert not row["exact"]
        assert row["value"] == pytest.approx(exact[key]["value"], rel=1e-3, abs=0.002)


def test_few_bins_keep_all_rows(scored):
    table = run(scored, exactPoints=0, fineBins=50).uplift_table.toPandas()
    assert table.groupby("arm")["n"].sum()["*"] == N


def test_clusters_are_resampled_as_a_whole(spark):
    frame = rows(2)
    frame["y"] = (frame["shop"] % 2).astype(float)  # everybody of a shop alike
    df = spark.createDataFrame(frame)
    apart, together = (numbers(run(df, arm="mail", bootstrap=60, clusterCol=c)) for c in (None, "shop"))
    key = ("mail", "grf", "ate")
    assert together[key]["bootstrap"] == 60
    assert apart[key]["bootstrap"] == 0
    assert together[key]["value"] == apart[key]["value"]


def test_one_arm_with_one_score(spark, scored, frame):
    df = scored.selectExpr("*", "uplift[1] as one")
    found = numbers(run(df, arm="mail", scoreCol="one"))
    assert {arm for arm, _, _ in found} == {"mail"}
    expected = metrics.score("autoc", **given_to_score(frame, "mail"))
    assert found["mail", "grf", "autoc"]["value"] == pytest.approx(expected, rel=1e-9)


def test_the_only_arm_is_the_policy(scored):
    two = scored.where("arm <> 'call'").selectExpr("id", "arm", "y", "array(uplift[1]) as uplift")
    found = numbers(run(two))
    for name in ("autoc", "qini", "ate"):
        assert found["*", "grf", name]["value"] == found["mail", "grf", name]["value"]


def test_the_order_of_the_scores_can_be_given(scored, frame):
    df = scored.selectExpr("id", "arm", "y", "reverse(uplift) as uplift")
    found = numbers(run(df, treatmentNames=["mail", "call"]))
    expected = metrics.score("autoc", **given_to_score(frame, "mail"))
    assert found["mail", "grf", "autoc"]["value"] == pytest.approx(expected, rel=1e-9)


def test_a_bucket_without_treated_rows_has_an_interval_only(spark):
    frame = pd.DataFrame(
        {
            "id": range(8),
            "arm": ["c"] * 4 + ["t", "c", "t", "c"],
            "y": [1.0, 0, 1, 0, 1, 0, 0, 1],
            "s": [2.0] * 4 + [1.0] * 4,
        }
    )
    table = run(spark.createDataFrame(frame), controlName="c", scoreCol="s", buckets=2).uplift_table
    first, second = table.where("arm = 't'").orderBy("bucket").collect()
    assert (first["n_treated"], first["uplift"], first["mean_treated"]) == (0, None, None)
    assert -1 <= first["lower"] < first["upper"] <= 1
    assert first["mean_control"] == 0.5
    assert second["uplift"] is not None


def test_upliftml_cuts_where_its_quantile_discretizer_does(spark, scored, frame):
    from pyspark.ml.feature import QuantileDiscretizer

    df = scored.where("arm <> 'call'").selectExpr("id", "arm", "y", "uplift[1] as s")
    cut = QuantileDiscretizer(numBuckets=30, inputCol="s", outputCol="b", relativeError=1e-5)
    bucket = cut.fit(df).transform(df).toPandas()
    treated = (bucket["arm"] == "mail").to_numpy()
    fraction, height = [0.0], [0.0]
    for b in sorted(bucket["b"].unique(), reverse=True):
        top = (bucket["b"] >= b).to_numpy()
        lift = bucket["y"][top & treated].mean() - bucket["y"][top & ~treated].mean()
        fraction.append(top.mean())
        height.append(lift * top.mean())
    expected = np.trapezoid(height, fraction)
    given = given_to_score(frame, "mail")
    assert metrics.score("auuc", style="upliftml", **given) == pytest.approx(expected, rel=1e-9)


def test_equal_scores_warn_and_rank_nobody(spark, scored):
    flat = scored.selectExpr("id", "arm", "y", "array(0.1D, 0.1D) as uplift")
    with pytest.warns(UserWarning, match=r"All scores of the arm 'mail' are equal \(0.1\)"):
        found = numbers(run(flat, arm="mail", bootstrap=5))
    assert found["mail", "grf", "autoc"]["value"] == pytest.approx(0.0, abs=1e-15)


FAULTS = {
    "null score": (
        "IF(id = 3, NULL, uplift) AS uplift",
        "Column 'uplift': 1 scores are null, NaN or infinite",
    ),
    "NaN score": (
        "IF(id < 2, array(double('NaN'), 0D), uplift) AS uplift",
        "Column 'uplift': 2 scores are null, NaN or infinite",
    ),
    "NaN doubly robust score": (
        "IF(id < 3, array(0D, double('NaN')), uplift) AS uplift",
        "Column 'uplift': 3 doubly robust scores are null, NaN or infinite",
    ),
    "text doubly robust score": ("'a' AS y2", "The doubly robust score column 'y2' must hold numbers"),
    "short scores": ("IF(id = 9, array(0D), uplift) AS uplift", "1 scores have another length than 2"),
    "null outcome": ("IF(id = 3, NULL, y) AS y", "Column 'y': 1 outcomes are null"),
    "negative weight": ("IF(id < 4, -1D, w) AS w", "Column 'w': 4 weights are negative"),
    "zero propensity": ("IF(id = 1, 0D, p) AS p", r"Column 'p': 1 propensities are null or outside \(0, 1\]"),
    "large propensity": (
        "IF(id = 1, 1.1D, p) AS p",
        r"Column 'p': 1 propensities are null or outside \(0, 1\]",
    ),
    "null arm": ("IF(id < 5, NULL, arm) AS arm", "Column 'arm': 5 arms are null"),
    "no control": ("IF(arm = 'none', 'nobody', arm) AS arm", "no control rows, no value equals 'none'"),
    "text outcome": ("'yes' AS y", "The label column 'y' must hold numbers. Got string instead"),
    "text score": ("'a' AS uplift", "The score column 'uplift' must hold numbers or arrays of numbers"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_rows_that_cannot_be_used_are_named(scored, case):
    changed, message = FAULTS[case]
    column = changed.rsplit(" ", 1)[1]
    bad = scored.selectExpr(*[name for name in scored.columns if name != column], changed)
    robust = {"drCol": column} if "robust" in case else {}
    with pytest.raises(DataError, match=message):
        run(bad, weightCol="w", propensityCol="p", **robust)


def test_all_faults_of_the_rows_come_at_once(scored):
    bad = scored.selectExpr("id", "arm", "IF(id = 3, NULL, y) AS y", "-w AS w", "uplift")
    with pytest.raises(DataError, match="2 faults in the data") as caught:
        run(bad, weightCol="w")
    assert len(caught.value.faults) == 2


def test_a_missing_column_gets_the_nearest_name(scored):
    with pytest.raises(
        ColumnNotFoundError, match=r"not found: \['uplit'\].*did you mean 'uplift' for 'uplit'"
    ):
        run(scored, scoreCol="uplit")


def test_an_unknown_arm_gets_the_nearest_name(scored):
    with pytest.raises(
        DataError, match=r"'arm' parameter of evaluate must be one of \['call', 'mail'\]. .*mean 'mail'"
    ):
        run(scored, arm="mial")


def test_arms_that_are_not_in_the_names_are_unknown(scored):
    with pytest.raises(DataError, match=r"unknown arms \['call'\]"):
        run(scored, treatmentNames=["mail", "sms"])


def test_fewer_scores_than_treatments(scored):
    with pytest.raises(
        DataError, match=r"1 scores a row, but there are 2 treatments \['call', 'mail'\]. Hint"
    ):
        run(scored.selectExpr("id", "arm", "y", "uplift[0] AS uplift"))


def test_an_empty_table(scored):
    with pytest.raises(DataError, match="The scored table has no rows"):
        run(scored.where("false"))


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("bootstrap", -1, "'bootstrap' parameter of evaluate must be an int of at least 0. Got -1"),
        ("intervals", "jackknife", r"'intervals' parameter of evaluate must be one of \['poisson', 'half"),
        ("bootstrap", 1, "at least 2: one replicate has no spread"),
        ("buckets", 0, "'buckets' parameter of evaluate must be an int of at least 1"),
        ("level", 95, r"'level' parameter of evaluate must be a float in the range \(0, 1\). Got 95"),
    ],
)
def test_bad_parameters(scored, name, value, message):
    with pytest.raises(DataError, match=message):
        run(scored, **{name: value})
