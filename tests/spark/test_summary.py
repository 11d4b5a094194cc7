from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spark_uplift import datasets
from spark_uplift.checks import FAIL, PASS, run
from spark_uplift.config import ChecksConfig
from spark_uplift.pipeline.check import run_check
from spark_uplift.spark.source import read_source
from spark_uplift.spark.summary import summarise
from tests.spark.frames import config, frame, rows, source
from tests.unit.checks import build


@pytest.fixture(scope="module")
def data():
    table = rows(500).astype({"visits": float})
    table.loc[:9, "visits"] = np.nan
    table.loc[5:30, "age"] = np.nan
    table.loc[20:40, "region"] = None
    return table


def same(one, other):
    """Compare two summaries field by field, arrays and all."""
    assert (one.rows, one.control, one.outcome_values) == (other.rows, other.control, other.outcome_values)
    assert one.outcome_cut == other.outcome_cut
    assert (one.outcome_binary, one.outcome_whole) == (other.outcome_binary, other.outcome_whole)
    for mine, theirs in zip(one.arms, other.arms, strict=True):
        assert (mine.arm, mine.rows, mine.outcome_rows) == (theirs.arm, theirs.rows, theirs.outcome_rows)
        assert (mine.mean, mine.variance) == pytest.approx((theirs.mean, theirs.variance))
        assert (mine.minimum, mine.maximum) == (theirs.minimum, theirs.maximum)
    for mine, theirs in zip(one.features, other.features, strict=True):
        assert (mine.name, mine.kind, mine.missing) == (theirs.name, theirs.kind, theirs.missing)
        assert (mine.distinct, mine.frequent_levels) == (theirs.distinct, theirs.frequent_levels)
        assert dict(mine.levels) == dict(theirs.levels)
        assert (mine.minimum, mine.maximum) == pytest.approx((theirs.minimum, theirs.maximum), nan_ok=True)


def cells_of(feature):
    """Cells as a set of columns, since categories may be in another order."""
    cells = feature.cells
    stacked = np.concatenate(
        [cells.rows, cells.outcome_rows, cells.high, cells.outcome, cells.square, cells.value]
    )
    return sorted(map(tuple, stacked.T[stacked.sum(axis=0) != 0].round(9)))


def test_summary_is_that_of_the_rows(spark, data):
    found = summarise(source(spark, data, config()))
    expected = build.summarise(
        data.plan, data.visits, {"age": list(data.age), "region": list(data.region)}, control="control"
    )
    same(found, expected)
    for mine, theirs in zip(found.features, expected.features, strict=True):
        assert cells_of(mine) == cells_of(theirs)
    assert found.quarantined == {"not_finite_outcome": 10}


def test_checks_do_not_depend_on_order_or_partitions(spark, data):
    settings = config(experiment={"id": None, "features": ["age", "region"]})
    one = summarise(source(spark, data, settings))
    shuffled = frame(spark, data.sample(frac=1, random_state=3)).repartition(5)
    other = summarise(source(spark, shuffled, settings))
    same(one, other)
    for mine, theirs in zip(one.features, other.features, strict=True):
        np.testing.assert_array_equal(mine.cells.rows, theirs.cells.rows)
        np.testing.assert_allclose(mine.cells.outcome, theirs.cells.outcome)


def test_many_values_get_quantile_bins_that_lose_no_row(spark):
    data = rows(3000).assign(income=np.random.default_rng(1).lognormal(10, 1, 3000))
    income = summarise(source(spark, data, config())).features[-1]
    assert 60 <= income.cells.rows.shape[1] <= 66
    assert income.cells.rows.sum() == 3000
    assert income.cells.rows.sum(axis=0)[:-1].max() < 3000 / 30
    assert income.cells.value.sum() == pytest.approx(data.income.sum())
    assert income.cells.labels[0].startswith("in (-inf, ")


def test_a_rare_value_beside_a_frequent_one_keeps_a_bin_of_its_own(spark):
    data = rows(1000).assign(spend=lambda d: np.where(d.id < 8, d.id + 1.5, 0))
    data["spend"] += np.where(data.id < 500, 0, 0.0)
    spend = summarise(source(spark, data, config())).features[-1]
    assert spend.cells.rows.sum(axis=0).tolist() == [992, 1, 1, 1, 1, 1, 1, 1, 1, 0]


def test_clusters_and_units_are_counted(spark, data):
    table = pd.concat([data, data.iloc[100:103]], ignore_index=True).assign(family=lambda d: d.id // 50)
    found = summarise(source(spark, table, config(experiment={"cluster": "family"})))
    assert [arm.clusters for arm in found.arms] == [10, 10, 10]
    assert (found.duplicate_rows, found.units_in_two_arms) == (3, 0)
    assert found.quarantined["duplicate_unit"] == 3


def test_top_levels_and_the_rest(spark):
    data = rows(3000).assign(city=[f"c{number % 70}" for number in range(3000)])
    city = summarise(source(spark, data, config())).features[-1]
    assert (city.distinct, len(city.levels), city.frequent_levels) == (70, 50, 70)
    assert city.levels[0] == ("c0", 43)
    assert city.cells.labels[-2:] == ("any other", "missing")
    assert city.cells.rows[:, -2].sum() == 3000 - sum(n for _, n in city.levels)


def failed(spark, run):
    results = run_check(spark, run, read_source(spark, run.experiment), "r")
    return {(one.check, one.column_name) for one in results if one.status == FAIL}, results


def test_hillstrom_passes_and_its_other_outcomes_do_not(spark, shared_data):
    experiment = {
        "path": str(shared_data("hillstrom")),
        "id": "row_id",
        "treatment": "segment",
        "control": "No E-Mail",
        "outcome": "visit",
        "shares": {"No E-Mail": 1 / 3, "Mens E-Mail": 1 / 3, "Womens E-Mail": 1 / 3},
    }
    found, results = failed(spark, config(experiment=experiment))
    assert found == {("outcome_leakage", "conversion"), ("outcome_leakage", "spend")}
    ratio = next(one for one in results if one.check == "arm_counts")
    assert (ratio.status, round(ratio.value, 2)) == (PASS, 0.90)


def test_randhie_features_pass_and_those_of_the_plan_are_caught(spark):
    pytest.importorskip("statsmodels")
    table = datasets.randhie()
    settings = config(
        experiment={"id": "unit_id", "treatment": "plan", "control": "95-100 %", "outcome": "mdvis"}
        | {"features": ["physlm", "disea", "hlthg", "hlthf", "hlthp", "idp", "lpi", "fmde"]}
    )
    results = run(summarise(source(spark, spark.createDataFrame(table), settings)), ChecksConfig())
    caught = {one.column_name for one in results if one.check == "arm_prediction" and one.status == FAIL}
    assert caught == {"idp", "lpi", "fmde"}
    assert not [one for one in results if one.status == FAIL and one.check != "arm_prediction"]


def test_karlan_list_leaks_are_found(spark, shared_data):
    experiment = {
        "path": str(shared_data("charitable_karlan_list")),
        "id": "row_id",
        "treatment": "ratio",
        "control": "control",
        "outcome": "out_gavedum",
    }
    found, _ = failed(spark, config(experiment=experiment))
    assert {name for check, name in found if check == "arm_prediction"} == {"treatment", "size", "ask"}
    assert {name for check, name in found if check == "outcome_leakage"} == {
        "out_amountgive",
        "out_changeamtgive",
        "stateresponse",
        "stateresponset",
        "stateresponsec",
        "stateresponsetminc",
    }
    assert {check for check, _ in found} == {"arm_prediction", "outcome_leakage"}


def test_insurance_with_much_missing_passes(spark, shared_data):
    path = shared_data("information_insurance")
    columns = pd.read_parquet(path / "information_insurance.parquet").columns
    others = ("TREATMENT", "PURCHASE", "UNIQUE_ID", "split")
    experiment = {
        "path": str(path),
        "id": "UNIQUE_ID",
        "treatment": "TREATMENT",
        "control": 0,
        "outcome": "PURCHASE",
        "shares": {0: 0.5, 1: 0.5},
        "features": [name for name in columns if name not in others],
    }
    found, results = failed(spark, config(experiment=experiment))
    assert not found
    missing = next(one for one in results if one.check == "missing_share")
    assert missing.value == pytest.approx(18475 / 20000)
