"""Growing the forest level by level over blocks that fit no worker (strategy ``data_parallel``, design E5).

ALGORITHM
    ::

        pack the rows once                                             blocks.packed
        while nodes are open:
            trees with only small nodes left:
                send their rows to one task a bunch of nodes           passes.make_gatherer
                which grows all that is below in the fused kernel      passes.make_finisher
            the others, in groups within a memory bound:
                every task adds its blocks into histograms             passes.make_counter
                reducers add up a bucket each and return best splits   passes.make_decider
            keep the trees so far, when there is a checkpoint
        honest forests: fill the leaves from the other halves          passes.make_filler

WHAT IS SENT
    To tasks: the trees so far and the open nodes, compressed. Between tasks and reducers: tasks * histograms of the
    group, however many rows there are. To the driver: about 300 bytes a node and feature block. No row, no histogram.

COST
    One Spark job a group. Per row and tree a draw, a step a level and an update a feature, see `core.counting`.

A node's rows are found by walking the trees so far: nothing is lost with a task, an executor or a cached block. Each
reducer checks that a node holds exactly the rows that its parent sent there.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spark_uplift.core import buckets, counting, decisions, growing, siblings
from spark_uplift.core.frontier import Decision, Key, OpenNode, best_of
from spark_uplift.core.grower import Grower
from spark_uplift.core.growing import ForestSpec
from spark_uplift.core.records import record_words
from spark_uplift.core.tree import Tree
from spark_uplift.criteria import registry
from spark_uplift.spark import passes, plan
from spark_uplift.spark.blocks import packed
from spark_uplift.spark.checkpoint import Checkpoint
from spark_uplift.spark.dataset import Dataset
from spark_uplift.spark.keep import refusal
from spark_uplift.spark.progress import Progress
from spark_uplift.spark.tree_rows import TREE_SCHEMA, tree_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row

_LOG = logging.getLogger(__name__)


@dataclass
class _Kept:
    """The last level's histograms, added up, where the reducers left them.

    They are worth keeping only when children count the features of their parents, and where Spark can keep them;
    a lost part is computed again from the blocks.
    """

    wanted: bool
    frame: DataFrame | None = None
    buckets: tuple[siblings.Held, ...] = ()

    def collect(self, reduced: DataFrame, made: siblings.Plan, keep: bool) -> list[Row]:
        """Run the pass, keep its cells if they are wanted, and return the decisions."""
        if keep and refusal(reduced) is not None:
            self.wanted = keep = False
        rows = reduced.select("bucket", "decisions").collect()
        self.drop()
        if keep:
            self.frame, self.buckets = reduced, made.kept
        return rows

    def drop(self) -> None:
        """Let go of what is kept."""
        if self.frame is not None:
            self.frame.unpersist()
        self.frame, self.buckets = None, ()


@dataclass(frozen=True)
class _Engine:
    """What every pass needs."""

    blocks: DataFrame
    spec: ForestSpec
    criterion: str
    limits: plan.Limits
    kept: _Kept


def grow(
    dataset: Dataset,
    spec: ForestSpec,
    criterion: str,
    limits: plan.Limits,
    checkpoint: Checkpoint | None,
    progress: Progress | None,
) -> dict[int, Tree]:
    """Grow all trees; see the module.

    Returns
    -------
    dict of int to Tree
        By number.
    """
    started = time.monotonic()
    step, state = (0, {}) if checkpoint is None else checkpoint.newest()
    with packed(dataset, checkpoint, limits.tasks) as blocks:
        spec = growing.with_prior(spec, blocks.stats)
        kept = _Kept(limits.siblings and spec.features_per_node >= spec.n_features)
        engine = _Engine(blocks.frame, spec, criterion, limits, kept)
        grower = Grower(spec, registry.get(criterion).gain, max_bytes=limits.group_bytes)
        if state:
            grower.restore(state)
            _LOG.info("resuming after pass %d", step)
        while groups := grower.frontier(limits.group_nodes):
            step += 1
            done = _pass(engine, grower, groups, dataset.rows)
            if checkpoint is not None:
                checkpoint.save(step, grower.state())
            if progress is not None:
                progress(round(done * spec.num_trees), spec.num_trees, time.monotonic() - started)
        kept.drop()
        if spec.honest:
            _fill(engine, grower)
        trees = grower.trees()
    if checkpoint is not None:
        checkpoint.release()
    return dict(enumerate(trees))


def _pass(engine: _Engine, grower: Grower, groups: list[tuple[OpenNode, ...]], rows: int) -> float:
    """Finish the trees that only small nodes are left of, or else count the first group; return the share done."""
    nodes = [node for group in groups for node in group]
    small = plan.small_trees(nodes, engine.spec, rows, engine.limits)
    started = time.monotonic()
    if small:
        chosen = tuple(node for node in nodes if node.tree in small)
        _finish(engine, grower, chosen)
    else:
        chosen = groups[0]
        grower.apply(_count(engine, grower, chosen, len(groups) == 1))
    depth = chosen[0].heap.bit_length()
    _LOG.info(
        "%s %d nodes of %d trees from depth %d: %.1f s",
        "finished" if small else "counted", len(chosen), len({node.tree for node in chosen}), depth - 1,
        time.monotonic() - started,
    )  # fmt: skip
    return 1.0 if small and len(chosen) == len(nodes) else depth / (1 + engine.spec.max_depth)


def _count(engine: _Engine, grower: Grower, nodes: tuple[OpenNode, ...], whole: bool) -> dict[Key, Decision]:
    """Run one counting pass: return the decisions of a group of nodes.

    Parameters
    ----------
    whole : bool
        Whether the group is the whole frontier: then its histograms can be kept for the next level's siblings.
    """
    spec, limits = engine.spec, engine.limits
    bound = limits.bucket_bytes(sum(node.histogram_bytes for node in nodes)) // 8
    work = (
        siblings.below(nodes, engine.kept.buckets, bound) if whole and engine.kept.frame is not None else None
    )
    parents = None if work is None else engine.kept.frame
    if work is None:
        work = siblings.plain(nodes, buckets.divide(nodes, bound))
    keep = whole and engine.kept.wanted
    group = counting.lay_out(
        grower.trees_so_far({node.tree for node in work.counted}), work.counted, work.parts
    )
    counter = passes.make_counter(spec, decisions.arrays_to_bytes(counting.to_arrays(group)), work.reductions)
    packed_nodes = passes.pack_nodes(nodes, spec.n_arms)
    counted = engine.blocks.mapInArrow(counter, passes.COUNTED)
    counted = counted.repartition(min(limits.tasks, len(work.reductions)), "bucket")
    if parents is None:
        decider = passes.make_decider(spec, engine.criterion, packed_nodes, work.reductions, keep)
        reduced = counted.groupBy("bucket").applyInArrow(decider, passes.DECIDED)
    else:
        both = passes.make_sibling_decider(spec, engine.criterion, packed_nodes, work.reductions)
        grouped = counted.groupBy("bucket").cogroup(parents.select("bucket", "cells").groupBy("bucket"))
        reduced = grouped.applyInArrow(both, passes.DECIDED)
    found: dict[int, list[Decision]] = {slot: [] for slot in range(len(nodes))}
    steps = dict(output for reduction in work.reductions for output in reduction.outputs)
    for row in sorted(engine.kept.collect(reduced, work, keep), key=lambda row: row["bucket"]):
        decided = decisions.from_bytes(row["decisions"], spec.n_arms)
        for step, decision in zip(steps[row["bucket"]], decided, strict=True):
            found[step.slot].append(decision)
    return {nodes[slot].key: best_of(decided) for slot, decided in found.items()}


def _finish(engine: _Engine, grower: Grower, nodes: tuple[OpenNode, ...]) -> None:
    """Grow all that is below these nodes, each in one task."""
    spec = engine.spec
    group = counting.lay_out(grower.trees_so_far({node.tree for node in nodes}), nodes)
    bucket_of = plan.bunches([plan.node_rows(node, engine.limits) for node in nodes], engine.limits)
    gatherer = passes.make_gatherer(spec, decisions.arrays_to_bytes(counting.to_arrays(group)), bucket_of)
    finisher = passes.make_finisher(spec, engine.criterion, passes.pack_nodes(nodes, spec.n_arms))
    gathered = engine.blocks.mapInArrow(gatherer, passes.GATHERED)
    n = int(bucket_of.max()) + 1
    rows = gathered.repartition(n, "bucket").groupBy("bucket").applyInArrow(finisher, TREE_SCHEMA).collect()
    for row in rows:
        grower.graft(row["tree"], tree_of(row, spec.n_arms))
    found = {(row["tree"], int(np.frombuffer(row["heap"], np.int64)[0])) for row in rows}
    nothing = np.zeros((0, record_words(spec.n_features, spec.grid.layout)), np.uint64)
    for node in nodes:
        if node.key not in found:  # a bag without rows
            below = growing.grow_below(
                nothing, spec, grower.gain, node.tree, node.heap, np.zeros(spec.n_arms)
            )
            grower.graft(node.tree, below)


def _fill(engine: _Engine, grower: Grower) -> None:
    """Sum the other halves of an honest forest's units in the leaves that they fall into."""
    trees = grower.trees_so_far()
    filler = passes.make_filler(engine.spec, decisions.arrays_to_bytes(counting.leaf_arrays(trees)))
    filled = engine.blocks.mapInArrow(filler, passes.COUNTED)
    n = min(engine.limits.tasks, len(trees))
    rows = filled.repartition(n, "bucket").groupBy("bucket").applyInArrow(passes.make_adder(), passes.COUNTED)
    for row in rows.collect():
        stats = np.frombuffer(row["cells"], np.int64).reshape(-1, engine.spec.n_arms, 5)
        grower.estimate(row["bucket"], stats)


__all__ = ["grow"]
