"""Growing the forest on Spark: one specification, two ways to divide the work, the same trees to the bit."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from spark_uplift.core.forest import Forest
from spark_uplift.core.growing import ForestSpec
from spark_uplift.errors import ModelError
from spark_uplift.spark import data_parallel, plan, tree_parallel
from spark_uplift.spark.checkpoint import Checkpoint
from spark_uplift.spark.dataset import Dataset
from spark_uplift.spark.progress import Progress

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a forest that are not columns; names as in the public API."""

    criterion: str
    normalization: str
    num_trees: int
    max_depth: int
    min_node: int
    min_arm: int
    n_reg: float
    shrinkage: float
    subsampling_rate: float
    bootstrap: bool
    features_per_node: int
    honest: bool
    intervals: bool
    seed: int
    strategy: str = "auto"
    checkpoint_path: str | None = None


def spec_of(dataset: Dataset, settings: TrainSettings) -> ForestSpec:
    """Return the specification of the forest, all but the prior effect, which comes from the packed rows."""
    from spark_uplift.criteria.signature import NORMALIZATION_CODES

    return ForestSpec(
        n_codes=np.array([bins.n_codes for bins in dataset.features], np.int64),
        categorical=np.array([bins.categorical for bins in dataset.features], np.bool_),
        n_arms=1 + len(dataset.treatments),
        grid=dataset.grid,
        num_trees=settings.num_trees,
        max_depth=settings.max_depth,
        min_node=settings.min_node,
        min_arm=settings.min_arm,
        n_reg=settings.n_reg,
        shrinkage=settings.shrinkage,
        normalization=NORMALIZATION_CODES[settings.normalization],
        features_per_node=settings.features_per_node,
        bootstrap=settings.bootstrap,
        subsampling_rate=settings.subsampling_rate,
        honest=settings.honest,
        intervals=settings.intervals,
        seed=settings.seed,
        prior=(0.0,) * len(dataset.treatments),
    )


def train(
    dataset: Dataset,
    settings: TrainSettings,
    progress: Progress | None = None,
    limits: plan.Limits | None = None,
) -> Forest:
    """Grow a forest.

    Parameters
    ----------
    dataset : Dataset
        From `spark_uplift.spark.dataset.prepare`.
    settings : TrainSettings
    progress : callable, optional
        Told how far training is.
    limits : Limits, optional
        Bounds of ``data_parallel`` passes; by default those that the cluster's slots suggest.

    Raises
    ------
    ModelError
        When Spark returns fewer trees than asked for.
    """
    spec = spec_of(dataset, settings)
    strategy, reason = plan.choose(settings.strategy, dataset.block_bytes)
    limits = limits or plan.Limits.of(dataset.slots, dataset.block_bytes)
    _LOG.info("strategy %s (%s), %d slots", strategy, reason, limits.slots)
    checkpoint = Checkpoint.of(dataset, settings, strategy)
    if strategy == plan.DATA_PARALLEL:
        trees = data_parallel.grow(dataset, spec, settings.criterion, limits, checkpoint, progress)
    else:
        trees = tree_parallel.grow(dataset, spec, settings.criterion, limits.slots, checkpoint, progress)
    if len(trees) != settings.num_trees:
        raise ModelError(f"Training must return {settings.num_trees} trees. Got {len(trees)} instead.")
    return Forest(
        features=dataset.features,
        control=dataset.control,
        treatments=dataset.treatments,
        grid=dataset.grid,
        trees=tuple(trees[i] for i in range(settings.num_trees)),
        little_bags=settings.intervals,
    )
