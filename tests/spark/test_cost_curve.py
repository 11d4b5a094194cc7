"""`cost_curve` on Spark: the curve of the rows, whatever the partitions, and clear errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import spark_uplift as su
from spark_uplift import schemas
from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.metrics.replicates import count_copies
from tests.oracles import cost_curve as oracle

N = 500
ARMS = ["none", "call", "mail"]
COSTS = {"call": 2.0, "mail": 0.5}
GIVEN = {"treatmentCol": "arm", "controlName": "none", "labelCol": "y", "idCol": "id"}
DDL = (
    "id bigint, arm string, y double, e double, w double, shop bigint, uplift array<double>, costs array<double>, "
    "dr_value array<double>, dr_score array<double>"
)


def rows(seed=0):
    rng = np.random.default_rng(seed)
    code = rng.choice(3, N, p=[0.5, 0.3, 0.2])
    gain = np.round(rng.normal(0.4, 1.0, (N, 2)), 1)
    effect = np.concatenate([np.zeros((N, 1)), gain], axis=1)
    y = 1.0 + effect[np.arange(N), code] + rng.normal(size=N)
    value = 1.0 + effect + 0.3 * rng.normal(size=(N, 3))
    return pd.DataFrame(
        {
            "id": np.arange(N),
            "arm": np.array(ARMS)[code],
            "y": y,
            "e": np.array([0.5, 0.3, 0.2])[code],
            "w": np.round(rng.uniform(0.5, 2.0, N), 2),
            "shop": rng.integers(0, 60, N),
            "uplift": gain.tolist(),
            "costs": np.round(rng.uniform(0.5, 2.0, (N, 2)), 1).tolist(),
            "dr_value": value.tolist(),
            "dr_score": (value[:, 1:] - value[:, :1]).tolist(),
        }
    )


@pytest.fixture(scope="module")
def frame():
    return rows()


def to_spark(spark, frame):
    return spark.createDataFrame(frame.to_dict("records"), DDL)


@pytest.fixture(scope="module")
def df(spark, frame):
    return to_spark(spark, frame).cache()


def parts(frame, own_costs=False, arm=None):
    gain = np.array(frame["uplift"].tolist())
    cost = np.array(frame["costs"].tolist()) if own_costs else np.broadcast_to([2.0, 0.5], gain.shape)
    code = np.array([ARMS.index(name) for name in frame["arm"]])
    chosen = slice(None) if arm is None else slice(arm, arm + 1)
    return gain[:, chosen], cost[:, chosen], code


def ask(df, **more):
    given = {**GIVEN, "costs": COSTS, "bootstrap": 0, **more}
    return su.cost_curve(df, **given)


def points(result, policy="model"):
    return result.curve.where(f"policy = '{policy}'").orderBy("point").toPandas()


def check(found, expected):
    for row in found.to_dict("records"):
        assert (row["gain"], row["predicted"], row["fraction"]) == pytest.approx(
            oracle.at_spend(expected, row["spend"]), abs=1e-8
        )


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("kind", ["shares", "logged", "dr_value", "dr_score"])
def test_the_curve_is_that_of_the_rows(df, frame, kind, weight):
    gain, cost, code = parts(frame, own_costs=kind == "logged")
    weights = None if weight is None else frame["w"].to_numpy()
    scores = {
        "shares": oracle.inverse_propensity(code, frame["y"].to_numpy(), 3, weights),
        "logged": np.where(code[:, None] == np.arange(3), (frame["y"] / frame["e"]).to_numpy()[:, None], 0.0),
        "dr_value": np.array(frame["dr_value"].tolist()),
        "dr_score": np.array(frame["dr_value"].tolist()),
    }[kind]
    more = {"weightCol": weight, "value": 1.5}
    more |= {"drCol": kind} if kind.startswith("dr") else {}
    more |= {"propensityCol": "e", "costs": None, "costCol": "costs"} if kind == "logged" else {}
    result = ask(df, **more)
    assert result.exact
    check(points(result), oracle.corners(gain, cost, scores, weights))
    mail = points(result, "only:mail")
    check(mail, oracle.corners(gain[:, 1:], cost[:, 1:], scores[:, [0, 2]], weights))
    arm = oracle.chosen(gain, cost, 1 / 1.5)
    everything = np.concatenate([np.zeros((N, 1)), cost], axis=1)[np.arange(N), arm]
    even = points(result).query("break_even").iloc[0]
    assert even["spend"] == pytest.approx(np.average(everything, weights=weights), rel=1e-9)
    returns = {(r["policy"], r["arm"]): r for r in result.returns.collect()}
    at = np.arange(N)
    for k, name in ((1, "call"), (2, "mail")):
        one = returns["model", name]
        own = (scores[at, arm] - scores[:, 0]) * (arm == k)
        assert one["share"] == pytest.approx(np.average(arm == k, weights=weights), rel=1e-9)
        assert one["gain"] == pytest.approx(np.average(own, weights=weights), rel=1e-8)
        assert one["return"] == pytest.approx(one["gain"] * 1.5 / one["cost"])
        given = np.average(scores[:, k] - scores[:, 0], weights=weights)
        assert returns[f"all:{name}", name]["gain"] == pytest.approx(given, rel=1e-8)
    total = returns["model", "*"]
    assert total["gain"] == pytest.approx(even["gain"], abs=1e-9)
    assert total["net"] == pytest.approx(even["net"], abs=1e-9)
    assert total["break_even_rank"] == round(even["fraction"] * N)


def test_replicates_are_rows_written_out_as_often_as_their_hash_says(df, frame):
    from pyspark.sql import functions as F

    unit = (
        df.select(F.xxhash64(F.col("id").cast("string")).alias("u"))
        .toPandas()["u"]
        .to_numpy()
        .view(np.uint64)
    )
    gain, cost, code = parts(frame)
    found = points(ask(df, bootstrap=12, seed=4))
    counts, drawn = count_copies(unit, 4, 12), []
    for r in range(12):
        at = np.repeat(np.arange(N), counts[:, r])
        scores = oracle.inverse_propensity(code[at], frame["y"].to_numpy()[at], 3)
        expected = oracle.corners(gain[at], cost[at], scores)
        drawn.append([oracle.at_spend(expected, spend)[0] for spend in found["spend"]])
    assert found["std_error"].to_numpy() == pytest.approx(np.std(drawn, axis=0, ddof=1), rel=1e-5, abs=1e-9)
    z = 1.959963984540054
    assert found["upper"].to_numpy() == pytest.approx((found["gain"] + z * found["std_error"]).to_numpy())


@pytest.mark.parametrize("cluster", [None, "shop"])
@pytest.mark.parametrize("partitions", [1, 6])
def test_partitions_and_order_change_nothing_at_all(spark, df, frame, partitions, cluster):
    given = {"bootstrap": 20, "weightCol": "w", "clusterCol": cluster, "drCol": "dr_value"}
    shuffled = to_spark(spark, frame.sample(frac=1, random_state=partitions)).repartition(partitions)
    one, two = ask(df.coalesce(1), **given), ask(shuffled, **given)
    for a, b in ((one.curve, two.curve), (one.returns, two.returns)):
        pd.testing.assert_frame_equal(a.toPandas(), b.toPandas(), check_exact=True)


def test_binned_curves_are_close_and_say_so(spark, monkeypatch):
    from spark_uplift.spark import cost_passes

    frame = rows(1)
    frame["uplift"] = (
        np.array(frame["uplift"].tolist()) + np.random.default_rng(0).normal(0, 0.01, (N, 2))
    ).tolist()
    df = to_spark(spark, frame)
    exact = ask(df, drCol="dr_value")
    monkeypatch.setattr(cost_passes, "_CELLS", 240)
    monkeypatch.setattr(cost_passes, "_LEAST_CELLS", 60)
    monkeypatch.setattr(cost_passes, "_SAMPLE_PER_CELL", 4)  # half of the rows
    binned, again = ask(df, drCol="dr_value"), ask(df.repartition(4), drCol="dr_value")
    assert (exact.exact, binned.exact) == (True, False)
    one, two = points(exact), points(binned)
    assert two["spend"].to_numpy()[-1] == pytest.approx(one["spend"].to_numpy()[-1], rel=1e-9)
    assert np.interp(one["spend"], two["spend"], two["gain"]) == pytest.approx(
        one["gain"].to_numpy(), abs=0.01
    )
    even_one, even_two = (p.query("break_even").iloc[0] for p in (one, two))
    assert even_two["spend"] == pytest.approx(even_one["spend"], rel=1e-9)  # the price begins a cell
    pd.testing.assert_frame_equal(binned.curve.toPandas(), again.curve.toPandas(), check_exact=True)


def test_without_costs_it_is_the_curve_of_the_evaluation(df):
    """At each share the gain is the height of the qini curve of `evaluate`, for one arm by inverse propensities."""
    two = df.where("arm <> 'mail'").selectExpr("id", "arm", "y", "uplift[0] as uplift")
    found = points(su.cost_curve(two, **GIVEN, bootstrap=0))
    curves = su.evaluate(two, **GIVEN, bootstrap=0).curves.where("curve = 'qini' and arm = 'call'").toPandas()
    inside = curves[curves["fraction"] <= found["fraction"].max()]
    heights = np.interp(inside["fraction"], found["fraction"], found["gain"])
    corner = 3.0 / 100  # points of the two curves lie at different shares
    assert heights == pytest.approx(inside["value"].to_numpy(), abs=corner)
    assert set(found["spend"]) == {0.0}
    assert found["break_even"].to_numpy()[-1]


def test_columns_are_those_of_the_table(df):
    curve = ask(df).curve
    declared = [c for c in schemas.table("cost_curve").columns if c.name not in ("run_id", "model_id")]
    assert curve.columns == [c.name for c in declared]
    assert [f.dataType.simpleString() for f in curve.schema] == [c.type.lower() for c in declared]


def test_nobody_gains(df):
    with pytest.warns(UserWarning, match="No unit has a treatment with a predicted gain"):
        result = ask(df.selectExpr("id", "arm", "y", "array(-1D, -1D) as uplift"))
    assert result.curve.count() == 3


def test_all_faults_of_the_values_at_once(df):
    broken = df.selectExpr(
        "id", "arm", "shop", "dr_value",
        "if(id = 1, null, y) as y",
        "if(id = 2, double('NaN'), e) as e",
        "if(id = 3, -1D, w) as w",
        "if(id = 4, array(double('NaN'), 0D), uplift) as uplift",
        "if(id = 5, array(-1D, 1D), costs) as costs",
    )  # fmt: skip
    with pytest.raises(DataError) as raised:
        ask(broken, costs=None, costCol="costs", weightCol="w", propensityCol="e")
    text = str(raised.value)
    assert raised.match("5 faults in the data")
    for part in (
        "'y': 1 outcomes are null",
        "'e': 1 propensities are null, NaN or outside",
        "'w': 1 weights are negative",
        "'uplift': 1 scores are null, NaN",
        "'costs': 1 costs are negative",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"costs": {"call": -2.0, "mail": float("nan")}},
            "'costs' parameter .* finite numbers of at least 0",
        ),
        ({"costs": {"fax": 1.0}}, r"'costs' parameter .* must be by arm, of \['none', 'call', 'mail'\]"),
        ({"costs": {"none": 1.0, "call": 0.5}}, "no less for a treatment than for control"),
        ({"costCol": "costs"}, "null when costs= is given"),
        ({"controlName": "nobody"}, "there are no control rows"),
        ({"treatmentNames": ["call", "mail", "sms"]}, r"no rows of the treatments \['sms'\]"),
        ({"treatmentNames": ["call"]}, r"unknown arms \['mail'\]"),
        ({"drCol": "y"}, r"'y' must hold one value for each of the treatments .* Got \[1\] values a row"),
        ({"labelCol": "uplift"}, "label column 'uplift' must hold numbers"),
        ({"value": 0.0, "level": 2.0, "bootstrap": 1}, "3 faults in the data"),
    ],
)
def test_faults(df, more, message):
    with pytest.raises(DataError, match=message):
        ask(df, **more)


def test_missing_columns_and_no_rows(df):
    with pytest.raises(ColumnNotFoundError, match="did you mean 'costs' for 'cost'"):
        ask(df, costs=None, costCol="cost")
    with pytest.raises(DataError, match="has no rows"):
        ask(df.where("id < 0"))
    with pytest.raises(DataError, match="there are no treated rows"):
        ask(df.where("arm = 'none'"))
