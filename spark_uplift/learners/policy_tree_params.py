"""The parameters of policy trees, validated together at fit."""

from __future__ import annotations

import math
from typing import Any

from pyspark.ml.param import TypeConverters

from spark_uplift.errors import ConfigError, bad_value
from spark_uplift.learners.params import NamedParams, amounts, optional_string, optional_strings, param
from spark_uplift.policy.tree_search import MAX_DEPTH
from spark_uplift.spark import policy_tree
from spark_uplift.spark.policy_tree_input import PolicyColumns

__all__ = ["PolicyTreeParams"]


class PolicyTreeParams(NamedParams):
    """Parameters shared by the estimator and its model."""

    featureCols = param("featureCols", "Columns that the tree may split on.", TypeConverters.toListString)
    controlName = param("controlName", "Name of the control arm.", TypeConverters.toString)
    treatmentNames = param(
        "treatmentNames",
        "Arms other than control, in the order of the rewards. None: sorted.",
        optional_strings,
    )
    rewardsCol = param(
        "rewardsCol", "Column, array<double>: the reward of every arm, control first. None: made from outcomes.",
        optional_string,
    )  # fmt: skip
    treatmentCol = param("treatmentCol", "Column of the arm that the unit got.", optional_string)
    labelCol = param("labelCol", "Column of the outcome, for rewards that are made.", optional_string)
    propensityCol = param(
        "propensityCol",
        "Column of the probability of the arm that the unit got, or of every arm. None: the arms' shares.",
        optional_string,
    )
    weightCol = param("weightCol", "Column of row weights, 0 or more. None: all 1.", optional_string)
    idCol = param(
        "idCol", "Column of the unit's id, for sampling and halves. None: the row's content.", optional_string
    )
    clusterCol = param("clusterCol", "Column of the cluster that was drawn as a whole.", optional_string)
    outcomeValue = param(
        "outcomeValue", "Worth of one unit of the outcome [money], above 0.", TypeConverters.toFloat
    )
    costs = param("costs", "Cost of giving a unit an arm [money]; arms left out cost nothing.", amounts)
    maxDepth = param("maxDepth", f"Largest depth of a leaf, in [0, {MAX_DEPTH}].", TypeConverters.toInt)
    maxBins = param("maxBins", "Largest number of bins of a feature, in [2, 128].", TypeConverters.toInt)
    minInstancesPerNode = param(
        "minInstancesPerNode", "Fewest rows of a node, at least 1.", TypeConverters.toInt
    )
    minInstancesPerArm = param(
        "minInstancesPerArm",
        "Fewest rows of each arm in a node, 0 or more; needs treatmentCol.",
        TypeConverters.toInt,
    )
    minGain = param(
        "minGain",
        "What a split must add per unit of the population [money], 0 or more.",
        TypeConverters.toFloat,
    )
    maxFeatures = param(
        "maxFeatures", "Most features that are looked at in pairs, at least 1.", TypeConverters.toInt
    )
    seed = param("seed", "Seed of all randomness.", TypeConverters.toInt)
    actionCol = param("actionCol", "Output column: the arm to give.", TypeConverters.toString)

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(
            treatmentNames=None,
            rewardsCol=None,
            treatmentCol=None,
            labelCol=None,
            propensityCol=None,
            weightCol=None,
            idCol=None,
            clusterCol=None,
            outcomeValue=1.0,
            costs={},
            maxDepth=2,
            maxBins=32,
            minInstancesPerNode=200,
            minInstancesPerArm=20,
            minGain=0.0,
            maxFeatures=16,
            seed=1,
            actionCol="action",
        )

    def policy_columns(self, **changes: Any) -> PolicyColumns:
        """Return the roles of the columns, with changes."""
        names = self.setting("treatmentNames")
        given: dict[str, Any] = {
            "control": self.setting("controlName"),
            "features": tuple(self.setting("featureCols")),
            "treatments": None if names is None else tuple(names),
            "rewards": self.setting("rewardsCol"),
            "treatment": self.setting("treatmentCol"),
            "label": self.setting("labelCol"),
            "propensity": self.setting("propensityCol"),
            "weight": self.setting("weightCol"),
            "unit": self.setting("idCol"),
            "cluster": self.setting("clusterCol"),
            "value": self.setting("outcomeValue"),
            "costs": self.setting("costs"),
        }
        return PolicyColumns(**{**given, **changes})

    def tree_settings(self) -> policy_tree.TreeSettings:
        """Check every value together and return those of the search.

        Raises
        ------
        ConfigError
            With all faults.
        """
        owner = type(self).__name__
        faults = [
            bad_value(name, owner, expected, self.setting(name))
            for name, expected, holds in _CONSTRAINTS
            if not holds(self.setting(name))
        ]
        absent = [n for n in ("featureCols", "controlName") if not self.isDefined(self.getParam(n))]
        faults += [bad_value(name, owner, "given", None) for name in absent]
        if "featureCols" not in absent:
            features = list(self.setting("featureCols"))
            if not features or len(set(features)) < len(features):
                faults.append(
                    bad_value("featureCols", owner, "a list of one column or more, each once", features)
                )
        if faults:
            raise ConfigError(faults)
        return policy_tree.TreeSettings(
            max_depth=self.setting("maxDepth"),
            max_bins=self.setting("maxBins"),
            min_node=self.setting("minInstancesPerNode"),
            min_arm=self.setting("minInstancesPerArm"),
            min_gain=self.setting("minGain"),
            max_features=self.setting("maxFeatures"),
            seed=self.setting("seed"),
        )


_CONSTRAINTS: tuple[tuple[str, str, Any], ...] = (
    ("outcomeValue", "a number above 0", lambda v: 0.0 < v < math.inf),
    ("maxDepth", f"an int in [0, {MAX_DEPTH}]", lambda v: 0 <= v <= MAX_DEPTH),
    ("maxBins", "an int in [2, 128]", lambda v: 2 <= v <= 128),
    ("minInstancesPerNode", "an int of 1 or more", lambda v: v >= 1),
    ("minInstancesPerArm", "an int of 0 or more", lambda v: v >= 0),
    ("minGain", "a number of 0 or more", lambda v: 0.0 <= v < math.inf),
    ("maxFeatures", "an int of 1 or more", lambda v: v >= 1),
)
