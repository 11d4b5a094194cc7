"""The model of `PolicyTree`: rules, SQL, picture, decisions, and what they are worth on other rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyspark.ml import Model
from pyspark.ml.util import (
    DefaultParamsReader,
    DefaultParamsWriter,
    MLReadable,
    MLReader,
    MLWritable,
    MLWriter,
)

from spark_uplift.errors import ConfigError, ModelError, bad_value
from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.learners.policy_tree_params import PolicyTreeParams
from spark_uplift.policy import tree_model, tree_sql
from spark_uplift.policy.tree_model import ActionTree
from spark_uplift.policy.tree_rows import node_rows
from spark_uplift.policy.tree_value import PolicyValue
from spark_uplift.report.tree_picture import tree_svg
from spark_uplift.spark import policy_tree_file as persist
from spark_uplift.spark.columns import column
from spark_uplift.spark.policy_tree_input import (
    PolicyColumns,
    arms_of,
    cluster_column,
    net_rewards,
    weight_column,
)
from spark_uplift.spark.policy_tree_value import policy_values
from spark_uplift.spark.score import refuse_taken

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["PREDICTED", "PolicyTreeModel", "predicted"]

_HEADER = "sparkUpliftPolicyTree"
PREDICTED = "__spark_uplift_predicted"
"""Column of `predicted`."""

_GAINS = "__spark_uplift_gains"


def predicted(forest: UpliftForestModel, df: DataFrame) -> DataFrame:
    """Return ``df`` with what the forest predicts of every arm over control, control (0) first."""
    from pyspark.sql import functions as F

    scored = forest.copy(
        {forest.getParam("upliftCol"): _GAINS, forest.getParam("recommendedCol"): _GAINS + "_arm"}
    )
    out = scored.transform(df)
    extra = [name for name in out.columns if name.startswith(_GAINS)]
    return out.withColumn(PREDICTED, F.concat(F.array(F.lit(0.0)), F.col(_GAINS))).drop(*extra)


class PolicyTreeModel(PolicyTreeParams, Model, MLReadable, MLWritable):  # type: ignore[type-arg]
    """A grown policy tree.

    Attributes
    ----------
    rules : list of str
        One line a leaf: who, which arm, which share of the training rows.
    sql : str
        The decisions as one expression of Spark SQL; a ``CASE``, or a literal where everybody gets the same arm.
    svg : str
        The tree as a picture, with the training rows' shares.
    arms : list of str
        Control first.
    digest : str
        SHA-256 of what the tree decides.
    """

    def __init__(self, tree: ActionTree | None = None) -> None:
        super().__init__()
        self._tree = tree

    @property
    def tree(self) -> ActionTree:
        """The tree, without Spark."""
        if self._tree is None:
            raise ModelError(
                "A PolicyTreeModel must have a tree. Got none. Hint: fit a PolicyTree, or load a model."
            )
        return self._tree

    @property
    def arms(self) -> list[str]:
        """Arms, control first."""
        return list(self.tree.arms)

    @property
    def rules(self) -> list[str]:
        """One line a leaf."""
        return self.tree.rules

    @property
    def sql(self) -> str:
        """The decisions in Spark SQL."""
        return tree_sql.sql(self.tree)

    @property
    def svg(self) -> str:
        """The tree as a picture."""
        return tree_svg(node_rows(self.tree))

    @property
    def digest(self) -> str:
        """SHA-256 of what the tree decides."""
        return self.tree.digest

    def _transform(self, df: DataFrame) -> DataFrame:
        from pyspark.sql import functions as F

        name = self.setting("actionCol")
        refuse_taken(df, [name], "set actionCol")
        return df.withColumn(name, F.expr(self.sql))

    def value(
        self,
        df: DataFrame,
        *,
        forest: UpliftForestModel | None = None,
        policyCols: Mapping[str, str] | None = None,
        level: float = 0.95,
        **columns: Any,
    ) -> PolicyValue:
        """Return what the tree is worth on other rows than those that it was grown on.

        Parameters
        ----------
        df : DataFrame
            Rows with rewards, or with arm and outcome. Rows that the tree was grown on would flatter it.
        forest : UpliftForestModel, optional
            Also value the policy that gives each unit its best arm by this forest's predictions, net of costs.
        policyCols : dict of str to str, optional
            Further policies: name, and the column with the arm that it gives.
        level : float
            Coverage of the intervals.
        **columns
            Other values of this model's parameters: ``rewardsCol``, ``treatmentCol``, ``labelCol``, ``propensityCol``,
            ``weightCol``, ``idCol``, ``clusterCol``, ``outcomeValue``, ``costs``.

        Returns
        -------
        PolicyValue
            Policies ``tree``, ``best_single`` (the arm that was best for everybody in training), ``control``,
            ``forest``; differences are the tree's value minus the other's, of the same units.

        Raises
        ------
        ColumnNotFoundError, DataError
            All faults of a stage together.
        """
        from pyspark.sql import functions as F

        roles = self._valued_by(columns)
        roles.check(df)
        arms, shares = arms_of(df, roles)
        nets = net_rewards(df, roles, arms, shares)
        policies: dict[str, Column] = {
            "tree": F.expr(tree_sql.arm_number_sql(self.tree)),
            "best_single": F.lit(self.tree.best_single),
        }
        for name, source in (policyCols or {}).items():
            arm = column(source).cast("string")
            number: Any = F
            for place, known in enumerate(arms):
                number = number.when(arm == known, place)
            policies[name] = number
        if forest is not None:
            df = predicted(forest, df)
            policies["forest"] = _best_arm(
                [F.get(F.col(PREDICTED), F.lit(a)) for a in range(len(arms))], arms, roles
            )
        return policy_values(
            df,
            nets=nets,
            weight=weight_column(roles),
            cluster=cluster_column(roles),
            policies=policies,
            leaf=F.expr(tree_sql.leaf_sql(self.tree)),
            heaps=self.tree.tree.heap.tolist(),
            level=level,
        )

    def kept(self, forest: UpliftForestModel, df: DataFrame, level: float = 0.95) -> PolicyValue:
        """Return what the tree keeps of a forest's value, by the forest's own predictions.

        `value` with ``forest=`` says the same by outcomes.

        Returns
        -------
        PolicyValue
            Its ``kept`` is the share of the forest's predicted gain over control.
        """
        own = PREDICTED + "_reward"
        scored = predicted(forest, df).withColumnRenamed(PREDICTED, own)
        made = dict.fromkeys(("treatmentCol", "labelCol", "propensityCol"))
        return self.value(scored, forest=forest, level=level, rewardsCol=own, **made)

    def _valued_by(self, columns: Mapping[str, Any]) -> PolicyColumns:
        names = {
            "rewardsCol": "rewards", "treatmentCol": "treatment", "labelCol": "label", "propensityCol": "propensity",
            "weightCol": "weight", "idCol": "unit", "clusterCol": "cluster", "outcomeValue": "value", "costs": "costs",
        }  # fmt: skip
        unknown = [name for name in columns if name not in names]
        if unknown:
            raise ConfigError(
                [
                    bad_value("name", "PolicyTreeModel.value", f"one of {list(names)}", name)
                    for name in unknown
                ]
            )
        changes = {names[name]: value for name, value in columns.items()}
        used = tuple(bins.name for bins in self.tree.features)
        return self.policy_columns(
            treatments=self.tree.arms[1:], control=self.tree.arms[0], features=used, **changes
        )

    def copy(self, extra: Any = None) -> PolicyTreeModel:
        """Return a copy with ``extra`` parameters; the tree is shared, it never changes."""
        copied: PolicyTreeModel = super().copy(extra)
        copied._tree = self._tree
        return copied

    def write(self) -> MLWriter:
        """Return the writer of `save`."""
        return _ModelWriter(self)

    @classmethod
    def read(cls) -> MLReader[Any]:
        """Return the reader of `load`."""
        return _ModelReader()


def _best_arm(gains: list[Column], arms: tuple[str, ...], roles: PolicyColumns) -> Column:
    """Return the number of the arm with the largest net gain, the first of equal ones."""
    from pyspark.sql import functions as F

    nets = F.array(
        *[
            F.lit(float(roles.value)) * gain - F.lit(float(roles.costs.get(name, 0.0)))
            for gain, name in zip(gains, arms, strict=True)
        ]
    )
    return F.array_position(nets, F.array_max(nets)) - 1


class _ModelWriter(MLWriter):
    def __init__(self, model: PolicyTreeModel) -> None:
        super().__init__()
        self._model = model

    def save(self, path: str) -> None:
        """Save to ``path``; Spark's own overwriting needs a JVM object, which Spark Connect does not have."""
        self.saveImpl(path)

    def saveImpl(self, path: str) -> None:
        tree = self._model.tree
        extra = {_HEADER: tree.header(), "digest": tree.digest}
        line = DefaultParamsWriter._get_metadata_to_save(self._model, self.sparkSession, extra)
        persist.write_line(self.sparkSession, path, line, overwrite=self.shouldOverwrite)


class _ModelReader(MLReader[Any]):
    def load(self, path: str) -> PolicyTreeModel:
        found = persist.read_line(self.sparkSession, path)
        header = found.get(_HEADER)
        if not isinstance(header, Mapping):
            raise ModelError(f"The model at '{path}' must be a policy tree. Got other metadata instead.")
        tree = tree_model.from_header(header, path)
        if tree.digest != found.get("digest"):
            raise ModelError(
                f"The policy tree at '{path}' must have the digest {found.get('digest')}. Got {tree.digest} instead: "
                "its file was changed. Hint: save it again."
            )
        model = PolicyTreeModel(tree)
        model._resetUid(found["uid"])
        DefaultParamsReader.getAndSetParams(model, found)
        return model


# Saved models name the public path, so that they survive moves of this file.
PolicyTreeModel.__module__ = "spark_uplift"
