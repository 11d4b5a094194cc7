"""Runs and models in MLflow: one small model, logged into a warehouse with an awkward path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_uplift import UpliftForest, UpliftForestModel, serving, tracking
from spark_uplift.config import MlflowConfig
from spark_uplift.errors import ConfigError, EnvironmentFaultError, ModelError
from spark_uplift.spark.columns import column
from spark_uplift.tracking import RunInfo
from tests.unit import grown

N = 2000
INCOME, TOWN = "in.come `€` %", "to\"wn's"
FEATURES = [INCOME, "age", TOWN]
ARM = "25 % / week"
NAME = "randhie é"
PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle")


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    income = rng.normal(size=N)
    town = rng.choice(np.array(["ash", "birch", "cedar", None], dtype=object), N)
    arm = rng.choice(np.array(["no offer", "a:b", ARM], dtype=object), N)
    tau = np.where(arm == ARM, 0.4 * (income > 0) - 0.2, 0.0) + np.where(
        arm == "a:b", 0.3 * (town == "ash"), 0.0
    )
    return pd.DataFrame(
        {
            "id": np.arange(N),
            INCOME: np.where(rng.random(N) < 0.1, np.nan, income),
            "age": rng.integers(18, 80, N).astype("int32"),
            TOWN: town,
            "arm": arm,
            "y": (rng.random(N) < 0.4 + tau).astype(float),
        }
    )


@pytest.fixture(scope="module")
def df(spark: SparkSession) -> DataFrame:
    frame = rows()
    frame[INCOME] = frame[INCOME].astype(object).where(frame[INCOME].notna(), None)
    names = [str(name).replace("`", "``") for name in frame.columns]
    kinds = ["long", "double", "int", "string", "string", "double"]
    schema = ", ".join(f"`{name}` {kind}" for name, kind in zip(names, kinds, strict=True))
    return spark.createDataFrame(frame, schema=schema).coalesce(1).cache()


@pytest.fixture(scope="module")
def model(df: DataFrame) -> UpliftForestModel:
    return UpliftForest(
        treatmentCol="arm", controlName="no offer", labelCol="y", featureCols=FEATURES, idCol="id",
        numTrees=8, maxDepth=4, minInstancesPerNode=50, minInstancesPerArm=10, nReg=10.0, shrinkage=20.0,
    ).fit(df)  # fmt: skip


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracking") / "ware house é #1"


def log(model: Any, warehouse: Path, tmp: Path, **changes: Any) -> RunInfo:
    report = tmp / "report.html"
    report.write_text("<p>first</p>")
    given: dict[str, Any] = {
        "warehouse": warehouse,
        "run_id": "run-1",
        "run_name": 'run\'s "name"',
        "params": {"forest": {"numTrees": 8, "featureCols": FEATURES}, **{f"p{i}": i for i in range(120)}},
        "metrics": {f"autoc_grf/{ARM}": 0.25, "none": None, "inf": float("inf"), "nan": float("nan")},
        "tags": {"spark_uplift.data_version": "delta:3"},
        "table_versions": {"training_view": 3, "uplift_scores": 7},
        "config": {"name": "randhie", "mlflow": {"alias": "champion"}},
        "artifacts": [report],
        "registered_name": NAME,
    }
    return tracking.log_run(model, **(given | changes))


@pytest.fixture(scope="module")
def info(model: UpliftForestModel, warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> RunInfo:
    return log(model, warehouse, tmp_path_factory.mktemp("report"))


@pytest.fixture
def client(info: RunInfo) -> Iterator[Any]:
    """MLflow as a user has it: the process looks at the warehouse's database."""
    import mlflow

    mlflow.set_tracking_uri(info.tracking_uri)
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def arrays(values: Any) -> np.ndarray:
    return np.array([list(v) for v in values], dtype=np.float64)


@pytest.fixture(scope="module")
def scored(model: UpliftForestModel, df: DataFrame) -> pd.DataFrame:
    return model.transform(df).orderBy("id").toPandas()


def test_everything_lies_in_the_warehouse(info: RunInfo, warehouse: Path) -> None:
    assert info.tracking_uri == f"sqlite:///{warehouse}/mlflow.db"
    assert sorted(p.name for p in warehouse.iterdir()) == ["mlartifacts", "mlflow.db"]


def test_params_metrics_and_tags(info: RunInfo, client: Any, model: UpliftForestModel) -> None:
    run = client.get_run(info.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == 'run\'s "name"'
    assert run.data.params["forest.numTrees"] == "8"
    assert json.loads(run.data.params["forest.featureCols"]) == FEATURES
    assert run.data.params["p119"] == "119"
    assert run.data.metrics == {"autoc_grf/25 _ / week": 0.25}
    tags = run.data.tags
    assert tags["spark_uplift.run_id"] == "run-1"
    assert tags["spark_uplift.digest"] == model.digest
    assert tags["spark_uplift.data_version"] == "delta:3"
    assert tags["spark_uplift.table.uplift_scores"] == "7"
    logged = client.get_logged_model(info.model_uri.removeprefix("models:/"))
    assert [(m.key, m.value) for m in logged.metrics] == [("autoc_grf/25 _ / week", 0.25)]


def test_report_and_config_are_artifacts(info: RunInfo, client: Any, tmp_path: Path) -> None:
    assert {file.path for file in client.list_artifacts(info.run_id)} == {"config.json", "report.html"}
    config = Path(client.download_artifacts(info.run_id, "config.json", str(tmp_path)))
    assert json.loads(config.read_text())["mlflow"] == {"alias": "champion"}
    late = tmp_path / "late.html"
    late.write_text("<p>late</p>")
    info.attach(late)
    assert "late.html" in {file.path for file in client.list_artifacts(info.run_id)}
    assert client.get_run(info.run_id).info.status == "FINISHED"


def test_the_model_has_a_signature_an_example_and_no_pickle(
    info: RunInfo, client: Any, tmp_path: Path
) -> None:
    import mlflow

    folder = Path(mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path)))
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} <= {
        "",
        ".json",
        ".parquet",
        ".txt",
        ".yaml",
    }  # no uv.lock, no pyproject.toml
    assert not [p for p in files if p.suffix in PICKLES or p.read_bytes()[:1] == b"\x80"]
    saved = mlflow.models.Model.load(str(folder))
    assert saved.signature.inputs.input_names() == FEATURES
    assert [str(kind) for kind in saved.signature.inputs.input_types()] == [
        "DataType.double", "DataType.double", "DataType.string",
    ]  # fmt: skip
    assert saved.signature.outputs.input_names() == ["uplift", "recommended"]
    assert saved.metadata["treatments"] == [ARM, "a:b"]
    assert saved.load_input_example(str(folder)).shape == (3, 3)
    assert any(
        line.startswith("spark_uplift==") for line in (folder / "requirements.txt").read_text().split()
    )


def test_the_alias_points_at_the_registered_version(
    info: RunInfo, client: Any, model: UpliftForestModel
) -> None:
    version = client.get_model_version_by_alias(NAME, "champion")
    assert str(version.version) == info.model_version == "1"
    assert version.run_id == info.run_id
    assert version.tags["spark_uplift.digest"] == model.digest
    found = tracking.champion(NAME, tracking_uri=info.tracking_uri)
    assert found == RunInfo(info.run_id, f"models:/{NAME}/1", "1", info.tracking_uri)


def test_logging_again_adds_nothing(
    info: RunInfo, client: Any, model: UpliftForestModel, warehouse: Path, tmp_path: Path
) -> None:
    again = log(model, warehouse, tmp_path, table_versions={"uplift_scores": 8}, alias="challenger")
    assert again == info
    assert len(client.search_model_versions("")) == 1
    assert len(client.search_runs(["1"])) == 1
    assert len(client.get_metric_history(info.run_id, "autoc_grf/25 _ / week")) == 1
    assert client.get_run(info.run_id).data.tags["spark_uplift.table.uplift_scores"] == "8"
    assert client.get_model_version_by_alias(NAME, "challenger").version == 1


@pytest.mark.parametrize("step", ["_log_model", "_log_metrics", "_register"])
def test_a_run_that_was_cut_short_is_taken_up(
    step: str, info: RunInfo, client: Any, model: UpliftForestModel, warehouse: Path, tmp_path: Path
) -> None:
    changes = {"run_id": f"cut-{step}", "registered_name": f"cut{step}"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tracking, step, Mock(side_effect=RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            log(model, warehouse, tmp_path, **changes)
    (run,) = client.search_runs(["1"], f"tags.`spark_uplift.run_id` = 'cut-{step}'")
    assert run.info.status == ("FINISHED" if step == "_register" else "FAILED")
    taken_up = log(model, warehouse, tmp_path, **changes)
    assert taken_up.run_id == run.info.run_id
    assert taken_up.model_uri == run.data.tags.get("spark_uplift.model_uri", taken_up.model_uri)
    assert taken_up.model_version == "1"
    assert client.get_run(taken_up.run_id).info.status == "FINISHED"


def test_params_that_changed_make_another_run_of_the_same_version(
    info: RunInfo, client: Any, model: UpliftForestModel, warehouse: Path, tmp_path: Path
) -> None:
    changed = log(model, warehouse, tmp_path, params={"p0": "other"})
    assert changed.run_id != info.run_id
    assert changed.model_version == info.model_version


def test_pyfunc_agrees_with_transform_to_the_bit(
    info: RunInfo, client: Any, df: DataFrame, scored: pd.DataFrame
) -> None:
    import mlflow

    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    found = loaded.predict(df.orderBy("id").toPandas()[[TOWN, "age", INCOME]])
    assert len(np.unique(arrays(scored["uplift"]), axis=0)) > 20
    np.testing.assert_array_equal(arrays(found["uplift"]), arrays(scored["uplift"]))
    assert found["recommended"].tolist() == scored["recommended"].tolist()
    assert set(scored["recommended"]) >= {ARM, "a:b"}


@pytest.mark.parametrize("result_type", [None, "uplift array<double>, recommended string"])
def test_spark_udf_agrees_with_transform_to_the_bit(
    spark: SparkSession,
    info: RunInfo,
    client: Any,
    df: DataFrame,
    scored: pd.DataFrame,
    result_type: str | None,
) -> None:
    import mlflow

    score = mlflow.pyfunc.spark_udf(spark, info.model_uri, result_type=result_type)
    out = (
        df.withColumn("s", score(F.struct(*[column(name) for name in FEATURES])))
        .orderBy("id")
        .select("s.*")
        .toPandas()
    )
    np.testing.assert_array_equal(arrays(out["uplift"]), arrays(scored["uplift"]))
    assert out["recommended"].tolist() == scored["recommended"].tolist()


def test_intervals_agree_with_transform_to_the_bit(spark: SparkSession) -> None:
    forest = grown.forest(intervals=True)
    frame = grown.rows(50)
    frame[grown.HOSTILE] = frame[grown.HOSTILE].astype(object).where(frame[grown.HOSTILE].notna(), None)
    names = [str(name).replace("`", "``") for name in frame.columns]
    df = spark.createDataFrame(
        frame, ", ".join(f"`{n}` {k}" for n, k in zip(names, ("double", "double", "string"), strict=True))
    )
    expected = UpliftForestModel(forest).transform(df.coalesce(1)).toPandas()
    found = serving.scorer(forest, {}).predict(frame)
    for name in ("uplift", "uplift_lower", "uplift_upper"):
        np.testing.assert_array_equal(arrays(found[name]), arrays(expected[name]))


def test_the_native_model_comes_back(
    info: RunInfo, df: DataFrame, model: UpliftForestModel, scored: pd.DataFrame
) -> None:
    loaded = tracking.load_model(f"models:/{NAME}@champion", tracking_uri=info.tracking_uri)
    assert loaded.digest == model.digest
    assert loaded.uid == model.uid
    assert loaded.value("featureCols") == FEATURES
    found = loaded.transform(df).orderBy("id").toPandas()
    np.testing.assert_array_equal(arrays(found["uplift"]), arrays(scored["uplift"]))
    assert tracking.load_forest(info.model_uri, tracking_uri=info.tracking_uri).digest == model.digest


def test_spark_loads_the_logged_folder(
    info: RunInfo, client: Any, model: UpliftForestModel, tmp_path: Path
) -> None:
    import mlflow

    folder = mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path))
    loaded = UpliftForestModel.load(f"{folder}/data/forest")
    assert loaded.digest == model.digest
    assert loaded.value("numTrees") == 8


def test_a_forest_without_params_can_be_logged(info: RunInfo, client: Any, model: UpliftForestModel, warehouse: Path,
                                               tmp_path: Path) -> None:  # fmt: skip
    import mlflow

    settings = MlflowConfig(experiment="other 'one'", model_name="bare")
    mlflow.start_run(experiment_id="1")  # a run of the user's own is left as it is
    try:
        outer = mlflow.active_run().info.run_id
        found = log(model.forest, warehouse, tmp_path, settings=settings, registered_name=None, params=None)
        assert mlflow.active_run().info.run_id == outer
    finally:
        mlflow.end_run()
    run = client.get_run(found.run_id)
    assert run.data.params["numTrees"] == "8"
    assert client.get_experiment(run.info.experiment_id).name == "other 'one'"
    assert tracking.champion("bare", tracking_uri=info.tracking_uri).model_version == "1"
    loaded = tracking.load_model("models:/bare@champion", tracking_uri=info.tracking_uri)
    assert loaded.digest == model.digest


def test_the_tracking_uri_of_the_process_stays(info: RunInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    mlflow.set_tracking_uri("http://127.0.0.1:9")
    try:
        tracking.champion(NAME, tracking_uri=info.tracking_uri)
        assert mlflow.get_tracking_uri() == "http://127.0.0.1:9"
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    tracking.champion(NAME, tracking_uri=info.tracking_uri)
    assert not mlflow.is_tracking_uri_set()


def test_models_that_are_not_there(info: RunInfo, client: Any) -> None:
    uri = info.tracking_uri
    with pytest.raises(ModelError, match="registered model 'nobody' at .* must have an alias 'champion'"):
        tracking.champion("nobody", tracking_uri=uri)
    with pytest.raises(ModelError, match="must have an alias 'nobody'"):
        tracking.champion(NAME, "nobody", tracking_uri=uri)
    with pytest.raises(ModelError, match=r"The model models:/nobody@champion must be at sqlite"):
        tracking.load_forest("models:/nobody@champion", tracking_uri=uri)


def test_a_model_of_another_package(info: RunInfo, client: Any, tmp_path: Path) -> None:
    import mlflow

    (tmp_path / "data").write_text("")
    mlflow.pyfunc.save_model(
        str(tmp_path / "m"),
        loader_module="json",
        data_path=str(tmp_path / "data"),
        pip_requirements=["numpy"],
    )
    with pytest.raises(
        ModelError, match=r"must be one that spark_uplift has logged. Got one with the loader 'json'"
    ):
        tracking.load_forest(str(tmp_path / "m"), tracking_uri=info.tracking_uri)


def test_a_deleted_experiment_is_named(info: RunInfo, client: Any, model: UpliftForestModel, warehouse: Path,
                                       tmp_path: Path) -> None:  # fmt: skip
    client.delete_experiment(client.create_experiment("gone", artifact_location=tmp_path.as_uri()))
    with pytest.raises(
        ConfigError, match=r"must be an active experiment .* Hint: `mlflow experiments restore"
    ):
        log(model, warehouse, tmp_path, settings=MlflowConfig(experiment="gone"))


@pytest.mark.parametrize(
    "kind", ["mlflow.MlflowException", "sqlalchemy.exc.SQLAlchemyError", "requests.ConnectionError"]
)
def test_a_store_that_fails_is_named(info: RunInfo, kind: str) -> None:
    module, _, name = kind.rpartition(".")
    error = getattr(import_module(module), name)("refused\nsecond line")
    expected = r"MLflow at sqlite.* must take what is logged. Got: refused Hint: look at mlflow.tracking_uri"
    with pytest.raises(EnvironmentFaultError, match=expected), tracking._store(info.tracking_uri):
        raise error
