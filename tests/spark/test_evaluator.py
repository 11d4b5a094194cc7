"""`UpliftEvaluator` in pyspark.ml."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.ml import Model
from pyspark.ml.param import Param, Params
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder

import spark_uplift as su
from spark_uplift import metrics
from spark_uplift.errors import ConfigError, DataError

GIVEN = {"treatmentCol": "arm", "controlName": "none", "labelCol": "y"}


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    n = 2000
    x = rng.random(n)
    t = rng.integers(0, 2, n)
    y = (rng.random(n) < 0.2 + 0.5 * t * x).astype(float)
    return pd.DataFrame({"arm": np.where(t == 1, "mail", "none"), "y": y, "x": x, "uplift": np.round(x, 2)})


@pytest.fixture(scope="module")
def scored(spark, frame):
    return spark.createDataFrame(frame)


@pytest.mark.parametrize("style, name", [("grf", "autoc"), ("sklift", "qini"), ("sklift", "uplift_at_30")])
def test_the_metric_of_the_rows(scored, frame, style, name):
    evaluator = su.UpliftEvaluator(metricName=name, style=style, **GIVEN)
    expected = metrics.score(
        name, style=style, y=frame["y"], arm=frame["arm"].to_numpy(), score=frame["uplift"], control="none"
    )
    assert evaluator.evaluate(scored) == pytest.approx(expected, rel=1e-9)
    assert evaluator.isLargerBetter()


def test_params_can_be_overridden_for_one_call(scored):
    evaluator = su.UpliftEvaluator(**GIVEN)
    as_qini = evaluator.evaluate(scored, {evaluator.metricName: "qini"})
    assert as_qini == su.UpliftEvaluator(metricName="qini", **GIVEN).evaluate(scored)


def test_it_is_saved_and_loaded_under_its_public_name(spark, tmp_path):
    path = str(tmp_path / "evaluator")
    su.UpliftEvaluator(metricName="qini", style="ydf", treatmentNames=["b", "a"], **GIVEN).save(path)
    assert '"class":"spark_uplift.UpliftEvaluator"' in spark.read.text(path + "/metadata").head()[0]
    loaded = su.UpliftEvaluator.load(path)
    assert loaded.getOrDefault("metricName") == "qini"
    assert loaded.getOrDefault("treatmentNames") == ["b", "a"]
    assert loaded.getOrDefault("scoreCol") == "uplift"


class Ranker(Model):
    """Scores by x, or by its opposite."""

    sign = Param(Params._dummy(), "sign", "1 or -1")

    def __init__(self):
        super().__init__()
        self._setDefault(sign=1.0)

    def fit(self, dataset, params=None):
        return self

    def fitMultiple(self, dataset, paramMaps):
        return enumerate([self.copy(params) for params in paramMaps])

    def _transform(self, dataset):
        from pyspark.sql import functions as F

        return dataset.drop("uplift").withColumn("uplift", F.array(F.col("x") * self.getOrDefault(self.sign)))


def test_a_cross_validator_chooses_by_it(scored):
    ranker = Ranker()
    grid = ParamGridBuilder().addGrid(ranker.sign, [-1.0, 1.0]).build()
    evaluator = su.UpliftEvaluator(metricName="qini", **GIVEN)
    chosen = CrossValidator(
        estimator=ranker, estimatorParamMaps=grid, evaluator=evaluator, numFolds=2, seed=1
    ).fit(scored)
    assert chosen.avgMetrics[1] > 0 > chosen.avgMetrics[0]
    assert chosen.bestModel.getOrDefault("sign") == 1.0


def test_columns_must_be_given(scored):
    with pytest.raises(ConfigError, match="'labelCol' parameter of UpliftEvaluator must be set. Got None"):
        su.UpliftEvaluator(treatmentCol="arm", controlName="none").evaluate(scored)


def test_an_unknown_parameter_is_refused():
    with pytest.raises(ConfigError, match="'metric' instead|Got 'metric'"):
        su.UpliftEvaluator(**GIVEN).setParams(metric="qini")


def test_a_value_of_the_wrong_type_is_refused():
    with pytest.raises(ConfigError, match="UpliftEvaluator: .*treatmentNames"):
        su.UpliftEvaluator(treatmentNames=3)


def test_an_unknown_metric_is_refused(scored):
    with pytest.raises(DataError, match="'name' parameter of metrics must be one of"):
        su.UpliftEvaluator(metricName="roi", **GIVEN).evaluate(scored)
