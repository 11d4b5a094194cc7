"""`UpliftForest`, `UpliftTree` and their model: pyspark.ml estimators in pure Python."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from pyspark import keyword_only
from pyspark.ml import Estimator, Model
from pyspark.ml.util import (
    DefaultParamsReadable,
    DefaultParamsReader,
    DefaultParamsWritable,
    DefaultParamsWriter,
    MLReadable,
    MLReader,
    MLWritable,
    MLWriter,
)

from spark_uplift.core.forest import Forest
from spark_uplift.criteria import registry
from spark_uplift.errors import ConfigError, ModelError, bad_value
from spark_uplift.learners.params import UpliftParams
from spark_uplift.spark import dataset, explain, persist
from spark_uplift.spark import score as scoring
from spark_uplift.spark.plan import Limits
from spark_uplift.spark.progress import Progress
from spark_uplift.spark.train import train

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


class UpliftForest(UpliftParams, Estimator, DefaultParamsReadable, DefaultParamsWritable):  # type: ignore[type-arg]
    """A bagged forest of uplift trees, grown on Spark.

    Parameters
    ----------
    treatmentCol, controlName : str
        Column of the assigned arm, and its value that is the control. Every other value is a treatment.
    labelCol : str
        Outcome, binary or continuous. Never binarised.
    featureCols : list of str
        Columns known before the assignment; numbers, text or booleans. Nulls are allowed.
    idCol : str, optional
        Unit id of any type. Without it units are hashes of rows' content, which costs a shuffle.
    weightCol, propensityCol, clusterCol : str, optional
        Row weights; logged probability of the assigned arm; cluster that is drawn as a whole.
    criterion : str
        ``kl ed chi cts ddp iddp it cit causal_mse gradient``; see `spark_uplift.criteria`.
    normalization : {"paper", "causalml", "none"}
    numTrees, maxDepth, maxBins, minInstancesPerNode, minInstancesPerArm : int
    nReg : float
        Pseudo-rows at the parent's rates in split scores, divided over the arms in the node's own proportions.
    shrinkage : float
        Pseudo-rows at the parent's effect in leaf effects.
    subsamplingRate, bootstrap
        Share of units in a tree; Poisson counts or each at most once.
    featureSubsetStrategy : str or number
        ``"auto"`` (sqrt), ``"all"``, ``"sqrt"``, ``"onethird"``, a count, or a share below 1.
    honest : bool
        Shape and fill trees from different halves.
    intervals, intervalLevel
        Add ``uplift_lower`` and ``uplift_upper`` of that coverage when scoring.
    strategy : {"auto", "tree_parallel", "data_parallel"}
        How training is divided; the forest is the same. ``tree_parallel`` sends all packed rows to every task,
        ``data_parallel`` leaves them where they are. ``auto`` goes by their size.
    checkpointPath : str, optional
        Folder or URI, reached by all executors, where the trees so far are kept (``data_parallel``: the packed rows
        too). The same fit after a crash goes on from there.
    seed : int
        The same data, settings and seed give the same `UpliftForestModel.digest`, however Spark divides the work.

    Examples
    --------
    >>> forest = UpliftForest(treatmentCol="segment", controlName="No E-Mail", labelCol="visit",
    ...                       featureCols=["recency", "history", "channel"])  # doctest: +SKIP
    >>> model = forest.fit(df)  # doctest: +SKIP
    """

    @keyword_only
    def __init__(
        self,
        *,
        treatmentCol: str | None = None,
        controlName: str | None = None,
        labelCol: str | None = None,
        featureCols: list[str] | None = None,
        idCol: str | None = None,
        weightCol: str | None = None,
        propensityCol: str | None = None,
        clusterCol: str | None = None,
        criterion: str = "gradient",
        normalization: str = "paper",
        numTrees: int = 100,
        maxDepth: int = 7,
        maxBins: int = 64,
        minInstancesPerNode: int = 200,
        minInstancesPerArm: int = 20,
        nReg: float = 100.0,
        shrinkage: float = 500.0,
        subsamplingRate: float = 1.0,
        bootstrap: bool = True,
        featureSubsetStrategy: str | float = "auto",
        honest: bool = False,
        intervals: bool = False,
        intervalLevel: float = 0.9,
        strategy: str = "auto",
        checkpointPath: str | None = None,
        seed: int = 1,
        upliftCol: str = "uplift",
        recommendedCol: str = "recommended",
    ) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._bounds: dict[str, Any] = {}
        self.assign(self._input_kwargs)  # type: ignore[attr-defined]  # set by keyword_only

    def setParams(self, **values: Any) -> UpliftForest:
        """Set parameters by name; None stands for the default.

        Raises
        ------
        ConfigError
            For names that do not exist and values of a wrong type.
        """
        self.assign(values)
        return self

    def setLimits(self, **bounds: Any) -> UpliftForest:
        """Set bounds of ``data_parallel`` passes; what is left out follows from the cluster. No forest depends on them.

        Parameters
        ----------
        **bounds
            Of `spark_uplift.spark.plan.Limits`: ``tasks`` a pass, ``group_bytes`` of histograms in a task,
            ``reduce_bytes`` that a reducer receives, ``small_rows`` of a node that one task may finish, ``siblings``.

        Raises
        ------
        ConfigError
            For names that do not exist and values that can't be.
        """
        owner = f"{type(self).__name__}.setLimits"
        least = {**{field.name: 1 for field in fields(Limits)}, "small_rows": 0, "siblings": 0}
        faults = []
        for name, value in bounds.items():
            if name not in least:
                faults.append(bad_value("name", owner, f"one of {list(least)}", name))
            elif not isinstance(value, int) or value < least[name]:
                faults.append(bad_value(name, owner, f"an int of {least[name]} or more", value))
        if faults:
            raise ConfigError(faults)
        self._bounds = bounds
        return self

    def onProgress(self, listener: Progress | None) -> UpliftForest:
        """Call ``listener(trees done, trees in all, seconds)`` while training."""
        self._progress = listener
        return self

    def _fit(self, df: DataFrame) -> UpliftForestModel:
        self.check()
        criterion = registry.get(self.value("criterion"))
        data = dataset.prepare(
            df,
            self.columns(),
            self.value("controlName"),
            max_bins=self.value("maxBins"),
            needs_squares=criterion.needs_squares,
            seed=self.value("seed"),
        )
        if data.outcome not in criterion.outcomes:
            raise ConfigError(
                bad_value(
                    "criterion",
                    type(self).__name__,
                    f"one that is defined for a {data.outcome} outcome",
                    criterion.name,
                    hint=f"'{self.value('labelCol')}' is {data.outcome}; "
                    f"use one of {[c.name for c in registry.CRITERIA.values() if data.outcome in c.outcomes]}.",
                )
            )
        facts = {
            "rows": data.rows,
            "armRows": data.arm_rows,
            "outcome": data.outcome,
            "missing": list(data.missing),
            "settings": {p.name: self.getOrDefault(p) for p in self.params if self.isDefined(p)},
        }
        limits = replace(Limits.of(data.slots, data.block_bytes), **self._bounds)
        forest = train(data, self.settings(len(data.features)), self._progress, limits)
        model = UpliftForestModel(replace(forest, training=facts))
        self._copyValues(model)
        # As Spark's own models do, so that forest.upliftCol names the model's parameter too.
        return model._resetUid(self.uid)


class UpliftTree(UpliftForest):
    """One uplift tree on all rows and features: `UpliftForest` with other defaults.

    Parameters are those of `UpliftForest`; ``numTrees=1``, no bootstrap, all features at every node, depth 3.
    """

    @keyword_only
    def __init__(self, **values: Any) -> None:
        defaults: dict[str, Any] = {
            "numTrees": 1,
            "bootstrap": False,
            "featureSubsetStrategy": "all",
            "maxDepth": 3,
        }
        super().__init__(**{**defaults, **values})


class UpliftForestModel(UpliftParams, Model, MLReadable, MLWritable):  # type: ignore[type-arg]
    """A grown forest.

    Attributes
    ----------
    treatmentNames : list of str
        Arms other than control, sorted: the order of every array that the model returns.
    digest : str
        SHA-256 of the forest; equal digests mean equal forests.
    featureImportances : dict of str to float
        Share of the forest's gain, summing to 1.
    """

    def __init__(self, forest: Forest | None = None) -> None:
        super().__init__()
        self._forest = forest

    @property
    def forest(self) -> Forest:
        """The trees, without Spark."""
        if self._forest is None:
            raise ModelError(
                "An UpliftForestModel must have a forest. Got none. Hint: fit an UpliftForest, or load a model."
            )
        return self._forest

    @property
    def treatmentNames(self) -> list[str]:
        """Arms other than control, sorted."""
        return list(self.forest.treatments)

    @property
    def digest(self) -> str:
        """SHA-256 of the forest's canonical arrays."""
        return self.forest.digest

    @property
    def featureImportances(self) -> dict[str, float]:
        """Each feature's share of the forest's gain."""
        shares = self.forest.feature_importances()
        return {bins.name: float(share) for bins, share in zip(self.forest.features, shares, strict=True)}

    def _transform(self, df: DataFrame) -> DataFrame:
        return scoring.score(
            df,
            self.forest,
            uplift_col=self.value("upliftCol"),
            recommended_col=self.value("recommendedCol"),
            level=self.value("intervalLevel") if self.forest.little_bags else None,
        )

    def explain(self, df: DataFrame, treatment: str | None = None) -> DataFrame:
        """Add why each row has its uplift: exact Shapley values of the features (path-dependent TreeSHAP).

        Parameters
        ----------
        df : DataFrame
            Scored or not.
        treatment : str, optional
            The treatment to explain; by default each row's best one.

        Returns
        -------
        DataFrame
            ``df`` with ``explained string`` (the treatment), ``base double`` and ``contributions map<string,double>``,
            in the outcome's unit; base and contributions sum to the treatment's uplift.
        """
        return explain.explain(df, self.forest, treatment)

    def copy(self, extra: Any = None) -> UpliftForestModel:
        """Return a copy with ``extra`` parameters; the forest is shared, it never changes."""
        copied: UpliftForestModel = super().copy(extra)
        copied._forest = self._forest
        return copied

    def write(self) -> MLWriter:
        """Return the writer of `save`."""
        return _ModelWriter(self)

    @classmethod
    def read(cls) -> MLReader[Any]:
        """Return the reader of `load`."""
        return _ModelReader()


class _ModelWriter(MLWriter):
    def __init__(self, model: UpliftForestModel) -> None:
        super().__init__()
        self._model = model

    def save(self, path: str) -> None:
        """Save to ``path``; Spark's own overwriting needs a JVM object, which Spark Connect does not have."""
        self.saveImpl(path)

    def saveImpl(self, path: str) -> None:
        spark, forest = self.sparkSession, self._model.forest
        line = DefaultParamsWriter._get_metadata_to_save(self._model, spark, persist.metadata(forest))
        persist.write_spark(spark, forest, path, line, overwrite=self.shouldOverwrite)


class _ModelReader(MLReader[Any]):
    def load(self, path: str) -> UpliftForestModel:
        found, forest = persist.read_spark(self.sparkSession, path)
        model = UpliftForestModel(forest)
        if "uid" in found:  # absent when only the forest was written, by `persist.write_local`
            model._resetUid(found["uid"])
            DefaultParamsReader.getAndSetParams(model, found)
        return model


# Saved models name the public path, so that they survive moves of this file.
for _public in (UpliftForest, UpliftTree, UpliftForestModel):
    _public.__module__ = "spark_uplift"
