from __future__ import annotations

import inspect
import pickle

import pytest

from spark_uplift import errors
from spark_uplift.errors import (
    CheckFailedError,
    ColumnNotFoundError,
    ConfigError,
    DataError,
    SparkUpliftError,
    bad_value,
    nearest,
)

EXIT_CODES = {
    "SparkUpliftError": 1,
    "ConfigError": 2,
    "DataError": 2,
    "ColumnNotFoundError": 2,
    "CheckFailedError": 3,
    "TableError": 1,
    "ModelError": 1,
    "EnvironmentFaultError": 1,
}


def test_every_error_has_the_exit_code_of_the_tree() -> None:
    public = {
        name: cls for name, cls in vars(errors).items() if inspect.isclass(cls) and name in errors.__all__
    }
    assert {name: cls.exit_code for name, cls in public.items()} == EXIT_CODES
    assert all(issubclass(cls, SparkUpliftError) for cls in public.values())


def test_one_fault_is_the_message_itself() -> None:
    with pytest.raises(ConfigError, match="^only this$"):
        raise ConfigError("only this")


def test_several_faults_are_listed() -> None:
    error = DataError(["a is wrong", "b is wrong"])
    assert str(error) == "2 faults in the data:\n  - a is wrong\n  - b is wrong"
    assert error.faults == ["a is wrong", "b is wrong"]


@pytest.mark.parametrize(
    "error",
    [
        ConfigError(["a", "b"]),
        ColumnNotFoundError.of(["ag"], ["age"]),
        CheckFailedError("srm", [{"check": "srm"}]),
    ],
)
def test_errors_survive_pickling(error: SparkUpliftError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_missing_columns_list_what_is_there_and_the_nearest_name() -> None:
    error = ColumnNotFoundError.of(["Visits", "zzz"], ["visit", "arm"])
    assert str(error) == (
        "The following columns were not found: ['Visits', 'zzz']. Available columns: ['visit', 'arm']. "
        "Hint: did you mean 'visit' for 'Visits'?"
    )
    assert "Hint" not in str(ColumnNotFoundError.of(["zzz"], ["visit"]))


def test_the_sentence_for_bad_values() -> None:
    sentence = bad_value("maxBins", "UpliftForest", "an int in the range [2, 254]", 300)
    assert (
        sentence
        == "The 'maxBins' parameter of UpliftForest must be an int in the range [2, 254]. Got 300 instead."
    )
    assert bad_value("a", "B", "c", "d", "e").endswith("Got 'd' instead. Hint: e")


@pytest.mark.parametrize(
    ("name", "expected"), [("numTree", "numTrees"), ("NUMTREES", "numTrees"), ("q", None)]
)
def test_nearest(name: str, expected: str | None) -> None:
    assert nearest(name, ["numTrees", "maxDepth"]) == expected
