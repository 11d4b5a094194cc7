"""Scoring without Spark."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spark_uplift import serving
from spark_uplift.core.forest import Forest
from spark_uplift.errors import ColumnNotFoundError, DataError, ModelError
from spark_uplift.spark import persist
from tests.unit import grown
from tests.unit.grown import HOSTILE, TOWN


@pytest.fixture(scope="module")
def forest() -> Forest:
    return grown.forest()


@pytest.fixture(scope="module")
def model(forest: Forest, tmp_path_factory: pytest.TempPathFactory) -> serving.UpliftScorer:
    folder = tmp_path_factory.mktemp("served") / "forest"
    persist.write_local(forest, folder)
    return serving._load_pyfunc(str(folder))


def uplift(model: serving.UpliftScorer, frame: pd.DataFrame) -> np.ndarray:
    return np.stack(model.predict(frame)["uplift"].to_list())


def test_scores_are_those_of_a_slow_walk(model: serving.UpliftScorer) -> None:
    frame = grown.rows(60, seed=11)
    found = uplift(model, frame)
    assert len(np.unique(found)) > 10
    np.testing.assert_allclose(found, grown.walked(model.forest, frame), rtol=1e-12)


def test_the_recommended_arm_has_the_largest_positive_uplift(model: serving.UpliftScorer) -> None:
    frame = grown.rows(300, seed=5)
    out = model.predict(frame)
    names = ["a/2 %", "b 1"]
    for values, name in zip(out["uplift"], out["recommended"], strict=True):
        assert name == (names[int(np.argmax(values))] if max(values) > 0 else "no offer")
    assert list(out.columns) == ["uplift", "recommended"]
    assert out["recommended"].nunique() >= 2


def test_a_tie_goes_to_the_first_arm_and_zero_to_the_control(model: serving.UpliftScorer) -> None:
    values = np.array([[0.5, 0.5], [0.0, 0.0], [-1.0, -2.0], [0.1, 0.2]])
    assert model._recommend(values).tolist() == ["a/2 %", "no offer", "no offer", "b 1"]


def test_column_order_further_columns_and_the_index_do_not_matter(model: serving.UpliftScorer) -> None:
    frame = grown.rows(50)
    shuffled = frame[[TOWN, "age", HOSTILE]].assign(more=1)
    shuffled.index = pd.Index([f"u{i}" for i in range(50)])
    out = model.predict(shuffled)
    assert out.index.equals(shuffled.index)
    np.testing.assert_array_equal(np.stack(out["uplift"].to_list()), uplift(model, frame))
    assert list(shuffled.columns) == [TOWN, "age", HOSTILE, "more"]


def test_a_row_scores_the_same_alone(model: serving.UpliftScorer) -> None:
    frame = grown.rows(20)
    one_by_one = np.concatenate([uplift(model, frame.iloc[[i]]) for i in range(20)])
    np.testing.assert_array_equal(one_by_one, uplift(model, frame))


@pytest.mark.parametrize(
    "convert",
    [
        lambda s: s.astype(int),
        lambda s: s.astype("int32"),
        lambda s: s.astype("Int64"),
        lambda s: s.astype("float32"),
        lambda s: s.astype("category"),
        lambda s: s.astype(object),
        lambda s: s.astype("double[pyarrow]"),
        lambda s: s.map(lambda x: Decimal(int(x))),
    ],
)
def test_numbers_of_any_type(model: serving.UpliftScorer, convert) -> None:
    frame = grown.rows(40)
    np.testing.assert_array_equal(
        uplift(model, frame.assign(age=convert(frame["age"]))), uplift(model, frame)
    )


@pytest.mark.parametrize("kind", ["category", "string", "string[pyarrow]", object])
def test_text_of_any_type(model: serving.UpliftScorer, kind) -> None:
    frame = grown.rows(40)
    np.testing.assert_array_equal(
        uplift(model, frame.assign(**{TOWN: frame[TOWN].astype(kind)})), uplift(model, frame)
    )


def test_none_and_nan_are_missing(model: serving.UpliftScorer) -> None:
    frame = grown.rows(10)
    as_nan = frame.assign(age=np.nan, **{TOWN: [np.nan] * 10})
    as_none = frame.assign(age=None, **{TOWN: [None] * 10})
    as_na = frame.assign(age=pd.array([pd.NA] * 10, "Int64"), **{TOWN: pd.array([pd.NA] * 10, "string")})
    expected = grown.walked(model.forest, as_none)
    for given in (as_nan, as_none, as_na):
        np.testing.assert_allclose(uplift(model, given), expected, rtol=1e-12)


def test_an_unseen_level_is_missing_where_nothing_was_pooled(model: serving.UpliftScorer) -> None:
    frame = grown.rows(30)
    assert not model.forest.features[2].pooled
    unseen, missing = frame.assign(**{TOWN: "elm"}), frame.assign(**{TOWN: None})
    np.testing.assert_array_equal(uplift(model, unseen), uplift(model, missing))


def test_no_rows(model: serving.UpliftScorer) -> None:
    out = model.predict(grown.rows(5).iloc[:0])
    assert list(out.columns) == ["uplift", "recommended"]
    assert len(out) == 0


def test_missing_columns_are_named_with_the_nearest(model: serving.UpliftScorer) -> None:
    frame = grown.rows(5).rename(columns={"age": "Age"}).drop(columns=TOWN)
    with pytest.raises(ColumnNotFoundError, match=r"not found: \['age', .*did you mean 'Age' for 'age'"):
        model.predict(frame)


def test_all_misfits_are_reported_together(model: serving.UpliftScorer) -> None:
    frame = grown.rows(3).assign(age=["young", "old", None], **{TOWN: [1, 2, 3]})
    with pytest.raises(
        DataError, match=r"(?s)2 faults.*'age' must hold numbers.*must hold text as in training"
    ):
        model.predict(frame)


@pytest.mark.parametrize(
    "values, message",
    [
        ([1.0, "x", 2.0], "must hold numbers as in training. Got a mixture"),
        ([True, False, True], "must hold numbers as in training. Got bool instead"),
        ([[1.0], [2.0], [3.0]], "must hold numbers as in training. Got list"),
    ],
)
def test_values_that_are_no_numbers(model: serving.UpliftScorer, values: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        model.predict(grown.rows(3).assign(age=values))


def test_a_column_that_is_there_twice(model: serving.UpliftScorer) -> None:
    frame = grown.rows(3)
    with pytest.raises(DataError, match=r"'age' must be there once. Got 2"):
        model.predict(pd.concat([frame, frame[["age"]]], axis=1))


def test_something_else_than_a_frame(model: serving.UpliftScorer) -> None:
    with pytest.raises(DataError, match="must be a pandas DataFrame .* Got list"):
        model.predict([{"age": 1.0}])


def test_booleans_are_the_levels_that_spark_writes(forest: Forest) -> None:
    bins = serving.FeatureBins("member", levels=("false", "true"))
    assert serving._feature(bins, pd.Series([True, False, None], dtype=object)).to_pylist() == [
        "true",
        "false",
        None,
    ]
    assert serving._feature(bins, pd.Series([True, False])).to_pylist() == ["true", "false"]


def test_intervals_and_output_names(tmp_path: Path) -> None:
    forest = grown.forest(trees=8, intervals=True)
    params = {
        "paramMap": {"upliftCol": "lift"},
        "defaultParamMap": {"upliftCol": "uplift", "intervalLevel": 0.5},
    }
    persist.write_local(forest, tmp_path / "m", params)
    model = serving._load_pyfunc(str(tmp_path / "m"))
    assert model.level == 0.5
    out = model.predict(grown.rows(20))
    assert list(out.columns) == ["lift", "lift_lower", "lift_upper", "recommended"]
    low, mid, high = (np.stack(out[name].to_list()) for name in ("lift_lower", "lift", "lift_upper"))
    assert np.all((low <= mid) & (mid <= high))
    wide = serving.UpliftScorer(forest, level=0.99).predict(grown.rows(20))
    assert np.all(np.stack(wide["uplift_upper"].to_list()) >= high)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="must hold a saved model"):
        serving._load_pyfunc(str(tmp_path))
    with pytest.raises(ModelError, match="Got no metadata there"):
        serving.read_metadata(tmp_path)


@pytest.mark.parametrize("text, message", [("{", "is damaged"), ("[1]", "Got other metadata instead")])
def test_damaged_metadata(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "part-00000").write_text(text)
    with pytest.raises(ModelError, match=message):
        serving.read_metadata(tmp_path)


def test_an_altered_model_is_refused(forest: Forest, tmp_path: Path) -> None:
    persist.write_local(forest, tmp_path)
    line = tmp_path / "metadata" / "part-00000"
    found = json.loads(line.read_text())
    found["sparkUplift"]["control"] = "b 1 "
    line.write_text(json.dumps(found))
    with pytest.raises(ModelError, match="must have the digest"):
        serving._load_pyfunc(str(tmp_path))


def test_neither_spark_nor_mlflow_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys, spark_uplift.serving; "
        "print([m for m in ('pyspark', 'mlflow', 'delta') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
