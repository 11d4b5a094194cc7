"""Recipients of a decision as blocks of bytes: packed once, read in each pass over them.

A block holds up to 2**18 units side by side: the hash of the id, the net value of each treatment (float32), which
treatments no rule excludes, the code of the segment, and costs where units have their own. That is about 22 bytes a
unit with three treatments, so the passes are over buffers and not over rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.policy.allocation import Problem, Units, tally
from spark_uplift.policy.exploration import Exploration
from spark_uplift.spark import arrow

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Batches = Iterator[pa.RecordBatch]

FLUSH = 1 << 18
"""Units of a block, about."""

PACKED_DDL = "part int, n bigint, unit binary, net binary, allowed binary, segment binary, cost binary"
_PACKED = [
    ("part", pa.int32()), ("n", pa.int64()), ("unit", pa.binary()), ("net", pa.binary()), ("allowed", pa.binary()),
    ("segment", pa.binary()), ("cost", pa.binary()),
]  # fmt: skip
PACKED = pa.schema(_PACKED)

FACTS_DDL = "faults binary, used binary, top double"
_BLOCK = pa.schema([*_PACKED, ("faults", pa.binary()), ("used", pa.binary()), ("top", pa.float64())])

NO_ID, NO_SCORE, NO_COST, NEGATIVE_COST, EXPLORERS = range(5)
"""What ``faults`` counts; the last is no fault."""


@dataclass(frozen=True)
class Layout:
    """How units lie in a block.

    Attributes
    ----------
    treatments : int
    segments : int
    own_costs : bool
    """

    treatments: int
    segments: int
    own_costs: bool

    @property
    def allowed_type(self) -> Any:
        """Type of the bits."""
        return np.uint8 if self.treatments <= 8 else np.uint32

    @property
    def segment_type(self) -> Any:
        """Type of the codes."""
        return np.uint8 if self.segments <= 256 else np.uint16

    def pack(self, units: Units) -> list[pa.Array]:
        """Return the columns of `PACKED` for one row."""
        segment = b"" if self.segments == 1 else units.segment.astype(self.segment_type).tobytes()
        binaries = [
            units.unit.tobytes(), np.ascontiguousarray(units.net).tobytes(),
            units.allowed.astype(self.allowed_type).tobytes(), segment,
            b"" if units.cost is None else np.ascontiguousarray(units.cost).tobytes(),
        ]  # fmt: skip
        head = [pa.array([0], pa.int32()), pa.array([units.size], pa.int64())]
        return [*head, *(pa.array([b], pa.binary()) for b in binaries)]

    def unpack(self, batch: pa.RecordBatch, i: int) -> Units:
        """Return the units of a packed row."""
        n = batch.column("n")[i].as_py()
        unit = arrow.binary(batch.column("unit")[i], np.uint64)
        net = arrow.binary(batch.column("net")[i], np.float32).reshape(n, self.treatments)
        allowed = arrow.binary(batch.column("allowed")[i], self.allowed_type).astype(np.uint32)
        segment = np.zeros(n, np.uint16)
        if self.segments > 1:
            segment = arrow.binary(batch.column("segment")[i], self.segment_type).astype(np.uint16)
        cost = None
        if self.own_costs:
            cost = arrow.binary(batch.column("cost")[i], np.float64).reshape(n, self.treatments)
        return Units(unit, net, allowed, segment, cost)

    def all_of(self, table: pa.Table) -> Units:
        """Return the units of all packed rows, in the order of their hash."""
        parts = [self.unpack(batch, i) for batch in table.to_batches() for i in range(batch.num_rows)]
        return joined(parts, self).in_order()


def joined(parts: Sequence[Units], layout: Layout) -> Units:
    """Return several sets of units as one."""
    if not parts:
        k = layout.treatments
        cost = np.zeros((0, k)) if layout.own_costs else None
        return Units(
            np.zeros(0, np.uint64), np.zeros((0, k), np.float32), np.zeros(0, np.uint32), np.zeros(0, np.uint16), cost
        )  # fmt: skip
    costs = [part.cost for part in parts if part.cost is not None]
    return Units(
        np.concatenate([part.unit for part in parts]),
        np.concatenate([part.net for part in parts]),
        np.concatenate([part.allowed for part in parts]),
        np.concatenate([part.segment for part in parts]),
        np.concatenate(costs) if costs else None,
    )


def packed(rows: DataFrame, problem: Problem, exploration: Exploration) -> DataFrame:
    """Return units as blocks.

    Parameters
    ----------
    rows : DataFrame
        unit (bigint; null without an id), allowed (int), segment (int), then a net value (float) a treatment, then
        a cost (double) a treatment where units have their own.
    problem : Problem
        What explorers use of it is added up with the packing.
    exploration : Exploration

    Returns
    -------
    DataFrame
        Columns of `PACKED_DDL` and `FACTS_DDL`: counts of faults, int64 of shape (5,); counts (S K) and spending (K) of
        explorers, int64; the largest net value.
    """
    return rows.mapInArrow(_make_packer(problem, exploration, FLUSH), f"{PACKED_DDL}, {FACTS_DDL}")


def layout_of(problem: Problem) -> Layout:
    """Return how the units of a problem lie in a block."""
    return Layout(problem.treatments, problem.segments, problem.costs is None)


def _make_packer(problem: Problem, exploration: Exploration, flush: int) -> Callable[[Batches], Batches]:
    layout = layout_of(problem)

    def block(parts: list[Units], faults: npt.NDArray[np.int64]) -> pa.RecordBatch:
        units = joined(parts, layout)
        explorers = units.take(exploration.explored(units))
        faults[EXPLORERS] = explorers.size
        counts, spent = tally(problem, explorers, exploration.arms(explorers))
        top = float(np.abs(units.net).max(initial=0.0))
        facts = [
            pa.array([faults.tobytes()], pa.binary()),
            pa.array([np.append(counts.ravel(), spent).tobytes()], pa.binary()),
            pa.array([top], pa.float64()),
        ]
        return pa.RecordBatch.from_arrays([*layout.pack(units), *facts], schema=_BLOCK)

    def pack(batches: Batches) -> Batches:
        waiting: list[Units] = []
        faults = np.zeros(5, np.int64)
        for batch in batches:
            waiting.append(_units(batch, layout, faults))
            if sum(part.size for part in waiting) >= flush:
                yield block(waiting, faults)
                waiting, faults = [], np.zeros(5, np.int64)
        if waiting:
            yield block(waiting, faults)

    return pack


def _units(batch: pa.RecordBatch, layout: Layout, faults: npt.NDArray[np.int64]) -> Units:
    """Return a batch's units; count what is wrong with them in ``faults``, OUT."""
    k = layout.treatments
    faults[NO_ID] += batch.column(0).null_count
    unit = arrow.hashes(batch.column(0).fill_null(0))
    allowed = batch.column(1).to_numpy(zero_copy_only=False).astype(np.uint32)
    segment = batch.column(2).to_numpy(zero_copy_only=False).astype(np.uint16)
    net = np.empty((len(unit), k), np.float32)
    for a in range(k):
        net[:, a] = batch.column(3 + a).to_numpy(zero_copy_only=False)
    cost = None
    if layout.own_costs:
        cost = np.column_stack([arrow.numbers(batch.column(3 + k + a)) for a in range(k)])
        lacking = ~np.isfinite(cost)
        faults[NO_COST] += lacking.any(axis=1).sum()
        faults[NEGATIVE_COST] += (cost < 0).any(axis=1).sum()
        net[lacking.any(axis=1)] = 0.0  # told once
        cost[lacking] = 0.0
    bad = ~np.isfinite(net)
    faults[NO_SCORE] += bad.any(axis=1).sum()
    net[bad] = 0.0
    return Units(unit, net, allowed, segment, cost)


def repeated(blocks: DataFrame, parts: int) -> DataFrame:
    """Return hashes that several units have: unit (bigint), n (bigint).

    Hashes travel as buffers, cut by their upper bits, and are sorted a part at a time: a tenth of what Spark's own
    grouping of the ids costs. Whoever asks must look whether the ids are equal, too.
    """
    cut = blocks.select("n", "unit").mapInArrow(_make_cutter(parts), "part int, unit binary")
    divided = cut.repartition(parts, "part").groupBy("part")
    return divided.applyInArrow(_find_repeated, "unit bigint, n bigint")


def _make_cutter(parts: int) -> Callable[[Batches], Batches]:
    schema = pa.schema([("part", pa.int32()), ("unit", pa.binary())])
    # part p holds the hashes from the first whose upper 32 bits times `parts` reach p * 2**32
    starts = [min(-(-(p << 32) // parts), (1 << 32) - 1) << 32 for p in range(1, parts)]
    bounds = np.array(starts, np.uint64)

    def cut(batches: Batches) -> Batches:
        for batch in batches:
            for i in range(batch.num_rows):
                hashes = np.sort(arrow.binary(batch.column("unit")[i], np.uint64))
                at = np.concatenate([[0], np.searchsorted(hashes, bounds), [len(hashes)]]) * 8
                offsets = pa.py_buffer(at.astype(np.int32))
                binaries = pa.Array.from_buffers(pa.binary(), parts, [None, offsets, pa.py_buffer(hashes)])
                names = pa.array(np.arange(parts, dtype=np.int32))
                yield pa.RecordBatch.from_arrays([names, binaries], schema=schema)

    return cut


def _find_repeated(table: pa.Table) -> pa.Table:
    pieces: Iterable[Any] = (value for chunk in table["unit"].chunks for value in chunk)
    hashes = np.concatenate([arrow.binary(value, np.uint64) for value in pieces])
    hashes.sort()
    again = hashes[1:] == hashes[:-1]
    found, n = np.unique(hashes[1:][again], return_counts=True)
    return pa.table({"unit": pa.array(found.view(np.int64)), "n": pa.array(n.astype(np.int64) + 1)})
