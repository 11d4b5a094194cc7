"""Explanations on Spark: contributions that add up to the scores."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import functions as F

from spark_uplift.core import attribution
from spark_uplift.errors import ColumnNotFoundError, ConfigError, DataError
from tests.spark.forests import FEATURES, forest
from tests.spark.test_score import codes_of


def listed(df):
    return df.orderBy("id").collect()


@pytest.fixture(scope="module")
def explained(units, model):
    return listed(model.explain(model.transform(units.limit(500))))


def test_base_and_contributions_add_up_to_the_explained_uplift(explained, model):
    for row in explained:
        uplift = row["uplift"][model.treatmentNames.index(row["explained"])]
        assert uplift == max(row["uplift"])
        assert row["base"] + sum(row["contributions"].values()) == pytest.approx(uplift, abs=1e-9)
        assert set(row["contributions"]) == set(FEATURES)
    assert {row["explained"] for row in explained} == {"call", "mail"}
    assert all(row["explained"] == row["recommended"] for row in explained if row["recommended"] != "none")


def test_a_named_treatment(units, model, rows):
    found = listed(model.explain(units, treatment="mail"))
    base, values = attribution.contributions(model.forest, codes_of(model.forest, rows))
    assert {row["explained"] for row in found} == {"mail"}
    assert [row["base"] for row in found] == pytest.approx([base[1]] * len(rows), abs=1e-15)
    ours = np.array([[row["contributions"][name] for name in FEATURES] for row in found])
    np.testing.assert_allclose(ours, values[:, :, 1], rtol=0, atol=1e-12)


def test_columns_and_plan(units, model):
    found = model.explain(units)
    assert found.columns == [*units.columns, "explained", "base", "contributions"]
    kinds = [found.schema[name].dataType.simpleString() for name in ("explained", "base", "contributions")]
    assert kinds == ["string", "double", "map<string,double>"]
    assert found._jdf.queryExecution().executedPlan().toString().count("ArrowEvalPython") == 1


def test_one_feature_and_one_treatment(units):
    fitted = forest(featureCols=["income"], numTrees=2).fit(units)
    for row in listed(fitted.explain(fitted.transform(units.limit(50)))):
        assert row["base"] + row["contributions"]["income"] == pytest.approx(row["uplift"][0], abs=1e-9)


def test_no_such_treatment(units, model):
    with pytest.raises(
        ConfigError,
        match=r"'treatment' parameter of explain must be one of \['call', 'mail'\]. Got 'mial' .*'mail'\?",
    ):
        model.explain(units, treatment="mial")


def test_columns_that_are_there_already(units, model):
    with pytest.raises(DataError, match=r"columns called \['base', 'contributions'\] before they are added"):
        model.explain(units.withColumns({"base": F.lit(1), "contributions": F.lit(1)}))


def test_missing_features(units, model):
    with pytest.raises(ColumnNotFoundError, match=r"not found: \['town'\]"):
        model.explain(units.drop("town"))
