"""Parameters of trees and forests: what is refused, and all of it at once. No Spark session needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import spark_uplift as su
from spark_uplift.errors import ConfigError
from spark_uplift.learners.params import UpliftParams

GIVEN: dict[str, Any] = {
    "treatmentCol": "arm",
    "controlName": "none",
    "labelCol": "y",
    "featureCols": ["a", "b"],
}


def forest(**settings: Any) -> su.UpliftForest:
    return su.UpliftForest(**{**GIVEN, **settings})


@pytest.mark.parametrize(
    "strategy, n_features, expected",
    [
        ("auto", 12, 4), ("sqrt", 12, 4), ("auto", 1, 1), ("auto", 16, 4), ("all", 12, 12), ("onethird", 10, 4),
        (5, 12, 5), ("5", 12, 5), (50, 12, 12), (1, 12, 1), (1.0, 12, 12), (0.5, 12, 6), (0.01, 12, 1), ("0.3", 10, 3),
        (2.5, 12, 3), (np.float64(0.5), 12, 6), (np.int32(5), 12, 5), (np.float32(0.5), 12, 6),
    ],
)  # fmt: skip
def test_features_tried_at_a_node(strategy, n_features, expected):
    assert forest(featureSubsetStrategy=strategy).features_per_node(n_features) == expected


def test_defaults_are_those_of_the_design():
    plain = su.UpliftForest()
    expected = {
        "criterion": "gradient", "normalization": "paper", "numTrees": 100, "maxDepth": 7, "maxBins": 64,
        "minInstancesPerNode": 200, "minInstancesPerArm": 20, "nReg": 100.0, "shrinkage": 500.0,
        "subsamplingRate": 1.0, "bootstrap": True, "featureSubsetStrategy": "auto", "honest": False,
        "intervals": False, "intervalLevel": 0.9, "strategy": "auto", "checkpointPath": None, "seed": 1,
        "idCol": None, "weightCol": None,
        "propensityCol": None, "clusterCol": None, "upliftCol": "uplift", "recommendedCol": "recommended",
    }  # fmt: skip
    assert {name: plain.value(name) for name in expected} == expected
    assert {p.name for p in plain.params} == {*expected, *GIVEN}
    assert all(param.doc.endswith(".") for param in plain.params)


def test_settings_are_handed_on():
    settings = forest(numTrees=3, honest=True, nReg=2, featureSubsetStrategy="all").settings(2)
    assert (settings.num_trees, settings.honest, settings.n_reg, settings.features_per_node) == (
        3,
        True,
        2.0,
        2,
    )


def test_arguments_have_keywords():
    with pytest.raises(TypeError, match="forces keyword arguments"):
        su.UpliftForest("arm")


def test_values_of_wrong_types_are_told_together():
    with pytest.raises(ConfigError, match="^6 faults in the configuration") as caught:
        forest(
            numTrees=2.5, maxDepth="deep", nReg="x", honest=1, featureCols="a", idCol=3,
        )  # fmt: skip
    for message in (
        "'numTrees' parameter of UpliftForest must be an int. Got 2.5 instead",
        "'maxDepth' parameter of UpliftForest must be an int. Got 'deep' instead",
        "'nReg' parameter of UpliftForest must be a number. Got 'x' instead",
        "'honest' parameter of UpliftForest must be True or False. Got 1 instead",
        "'featureCols' parameter of UpliftForest must be a list of strings. Got 'a' instead",
        "'idCol' parameter of UpliftForest must be a string or None. Got 3 instead",
    ):
        assert caught.match(message)
    with pytest.raises(
        ConfigError, match="'featureSubsetStrategy' parameter .* must be a string or a number. Got True"
    ):
        forest(featureSubsetStrategy=True)


def test_set_params():
    plain = forest(numTrees=3, idCol="id")
    assert plain.setParams(numTrees=5, seed=2) is plain
    assert (plain.value("numTrees"), plain.value("seed")) == (5, 2)
    plain.setParams(idCol=None, numTrees=None)
    assert (plain.value("idCol"), plain.value("numTrees")) == (None, 100)


def test_set_params_with_an_unknown_name():
    plain = forest()
    with pytest.raises(
        ConfigError, match=r"'name' parameter of UpliftForest must be one of \[.*'numTrees'.*\]. Got 'numTree' "
        "instead. Hint: did you mean 'numTrees'?",
    ):  # fmt: skip
        plain.setParams(numTree=5, seed=7)
    assert plain.value("seed") == 1, "nothing is set when something is wrong"


BAD = {
    "numTrees": (0, r"an int of 1 or more"),
    "maxDepth": (31, r"an int in \[0, 30\]"),
    "maxBins": (255, r"an int in \[2, 254\]"),
    "minInstancesPerNode": (0, "an int of 1 or more"),
    "minInstancesPerArm": (0, "an int of 1 or more"),
    "nReg": (-1.0, "a number of 0 or more"),
    "shrinkage": (float("nan"), "a number of 0 or more"),
    "subsamplingRate": (0.0, r"a number in \(0, 1\]"),
    "intervalLevel": (1.0, r"a number in \(0, 1\)"),
    "featureSubsetStrategy": ("some", "'auto', 'all', 'sqrt', 'onethird' or a number above 0"),
    "strategy": ("data", r"one of \['auto', 'tree_parallel', 'data_parallel'\]"),
    "criterion": ("entropy", "one of kl, ed, chi"),
}


def test_bad_values_are_told_together():
    bad = su.UpliftForest(
        treatmentCol="arm",
        featureCols=["a", "a", "g"],
        clusterCol="g",
        **{name: value for name, (value, _) in BAD.items()},
    )
    with pytest.raises(ConfigError) as caught:
        bad.check()
    for name, (_, expected) in BAD.items():
        assert caught.match(f"'{name}' parameter .*must be {expected}")
    for name in ("controlName", "labelCol"):
        assert caught.match(f"The '{name}' parameter of UpliftForest must be given. Got None instead")
    assert len(caught.value.faults) == len(BAD) + 4


def test_bad_columns_are_told_with_bad_values():
    with pytest.raises(ConfigError, match="^5 faults") as caught:
        forest(
            numTrees=0, featureCols=["a", "a", "g"], clusterCol="g", labelCol="arm", minInstancesPerArm=0
        ).check()
    assert caught.match(r"'featureCols' parameter .*must be a list of different columns. Got \['a'\] instead")
    assert caught.match(
        "must be without the clusterCol. Got 'g' instead. Hint: 'g' has the role of clusterCol"
    )
    assert caught.match(
        "'labelCol' parameter .*must be another column than the treatmentCol. Got 'arm' instead"
    )


@pytest.mark.parametrize("role", ["treatmentCol", "labelCol", "idCol", "weightCol", "propensityCol"])
def test_a_column_can_not_be_a_feature_and_something_else(role):
    with pytest.raises(ConfigError, match=f"must be without the {role}. Got 'b' instead"):
        forest(**{role: "b"}).check()


def test_no_features():
    with pytest.raises(ConfigError, match=r"must be a list of one column or more. Got \[\] instead"):
        forest(featureCols=[]).check()


def test_a_normalization_that_the_criterion_does_not_have():
    with pytest.raises(
        ConfigError,
        match="'normalization' parameter .*must be one of .* with criterion 'gradient'. Got 'causalml'",
    ):
        forest(normalization="causalml").check()


def test_intervals_need_some_trees():
    with pytest.raises(
        ConfigError, match="'numTrees' parameter .*must be 8 or more when intervals are wanted. Got 4"
    ):
        forest(intervals=True, numTrees=4).check()


def test_faults_name_the_tree():
    with pytest.raises(ConfigError, match="'maxDepth' parameter of UpliftTree must be"):
        su.UpliftTree(**GIVEN, maxDepth=-1).check()


def test_roles_of_columns():
    columns = forest(idCol="id", weightCol="w", propensityCol="e", clusterCol="g").columns()
    assert columns.named() == ["a", "b", "arm", "y", "id", "w", "e", "g"]
    assert UpliftParams.columns(forest()).unit is None
