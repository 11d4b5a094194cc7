from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xxhash

from spark_uplift.pipeline.check import check
from spark_uplift.pipeline.prepare import build_training_view, prepare
from spark_uplift.spark import tables
from tests.spark.frames import Run, config, frame, rows, source


def built(spark, data, run):
    return build_training_view(spark, run, source(spark, data, run), "r")


def view(spark, data, run):
    """The training view as rows by unit."""
    return {row["unit_id"]: row for row in built(spark, data, run).view_df.collect()}


def test_the_view_holds_the_source_rows_under_its_own_names(spark):
    data = rows().assign(vip=lambda d: d.id % 2 == 0, w=2.0, e=1 / 3, family=lambda d: d.id // 2)
    run = config(experiment={"weight": "w", "propensity": "e", "cluster": "family", "categorical": ["grade"]})
    data["grade"] = data.id % 3
    result = built(spark, data, run)
    assert result.view_df.columns == [
        *["run_id", "unit_id", "unit_hash", "arm", "outcome", "weight", "propensity", "cluster", "split"],
        *["age", "region", "vip", "grade"],
    ]
    kinds = dict(result.view_df.dtypes)
    assert (kinds["age"], kinds["vip"], kinds["grade"], kinds["outcome"]) == (
        "double",
        "string",
        "string",
        "double",
    )
    found = {row["unit_id"]: row for row in result.view_df.collect()}
    for number, row in data.iterrows():
        got = found[str(number)]
        assert (got["arm"], got["outcome"], got["cluster"]) == (row.plan, row.visits, str(row.family))
        assert (got["vip"], got["grade"]) == (str(row.vip).lower(), str(row.grade))
        assert got["age"] == row.age or (got["age"] is None and np.isnan(row.age))
        assert (got["weight"], got["propensity"]) == (2.0, 1 / 3)


def test_counts_and_experiment_row(spark):
    data = rows().astype({"visits": float})
    data.loc[0, "visits"] = np.nan
    result = built(spark, data, config())
    counts = result.counts
    assert (counts.rows_in, counts.rows_used, counts.rows_quarantined) == (400, 399, 1)
    assert counts.reasons == {"not_finite_outcome": 1}
    assert list(counts.arms) == ["control", "call", "mail"]
    assert sum(counts.arms.values()) == sum(counts.splits.values()) == 399
    assert result.experiment_row["rows_quarantined"] == 1
    assert result.experiment_row["features"] == ["age", "region"]


def test_unit_hash_and_split_are_the_documented_functions(spark):
    run = config(seed=7, split={"holdout": 0.25})
    for unit, row in view(spark, rows(), run).items():
        assert row["unit_hash"] % 2**64 == xxhash.xxh64_intdigest(unit.encode(), 42)
        fraction = (xxhash.xxh64_intdigest(f"split:7:{unit}".encode(), 42) >> 11) / 2**53
        assert row["split"] == ("holdout" if fraction < 0.25 else "train")


def test_a_cluster_is_never_cut_in_two(spark):
    data = rows().assign(family=lambda d: d.id // 5)
    halves = pd.DataFrame(
        [
            (row["cluster"], row["split"])
            for row in view(spark, data, config(experiment={"cluster": "family"})).values()
        ],
        columns=["cluster", "split"],
    )
    assert (halves.groupby("cluster").split.nunique() == 1).all()


def test_units_without_an_id_are_named_by_their_content(spark):
    data = pd.concat([rows(), rows().iloc[:3]], ignore_index=True).drop(columns="id")
    run = config(experiment={"id": None})
    one = view(spark, data, run)
    assert len(one) == 403
    assert sum(unit.endswith("-1") for unit in one) == len(data.drop_duplicates())
    shuffled = frame(spark, data.sample(frac=1, random_state=1)).repartition(7)
    other = {row["unit_id"]: row for row in built(spark, shuffled, run).view_df.collect()}
    assert other == one
    elsewhere = view(
        spark, data[[*reversed(data.columns)]], config(experiment={"id": None, "features": ["age", "region"]})
    )
    assert set(elsewhere) == set(one)


def test_nulls_change_places_without_a_collision(spark):
    data = rows(60).drop(columns=["id", "age"])
    both = pd.concat([data, data], ignore_index=True).astype(object)
    both["a"] = [1.0] * 60 + [None] * 60
    both["b"] = [None] * 60 + [1.0] * 60
    df = frame(spark, both, "plan string, visits bigint, region string, a double, b double")
    units = view(spark, df, config(experiment={"id": None}))
    firsts = {unit for unit in units if unit.endswith("-1")}
    assert len({unit[:16] for unit in firsts}) == both.astype(str).drop_duplicates().shape[0]


def test_which_duplicate_stays_does_not_depend_on_the_order(spark):
    data = rows()
    data = pd.concat([data, data.assign(visits=data.visits + 1).iloc[:15]], ignore_index=True)
    kept = view(spark, data, config())
    other = view(spark, data.iloc[::-1], config())
    assert kept == other
    assert len(kept) == 400


def test_a_usable_row_stays_when_its_duplicate_is_not(spark):
    data = rows().astype({"visits": float})
    spoilt = data.iloc[:15].assign(visits=np.nan)
    result = built(spark, pd.concat([spoilt, data], ignore_index=True), config())
    assert result.counts.rows_used == 400
    assert result.counts.reasons == {"not_finite_outcome": 15}


def test_whole_numbers_and_booleans_as_arms(spark):
    data = rows(200).assign(plan=lambda d: (d.id % 2).astype(float))
    assert {row["arm"] for row in view(spark, data, config(experiment={"control": 0})).values()} == {"0", "1"}
    assert {row["arm"] for row in view(spark, data, config(experiment={"control": "0.0"})).values()} == {
        "0",
        "1",
    }
    data["plan"] = data["plan"] == 1
    flags = config(experiment={"control": "False"})
    assert {row["arm"] for row in view(spark, data, flags).values()} == {"false", "true"}


@pytest.fixture
def run(spark, tmp_path):
    data = rows().astype({"visits": float})
    data.loc[:2, "visits"] = np.nan
    settings = config(tmp_path / "warehouse", experiment={"features": ["age", "region"]})
    return Run(spark, settings, source(spark, data, settings))


def test_check_and_prepare_write_their_tables_and_again_the_same(spark, run):
    results = check(run)
    counts = prepare(run)
    again = prepare(run)
    assert counts == again
    warehouse = run.config.warehouse
    sizes = {
        name: tables.read(spark, warehouse, name, {"run_id": run.run_id}).count()
        for name in ("check_results", "training_view", "quarantine", "assignments", "experiments")
    }
    assert sizes == {
        "check_results": len(results),
        "training_view": 397,
        "quarantine": 3,
        "assignments": 397,
        "experiments": 1,
    }
    assert tables.read(spark, warehouse, "experiments").first()["rows_in"] == 400
    assert tables.read(spark, warehouse, "training_view").columns[-2:] == ["age", "region"]


def test_failed_checks_are_written_before_the_error(spark, tmp_path):
    from spark_uplift.errors import CheckFailedError

    settings = config(tmp_path / "warehouse")
    data = rows().assign(copy=lambda d: (d.plan == "mail") * 1.0)
    bad = Run(spark, settings, source(spark, data, settings))
    with pytest.raises(CheckFailedError, match="arm_prediction: Feature 'copy' predicts the arm"):
        check(bad)
    written = tables.read(spark, settings.warehouse, "check_results").where("status = 'fail'").collect()
    assert [(row["check"], row["column_name"]) for row in written] == [("arm_prediction", "copy")]


def test_nothing_is_written_when_the_rows_are_unusable(spark, tmp_path):
    from spark_uplift.errors import DataError

    settings = config(tmp_path / "warehouse", experiment={"control": "nobody"})
    with pytest.raises(DataError, match="control arm 'nobody'"):
        prepare(Run(spark, settings, source(spark, rows(), settings)))
    assert not (tmp_path / "warehouse").exists()
