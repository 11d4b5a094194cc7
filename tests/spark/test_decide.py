"""`decide`: every recipient one arm, no limit exceeded, nearly the best value, the same on any partitioning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import spark_uplift as su
from spark_uplift.errors import ColumnNotFoundError, DataError
from spark_uplift.policy.allocation import BUDGET, CAPACITY, Constraint
from spark_uplift.spark.decide_rule import REASONS
from tests.oracles.allocation import optimum

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

N = 4000
TREATMENTS = ["call", "mail", "sms"]
COSTS = {"call": 1.25, "mail": 0.5, "sms": 0.05}
LIMITS: dict[str, Any] = {
    "budgets": [
        {"name": "total", "limit": 600.0},
        {"name": "people", "limit": 300.0, "arms": ["call", "mail"]},
    ],
    "capacities": [
        {"arm": "call", "limit": 150},
        {"arm": "sms", "limit": 90, "segment": "north"},
        {"arms": ["mail", "sms"], "limit": 200, "segment": ["south", "west"], "name": "letters"},
    ],
    "segmentCol": "region",
}
RULES = {"*": "unsubscribed", "call": ["contacts >= 4", "age < 21"]}


def recipients(n: int = N, seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "id": [f"c{i}" for i in range(n)],
        "uplift": list(rng.normal(0.05, 0.2, (n, 3))),
        "low": list(rng.normal(-0.1, 0.01, (n, 3))),
        "high": list(rng.normal(0.3, 0.01, (n, 3))),
        "region": rng.choice(["north", "south", "west", "east"], n),
        "unsubscribed": rng.random(n) < 0.1,
        "contacts": rng.integers(0, 6, n),
        "age": rng.integers(18, 80, n),
        "fee": np.round(rng.gamma(2, 0.4, n), 3),
    })  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return recipients()


@pytest.fixture(scope="module")
def scored(spark: SparkSession, rows: pd.DataFrame) -> DataFrame:
    frame = rows.assign(**{c: rows[c].map(list) for c in ("uplift", "low", "high")})
    return spark.createDataFrame(frame).cache()


def decide(scored: DataFrame, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "idCol": "id", "treatmentNames": TREATMENTS, "controlName": "none", "value": 10.0, "costs": COSTS, **LIMITS,
        "exclusions": RULES, **changes,
    }  # fmt: skip
    return su.decide(scored, **arguments)


def told(result: Any) -> pd.DataFrame:
    return result.decisions.toPandas().set_index("unit_id").sort_index()


def limits(result: Any) -> dict[str, Any]:
    return {row["constraint"]: row for row in result.constraints.collect()}


def test_all_is_kept_and_the_value_is_that_of_the_linear_programme(
    scored: DataFrame, rows: pd.DataFrame
) -> None:
    result = decide(scored, coreUnits=1000)  # so that a sample tells the box, and a core is solved for
    found = told(result)
    data = rows.set_index("id").loc[found.index]
    assert len(found) == N == result.units
    assert set(found.index) == set(rows.id)
    assert set(found.reason) <= set(REASONS)
    # rules
    given = found.arm != "none"
    assert not (given & data.unsubscribed).any()
    assert not ((found.arm == "call") & ((data.contacts >= 4) | (data.age < 21))).any()
    # limits
    cost = found.arm.map({**COSTS, "none": 0.0})
    assert (found.cost == cost).all()
    assert cost.sum() <= 600 + 1e-9
    assert cost[found.arm.isin(["call", "mail"])].sum() <= 300 + 1e-9
    assert (found.arm == "call").sum() <= 150
    assert ((found.arm == "sms") & (data.region == "north")).sum() <= 90
    assert (found.arm.isin(["mail", "sms"]) & data.region.isin(["south", "west"])).sum() <= 200
    # value
    net = np.stack(data.uplift) * 10 - np.array([COSTS[a] for a in TREATMENTS])
    is_open = np.column_stack([
        ~data.unsubscribed & (data.contacts < 4) & (data.age >= 21), ~data.unsubscribed, ~data.unsubscribed,
    ])  # fmt: skip
    code = data.region.map({"north": 1, "south": 2, "west": 3, "east": 0}).to_numpy()
    constraints = [
        Constraint("total", BUDGET, 600.0, (0, 1, 2)), Constraint("people", BUDGET, 300.0, (0, 1)),
        Constraint("call", CAPACITY, 150.0, (0,)), Constraint("sms", CAPACITY, 90.0, (2,), (1,)),
        Constraint("letters", CAPACITY, 200.0, (1, 2), (2, 3)),
    ]  # fmt: skip
    best = optimum(
        net, np.broadcast_to([COSTS[a] for a in TREATMENTS], net.shape), code, is_open, constraints
    )
    assert best * (1 - 1e-3) <= found.net.sum() <= best * (1 + 1e-6)
    assert best * (1 - 1e-6) <= found.net.sum() / (1 - result.gap)
    # what is told of it
    summary = result.summary.toPandas().set_index("arm")
    for arm in ("none", *TREATMENTS):
        mine = found[found.arm == arm]
        assert summary.n[arm] == len(mine)
        assert summary.cost[arm] == pytest.approx(mine.cost.sum())
        assert summary.gain[arm] == pytest.approx(mine.gain.sum(), rel=1e-6)
    assert summary.n["*"] == N
    assert summary.net["*"] == pytest.approx(found.net.sum(), rel=1e-6)
    kept = limits(result)
    assert kept["total"].used == pytest.approx(cost.sum())
    assert all(row.used <= row.limit for row in kept.values())
    assert [name for name, row in kept.items() if row.binding]
    assert "is contacted" not in result.sentence
    assert result.sentence.startswith(f"Spend {cost.sum():,.2f}, expect ")


def test_partitions_and_order_change_nothing(scored: DataFrame) -> None:
    first = told(decide(scored.repartition(1), explore=0.05, coreUnits=1000))
    second = told(decide(scored.orderBy("fee").repartition(7), explore=0.05, coreUnits=1000))
    pd.testing.assert_frame_equal(first, second)


def test_the_core_is_a_matter_of_speed(scored: DataFrame) -> None:
    whole, core = decide(scored), decide(scored, coreUnits=400)
    one, two = told(whole), told(core)
    assert (one.arm == two.arm).mean() > 0.998
    assert one.net.sum() == pytest.approx(two.net.sum(), rel=1e-3)


def test_exploration_is_logged_and_counts_against_the_limits(scored: DataFrame, rows: pd.DataFrame) -> None:
    result = decide(scored, explore=0.1)
    found = told(result)
    data = rows.set_index("id").loc[found.index]
    call_open = ~data.unsubscribed & (data.contacts < 4) & (data.age >= 21)
    n_open = np.where(data.unsubscribed, 1, 3 + call_open)
    assert found.explored.mean() == pytest.approx(0.1, abs=0.02)
    assert set(found.reason[found.explored]) == {"explored"}
    calm = ~found.explored
    np.testing.assert_allclose(found.propensity[calm], 0.1 / n_open[calm] + 0.9)
    drawn = found[found.explored]
    off, on = 0.1 / n_open[found.explored], 0.1 / n_open[found.explored] + 0.9
    assert (np.isclose(drawn.propensity, off) | np.isclose(drawn.propensity, on)).all()
    # uniform among the open arms
    free = found.explored & call_open
    assert found.arm[free].value_counts(normalize=True).between(0.15, 0.35).all()
    assert all(row.used <= row.limit for row in limits(result).values())
    assert found.cost.sum() == pytest.approx(limits(result)["total"].used)
    # inverse propensities are unbiased: each open arm's weights add up to the units that it is open to
    weight = (1 / found.propensity)[call_open & (found.arm == "call")].sum()
    assert weight == pytest.approx(call_open.sum(), rel=0.5)


def test_exploration_that_exceeds_a_limit_is_named(scored: DataFrame) -> None:
    with pytest.raises(
        DataError, match=r"within capacity 'capacity of call'. Got a use of \d+ instead, \d+ more"
    ):
        decide(scored, explore=0.5, capacities=[{"arm": "call", "limit": 5}])


def test_costs_of_each_recipient(scored: DataFrame, rows: pd.DataFrame) -> None:
    result = decide(
        scored, costs={"mail": 0.5}, costCols={"call": "fee"}, capacities=[],
        budgets=[{"name": "total", "limit": 123.45}],
    )  # fmt: skip
    found = told(result)
    fee = rows.set_index("id").fee.loc[found.index]
    assert (found.cost == np.select([found.arm == "call", found.arm == "mail"], [fee, 0.5], 0.0)).all()
    assert 122 < found.cost.sum() <= 123.45 + 1e-9
    assert result.gap < 1e-3
    with pytest.raises(DataError, match=r"cost columns \['age'\] must be at least 0. Got 4,000 rows"):
        decide(scored.withColumn("age", -scored.age), costs={}, costCols={"call": "age"}, exclusions=None)


def test_intervals_of_the_scores_are_added_up(scored: DataFrame, rows: pd.DataFrame) -> None:
    result = decide(scored, lowerCol="low", upperCol="high", currency="EUR")
    found = told(result)
    data = rows.set_index("id").loc[found.index]
    arm = found.arm.map({"none": -1, "call": 0, "mail": 1, "sms": 2}).to_numpy()
    lower = sum(10 * low[a] for low, a in zip(data.low, arm, strict=True) if a >= 0)
    row = result.summary.where("arm = '*'").collect()[0]
    assert row.lower == pytest.approx(lower)
    assert row.upper > row.lower
    assert row.basis == "scores"
    assert "EUR (" in result.sentence
    assert "gain_lower" not in result.decisions.columns


def test_reasons(spark: SparkSession) -> None:
    data = [
        ("best", [5.0, 1.0], False), ("full", [3.0, 0.0], False), ("next", [3.0, 2.5], False),
        ("low", [0.3, 0.1], False),
        ("no", [-1.0, 0.0], False), ("out", [9.0, 9.0], True),
    ]  # fmt: skip
    scored = spark.createDataFrame(data, "id string, uplift array<double>, closed boolean")
    result = su.decide(
        scored, idCol="id", treatmentNames=["call", "mail"], controlName="none", minimumGain=0.5, exclusions="closed",
        capacities=[{"arm": "call", "limit": 1}],
    )  # fmt: skip
    assert told(result).reason.to_dict() == {
        "best": "best net value", "full": "capacity full", "next": "capacity full: next best",
        "low": "below minimum gain", "no": "control is best", "out": "excluded",
    }  # fmt: skip
    budget = su.decide(
        scored, idCol="id", treatmentNames=["call", "mail"], controlName="none", costs={"call": 2.0},
        budgets=[{"limit": 2.0}],
    )  # fmt: skip
    assert told(budget).reason.loc[["best", "full", "next"]].tolist() != ["best net value"] * 3
    assert "over budget" in set(told(budget).reason) | {r.split(":")[0] for r in told(budget).reason}


def test_one_treatment_with_a_plain_number_and_no_limit(spark: SparkSession) -> None:
    scored = spark.range(10).selectExpr("id", "cast(id - 5 as double) as uplift")
    result = su.decide(scored, idCol="id", treatmentNames=["mail"], controlName="none")
    assert told(result).arm.value_counts().to_dict() == {"none": 6, "mail": 4}
    assert result.constraints.count() == 0
    assert result.gap == pytest.approx(0, abs=1e-6)


def test_all_faults_of_the_arguments_at_once(scored: DataFrame) -> None:
    with pytest.raises(DataError, match="faults in the data") as caught:
        decide(
            scored, value=0, minimumGain=-1, explore=1.0, costs={"call": -2.0, "fax": 1.0}, lowerCol="low",
            budgets=[{"name": "total", "limit": -5.0}, {"name": "b", "arms": ["male"], "limit": 3}, {"name": "c"}],
            capacities=[{"arm": "none", "limit": 3}, {"arm": "call", "limit": 1, "segment": "x"}], segmentCol=None,
            exclusions={"call": "nowhere > 3", "mail": "age + 1"},
        )  # fmt: skip
    text = str(caught.value)
    for part in (
        "'value'", "'minimumGain'", "'explore'", "costs[call]", "'fax'", "exceeds it by 5", "did you mean 'mail'?",
        "budgets[2]", "the control needs no limit", "capacities[1].segment", "nowhere > 3",
        "gives integer", "'lowerCol'",
    ):  # fmt: skip
        assert part in text.replace("bigint", "integer").replace("gives long", "gives integer"), part


def test_bad_rows_are_counted_together(spark: SparkSession) -> None:
    nan = float("nan")
    data = [
        ("a", [1.0, 2.0]),
        (None, [1.0, 1.0]),
        ("b", [nan, 1.0]),
        ("c", None),
        ("d", [1.0]),
        ("a", [0.0, 0.0]),
    ]
    scored = spark.createDataFrame(data, "id string, uplift array<double>")
    arguments: dict[str, Any] = {"idCol": "id", "treatmentNames": ["x", "y"], "controlName": "z"}
    with pytest.raises(DataError, match=r"(?s)no nulls. Got 1 rows.*2 finite numbers a row. Got 3 rows"):
        su.decide(scored, **arguments)
    with pytest.raises(DataError, match=r"must be unique. Got ids with several rows, e.g. \['a'\]"):
        su.decide(scored.where("id = 'a'"), **arguments)
    with pytest.raises(DataError, match="at least one. Got none"):
        su.decide(scored.where("id = 'q'"), **arguments)
    with pytest.raises(ColumnNotFoundError, match="did you mean 'uplift' for 'uplifts'"):
        su.decide(scored, scoreCol="uplifts", **arguments)


def test_a_list_of_equals_is_decided_by_the_hash(spark: SparkSession) -> None:
    from pyspark.sql import functions as F

    scored = spark.range(20_000).select("id", F.array(F.lit(1.0), F.lit(1.0)).alias("uplift"))
    arguments: dict[str, Any] = {"idCol": "id", "treatmentNames": ["x", "y"], "controlName": "z"}
    arguments["capacities"] = [{"arm": "x", "limit": 1234}, {"arm": "y", "limit": 555}]
    found = told(su.decide(scored, **arguments, coreUnits=2000))
    assert found.arm.value_counts().to_dict() == {"z": 18_211, "x": 1234, "y": 555}
    again = told(su.decide(scored, **arguments, coreUnits=2000, seed=2))
    assert (found.arm != again.arm).sum() > 2000
