"""`PolicyTree`: who should get which arm, as a shallow tree that people can read and SQL can run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyspark import keyword_only
from pyspark.ml import Estimator
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable

from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.learners.policy_tree_model import PREDICTED, PolicyTreeModel, predicted
from spark_uplift.learners.policy_tree_params import PolicyTreeParams
from spark_uplift.policy import tree_sql
from spark_uplift.policy.tree_model import ActionTree
from spark_uplift.policy.tree_value import PolicyValue
from spark_uplift.spark import policy_tree
from spark_uplift.spark.policy_tree_input import arms_of, cluster_column, net_rewards, weight_column
from spark_uplift.spark.policy_tree_value import policy_values

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["PolicyTree"]

_HALF = "__spark_uplift_half"


class PolicyTree(PolicyTreeParams, Estimator, DefaultParamsReadable, DefaultParamsWritable):  # type: ignore[type-arg]
    """A shallow tree that says which arm each unit should get, grown for the largest net value.

    The reward of an arm, times ``outcomeValue``, minus the arm's cost, is added up over all units; the tree of depth
    1 or 2 with the largest sum is found exactly (over the bins), deeper ones by looking two levels ahead. What a
    tree is worth must be asked of other rows than those that it was grown on: `PolicyTreeModel.value`, or
    `crossValue` with the same rows in two halves.

    Parameters
    ----------
    featureCols : list of str
        Numbers, text or booleans. Nulls are allowed.
    controlName : str
        Name of the control arm; code 0.
    treatmentNames : list of str, optional
        Other arms, in the order of the rewards. Without it: those of ``treatmentCol``, sorted.
    rewardsCol : str, optional
        ``dr_value`` of `doubly_robust`, or any array<double> with a reward an arm, control first. Without it rewards
        are made by inverse propensity weighting from ``treatmentCol``, ``labelCol`` and ``propensityCol`` (the arms'
        shares if that is not given).
    weightCol, idCol, clusterCol : str, optional
        Row weights; the unit; a cluster that was drawn as a whole.
    outcomeValue : float
        Worth of one unit of the outcome [money].
    costs : dict of str to float
        Cost of giving a unit an arm [money].
    maxDepth, maxBins, minInstancesPerNode, minInstancesPerArm : int
        At most 4; bins a number (levels a category); fewest rows of a node, and of each arm in it where
        ``treatmentCol`` says who got which.
    minGain : float
        What a split must add per unit of the population [money].
    maxFeatures : int
        With more features those that gain most by a split of their own are looked at: time grows with the square.
    actionCol : str
        Output column of the model.

    References
    ----------
    Zhou, Athey & Wager (2023), "Offline multi-action policy learning"; Sverdrup et al. (2020), "policytree".

    Examples
    --------
    >>> tree = PolicyTree(featureCols=["recency", "channel"], controlName="No E-Mail", rewardsCol="dr_value",
    ...                   treatmentNames=["Mens E-Mail", "Womens E-Mail"], costs={"Mens E-Mail": 0.1})  # doctest: +SKIP
    >>> model = tree.fit(train)  # doctest: +SKIP
    >>> print(model.sql)  # doctest: +SKIP
    >>> model.value(holdout).differences["control"]  # doctest: +SKIP
    """

    @keyword_only
    def __init__(
        self,
        *,
        featureCols: list[str] | None = None,
        controlName: str | None = None,
        treatmentNames: list[str] | None = None,
        rewardsCol: str | None = None,
        treatmentCol: str | None = None,
        labelCol: str | None = None,
        propensityCol: str | None = None,
        weightCol: str | None = None,
        idCol: str | None = None,
        clusterCol: str | None = None,
        outcomeValue: float = 1.0,
        costs: Mapping[str, float] | None = None,
        maxDepth: int = 2,
        maxBins: int = 32,
        minInstancesPerNode: int = 200,
        minInstancesPerArm: int = 20,
        minGain: float = 0.0,
        maxFeatures: int = 16,
        seed: int = 1,
        actionCol: str = "action",
    ) -> None:
        super().__init__()
        self.assign(self._input_kwargs)  # type: ignore[attr-defined]  # set by keyword_only

    def _fit(self, df: DataFrame) -> PolicyTreeModel:
        settings = self.tree_settings()
        return self._model(policy_tree.grow(df, self.policy_columns(), settings))

    def _model(self, tree: ActionTree) -> PolicyTreeModel:
        model = PolicyTreeModel(tree)
        self._copyValues(model)
        return model._resetUid(self.uid)

    def surrogate(self, forest: UpliftForestModel, df: DataFrame) -> PolicyTreeModel:
        """Grow a tree that decides as a forest would: its rewards are the forest's predicted effects.

        Parameters
        ----------
        forest : UpliftForestModel
        df : DataFrame
            Units with the forest's features and this tree's; outcomes are not looked at.

        Returns
        -------
        PolicyTreeModel
            How much of the forest's value it keeps says `PolicyTreeModel.kept`.
        """
        settings = self.tree_settings()
        columns = self.policy_columns(
            rewards=PREDICTED,
            treatment=None,
            label=None,
            propensity=None,
            treatments=tuple(forest.treatmentNames),
        )
        grown = policy_tree.grow(predicted(forest, df), columns, settings, kind="surrogate")
        return self._model(grown)

    def crossValue(self, df: DataFrame, level: float = 0.95) -> PolicyValue:
        """Return what this way of growing is worth: halves of the units are valued by the tree of the other half.

        Parameters
        ----------
        df : DataFrame
            As for ``fit``; the halves are drawn by a hash of the unit (or cluster).
        level : float
            Coverage of the intervals.

        Returns
        -------
        PolicyValue
            Policies ``tree``, ``best_single`` (each half's best arm for everybody) and ``control``; no nodes but 1.
        """
        from pyspark.sql import functions as F

        columns = self.policy_columns()
        columns.check(df)
        half = F.pmod(F.xxhash64("__unit", F.lit(self.setting("seed")), F.lit(_HALF)), F.lit(2))
        halves = columns.hashed(df).withColumn(_HALF, half).drop("__unit")
        arms, shares = arms_of(df, columns)
        # Both halves take the shares of the whole, and the same order of the arms.
        learner = self.copy({self.getParam("treatmentNames"): list(arms[1:])})
        trees = [learner.fit(halves.where(F.col(_HALF) != side)).tree for side in (0, 1)]
        first = F.col(_HALF) == 0
        policies = {
            "tree": F.when(first, F.expr(tree_sql.arm_number_sql(trees[0]))).otherwise(
                F.expr(tree_sql.arm_number_sql(trees[1]))
            ),
            "best_single": F.when(first, trees[0].best_single).otherwise(trees[1].best_single),
        }
        return policy_values(
            halves,
            nets=net_rewards(df, columns, arms, shares),
            weight=weight_column(columns),
            cluster=cluster_column(columns),
            policies=policies,
            leaf=None,
            level=level,
        )


# Saved estimators name the public path, so that they survive moves of this file.
PolicyTree.__module__ = "spark_uplift"
