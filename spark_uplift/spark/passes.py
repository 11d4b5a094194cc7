"""The workers of ``data_parallel`` training: what tasks and reducers do in a pass over the packed blocks.

Each function here makes a worker: Spark Connect serialises functions when the job starts, so what a worker needs is
bound by a call, never by a loop's variable. Workers only convert between Arrow and arrays; the maths is in `core`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core import counting, decisions, frontier, growing
from spark_uplift.core.frontier import OpenNode
from spark_uplift.core.growing import ForestSpec
from spark_uplift.core.histogram import offsets
from spark_uplift.core.records import record_words
from spark_uplift.core.siblings import Reduction
from spark_uplift.criteria import registry
from spark_uplift.spark import arrow
from spark_uplift.spark.tree_rows import TREE_FIELDS, tree_batch

Mapper = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
Reducer = Callable[[pa.Table], pa.Table]
SiblingReducer = Callable[[pa.Table, pa.Table], pa.Table]
U64 = npt.NDArray[np.uint64]

COUNTED = "bucket int, cells binary"
DECIDED = "bucket int, decisions binary, cells binary"
GATHERED = "bucket int, places binary, words binary"

_COUNTED = pa.schema([("bucket", pa.int32()), ("cells", pa.binary())])
_DECIDED = pa.schema([("bucket", pa.int32()), ("decisions", pa.binary()), ("cells", pa.binary())])
_GATHERED = pa.schema([("bucket", pa.int32()), ("places", pa.binary()), ("words", pa.binary())])
_SENT_BYTES = 32 * 2**20  # a batch of results on its way to the JVM


def _read_blocks(batches: Iterator[pa.RecordBatch], width: int) -> Iterator[tuple[U64, U64]]:
    """Yield (words, units) of each block: read-only views of Arrow's memory."""
    for batch in batches:
        words, units = batch.column("words"), batch.column("units")
        for i in range(batch.num_rows):
            yield arrow.binary(words[i], np.uint64).reshape(-1, width), arrow.binary(units[i], np.uint64)


def _sliced(schema: pa.Schema, numbers: list[int], cells: npt.NDArray[Any], ends: list[int]) -> Iterator[Any]:
    """Yield (number, bytes) rows over one piece of memory, without copying it, in batches of a moderate size.

    ``ends`` has one more entry than ``numbers``: row i holds the cells ``ends[i] .. ends[i + 1]``.
    """
    first = 0
    for last in range(1, len(numbers) + 1):
        if last < len(numbers) and (ends[last + 1] - ends[first]) * cells.itemsize <= _SENT_BYTES:
            continue
        borders = (np.array(ends[first : last + 1]) - ends[first]) * cells.itemsize
        data = pa.py_buffer(cells[ends[first] : ends[last]])
        rows = pa.Array.from_buffers(
            pa.binary(), last - first, [None, pa.py_buffer(borders.astype(np.int32)), data]
        )
        yield pa.RecordBatch.from_arrays([pa.array(numbers[first:last], pa.int32()), rows], schema=schema)
        first = last


def make_counter(spec: ForestSpec, group: bytes, reductions: tuple[Reduction, ...]) -> Mapper:
    """Return the worker of one counting task: blocks in, a slice of its histograms for each reduction out."""
    width = record_words(spec.n_features, spec.grid.layout)
    wanted = [number for number, one in enumerate(reductions) if one.end > one.start]
    ends = [0, *(reductions[number].end for number in wanted)]

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        cells = None
        for words, units in _read_blocks(batches, width):
            if cells is None:
                nodes = counting.from_arrays(decisions.arrays_from_bytes(group))
                cells = np.zeros(nodes.length, np.int64)
            counting.add_block(spec, nodes, words, units, cells)
        if cells is not None:
            yield from _sliced(_COUNTED, wanted, cells, ends)

    return work


def pack_nodes(nodes: tuple[OpenNode, ...], n_arms: int) -> bytes:
    """Return what a reducer must know of the group's nodes."""
    unknown, zeros = np.zeros((n_arms, 5), np.int64), np.zeros(n_arms)
    return decisions.arrays_to_bytes(
        {
            "keys": np.array([node.key for node in nodes], np.int64),
            "known": np.array([node.stats is not None for node in nodes]),
            "features": np.stack([node.features for node in nodes]).astype(np.int16),
            "stats": np.stack([unknown if node.stats is None else node.stats for node in nodes]),
            "reference": np.stack([zeros if node.reference is None else node.reference for node in nodes]),
        }
    )


def _node(spec: ForestSpec, packed: dict[str, Any], slot: int) -> OpenNode:
    tree, heap = packed["keys"][slot].tolist()
    features = packed["features"][slot].astype(np.int64)
    known = bool(packed["known"][slot])
    return OpenNode(
        tree,
        heap,
        features,
        offsets(spec.n_codes[features], spec.n_arms, spec.grid.layout),
        packed["stats"][slot] if known else None,
        packed["reference"][slot] if known else None,
    )


def make_decider(
    spec: ForestSpec, criterion: str, nodes: bytes, reductions: tuple[Reduction, ...], keep: bool
) -> Reducer:
    """Return the worker of a reducer: every task's cells of one bucket in, the best split of each part out.

    With ``keep`` the cells added up go out as well, for the children.
    """

    def reduce(table: pa.Table) -> pa.Table:
        number = table.column("bucket")[0].as_py()
        return _decided(spec, criterion, nodes, reductions[number], table, None, keep)

    return reduce


def make_sibling_decider(
    spec: ForestSpec, criterion: str, nodes: bytes, reductions: tuple[Reduction, ...]
) -> SiblingReducer:
    """Return the worker of a reducer that gets the smaller children's cells and their parents', kept before."""

    def reduce(counted: pa.Table, parents: pa.Table) -> pa.Table:
        if counted.num_rows == 0:  # none of these nodes has open children
            return _DECIDED.empty_table()
        number = counted.column("bucket")[0].as_py()
        held = arrow.binary(parents.column("cells")[0], np.int64)
        return _decided(spec, criterion, nodes, reductions[number], counted, held, True)

    return reduce


def _decided(
    spec: ForestSpec,
    criterion: str,
    nodes: bytes,
    reduction: Reduction,
    table: pa.Table,
    held: npt.NDArray[np.int64] | None,
    keep: bool,
) -> pa.Table:
    counted = _summed(table.column("cells"), reduction.end - reduction.start)
    gain, packed = registry.get(criterion).gain, decisions.arrays_from_bytes(nodes)
    rows: list[tuple[int, bytes, bytes]] = []
    for bucket, steps in reduction.outputs:
        decided, kept = [], []
        for step in steps:
            cells = counted[step.counted : step.counted + step.size]
            if held is not None and step.parent >= 0:
                cells = held[step.parent : step.parent + step.size] - cells
            node = _node(spec, packed, step.slot)
            decided.append(frontier.decide(spec, gain, node, cells, step.first, step.last))
            kept.append(cells)
        sums = np.concatenate(kept).tobytes() if keep else b""
        rows.append((bucket, decisions.to_bytes(decided, spec.n_arms), sums))
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, _DECIDED, strict=True)], schema=_DECIDED)


def _summed(column: pa.ChunkedArray, length: int) -> npt.NDArray[np.int64]:
    cells = np.zeros(length, np.int64)
    for value in column:
        cells += arrow.binary(value, np.int64)
    return cells


def make_gatherer(spec: ForestSpec, group: bytes, bucket_of: npt.NDArray[np.int64]) -> Mapper:
    """Return the worker that sends the rows of small nodes to the task that will grow what is below them."""
    width = record_words(spec.n_features, spec.grid.layout)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        nodes = None
        for words, units in _read_blocks(batches, width):
            if nodes is None:
                nodes = counting.from_arrays(decisions.arrays_from_bytes(group))
            for found, places in counting.gather_block(spec, nodes, words, units):
                yield from _by_bucket(found, places, bucket_of)

    return work


def _by_bucket(words: U64, places: npt.NDArray[np.int64], bucket_of: npt.NDArray[np.int64]) -> Iterator[Any]:
    buckets = bucket_of[places]
    order = np.argsort(buckets, kind="stable")
    numbers, first = np.unique(buckets[order], return_index=True)
    for number, rows in zip(numbers.tolist(), np.split(order, first[1:]), strict=True):
        columns = [[number], [places[rows].astype(np.int32).tobytes()], [words[rows].tobytes()]]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, _GATHERED, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=_GATHERED)


def make_finisher(spec: ForestSpec, criterion: str, nodes: bytes) -> Reducer:
    """Return the worker that grows what is below small nodes: their rows in, one tree a node out."""
    width = record_words(spec.n_features, spec.grid.layout)
    schema = pa.schema(TREE_FIELDS)

    def finish(table: pa.Table) -> pa.Table:
        gain, packed = registry.get(criterion).gain, decisions.arrays_from_bytes(nodes)
        places = np.concatenate([arrow.binary(v, np.int32) for v in table.column("places")])
        words = np.concatenate([arrow.binary(v, np.uint64) for v in table.column("words")]).reshape(-1, width)
        batches = []
        order = np.argsort(places, kind="stable")
        slots, first = np.unique(places[order], return_index=True)
        for slot, rows in zip(slots.tolist(), np.split(order, first[1:]), strict=True):
            node = _node(spec, packed, slot)
            reference = np.zeros(spec.n_arms) if node.reference is None else node.reference
            below = growing.grow_below(words[rows], spec, gain, node.tree, node.heap, reference)
            batches.append(tree_batch(node.tree, below, schema))
        return pa.Table.from_batches(batches, schema)

    return finish


def make_filler(spec: ForestSpec, trees: bytes) -> Mapper:
    """Return the worker that sums an honest forest's other halves: blocks in, each tree's leaf sums out."""
    width = record_words(spec.n_features, spec.grid.layout)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        arrays = decisions.arrays_from_bytes(trees)
        ends = arrays["ends"].tolist()
        stats = np.zeros((ends[-1], spec.n_arms, 5), np.int64)
        for words, units in _read_blocks(batches, width):
            counting.add_leaves(spec, arrays, words, units, stats)
        row = spec.n_arms * 5
        yield from _sliced(_COUNTED, arrays["numbers"].tolist(), stats.ravel(), [end * row for end in ends])

    return work


def _add(table: pa.Table) -> pa.Table:
    first = arrow.binary(table.column("cells")[0], np.int64)
    columns = [[table.column("bucket")[0].as_py()], [_summed(table.column("cells"), first.size).tobytes()]]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, _COUNTED, strict=True)], schema=_COUNTED)


def make_adder() -> Reducer:
    """Return the reducer that adds up the cells of a bucket."""
    return _add


__all__ = ["COUNTED", "DECIDED", "GATHERED", "make_adder", "make_counter", "make_decider", "make_filler",
           "make_finisher", "make_gatherer", "make_sibling_decider", "pack_nodes"]  # fmt: skip
