"""What MLflow is given: nothing here starts it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from spark_uplift import tracking, tracking_values
from spark_uplift.config import MlflowConfig
from spark_uplift.core.binning import FeatureBins
from spark_uplift.errors import ConfigError, EnvironmentFaultError, TableError
from tests.unit import grown


def test_the_default_is_a_database_in_the_warehouse(tmp_path: Path) -> None:
    where = tmp_path / "ware house é #1"
    uri = tracking_values.uri_of(MlflowConfig(), where)
    assert uri == f"sqlite:///{where}/mlflow.db"
    assert (
        tracking_values.uri_of(
            MlflowConfig(), where.as_uri().replace("%20", " ").replace("%C3%A9", "é").replace("%23", "#")
        )
        == uri
    )
    assert tracking_values.artifact_location(uri, where) == (where / "mlartifacts").as_uri()


def test_a_configured_server_is_used(tmp_path: Path) -> None:
    settings = MlflowConfig(tracking_uri="http://127.0.0.1:1")
    assert tracking_values.uri_of(settings, "s3://bucket/w") == "http://127.0.0.1:1"
    assert tracking_values.artifact_location("http://127.0.0.1:1", tmp_path) is None
    assert (
        tracking_values.artifact_location("postgresql+psycopg://h/db", tmp_path)
        == (tmp_path / "mlartifacts").as_uri()
    )
    assert tracking_values.artifact_location("sqlite:////x/mlflow.db", "s3://bucket/w") is None


@pytest.mark.parametrize("warehouse", ["s3://bucket/w", "dbfs:/w", "/tmp/a?b", "/tmp/a%20b"])
def test_warehouses_without_a_default(warehouse: str) -> None:
    with pytest.raises(ConfigError, match=r"'mlflow.tracking_uri' parameter .* Hint: the warehouse is"):
        tracking_values.uri_of(MlflowConfig(), warehouse)


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TableError, match=r"can't be written: .*Hint: choose another folder"):
        tracking_values.make_folder(f"sqlite:///{tmp_path}/file/mlflow.db")


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a:b", 'a"b'])
def test_model_names_that_the_registry_refuses(name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"'mlflow.model_name' parameter of the configuration must be a name without"
    ):
        tracking_values.check_names(name, "champion")


@pytest.mark.parametrize("alias", ["", "latest", "v3", "a b", "x" * 256])
def test_aliases_that_the_registry_refuses(alias: str) -> None:
    with pytest.raises(ConfigError, match=r"'mlflow.alias' parameter of the configuration must be letters"):
        tracking_values.check_names("randhie", alias)


def test_both_names_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)2 faults.*model_name.*alias"):
        tracking_values.check_names("a/b", "v1")


def test_ordinary_keys_stay_and_others_become_ones_that_differ() -> None:
    names = [
        "auuc",
        "qini/a/lower",
        "95-100 %",
        "95-100 $",
        "../x",
        "/abs",
        "a//b",
        ".",
        "",
        "größe",
        "x" * 300,
    ]
    found = tracking_values.keys(names)
    assert found[:3] == ["auuc", "qini/a/lower", "95-100 _"]
    assert found[3].startswith("95-100 __")
    assert found[9] == "größe"
    assert len(set(found)) == len(names)
    assert all(0 < len(key) <= tracking_values.KEY_LENGTH for key in found)
    assert tracking_values.keys(names) == found


def test_values_as_text() -> None:
    given = {
        "forest": {"numTrees": 20, "honest": False, "nReg": 100.0},
        "features": ["a", "ü"],
        "none": None,
        "e": {},
    }
    assert tracking_values.strings(given, 100) == {
        "forest.numTrees": "20",
        "forest.honest": "false",
        "forest.nReg": "100.0",
        "features": '["a", "ü"]',
        "none": "null",
        "e": "{}",
    }


def test_long_values_are_cut() -> None:
    (value,) = tracking_values.strings({"a": "x" * 50}, 10).values()
    assert value == "xxxxxxxxx…"


def test_requirements_name_what_the_loader_imports() -> None:
    named = [line.split("==")[0] for line in tracking_values.requirements()]
    assert named == ["spark_uplift", "numpy", "pandas", "pyarrow", "numba"]


def test_the_example_is_made_up_and_can_be_scored() -> None:
    from spark_uplift.serving import UpliftScorer

    forest = grown.forest()
    frame = tracking_values.example(forest)
    assert list(frame.columns) == [bins.name for bins in forest.features]
    assert not frame.isna().to_numpy().any()
    real = grown.rows()
    keys = list(frame.columns)
    assert real.merge(frame, on=keys).empty
    assert len(UpliftScorer(forest).predict(frame)) == len(frame)


def test_the_example_of_features_that_never_vary() -> None:
    assert tracking_values._made_up(FeatureBins("x"), 0, 0) == 0.0
    assert tracking_values._made_up(FeatureBins("x", levels=(), pooled=True), 2, 5) == "other"


def test_without_mlflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(
        EnvironmentFaultError, match=r"needs the package mlflow. Hint: pip install 'spark_uplift\[mlflow\]'"
    ):
        tracking.log_run(grown.forest(), warehouse=tmp_path, run_id="r-1", run_name="r")
