"""The parameters of trees and forests: one list, with pyspark.ml's conventions, validated together at fit."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

from pyspark.ml.param import Param, Params, TypeConverters

from spark_uplift.criteria import registry
from spark_uplift.errors import ConfigError, bad_value, nearest
from spark_uplift.spark.columns import Columns
from spark_uplift.spark.plan import STRATEGIES
from spark_uplift.spark.train import TrainSettings

_SUBSETS = ("auto", "all", "sqrt", "onethird")
_COLUMNS = ("idCol", "weightCol", "propensityCol", "clusterCol")


def param(name: str, doc: str, converter: Any) -> Any:
    """Return a parameter for a class body."""
    return Param(Params._dummy(), name, doc, converter)


def optional_string(value: Any) -> Any:
    """Convert to a string; None stays."""
    return None if value is None else TypeConverters.toString(value)


def optional_strings(value: Any) -> Any:
    """Convert to a list of strings; None stays."""
    return None if value is None else TypeConverters.toListString(value)


def amounts(value: Any) -> dict[str, float]:
    """Convert to a dict of numbers by name."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"Could not convert {value} to a dict of numbers by name")
    return {name: TypeConverters.toFloat(number) for name, number in value.items()}


def _did_you_mean(name: str, known: list[str]) -> str | None:
    near = nearest(name, known)
    return f"did you mean '{near}'?" if near else None


def _subset(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"Could not convert {value} to a string or a number")
    # NumPy's numbers show their type in their repr, so plain ones are made of them first.
    return repr(int(value) if isinstance(value, numbers.Integral) else float(value))


_KINDS: dict[Any, str] = {
    TypeConverters.toInt: "an int",
    TypeConverters.toFloat: "a number",
    TypeConverters.toString: "a string",
    TypeConverters.toBoolean: "True or False",
    TypeConverters.toListString: "a list of strings",
    optional_string: "a string or None",
    optional_strings: "a list of strings or None",
    amounts: "a dict of numbers by arm",
    _subset: "a string or a number",
}
"""What each converter takes, in words."""


class NamedParams(Params):
    """Parameters that are read, set and complained about by name."""

    def setting(self, name: str) -> Any:
        """Return the value of the parameter called ``name``, or its default."""
        return self.getOrDefault(self.getParam(name))

    def assign(self, given: Mapping[str, Any]) -> None:
        """Set parameters by name; None stands for the default.

        Raises
        ------
        ConfigError
            With all names that do not exist and all values of a wrong type; then nothing is set.
        """
        owner = type(self).__name__
        known = [param.name for param in self.params]
        faults = [
            bad_value("name", owner, f"one of {known}", name, _did_you_mean(name, known))
            for name in given
            if name not in known
        ]
        for name, value in given.items():
            if name not in known or value is None:
                continue
            converter = self.getParam(name).typeConverter
            try:
                converter(value)
            except TypeError:
                faults.append(bad_value(name, owner, _KINDS[converter], value))
        if faults:
            raise ConfigError(faults)
        for name, value in given.items():
            if value is None:
                self.clear(self.getParam(name))
            else:
                self._set(**{name: value})


class UpliftParams(NamedParams):
    """Parameters shared by the estimator and its model."""

    treatmentCol = param("treatmentCol", "Column of the assigned arm.", TypeConverters.toString)
    controlName = param(
        "controlName", "Value of treatmentCol that is the control arm.", TypeConverters.toString
    )
    labelCol = param("labelCol", "Column of the outcome: a number, or a boolean.", TypeConverters.toString)
    featureCols = param(
        "featureCols",
        "Columns known before the assignment. Numbers are binned; text and booleans are categories.",
        TypeConverters.toListString,
    )
    idCol = param(
        "idCol",
        "Column of the unit's id, hashed for all randomness. None: the row's content.",
        optional_string,
    )
    weightCol = param("weightCol", "Column of row weights, 0 or more. None: all 1.", optional_string)
    propensityCol = param(
        "propensityCol",
        "Column of the logged probability, in (0, 1], of the arm that was assigned.",
        optional_string,
    )
    clusterCol = param(
        "clusterCol", "Column of the cluster that is drawn as a whole (household, shop…).", optional_string
    )
    criterion = param(
        "criterion", f"Split criterion: one of {', '.join(registry.CRITERIA)}.", TypeConverters.toString
    )
    normalization = param(
        "normalization", "Normalization of the gain: paper, causalml or none.", TypeConverters.toString
    )
    numTrees = param("numTrees", "Number of trees, at least 1.", TypeConverters.toInt)
    maxDepth = param(
        "maxDepth", "Largest depth of a leaf, in [0, 30]; the root's is 0.", TypeConverters.toInt
    )
    maxBins = param(
        "maxBins", "Largest number of bins of a numeric feature, in [2, 254].", TypeConverters.toInt
    )
    minInstancesPerNode = param(
        "minInstancesPerNode", "Fewest rows of a node, at least 1.", TypeConverters.toInt
    )
    minInstancesPerArm = param(
        "minInstancesPerArm",
        "Fewest rows, raw and effective, of every arm in a node, at least 1.",
        TypeConverters.toInt,
    )
    nReg = param(
        "nReg", "Pseudo-rows at the parent's rates in split scores, 0 or more.", TypeConverters.toFloat
    )
    shrinkage = param(
        "shrinkage", "Pseudo-rows at the parent's effect in leaf effects, 0 or more.", TypeConverters.toFloat
    )
    subsamplingRate = param(
        "subsamplingRate", "Expected share of the units in a tree, in (0, 1].", TypeConverters.toFloat
    )
    bootstrap = param("bootstrap", "Draw units with replacement (Poisson counts).", TypeConverters.toBoolean)
    featureSubsetStrategy = param(
        "featureSubsetStrategy",
        "Features tried at a node: auto (sqrt), all, sqrt, onethird, or a number.",
        _subset,
    )
    honest = param(
        "honest", "Shape and fill each tree from different halves of its units.", TypeConverters.toBoolean
    )
    intervals = param(
        "intervals", "Grow little bags, so that predictions have intervals.", TypeConverters.toBoolean
    )
    intervalLevel = param("intervalLevel", "Coverage of the intervals, in (0, 1).", TypeConverters.toFloat)
    strategy = param(
        "strategy",
        "How training is divided: auto, tree_parallel or data_parallel. The forest is the same.",
        TypeConverters.toString,
    )
    checkpointPath = param(
        "checkpointPath",
        "Folder or URI that keeps the trees so far, and packed rows, to resume from. None: nothing is kept.",
        optional_string,
    )
    seed = param("seed", "Seed of all randomness.", TypeConverters.toInt)
    upliftCol = param(
        "upliftCol", "Output column, array<double>: the uplift of each treatment.", TypeConverters.toString
    )
    recommendedCol = param(
        "recommendedCol",
        "Output column: the arm with the largest positive uplift, or the control.",
        TypeConverters.toString,
    )

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(
            idCol=None,
            weightCol=None,
            propensityCol=None,
            clusterCol=None,
            criterion="gradient",
            normalization="paper",
            numTrees=100,
            maxDepth=7,
            maxBins=64,
            minInstancesPerNode=200,
            minInstancesPerArm=20,
            nReg=100.0,
            shrinkage=500.0,
            subsamplingRate=1.0,
            bootstrap=True,
            featureSubsetStrategy="auto",
            honest=False,
            intervals=False,
            intervalLevel=0.9,
            strategy="auto",
            checkpointPath=None,
            seed=1,
            upliftCol="uplift",
            recommendedCol="recommended",
        )

    def value(self, name: str) -> Any:
        """Return the value of the parameter called ``name``, or its default."""
        return self.setting(name)

    def columns(self) -> Columns:
        """Return the roles of the columns."""
        named = {name: self.value(name) for name in _COLUMNS}
        return Columns(
            features=tuple(self.value("featureCols")),
            treatment=self.value("treatmentCol"),
            label=self.value("labelCol"),
            unit=named["idCol"],
            weight=named["weightCol"],
            propensity=named["propensityCol"],
            cluster=named["clusterCol"],
        )

    def check(self) -> None:
        """Check every value together.

        Raises
        ------
        ConfigError
            With all faults.
        """
        owner = type(self).__name__
        faults = [
            bad_value(name, owner, expected, self.value(name))
            for name, expected, holds in _CONSTRAINTS
            if not holds(self.value(name))
        ]
        required = ("treatmentCol", "controlName", "labelCol", "featureCols")
        absent = [name for name in required if not self.isDefined(self.getParam(name))]
        faults += [bad_value(name, owner, "given", None) for name in absent]
        if "featureCols" not in absent:
            faults += self._column_faults(owner)
        try:
            criterion = registry.get(self.value("criterion"))
            if self.value("normalization") not in criterion.normalizations:
                faults.append(
                    bad_value(
                        "normalization",
                        owner,
                        f"one of {list(criterion.normalizations)} with criterion '{criterion.name}'",
                        self.value("normalization"),
                    )
                )
        except ConfigError as error:
            faults += error.faults
        if self.value("intervals") and self.value("numTrees") < 8:
            faults.append(
                bad_value("numTrees", owner, "8 or more when intervals are wanted", self.value("numTrees"))
            )
        if faults:
            raise ConfigError(faults)

    def _column_faults(self, owner: str) -> list[str]:
        features = list(self.value("featureCols"))
        faults = []
        if not features:
            faults.append(bad_value("featureCols", owner, "a list of one column or more", features))
        twice = sorted({name for name in features if features.count(name) > 1})
        if twice:
            faults.append(bad_value("featureCols", owner, "a list of different columns", twice))
        roles = {
            name: self.value(name)
            for name in ("treatmentCol", "labelCol", *_COLUMNS)
            if self.isDefined(self.getParam(name))
        }
        for role, name in roles.items():
            if name is not None and name in features:
                faults.append(
                    bad_value(
                        "featureCols",
                        owner,
                        f"without the {role}",
                        name,
                        hint=f"'{name}' has the role of {role}.",
                    )
                )
        if "labelCol" in roles and roles["labelCol"] == roles.get("treatmentCol"):
            faults.append(
                bad_value("labelCol", owner, "another column than the treatmentCol", roles["labelCol"])
            )
        return faults

    def features_per_node(self, n_features: int) -> int:
        """Return how many features a node tries."""
        strategy = self.value("featureSubsetStrategy")
        named = {
            "all": n_features,
            "auto": math.ceil(math.sqrt(n_features)),
            "sqrt": math.ceil(math.sqrt(n_features)),
            "onethird": math.ceil(n_features / 3.0),
        }
        if strategy in named:
            return named[strategy]
        number = float(strategy)
        wanted = number * n_features if number < 1.0 or strategy == "1.0" else number
        return max(1, min(n_features, math.ceil(wanted)))

    def settings(self, n_features: int) -> TrainSettings:
        """Return the settings of the training."""
        return TrainSettings(
            criterion=self.value("criterion"),
            normalization=self.value("normalization"),
            num_trees=self.value("numTrees"),
            max_depth=self.value("maxDepth"),
            min_node=self.value("minInstancesPerNode"),
            min_arm=self.value("minInstancesPerArm"),
            n_reg=self.value("nReg"),
            shrinkage=self.value("shrinkage"),
            subsampling_rate=self.value("subsamplingRate"),
            bootstrap=self.value("bootstrap"),
            features_per_node=self.features_per_node(n_features),
            honest=self.value("honest"),
            intervals=self.value("intervals"),
            seed=self.value("seed"),
            strategy=self.value("strategy"),
            checkpoint_path=self.value("checkpointPath"),
        )


def _is_subset(value: str) -> bool:
    if value in _SUBSETS:
        return True
    try:
        return 0.0 < float(value) < math.inf
    except ValueError:
        return False


_CONSTRAINTS: tuple[tuple[str, str, Any], ...] = (
    ("numTrees", "an int of 1 or more", lambda v: v >= 1),
    ("maxDepth", "an int in [0, 30]", lambda v: 0 <= v <= 30),
    ("maxBins", "an int in [2, 254]", lambda v: 2 <= v <= 254),
    ("minInstancesPerNode", "an int of 1 or more", lambda v: v >= 1),
    ("minInstancesPerArm", "an int of 1 or more", lambda v: v >= 1),
    ("nReg", "a number of 0 or more", lambda v: 0.0 <= v < math.inf),
    ("shrinkage", "a number of 0 or more", lambda v: 0.0 <= v < math.inf),
    ("subsamplingRate", "a number in (0, 1]", lambda v: 0.0 < v <= 1.0),
    ("intervalLevel", "a number in (0, 1)", lambda v: 0.0 < v < 1.0),
    ("featureSubsetStrategy", "'auto', 'all', 'sqrt', 'onethird' or a number above 0", _is_subset),
    ("strategy", f"one of {list(STRATEGIES)}", lambda v: v in STRATEGIES),
)
