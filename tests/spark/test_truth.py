"""`known_truth` of a table is that of the rows, on any partitioning."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import spark_uplift as su
from spark_uplift.errors import ColumnNotFoundError, DataError

COSTS = [0.0, 0.05, 0.02]


@pytest.fixture(scope="module")
def frame():
    draw = np.random.default_rng(0)
    effect = draw.normal(0.1, 0.2, (500, 2))
    predicted = effect + draw.normal(0, 0.1, (500, 2))
    chosen = draw.integers(0, 3, 500)
    return pd.DataFrame(
        {
            "tau": effect.tolist(),
            "uplift": predicted.tolist(),
            "code": chosen,
            "given": np.array(["none", "call", "mail"])[chosen],
            "w": draw.uniform(0, 2, 500),
        }
    )


@pytest.fixture(scope="module")
def units(spark, frame):
    return spark.createDataFrame(frame).cache()


def rows(frame, **more):
    return su.metrics.known_truth(
        effect=np.stack(frame.tau),
        predicted=np.stack(frame.uplift),
        costs=COSTS,
        value=2.0,
        weight=frame.w,
        **more,
    )


def test_it_is_that_of_the_rows(units, frame):
    given = {"effectCol": "tau", "costs": COSTS, "value": 2.0, "weightCol": "w"}
    names = {"recommendedCol": "given", "controlName": "none", "treatmentNames": ["call", "mail"]}
    for found, expected in (
        (su.known_truth(units, **given), rows(frame)),
        (su.known_truth(units, **given, **names), rows(frame, recommended=frame.code)),
    ):
        for field in dataclasses.fields(found):
            assert getattr(found, field.name) == pytest.approx(getattr(expected, field.name), rel=1e-9)


def test_partitions_do_not_count(units):
    found = [su.known_truth(units.repartition(parts), effectCol="tau", weightCol="w") for parts in (1, 3, 7)]
    assert repr(found[0]) == repr(found[1]) == repr(found[2])


def test_one_treatment_may_be_a_number(spark):
    df = spark.createDataFrame([(0.2, 0.1), (0.0, 0.1), (-0.1, -0.1)], "tau double, s double")
    found = su.known_truth(df, effectCol="tau", scoreCol="s")
    assert found.pehe == pytest.approx([np.sqrt(0.02 / 3)])
    assert found.regret == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"scoreCol": "given"}, "score column 'given' must hold numbers or arrays"),
        (
            {"scoreCol": "w"},
            "score column 'w' must hold 2 finite numbers, as the first row does. Got 500 of 500",
        ),
        (
            {"weightCol": "code", "effectCol": "w", "scoreCol": "w", "costs": [1]},
            "'costs' parameter .* 2 finite",
        ),
        ({"recommendedCol": "given"}, "controlName and treatmentNames must be given"),
        (
            {"recommendedCol": "given", "controlName": "none", "treatmentNames": ["mail"]},
            "arm column 'given' must hold the names of arms",
        ),
    ],
)
def test_bad_input_is_named(units, more, message):
    with pytest.raises(DataError, match=message):
        su.known_truth(units, **{"effectCol": "tau", **more})


def test_missing_columns_and_rows(units):
    with pytest.raises(ColumnNotFoundError, match="'tau' for 'taus'"):
        su.known_truth(units, effectCol="taus")
    with pytest.raises(DataError, match="must have rows"):
        su.known_truth(units.limit(0), effectCol="tau")
