"""Growing whole trees, each in one task, over blocks that fit a worker (strategy ``tree_parallel``, design E5).

ALGORITHM
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
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core import growing, records
from spark_uplift.core.growing import ForestSpec
from spark_uplift.core.tree import Tree, from_arrays, to_arrays
from spark_uplift.criteria import registry
from spark_uplift.spark import arrow
from spark_uplift.spark.blocks import keep
from spark_uplift.spark.checkpoint import Checkpoint
from spark_uplift.spark.dataset import Dataset, changed_rows
from spark_uplift.spark.progress import Progress
from spark_uplift.spark.tree_rows import TREE_FIELDS, TREE_SCHEMA, tree_batch, tree_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_LOG = logging.getLogger(__name__)

_WAVE_SECONDS = 15.0
_GUESS_NS = 15.0  # per row, tree and level, on a slow core: only decides how many waves there are


def _make_grower(
    spec: ForestSpec, criterion: str, groups: list[list[int]], rows: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the worker of one task: blocks in, trees out."""
    schema = pa.schema(TREE_FIELDS)
    width = records.record_words(spec.n_features, spec.grid.layout)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        words, units, stats, group = _gather(batches, rows, width, spec.n_arms)
        if group < 0:
            return
        gain = registry.get(criterion).gain
        known = growing.with_prior(spec, stats)
        for number, tree in growing.grow_trees(words, units, known, gain, groups[group]):
            yield tree_batch(number, tree, schema)

    return work


def _gather(
    batches: Iterator[pa.RecordBatch], rows: int, width: int, n_arms: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.int64], int]:
    """Lay the blocks side by side: records [rows, width], units [rows], statistics of all [arms, 5], and the task's
    group (-1: none came).

    A function of its own, so that nothing holds on to the last batch while trees grow.
    """
    words = np.empty((rows, width), np.uint64)
    units = np.empty(rows, np.uint64)
    stats = np.zeros((n_arms, 5), np.int64)
    at, group = 0, -1
    for batch in batches:
        for i in range(batch.num_rows):
            group = batch.column(0)[i].as_py()
            block = arrow.binary(batch.column(2)[i], np.uint64).reshape(-1, width)
            end = at + len(block)
            if end <= rows:
                words[at:end] = block
                units[at:end] = arrow.binary(batch.column(3)[i], np.uint64)
            stats += arrow.binary(batch.column(4)[i], np.int64).reshape(n_arms, 5)
            at = end
    if group >= 0 and at != rows:
        raise RuntimeError(changed_rows(rows, at))
    return words, units, stats, group


def waves(spec: ForestSpec, rows: int, tasks: int) -> list[list[int]]:
    """Divide the trees into waves of roughly equal, reportable length; each a multiple of the tasks where it can be."""
    seconds = spec.num_trees * rows * max(1, spec.max_depth) * _GUESS_NS * 1e-9 / max(1, tasks)
    count = max(1, min(round(seconds / _WAVE_SECONDS), -(-spec.num_trees // tasks)))
    size = -(-spec.num_trees // count)
    size = -(-size // tasks) * tasks if count > 1 else size
    return [list(range(first, min(first + size, spec.num_trees))) for first in range(0, spec.num_trees, size)]


def grow(
    dataset: Dataset,
    spec: ForestSpec,
    criterion: str,
    slots: int,
    checkpoint: Checkpoint | None,
    progress: Progress | None,
) -> dict[int, Tree]:
    """Grow all trees; see the module. With a checkpoint they are kept after each wave.

    Returns
    -------
    dict of int to Tree
        By number.
    """
    tasks = max(1, min(slots, spec.num_trees))
    trees: dict[int, Tree] = {}
    step, state = (0, {}) if checkpoint is None else checkpoint.newest()
    if state:
        trees = from_arrays(state)
        _LOG.info("resuming with %d trees", len(trees))
    plan = [[i for i in wave if i not in trees] for wave in waves(spec, dataset.rows, tasks)]
    plan = [wave for wave in plan if wave]
    blocks = dataset.blocks().select("rows", "words", "units", "sums")
    kept = len(plan) > 1 and keep(blocks)
    started = time.monotonic()
    try:
        for number, wave in enumerate(plan, step + 1):
            trees.update(_grow_wave(blocks, dataset, spec, criterion, wave, tasks))
            if checkpoint is not None:
                checkpoint.save(number, to_arrays(trees))
            if progress is not None:
                progress(len(trees), spec.num_trees, time.monotonic() - started)
    finally:
        if kept:
            blocks.unpersist()
    return trees


def _grow_wave(
    blocks: DataFrame, dataset: Dataset, spec: ForestSpec, criterion: str, wave: list[int], tasks: int
) -> dict[int, Tree]:
    from pyspark.sql import functions as F

    groups = [wave[i::tasks] for i in range(min(tasks, len(wave)))]
    spark = blocks.sparkSession
    frame = spark.range(0, len(groups), 1, len(groups)).withColumnRenamed("id", "group")
    worker = _make_grower(spec, criterion, groups, dataset.rows)
    grown = frame.crossJoin(F.broadcast(blocks)).mapInArrow(worker, TREE_SCHEMA)
    return {row["tree"]: tree_of(row, spec.n_arms) for row in grown.collect()}
