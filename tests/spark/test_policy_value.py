"""`policy_value` on Spark: the numbers of the rows whatever the partitions, every form of policy, clear errors."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

import spark_uplift as su
from spark_uplift import schemas
from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.metrics.replicates import count_copies
from tests.oracles import policy_value as oracle

N = 600
ACTIONS = ["call", "mail", "none", "sms"]
COSTS = {"call": 2.0, "mail": 0.5, "sms": 0.25}


def rows(seed=0):
    rng = np.random.default_rng(seed)
    e = rng.dirichlet(np.ones(4), N) * 0.8 + 0.05
    pi = rng.dirichlet(np.ones(4), N)
    a = np.array([rng.choice(4, p=row) for row in e])
    mean = rng.uniform(size=(N, 4))
    mu = mean + 0.1 * rng.normal(size=mean.shape)
    at = np.arange(N)
    return pd.DataFrame(
        {
            "id": at,
            "action": np.array(ACTIONS)[a],
            "reward": mean[at, a] + 0.3 * rng.normal(size=N),
            "e": e[at, a],
            "p": pi[at, a],
            "dist": [dict(zip(ACTIONS, row, strict=True)) for row in pi.tolist()],
            "dist_array": pi.tolist(),
            "best": np.array(ACTIONS)[mu.argmax(axis=1)],
            "mu": mu.tolist(),
            "mu_map": [dict(zip(ACTIONS, row, strict=True)) for row in mu.tolist()],
            "q": mu[at, a],
            "v": (pi * mu).sum(axis=1),
            "w": rng.uniform(0.5, 2.0, N),
            "shop": rng.integers(0, 80, N),
        }
    )


DDL = (
    "id bigint, action string, reward double, e double, p double, dist map<string,double>, "
    "dist_array array<double>, best string, mu array<double>, mu_map map<string,double>, q double, v double, "
    "w double, shop bigint"
)


def to_spark(spark, frame):
    return spark.createDataFrame(frame.to_dict("records"), DDL)


@pytest.fixture(scope="module")
def frame():
    return rows()


@pytest.fixture(scope="module")
def df(spark, frame):
    return to_spark(spark, frame).cache()


GIVEN = {"actionCol": "action", "rewardCol": "reward", "propensityCol": "e"}
ALL = ["ips", "clipped_ips", "snips", "dm", "dr", "switch"]


def ask(df, **more):
    found = su.policy_value(df, **{**GIVEN, "policyCol": "p", "idCol": "id", **more}).collect()
    return {(r["policy"], r["method"], r["interval"]): r for r in found}


def expected(frame, method, rho, clip, v="v", w=None):
    weights = None if w is None else frame[w].to_numpy()
    q, v = frame["q"].to_numpy(), frame[v].to_numpy()
    return oracle.rows_of(method, frame["reward"].to_numpy(), rho, clip, q, v, weights)


@pytest.mark.filterwarnings("ignore:.*Clipping cuts off:UserWarning")
@pytest.mark.parametrize(
    ("policy", "predicted"),
    [("p", ("q", "v")), ("dist", "mu_map"), ("dist", "mu"), ("dist_array", "mu"), ("dist_array", ("q", "v"))],
)
def test_every_form_of_a_policy_gives_the_numbers_of_the_rows(df, frame, policy, predicted):
    found = ask(
        df, policyCol=policy, predictedCol=predicted, actions=ACTIONS, method=ALL, weightCol="w", clip=2.0
    )
    for method in ALL:
        rows = expected(frame, method, (frame["p"] / frame["e"]).to_numpy(), 2.0, w="w")
        one = found[policy, method, "normal"]
        assert one["value"] == pytest.approx(oracle.value(rows), rel=1e-9)
        assert one["std_error"] == pytest.approx(oracle.std_error(rows), rel=1e-8)


def test_a_policy_that_takes_one_action_and_its_costs(df, frame):
    frame = frame.assign(v=[row["mu_map"][row["best"]] for _, row in frame.iterrows()])
    found = ask(
        df, policyCol={"model": "best", "soft": "dist"}, predictedCol="mu_map", method=["ips", "dr"], costs=COSTS,
        value=10.0, includeLogged=True, baseline="soft",
    )  # fmt: skip
    rho = ((frame["best"] == frame["action"]) / frame["e"]).to_numpy()
    for method in ("ips", "dr"):
        one = found["model", method, "normal"]
        value = oracle.value(expected(frame, method, rho, math.sqrt(N)))
        cost = np.mean([COSTS.get(action, 0.0) for action in frame["best"]])
        assert one["value"] == pytest.approx(value, rel=1e-9)
        assert one["cost"] == pytest.approx(cost, rel=1e-9)
        assert one["net"] == pytest.approx(10.0 * value - cost, rel=1e-9)
        assert one["difference"] == pytest.approx(value - found["soft", method, "normal"]["value"], rel=1e-9)
    soft = np.mean([sum(p * COSTS.get(a, 0.0) for a, p in row.items()) for row in frame["dist"]])
    assert found["soft", "ips", "normal"]["cost"] == pytest.approx(soft, rel=1e-9)
    logged = found["logged", "mean", "normal"]
    assert logged["value"] == pytest.approx(frame["reward"].mean(), rel=1e-9)
    assert logged["std_error"] == pytest.approx(frame["reward"].std() / math.sqrt(N), rel=1e-8)
    assert (logged["relative"], logged["cost"], logged["message"]) == (1.0, None, None)


def test_of_several_baselines_the_best_is_taken(df):
    df = df.selectExpr("*", "'mail' as mail", "'call' as call")
    policies = {"model": "best", "all:mail": "mail", "all:call": "call"}
    found = ask(df, policyCol=policies, method=["snips", "ips"], baseline=["all:mail", "all:call"])
    values = {name: found[name, "snips", "normal"]["value"] for name in ("all:mail", "all:call")}
    best = max(values, key=values.get)
    assert {row["baseline"] for row in found.values()} == {best}
    apart = found["model", "snips", "normal"]["difference"]
    assert apart == pytest.approx(found["model", "snips", "normal"]["value"] - values[best])
    same = ask(df, policyCol=policies, method=["snips", "ips"], baseline=best)
    for key, row in same.items():
        assert row.asDict() == found[key].asDict()


def test_columns_are_those_of_the_table(df):
    found = su.policy_value(df, **GIVEN, policyCol="p")
    declared = [c for c in schemas.table("policy_value").columns if c.name not in ("run_id", "model_id")]
    assert found.columns == [c.name for c in declared]
    assert [f.dataType.simpleString() for f in found.schema] == [c.type.lower() for c in declared]
    assert found.count() == 1


def test_replicates_are_rows_written_out_as_often_as_their_hash_says(df, frame):
    from pyspark.sql import functions as F

    unit = (
        df.select(F.xxhash64(F.col("id").cast("string")).alias("u"))
        .toPandas()["u"]
        .to_numpy()
        .view(np.uint64)
    )
    counts = count_copies(unit, 3, 30).T
    found = ask(
        df, predictedCol=("q", "v"), method=["snips", "dr"], interval="bootstrap", bootstrap=30, seed=3
    )
    rho = (frame["p"] / frame["e"]).to_numpy()
    for method in ("snips", "dr"):
        drawn = oracle.bootstrap(expected(frame, method, rho, math.sqrt(N)), counts)
        one = found["p", method, "bootstrap"]
        assert one["std_error"] == pytest.approx(np.std(drawn, ddof=1), rel=1e-8)
        assert [one["lower"], one["upper"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), rel=1e-8)


@pytest.mark.filterwarnings("ignore:.*Clipping cuts off:UserWarning")
@pytest.mark.parametrize("cluster", [None, "shop"])
@pytest.mark.parametrize("partitions", [1, 5])
def test_partitions_and_order_change_nothing_at_all(spark, df, frame, partitions, cluster):
    given = {
        **GIVEN, "policyCol": "dist", "predictedCol": "mu_map", "method": ALL, "interval": ["normal", "bootstrap"],
        "weightCol": "w", "bootstrap": 20, "idCol": "id", "clusterCol": cluster, "clip": 3.0, "includeLogged": True,
    }  # fmt: skip
    shuffled = to_spark(spark, frame.sample(frac=1, random_state=partitions)).repartition(partitions)
    one = su.policy_value(df.coalesce(1), **given).toPandas()
    two = su.policy_value(shuffled, **given).toPandas()
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_clusters(df, frame):
    found = ask(df, clusterCol="shop", method=["ips", "snips"])
    rho = (frame["p"] / frame["e"]).to_numpy()
    for method in ("ips", "snips"):
        rows = expected(frame, method, rho, 9.0)
        one = found["p", method, "normal"]
        assert one["value"] == pytest.approx(oracle.value(rows), rel=1e-9)
        assert one["std_error"] == pytest.approx(oracle.std_error(rows, frame["shop"].to_numpy()), rel=1e-8)
        assert one["n"] == N


@pytest.mark.filterwarnings("ignore:.*Clipping cuts off:UserWarning")
def test_bernstein_with_a_known_range(df):
    found = ask(
        df,
        method="clipped_ips",
        interval=["normal", "empirical_bernstein"],
        clip=3.0,
        rewardRange=(-1.0, 2.0),
    )
    wide, narrow = (found["p", "clipped_ips", kind] for kind in ("empirical_bernstein", "normal"))
    assert (
        wide["lower"] < narrow["lower"] < narrow["value"] == wide["value"] < narrow["upper"] < wide["upper"]
    )
    assert wide["difference_lower"] is None


def test_published_numbers_of_open_bandit(spark, shared_data):
    folder = shared_data("open_bandit")
    logged = spark.createDataFrame(
        pd.read_parquet(folder / "random_all.parquet")[
            ["row_id", "item_id", "position", "click", "propensity_score"]
        ]
    )
    shares = spark.createDataFrame(pd.read_csv(folder / "bts_all_action_dist.csv"))
    maps = shares.groupBy("position").agg({"position": "count"}).drop("count(position)")
    maps = shares.selectExpr("position", "struct(string(item_id) as k, eval_prob as v) as pair").groupBy(
        "position"
    )
    whole = logged.join(maps.agg({"pair": "collect_list"}), "position").selectExpr(
        "*", "map_from_entries(`collect_list(pair)`) as policy"
    )
    found = {
        r["method"]: r
        for r in su.policy_value(
            whole,
            actionCol="item_id",
            rewardCol="click",
            propensityCol="propensity_score",
            policyCol="policy",
            method=["ips", "snips"],
        ).collect()
    }
    assert found["ips"]["value"] == pytest.approx(0.00455288, abs=5e-9)
    assert found["ips"]["relative"] == pytest.approx(1.1981263, abs=5e-8)
    assert found["snips"]["value"] == pytest.approx(0.00477583, abs=5e-9)
    assert found["ips"]["effective_sample_size"] == pytest.approx(1639.5, abs=0.05)


def test_an_action_that_was_never_logged_is_named(df):
    df = df.selectExpr(
        "*", "if(id % 3 = 0, 'fax', best) as with_fax", "map('fax', 0.25D, 'mail', 0.75D) as soft"
    )
    for policy in ("with_fax", "soft"):
        with pytest.raises(DataError, match=r"takes actions that were never logged: \['fax'\]"):
            ask(df, policyCol=policy)
    with pytest.warns(UserWarning, match=r"In 200 rows the policy 'with_fax' takes .* \['fax'\]"):
        found = ask(df, policyCol="with_fax", unloggedActions="warn")
    assert "fax" in found["with_fax", "snips", "normal"]["message"]
    predicted = df.selectExpr("*", "map_concat(mu_map, map('fax', 0.5D)) as mus")
    assert ask(predicted, policyCol="with_fax", predictedCol="mus", method="dm")  # needs no overlap


def bad(df, **columns):
    return df.selectExpr(*[f"{columns.get(name, name)} as {name}" for name in df.columns])


def test_all_faults_of_the_values_at_once(df):
    broken = bad(
        df,
        reward="if(id = 1, double('NaN'), reward)",
        e="case id when 2 then 0.0D when 3 then null when 4 then double('NaN') when 5 then 1.5D else e end",
        w="case id when 6 then -1.0D when 7 then null else w end",
        action="if(id = 8, null, action)",
        p="case id when 9 then -0.5D when 10 then 2.0D when 11 then null else p end",
    )
    with pytest.raises(DataError) as raised:
        ask(broken, weightCol="w", predictedCol=("q", "v"), method="dr")
    text = str(raised.value)
    assert raised.match("7 faults in the data")
    for part in (
        "'action': 1 actions are null",
        "'reward': 1 rewards are null, NaN or infinite",
        "'w': 1 weights are null",
        "'w': 1 weights are negative",
        "'e': 4 logged propensities are null, NaN or outside (0, 1]",
        "'p': 1 policies are null or NaN",
        "'p': 2 rows have probabilities outside [0, 1]",
    ):
        assert part in text


def test_distributions_must_add_up_and_predictions_be_there(df):
    half = bad(df, dist="if(id = 5, map('call', 0.9D), dist)", mu_map="if(id = 6, map('call', 1.0D), mu_map)")
    with pytest.raises(DataError) as raised:
        ask(half, policyCol="dist", predictedCol="mu_map", method="dm")
    text = str(raised.value)
    assert raised.match("must add up to 1. Got sums that are up to 0.1 off")
    assert "'mu_map': 1 rows lack the predicted reward of an action of the policy 'dist'" in text
    short = bad(df, dist_array="if(id = 5, array(0.5D, 0.5D), dist_array)")
    with pytest.raises(DataError, match="1 policies are null or NaN, or of another length than actions="):
        ask(short, policyCol="dist_array", actions=ACTIONS)


def test_all_faults_of_the_parameters_at_once(df):
    with pytest.raises(DataError) as raised:
        ask(
            df, method="dr", interval="empirical_bernstein", clusterCol="shop", clip=0.0, rewardRange=(1.0, 0.0),
            unloggedActions="ignore", baseline="model", costs={"mail": -1.0, "call": float("nan")},
        )  # fmt: skip
    text = str(raised.value)
    assert raised.match("7 faults in the data")
    for name in ("predictedCol", "interval", "clip", "rewardRange", "unloggedActions", "baseline", "costs"):
        assert f"'{name}' parameter" in text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"policyCol": "dist_array"}, r"is an array. Hint: pass actions="),
        ({"policyCol": "p", "predictedCol": "mu_map", "method": "dr"}, "predictedCol= as a pair"),
        ({"policyCol": "p", "costs": COSTS}, "must tell the actions"),
        (
            {"policyCol": "dist", "predictedCol": "q", "method": "dr"},
            "must hold a predicted reward of each action",
        ),
        ({"policyCol": "best", "rewardCol": "action"}, "reward column 'action' must hold numbers"),
        ({"policyCol": {"logged": "p"}}, "none of them called 'logged'"),
    ],
)
def test_faults_of_the_types(df, more, message):
    with pytest.raises(DataError, match=message):
        ask(df, **more)


def test_missing_columns_and_no_rows(df):
    with pytest.raises(ColumnNotFoundError, match="did you mean 'dist' for 'dists'"):
        ask(df, policyCol="dists")
    with pytest.raises(DataError, match="has no rows"):
        ask(df.where("id < 0"))
