"""The reduce step of ``data_parallel`` training at any scale, sizes only: the engine's own driver code, without data.

ALGORITHM
    The real `Grower` is asked for its frontier and told stand-in decisions: a node splits at the middle code of one of
    its features, a share of its rows between 3/10 and 7/10 (a function of tree and heap) goes left. Everything else is
    what a training does pass by pass: groups, `counting.lay_out`, `buckets.divide`, the workers' functions as Spark
    would pickle them. What would be shuffled follows: every task sends its slice of every bucket.

SAMPLING
    Where a level takes more than 12 passes, what is sent in the later ones, and the driver's seconds for making it, are
    taken from the twelfth: they hold as many nodes.

COST
    The driver's work of such a training, on one core: about 10 s for 500 trees of depth 8 and 15 of 200 features a
    node. Counting, the network and Spark's own work are not run.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spark_uplift.core import buckets, counting, decisions, fixedpoint, siblings
from spark_uplift.core.dtypes import MASK_WORDS
from spark_uplift.core.frontier import Decision, Key, OpenNode
from spark_uplift.core.grower import Grower
from spark_uplift.core.growing import ForestSpec
from spark_uplift.core.records import record_words
from spark_uplift.spark import edge_sample, passes, plan, profile
from spark_uplift.spark.profile import Tally

CLOSURE_BYTES = 10 * 10**6
"""What a pass is to send to every task (design E5); the wall of Spark Connect is 128 MiB."""
DRIVER_BYTES = 2 * 2**30
"""What the driver's Python process is to hold."""
PARTITION_BYTES = 128 * 2**20  # spark.sql.files.maxPartitionBytes
MEASURED_PASSES = 12  # of a level
ROW_OBJECT_BYTES = 500  # a collected row of two cells as a Python object, about


@dataclass(frozen=True)
class Work:
    """A training, by its sizes.

    Attributes
    ----------
    rows, features, trees, depth : int
    features_per_node : int
        That a node looks at.
    slots : int
        Tasks that run at once.
    bins, arms : int
    value_bytes : float
        Of the source, a row and column.
    tasks, group_bytes : int, optional
        Of `plan.Limits`; by default those that the engine chooses.
    """

    rows: int
    features: int
    trees: int
    depth: int
    features_per_node: int
    slots: int
    bins: int = 64
    arms: int = 2
    value_bytes: float = 8.0
    tasks: int | None = None
    group_bytes: int | None = None

    @property
    def spec(self) -> ForestSpec:
        """The forest's specification, for a binary outcome without weights."""
        grid = fixedpoint.choose(
            rows=self.rows, outcome_bound=1.0, outcome_whole=True, outcome_binary=True, weight_bound=None,
            needs_squares=False,
        )  # fmt: skip
        return ForestSpec(
            n_codes=np.full(self.features, self.bins + 1, np.int64),
            categorical=np.zeros(self.features, np.bool_),
            n_arms=self.arms, grid=grid, num_trees=self.trees, max_depth=self.depth, min_node=2, min_arm=1, n_reg=0.0,
            shrinkage=0.0, normalization=0, features_per_node=self.features_per_node, bootstrap=True,
            subsampling_rate=1.0, honest=False, intervals=False, seed=1, prior=(0.0,) * (self.arms - 1),
        )  # fmt: skip

    @property
    def record_bytes(self) -> int:
        """A packed row with its unit's hash."""
        return 8 * (record_words(self.features, self.spec.grid.layout) + 1)

    @property
    def block_bytes(self) -> int:
        """All packed rows, as `Dataset.block_bytes` has it."""
        return self.rows * self.record_bytes

    @property
    def limits(self) -> plan.Limits:
        """The bounds that the engine would choose."""
        limits = plan.Limits.of(self.slots, self.block_bytes)
        set_ = {"tasks": self.tasks, "group_bytes": self.group_bytes}
        return replace(limits, **{name: value for name, value in set_.items() if value is not None})


@dataclass(frozen=True)
class Pass:
    """One pass, in bytes unless said otherwise.

    Attributes
    ----------
    kind : {"counted", "finished"}
    depth, nodes, trees : int
    open_rows : int
        Copies of rows in the nodes that are counted, over all trees of the pass. Where nodes look at all features and a
        level is one pass, the larger of two siblings is its parent minus the smaller.
    histograms : int
        That a task holds, and sends.
    buckets, reducers : int
        Bunches that are reduced alone, and the tasks that reduce them.
    bucket_bytes : int
        The most that a reducer's Python process gets at once: one bucket, from all tasks.
    reducer_bytes : int
        The most that one reducing task fetches, for all of its buckets; Spark sorts them on disk where need be.
    shuffled : int
        Before compression.
    closure : int
        The larger of the two functions that are sent to tasks, pickled.
    collected : int
        Decisions that come to the driver, with the rows that hold them.
    driver_seconds : float
        Of one core, for all that the driver does in Python.
    held : int
        Growth of the driver's resident memory since the simulation began.
    """

    kind: str
    depth: int
    nodes: int
    trees: int
    open_rows: int
    histograms: int = 0
    buckets: int = 0
    reducers: int = 0
    bucket_bytes: int = 0
    reducer_bytes: int = 0
    shuffled: int = 0
    closure: int = 0
    collected: int = 0
    driver_seconds: float = 0.0
    held: int = 0

    def faults(self, limits: plan.Limits, node_bytes: int) -> list[str]:
        """Return the bounds that the pass breaks."""
        bounds = {
            "a task's histograms": (self.histograms, max(limits.group_bytes, node_bytes)),
            "a reducer's bucket": (self.bucket_bytes, limits.reduce_bytes * (1 + 1 / limits.tasks)),
            "what a task is sent": (self.closure, CLOSURE_BYTES),
            "what the driver collects": (self.collected, DRIVER_BYTES // 4),
            "what the driver holds": (self.held, DRIVER_BYTES),
        }
        return [
            f"depth {self.depth}: {name}: {found:,} bytes, more than {bound:,.0f}"
            for name, (found, bound) in bounds.items()
            if found > bound
        ]


def stand_in(spec: ForestSpec, node: OpenNode, rows: int) -> Decision:
    """Return a decision that no data was asked for."""
    stats = node.stats
    if stats is None:
        share = np.full(spec.n_arms, rows // spec.n_arms, np.int64)
        stats = np.stack([share, share, share // 20, share // 20, share], axis=1)
    at = (node.tree * 2_654_435_761 + node.heap * 40_503) % 401
    left = stats * (300 + at) // 1000
    feature = int(node.features[(node.tree + node.heap) % node.features.size])
    threshold = int(spec.n_codes[feature]) // 2
    mask = np.zeros(MASK_WORDS, np.uint64)
    for code in range(1, threshold + 1):
        mask[code >> 6] |= np.uint64(1) << np.uint64(code & 63)
    reference = np.full(spec.n_arms, 0.05) if node.reference is None else node.reference
    return Decision(stats, left, reference, True, 1.0, feature, threshold, False, mask)


def run(work: Work) -> Iterator[Pass]:
    """Yield the passes of a training, one by one."""
    spec, limits = work.spec, work.limits
    _warm_up()
    began = _resident()
    grower = Grower(spec, None, max_bytes=limits.group_bytes)  # type: ignore[arg-type]  # no gain is asked for
    wanted = limits.siblings and spec.features_per_node >= spec.n_features
    kept: tuple[siblings.Held, ...] = ()
    measured: list[int] = []  # depths of the passes whose functions were made
    closure, making = 0, 0.0
    while True:
        clock = time.perf_counter()
        groups = grower.frontier(limits.group_nodes)
        if not groups:
            return
        nodes = [node for group in groups for node in group]
        small = plan.small_trees(nodes, spec, work.rows, limits)
        if small:
            chosen = tuple(node for node in nodes if node.tree in small)
            yield _finished(work, chosen)
            _close(grower, spec, chosen, work.rows)
            continue
        group, whole = groups[0], len(groups) == 1
        bound = limits.bucket_bytes(sum(node.histogram_bytes for node in group)) // 8
        planned = siblings.below(group, kept, bound) if whole and kept else None
        parents = planned is not None
        if planned is None:
            planned = siblings.plain(group, buckets.divide(group, bound))
        kept = planned.kept if whole and wanted else ()
        taken = time.perf_counter() - clock
        depth = group[0].heap.bit_length() - 1
        if measured.count(depth) < MEASURED_PASSES:
            measured.append(depth)
            clock = time.perf_counter()
            closure = _closure(work, grower, group, planned, bool(kept), parents)
            making = time.perf_counter() - clock
        taken += making
        decided = {node.key: stand_in(spec, node, work.rows) for node in group}
        clock = time.perf_counter()
        grower.apply(decided)
        taken += time.perf_counter() - clock
        yield _counted(work, group, planned, parents, closure, taken, max(0, _resident() - began))


def _closure(
    work: Work, grower: Grower, nodes: tuple[OpenNode, ...], planned: siblings.Plan, keep: bool, parents: bool
) -> int:
    """Return the size of the larger function of a pass, made as the engine makes it."""
    spec = work.spec
    trees = grower.trees_so_far({node.tree for node in planned.counted})
    sent = decisions.arrays_to_bytes(
        counting.to_arrays(counting.lay_out(trees, planned.counted, planned.parts))
    )
    counter = passes.make_counter(spec, sent, planned.reductions)
    told = spec, "gradient", passes.pack_nodes(nodes, spec.n_arms), planned.reductions
    decider = passes.make_sibling_decider(*told) if parents else passes.make_decider(*told, keep)
    return max(_pickled(counter), _pickled(decider))


def _counted(
    work: Work, group: tuple[OpenNode, ...], planned: siblings.Plan, parents: bool, closure: int, seconds: float,
    held: int,
) -> Pass:  # fmt: skip
    limits, spec = work.limits, work.spec
    outputs = [steps for reduction in planned.reductions for _, steps in reduction.outputs]
    reducers = min(limits.tasks, len(planned.reductions))
    sizes = 8 * np.array([reduction.end - reduction.start for reduction in planned.reductions])
    # A kept bucket comes back once, whole: at least the parents of what was counted.
    incoming = sizes * (limits.tasks + parents)
    fetched = np.bincount(partition_of(len(sizes), reducers), weights=incoming, minlength=reducers)
    collected = sum(map(len, outputs)) * decisions.record_type(spec.n_arms).itemsize
    return Pass(
        kind="counted",
        depth=group[0].heap.bit_length() - 1,
        nodes=len(group),
        trees=len({node.tree for node in group}),
        open_rows=sum(work.rows if n.stats is None else int(n.stats[:, 0].sum()) for n in planned.counted),
        histograms=int(sizes.sum()),
        buckets=len(sizes),
        reducers=reducers,
        bucket_bytes=int(incoming.max()),
        reducer_bytes=int(fetched.max()),
        shuffled=int(incoming.sum()),
        closure=closure,
        collected=collected + len(outputs) * ROW_OBJECT_BYTES,
        driver_seconds=seconds,
        held=held,
    )


def _finished(work: Work, nodes: tuple[OpenNode, ...]) -> Pass:
    rows = [plan.node_rows(node, work.limits, work.rows) for node in nodes]
    bunch = plan.bunches(rows, work.limits)
    record = 8 * record_words(work.features, work.spec.grid.layout) + 4
    different = 1 - np.exp(-1)  # a row that is in a bag twice is sent once
    return Pass(
        kind="finished",
        depth=min(node.heap.bit_length() for node in nodes) - 1,
        nodes=len(nodes),
        trees=len({node.tree for node in nodes}),
        open_rows=sum(rows),
        buckets=int(bunch.max()) + 1,
        reducers=int(bunch.max()) + 1,
        bucket_bytes=int(np.bincount(bunch, weights=rows).max() * different * record),
        shuffled=int(sum(rows) * different * record),
    )


def _close(grower: Grower, spec: ForestSpec, nodes: tuple[OpenNode, ...], rows: int) -> None:
    """Make leaves of nodes that one task would finish."""
    decided: dict[Key, Decision] = {}
    for node in nodes:
        found = stand_in(spec, node, rows)
        decided[node.key] = Decision(
            found.stats, found.left, found.reference, False, 0.0, -1, 0, False, found.mask
        )
    grower.apply(decided)


def partition_of(buckets_: int, partitions: int) -> npt.NDArray[np.int64]:
    """Return the partition that Spark's hash (Murmur3, seed 42) puts each bucket in, ndarray of shape (buckets,)."""
    with np.errstate(over="ignore"):

        def turn(x: npt.NDArray[np.uint32], by: int) -> npt.NDArray[np.uint32]:
            return (x << np.uint32(by)) | (x >> np.uint32(32 - by))

        k = np.arange(buckets_, dtype=np.uint32) * np.uint32(0xCC9E2D51)
        h = np.uint32(42) ^ (turn(k, 15) * np.uint32(0x1B873593))
        h = turn(h, 13) * np.uint32(5) + np.uint32(0xE6546B64)
        h ^= np.uint32(4)
        h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
        h ^= h >> np.uint32(16)
    return h.view(np.int32).astype(np.int64) % partitions


@dataclass(frozen=True)
class FirstPass:
    """The pass that checks, counts and cuts bins, in bytes unless said otherwise."""

    partitions: int
    sampled: int  # rows that all tasks send
    reducers: int
    sample_bytes: int  # that one reducer gets
    tally_bytes: int  # that a reducer of tallies gets
    shuffled: int


def first_pass(work: Work) -> FirstPass:
    """Return the sizes of the first pass over the source."""
    columns = work.features + 3
    partitions = max(1, -(-int(work.rows * columns * work.value_bytes) // PARTITION_BYTES))
    partition_rows = work.rows // partitions
    sampled = sum(min(partition_rows, edge_sample.quota(p)) for p in range(partitions))
    blocks = edge_sample.blocks(work.features)
    width = 8 * (2 + min(edge_sample.BLOCK_FEATURES, work.features))  # draw, weight, values
    names = [f"feature_{i}" for i in range(work.features)]
    tally = Tally(
        rows=partition_rows, arms=Counter(control=partition_rows // 2, treatment=partition_rows // 2)
    )
    tally.given.update(dict.fromkeys(names, partition_rows))
    told = len(tally.to_json()) * partitions
    return FirstPass(
        partitions,
        sampled,
        len(blocks),
        sampled * width,
        -(-told // profile.TALLIES),
        sampled * width * len(blocks) + told,
    )


@lru_cache(maxsize=16)
def passes_of(work: Work) -> tuple[Pass, ...]:
    """Return all passes of a training, simulated once a process."""
    return tuple(run(work))


def _warm_up() -> None:
    """Load what the driver's first pass would, so that no pass's time and memory are those of imports and kernels."""
    spec = Work(rows=10, features=1, trees=1, depth=1, features_per_node=1, slots=1).spec
    Grower(spec, None)  # type: ignore[arg-type]
    _pickled(passes.make_counter(spec, b"", ()))


def _pickled(function: object) -> int:
    from pyspark import cloudpickle

    return len(cloudpickle.dumps(function))


def _resident() -> int:
    """Return this process's resident memory; 0 where there is no ``/proc``."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0
