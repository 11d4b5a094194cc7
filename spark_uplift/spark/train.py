"""Growing the forest on Spark.

ALGORITHM (strategy ``tree_parallel``)
    The data's packed blocks (`dataset`) are broadcast and crossed with a small frame of tree groups, one group a task.
    A task lays the blocks side by side in memory, checks that their rows add up, and grows its whole trees in the fused
    kernel (`core.tree_kernel`). Trees come back as rows of binary arrays; the driver puts them in order.

WHAT IS SENT
    The blocks once to every executor and from there once to every task (record bytes + 8 a row, see `core.records`).
    Back: about 150 bytes a node. No shuffle.

COST
    One Spark job for a wave of trees. Per task: trees / tasks * rows * depth * a few nanoseconds, see
    docs/benchmarks.md. A wave is a part of the forest short enough to report progress after.

Nothing here depends on how many tasks there are: a tree is a function of (rows, settings, seed, its number).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core import growing, records, tree_kernel
from spark_uplift.core.estimation import average_effects
from spark_uplift.core.forest import Forest
from spark_uplift.core.growing import ForestSpec
from spark_uplift.core.tree import Tree
from spark_uplift.criteria import registry
from spark_uplift.errors import ModelError
from spark_uplift.spark import arrow
from spark_uplift.spark.dataset import Dataset
from spark_uplift.spark.slots import parallelism

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_LOG = logging.getLogger(__name__)

BROADCAST_BYTES = 256 * 2**20
"""Blocks up to this size are meant for `tree_parallel` (design E5)."""

_WAVE_SECONDS = 15.0
_GUESS_NS = 15.0  # per row, tree and level, on a slow core: only decides how many waves there are

Progress = Callable[[int, int, float], None]
"""Called with (trees done, trees in all, seconds so far)."""

_TREE_COLUMNS = (
    ("heap", np.int64),
    ("feature", np.int32),
    ("threshold", np.int16),
    ("missing_left", np.uint8),
    ("mask", np.uint64),
    ("left_child", np.int64),
    ("gain", np.float64),
    ("stats", np.int64),
    ("effect", np.float64),
)
_TREE_SCHEMA = "tree int, " + ", ".join(f"{name} binary" for name, _ in _TREE_COLUMNS)


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


def spec_of(dataset: Dataset, settings: TrainSettings) -> ForestSpec:
    """Return the specification of the forest, all but the prior effect, which every task adds from its own rows."""
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


def with_prior(spec: ForestSpec, words: npt.NDArray[np.uint64]) -> ForestSpec:
    """Return the specification with the average effects of all rows as the prior of bags that miss an arm."""
    stats = np.zeros((spec.n_arms, 5), np.int64)
    grid = spec.grid
    tree_kernel.sum_run(
        words, words.view(np.uint8), 0, words.shape[0], grid.layout, int(grid.binary),
        records.code_words(spec.n_features), stats,
    )  # fmt: skip
    effects = average_effects(stats, weight_unit=grid.weight_unit, wy_unit=grid.outcome_unit)
    return replace(spec, prior=tuple(float(x) for x in effects))


def _make_grower(
    spec: ForestSpec, criterion: str, groups: list[list[int]], rows: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the worker of one task: blocks in, trees out."""
    schema = pa.schema([("tree", pa.int32()), *((name, pa.binary()) for name, _ in _TREE_COLUMNS)])
    width = records.record_words(spec.n_features, spec.grid.layout)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        words, units, group = _gather(batches, rows, width)
        if group < 0:
            return
        gain = registry.get(criterion).gain
        for number, tree in growing.grow_trees(words, units, with_prior(spec, words), gain, groups[group]):
            yield _tree_batch(number, tree, schema)

    return work


def _gather(
    batches: Iterator[pa.RecordBatch], rows: int, width: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], int]:
    """Lay the blocks side by side: records [rows, width], units [rows], and the task's group (-1: none came).

    A function of its own, so that nothing holds on to the last batch while trees grow.
    """
    words = np.empty((rows, width), np.uint64)
    units = np.empty(rows, np.uint64)
    at, group = 0, -1
    for batch in batches:
        for i in range(batch.num_rows):
            group = batch.column(0)[i].as_py()
            block = arrow.binary(batch.column(2)[i], np.uint64).reshape(-1, width)
            end = at + len(block)
            if end <= rows:
                words[at:end] = block
                units[at:end] = arrow.binary(batch.column(3)[i], np.uint64)
            at = end
    if group >= 0 and at != rows:
        raise RuntimeError(
            f"The training rows changed between two passes over them: {rows} were counted first, but {at} were "
            "packed. Write the input to a table first, so that both passes read the same rows."
        )
    return words, units, group


def _tree_batch(number: int, tree: Tree, schema: pa.Schema) -> pa.RecordBatch:
    values = [
        np.ascontiguousarray(getattr(tree, name)).astype(dtype).tobytes() for name, dtype in _TREE_COLUMNS
    ]
    arrays = [pa.array([number], pa.int32()), *(pa.array([value], pa.binary()) for value in values)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _tree_of(row: Any, n_arms: int) -> Tree:
    arrays: dict[str, Any] = {name: np.frombuffer(row[name], dtype) for name, dtype in _TREE_COLUMNS}
    arrays["missing_left"] = arrays["missing_left"].astype(np.bool_)
    arrays["mask"] = arrays["mask"].reshape(-1, 4)
    arrays["stats"] = arrays["stats"].reshape(-1, n_arms, 5)
    arrays["effect"] = arrays["effect"].reshape(-1, n_arms - 1)
    return Tree(**arrays)


def waves(spec: ForestSpec, rows: int, tasks: int) -> list[list[int]]:
    """Divide the trees into waves of roughly equal, reportable length; each a multiple of the tasks where it can be."""
    seconds = spec.num_trees * rows * max(1, spec.max_depth) * _GUESS_NS * 1e-9 / max(1, tasks)
    count = max(1, min(round(seconds / _WAVE_SECONDS), -(-spec.num_trees // tasks)))
    size = -(-spec.num_trees // count)
    size = -(-size // tasks) * tasks if count > 1 else size
    return [list(range(first, min(first + size, spec.num_trees))) for first in range(0, spec.num_trees, size)]


def train(dataset: Dataset, settings: TrainSettings, progress: Progress | None = None) -> Forest:
    """Grow a forest.

    Parameters
    ----------
    dataset : Dataset
        From `spark_uplift.spark.dataset.prepare`.
    settings : TrainSettings
    progress : callable, optional
        Told after every wave of trees.

    Raises
    ------
    ModelError
        When Spark returns fewer trees than asked for.
    """
    spark = dataset.frame.sparkSession
    spec = spec_of(dataset, settings)
    tasks = max(1, min(parallelism(spark), settings.num_trees))
    size = dataset.block_bytes
    _LOG.info(
        "strategy tree_parallel: %.1f MiB of packed rows (meant for up to %.0f MiB), %d tasks",
        size / 2**20, BROADCAST_BYTES / 2**20, tasks,
    )  # fmt: skip
    plan = waves(spec, dataset.rows, tasks)
    blocks = dataset.blocks()
    kept = len(plan) > 1 and _persist(blocks)
    started = time.monotonic()
    trees: dict[int, Tree] = {}
    try:
        for wave in plan:
            trees.update(_grow_wave(blocks, dataset, spec, settings.criterion, wave, tasks))
            if progress is not None:
                progress(len(trees), settings.num_trees, time.monotonic() - started)
    finally:
        if kept:
            blocks.unpersist()
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


def _grow_wave(
    blocks: DataFrame, dataset: Dataset, spec: ForestSpec, criterion: str, wave: list[int], tasks: int
) -> dict[int, Tree]:
    from pyspark.sql import functions as F

    groups = [wave[i::tasks] for i in range(min(tasks, len(wave)))]
    spark = blocks.sparkSession
    frame = spark.range(0, len(groups), 1, len(groups)).withColumnRenamed("id", "group")
    worker = _make_grower(spec, criterion, groups, dataset.rows)
    grown = frame.crossJoin(F.broadcast(blocks)).mapInArrow(worker, _TREE_SCHEMA)
    return {row["tree"]: _tree_of(row, spec.n_arms) for row in grown.collect()}


def _persist(blocks: DataFrame) -> bool:
    """Keep the packed blocks between waves where Spark can; without, they are packed again, to the same bytes."""
    try:
        blocks.persist()
    except Exception as error:  # serverless compute refuses it with an error of its own
        _LOG.info("packed rows can't be kept in memory here and are packed again for each wave: %s", error)
        return False
    return True
