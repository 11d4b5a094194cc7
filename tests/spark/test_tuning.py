"""Forests as stages of pyspark.ml: pipelines, cross-validation, saved estimators."""

from __future__ import annotations

import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.feature import SQLTransformer
from pyspark.ml.tuning import CrossValidator, CrossValidatorModel, ParamGridBuilder

import spark_uplift as su
from spark_uplift.errors import ConfigError
from tests.spark.forests import forest

SCALED = "SELECT *, income * 2.0 AS income2 FROM __THIS__"
EVALUATED = {"treatmentCol": "arm", "controlName": "none", "labelCol": "visit"}


def same_scores(one, other, df) -> bool:
    return (
        one.transform(df).select("id", "uplift").collect()
        == other.transform(df).select("id", "uplift").collect()
    )


@pytest.mark.parametrize("others", [0, 1])
def test_pipelines_are_fitted_saved_and_loaded(units, tmp_path, others):
    features = ["income2" if others else "income", "town"]
    stages = [*[SQLTransformer(statement=SCALED)][:others], forest(featureCols=features, numTrees=1)]
    Pipeline(stages=stages).save(str(tmp_path / "pipeline"))
    fitted = Pipeline.load(str(tmp_path / "pipeline")).fit(units)
    fitted.save(str(tmp_path / "model"))
    loaded = PipelineModel.load(str(tmp_path / "model"))
    assert isinstance(loaded.stages[-1], su.UpliftForestModel)
    assert loaded.stages[-1].digest == fitted.stages[-1].digest
    assert same_scores(loaded, fitted, units.limit(20))


@pytest.mark.parametrize("kind", [su.UpliftForest, su.UpliftTree])
def test_estimators_are_saved_under_their_public_names(spark, tmp_path, kind):
    path = str(tmp_path / "estimator")
    kind(treatmentCol="a", featureCols=["x"], featureSubsetStrategy=0.5, numTrees=3).save(path)
    assert f'"class":"spark_uplift.{kind.__name__}"' in spark.read.text(f"{path}/metadata").head()[0]
    loaded = kind.load(path)
    assert type(loaded) is kind
    assert (loaded.value("numTrees"), loaded.value("featureSubsetStrategy")) == (3, "0.5")
    assert loaded.value("bootstrap") is (kind is su.UpliftForest)
    assert loaded.value("featureCols") == ["x"]
    assert not loaded.isDefined("labelCol")
    with pytest.raises(ConfigError, match="'labelCol' parameter .*must be given"):
        loaded.check()


@pytest.mark.filterwarnings("ignore:All scores of the arm 'mail' are equal:UserWarning")
def test_cross_validation(units, tmp_path):
    """A forest of roots ranks nobody; cross-validation takes the other one."""
    small = forest(numTrees=1, bootstrap=False, featureSubsetStrategy="all")
    grid = ParamGridBuilder().addGrid(small.maxDepth, [0, 3]).build()
    pipeline = Pipeline(stages=[SQLTransformer(statement=SCALED), small])
    evaluator = su.UpliftEvaluator(metricName="autoc", **EVALUATED)
    search = CrossValidator(
        estimator=pipeline, estimatorParamMaps=grid, evaluator=evaluator, numFolds=2, seed=1
    )
    found = search.fit(units)
    assert len(found.avgMetrics) == 2
    assert found.avgMetrics[1] > found.avgMetrics[0] == 0.0
    best = found.bestModel.stages[-1]
    assert best.value("maxDepth") == 3
    found.save(str(tmp_path / "search"))
    loaded = CrossValidatorModel.load(str(tmp_path / "search"))
    assert loaded.bestModel.stages[-1].digest == best.digest
    assert loaded.getEstimator().getStages()[-1].value("numTrees") == 1
    assert loaded.getEvaluator().getOrDefault("metricName") == "autoc"
