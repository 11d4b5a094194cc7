"""Model files: saved and loaded with Spark and without, and never taken when they are not what was saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import spark_uplift as su
from spark_uplift.errors import ModelError
from spark_uplift.spark import persist


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "a model"
    model.save(str(path))
    return path


@pytest.fixture
def copied(saved, tmp_path) -> Path:
    """A copy to damage; Hadoop's checksums, which would notice first, are left behind."""
    for folder in ("metadata", "trees"):
        (tmp_path / folder).mkdir()
        for file in (saved / folder).glob("part-*"):
            (tmp_path / folder / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change_metadata(path: Path, change) -> None:
    (file,) = (p for p in (path / "metadata").glob("part-*") if p.stat().st_size)
    found = json.loads(file.read_text())
    change(found)
    file.write_text(json.dumps(found) + "\n")


def loaders(path: Path):
    """Both ways to read a model."""
    return [lambda: su.UpliftForestModel.load(str(path)).forest, lambda: persist.read_local(path)]


def test_a_saved_model_comes_back(spark, saved, model, units):
    found = su.UpliftForestModel.load(str(saved))
    assert found.digest == model.digest
    assert found.uid == model.uid
    assert found.featureImportances == model.featureImportances
    assert found.forest.training == model.forest.training
    for param in model.params:
        assert found.isSet(param.name) == model.isSet(param.name)
        if model.isDefined(param):
            assert found.value(param.name) == model.value(param.name)
    sent = units.limit(20)
    assert found.transform(sent).collect() == model.transform(sent).collect()
    assert found.explain(sent).count() == 20


def test_files_are_json_and_parquet(saved):
    files = {p.suffix for p in saved.rglob("part-*")}
    assert files == {".txt", ".parquet"}
    (line,) = [p.read_text() for p in (saved / "metadata").glob("part-*") if p.stat().st_size]
    found = json.loads(line)
    assert found["class"] == "spark_uplift.UpliftForestModel"
    assert found["sparkUplift"]["format"] == 1


def test_saving_twice_needs_overwrite(tmp_path, model):
    path = str(tmp_path / "m")
    model.save(path)
    with pytest.raises(
        ModelError, match=r"path '.*/m' must not hold a model yet. Got one there instead. Hint: .*overwrite"
    ):
        model.save(path)
    other = su.UpliftForestModel(replace(model.forest, trees=model.forest.trees[:1]))
    other.write().overwrite().save(path)
    assert su.UpliftForestModel.load(path).digest == other.digest


def test_without_spark_and_back(saved, model, tmp_path):
    forest_ = persist.read_local(saved)
    assert forest_.digest == model.digest
    again = tmp_path / "local"
    line = {"class": "spark_uplift.UpliftForestModel", "uid": "u", "timestamp": 0, "sparkVersion": "4.2.0"}
    persist.write_local(forest_, again, {**line, "paramMap": {"upliftCol": "gain"}, "defaultParamMap": {}})
    assert persist.read_local(again).digest == model.digest
    found = su.UpliftForestModel.load(str(again))
    assert found.digest == model.digest
    assert found.value("upliftCol") == "gain"
    persist.write_local(forest_, again)
    assert su.UpliftForestModel.load(str(again)).value("upliftCol") == "uplift"


def test_gains_survive(saved, model):
    back = persist.read_local(saved)
    for a, b in zip(back.trees, model.forest.trees, strict=True):
        np.testing.assert_array_equal(a.gain, b.gain)


def test_a_tampered_tree(copied):
    (file,) = (copied / "trees").glob("*.parquet")
    table = pq.read_table(file)
    effect = table.column("effect").to_pylist()
    effect[0][0] += 1e-12
    changed = table.set_column(table.schema.get_field_index("effect"), "effect", [effect])
    pq.write_table(changed.cast(table.schema), file)
    for load in loaders(copied):
        with pytest.raises(
            ModelError, match=r"must have the digest [0-9a-f]{64}. Got [0-9a-f]{64} instead: its files"
        ):
            load()


def test_missing_nodes(copied):
    (file,) = (copied / "trees").glob("*.parquet")
    pq.write_table(pq.read_table(file).slice(1), file)
    for load in loaders(copied):
        with pytest.raises(ModelError, match="must have the digest"):
            load()


def test_no_nodes(copied):
    (file,) = (copied / "trees").glob("*.parquet")
    pq.write_table(pq.read_table(file).slice(0, 0), file)
    for load in loaders(copied):
        with pytest.raises(
            ModelError, match="must have trees. Got none instead. Hint: was its saving cut short"
        ):
            load()


def test_nodes_that_are_not_a_table(copied):
    (file,) = (copied / "trees").glob("*.parquet")
    file.write_bytes(b"PAR1 nothing PAR1")
    for load in loaders(copied):
        with pytest.raises(ModelError, match="is damaged: .{10,300}$"):
            load()


def test_nodes_of_another_table(copied):
    (file,) = (copied / "trees").glob("*.parquet")
    pq.write_table(pq.read_table(file).drop_columns(["mask"]), file)
    for load in loaders(copied):
        with pytest.raises(ModelError, match="is damaged"):
            load()


def test_a_changed_header(copied):
    change_metadata(copied, lambda found: found["sparkUplift"].update(control="nobody"))
    for load in loaders(copied):
        with pytest.raises(ModelError, match="must have the digest"):
            load()


def test_a_header_that_lacks_something(copied):
    change_metadata(copied, lambda found: found["sparkUplift"].pop("grid"))
    for load in loaders(copied):
        with pytest.raises(ModelError, match="is damaged: 'grid'"):
            load()


def test_a_later_format(copied):
    change_metadata(copied, lambda found: found["sparkUplift"].update(format=2))
    for load in loaders(copied):
        with pytest.raises(
            ModelError, match="must have format 1. Got format 2 instead. Hint: load it with the version"
        ):
            load()


def test_another_kind_of_model(copied):
    change_metadata(copied, lambda found: found.pop("sparkUplift"))
    for load in loaders(copied):
        with pytest.raises(ModelError, match="must be one that spark_uplift has saved. Got other metadata"):
            load()


def test_metadata_that_is_not_json(copied):
    (file,) = (p for p in (copied / "metadata").glob("part-*") if p.stat().st_size)
    file.write_text("{\n")
    for load in loaders(copied):
        with pytest.raises(ModelError, match="is damaged"):
            load()


def test_nothing_there(spark, tmp_path):
    for load in loaders(tmp_path / "nothing"):
        with pytest.raises(
            ModelError, match="must hold a saved model. Got no metadata or trees there instead"
        ):
            load()


def test_a_save_that_was_cut_short(copied):
    """Metadata is written last: trees alone are not a model."""
    for file in (copied / "metadata").glob("*"):
        file.unlink()
    (copied / "metadata").rmdir()
    for load in loaders(copied):
        with pytest.raises(ModelError, match="must hold a saved model. Got no metadata or trees"):
            load()
