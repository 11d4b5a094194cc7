"""The passes of an evaluation over the data, and what they return to the driver.

ALGORITHM
    1. Pack (evaluate_input.py, evaluate_blocks.py): rows cross to Python once and become blocks of bytes, which Spark
       keeps; the driver gets a summary a block.
    2. Bins (evaluate_bins.py): distinct scores of each view, a view being one arm against control or the policy, or
       quantiles of a sample. The driver gets those.
    3. Sums (here): each task adds its blocks up by (view, bin, slot), in int64, and in fewer bins R times over,
       counting rows as a hash of their unit says, in float64. Values are whole numbers on a grid, so sums don't
       depend on order. Sums travel in chunks, which are added up by `groupBy(chunk).applyInArrow`.
    What reaches the driver: the summed chunks, never rows of the data. Two models of the same rows are views beside
    each other: they share the draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core.dtypes import STATISTICS
from spark_uplift.metrics.curves import Curve, curve_from_groups, merge_points
from spark_uplift.metrics.replicates import (
    accumulate,
    count_copies,
    locate,
    locator,
    replicate_curve,
    tally_integers,
    whole_unit,
)
from spark_uplift.spark.evaluate_bins import Bins, bins_of, blocks
from spark_uplift.spark.evaluate_blocks import Block, Layout
from spark_uplift.spark.evaluate_input import Prepared
from spark_uplift.spark.evaluate_views import Placed, View, place

__all__ = ["Draws", "measure"]

_CHUNK_VALUES = 1 << 18  # 2 MiB
_CHUNK_CELLS = 1 << 14
_CHUNK = pa.schema([("kind", pa.int32()), ("part", pa.int32()), ("payload", pa.binary())])
_CHUNK_DDL = "kind int, part int, payload binary"
_SUMMED = ("w", "wy", "wyy", "ww", "mass", "gain", "square", "mm")
_REPLICATED = ("w", "wy", "mass", "gain")
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draws:
    """The replicates that are asked for.

    Parameters
    ----------
    count, seed : int
        How many, and the seed of their streams.
    intervals : {"poisson", "half_sample"}
        How rows are counted.
    """

    count: int
    seed: int = 1
    intervals: str = "poisson"


@dataclass(frozen=True)
class _Plan:
    """What a worker needs; sent with its function.

    Parameters
    ----------
    layout : Layout
        Of the blocks.
    views : tuple of View
        The curves.
    bins : tuple of Bins
        Those of each view.
    fine, coarse : dict of str to float
        Grid of the sums in int64, and of the replicates' in float64.
    draws : Draws
        The replicates.
    """

    layout: Layout
    views: tuple[View, ...]
    bins: tuple[Bins, ...]
    fine: dict[str, float]
    coarse: dict[str, float]
    draws: Draws

    def cells(self, v: int) -> int:
        """Number of a view's cells: (bin, slot), one more slot for rows that only belong to the population."""
        return int((self.bins[v].edges.shape[0] + 1) * (self.views[v].slots + 1))

    def summed(self, v: int) -> tuple[str, ...]:
        """Names of a view's sums."""
        return _SUMMED if self.views[v].dr is not None else _SUMMED[:5]

    def shapes(self, v: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Shapes of a view's replicate sums: [bins * slots, (w, wy), R] and [bins, (mass, gain), R]."""
        view, count = self.views[v], int(self.bins[v].coarse[-1]) + 1
        of_population = (1 if view.dr is None else 2) if view.population else 0
        replicates = self.draws.count
        return (count * view.slots, 2, replicates), (count if of_population else 0, of_population, replicates)


def measure(
    prepared: Prepared, views: Sequence[View], draws: Draws, exact_points: int, fine_bins: int
) -> tuple[list[Curve], list[Curve]]:
    """Return the curve of each view, and its replicates (none when none are asked for).

    Parameters
    ----------
    prepared : Prepared
        Checked rows.
    views : sequence of View
        The curves; of a model, single arms come first.
    draws : Draws
        The replicates.
    exact_points, fine_bins : int
        See `bins_of`.
    """
    found = bins_of(prepared, views, exact_points, fine_bins)
    plan = _Plan(
        layout=prepared.layout,
        views=tuple(views),
        bins=tuple(found),
        fine={name: whole_unit(prepared.bounds[name], prepared.rows, bits=61) for name in _SUMMED},
        coarse={name: whole_unit(prepared.bounds[name], prepared.rows) for name in _REPLICATED},
        draws=draws,
    )
    parts = prepared.blocks.mapInArrow(_make_worker(plan), _CHUNK_DDL)
    adder = _make_adder(tuple(len(plan.summed(v)) for v in range(len(views))))
    table = parts.groupBy("kind", "part").applyInArrow(adder, _CHUNK_DDL).toArrow()
    return _assembled(plan, table, prepared)


def _make_worker(plan: _Plan) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function of a partition: blocks in, its sums in chunks out."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        views = range(len(plan.views))
        sums = [np.zeros((plan.cells(v), 1 + len(plan.summed(v))), np.int64) for v in views]
        low, high = ([np.full(plan.cells(v), edge) for v in views] for edge in (np.inf, -np.inf))
        own, population = ([np.zeros(plan.shapes(v)[side]) for v in views] for side in (0, 1))
        where = [locator(plan.bins[v].edges) for v in views]
        rows = 0
        for block in blocks(plan.layout, batches):
            rows += block.y.shape[0]
            shared = _Values.of(plan, block)
            placed = place(block, plan.views)
            draws = plan.draws
            copies = (
                count_copies(block.unit, draws.seed, draws.count, draws.intervals) if draws.count else None
            )
            for v in views:
                values = shared.scored(plan, block, placed[v].dr)
                bins = locate(where[v], placed[v].score)
                _add_fine(plan, v, bins, placed[v], values, sums[v], low[v], high[v])
                if copies is not None:
                    _add_copies(plan, v, bins, placed[v], values, copies, own[v], population[v])
        if rows:
            for v in views:
                yield from _sparse_chunks(v, sums[v], low[v], high[v])
                yield from _dense_chunks(2 * v, own[v])
                yield from _dense_chunks(2 * v + 1, population[v])

    return work


@dataclass(frozen=True)
class _Values:
    """Additive values of a block's rows as whole numbers: for the sums, and for the replicates' own and population."""

    fine: I64
    own: F64
    population: F64

    @classmethod
    def of(cls, plan: _Plan, block: Block) -> _Values:
        """Return those that all views share."""
        weight = block.w / block.e
        wy = weight * block.y
        values = {"w": weight, "wy": wy, "wyy": wy * block.y, "ww": weight * weight, "mass": block.w}
        return cls(_fine(plan, values), _coarse(plan, values, "w", "wy"), _coarse(plan, values, "mass"))

    def scored(self, plan: _Plan, block: Block, dr: F64 | None) -> _Values:
        """Return them with those of the doubly robust scores of a view, if it has such scores."""
        if dr is None:
            return self
        gain = block.w * dr
        values = {"gain": gain, "square": gain * dr, "mm": block.w * block.w}
        fine = np.concatenate([self.fine, _fine(plan, values)], axis=1)
        return _Values(
            fine, self.own, np.concatenate([self.population, _coarse(plan, values, "gain")], axis=1)
        )


def _fine(plan: _Plan, values: dict[str, F64]) -> I64:
    whole = np.stack([value / plan.fine[name] for name, value in values.items()], axis=1)
    return np.rint(whole, out=whole).astype(np.int64)


def _coarse(plan: _Plan, values: dict[str, F64], *names: str) -> F64:
    whole = np.stack([values[name] / plan.coarse[name] for name in names], axis=1)
    return np.rint(whole, out=whole)


def _add_fine(
    plan: _Plan,
    v: int,
    bins: I64,
    placed: Placed,
    values: _Values,
    sums: I64,
    low: F64,
    high: F64,
) -> None:
    view = plan.views[v]
    inside = placed.slot >= 0
    cell = bins * (view.slots + 1) + np.where(inside, placed.slot, view.slots)
    cells = cell if view.population else np.where(inside, cell, -1)
    tally_integers(cells.astype(np.int32), placed.score, values.fine, sums, low, high)


def _add_copies(
    plan: _Plan,
    v: int,
    bins: I64,
    placed: Placed,
    values: _Values,
    copies: npt.NDArray[np.uint8],
    own: F64,
    population: F64,
) -> None:
    view, coarse = plan.views[v], plan.bins[v].coarse
    rank = coarse[-1] - coarse[bins]  # best first, as curves are

    cells = np.where(placed.slot >= 0, rank * view.slots + placed.slot, -1)
    accumulate(cells.astype(np.int32), values.own, copies, own)
    if population.shape[0]:
        accumulate(rank.astype(np.int32), values.population, copies, population)


def _record(kind: int, part: int, payload: bytes) -> pa.RecordBatch:
    arrays = [pa.array([kind], pa.int32()), pa.array([part], pa.int32()), pa.array([payload], pa.binary())]
    return pa.RecordBatch.from_arrays(arrays, schema=_CHUNK)


def _dense_chunks(kind: int, array: F64) -> Iterator[pa.RecordBatch]:
    """Cut replicate sums into records of kind 0, 1, …"""
    values = array.reshape(-1)
    for part, start in enumerate(range(0, values.shape[0], _CHUNK_VALUES)):
        yield _record(kind, part, values[start : start + _CHUNK_VALUES].tobytes())


def _sparse_chunks(v: int, sums: I64, low: F64, high: F64) -> Iterator[pa.RecordBatch]:
    """Cut the cells that have rows into records of kind -1, -2, …"""
    for part, start in enumerate(range(0, sums.shape[0], _CHUNK_CELLS)):
        piece = slice(start, start + _CHUNK_CELLS)
        used = np.flatnonzero(sums[piece, 0])
        if used.shape[0]:
            payload = _cells_bytes(used, sums[piece][used], low[piece][used], high[piece][used])
            yield _record(-1 - v, part, payload)


def _cells_bytes(used: I64, sums: I64, low: F64, high: F64) -> bytes:
    return b"".join(part.tobytes() for part in (np.int64(used.shape[0]), used, sums, low, high))


def _cells(payload: Any, width: int) -> tuple[I64, I64, F64, F64]:
    """Return what `_cells_bytes` wrote: cells, sums of shape (n, width), lowest and highest scores."""
    buffer = payload.as_buffer()
    n = int(np.frombuffer(buffer, np.int64, 1)[0])
    whole = np.frombuffer(buffer, np.int64, n * (1 + width), offset=8)
    ends = np.frombuffer(buffer, np.float64, 2 * n, offset=8 * (1 + n * (1 + width)))
    return whole[:n], whole[n:].reshape(n, width), ends[:n], ends[n:]


def _make_adder(widths: tuple[int, ...]) -> Callable[[pa.Table], pa.Table]:
    """Return the function that adds up the chunks of one kind and part: whole numbers, so in any order.

    `widths` are the numbers of sums of each view, rows not counted.
    """

    def add(table: pa.Table) -> pa.Table:
        kind = table["kind"][0].as_py()
        if kind >= 0:
            total: Any = None
            for payload in table["payload"]:
                values = np.frombuffer(payload.as_buffer(), np.float64)
                total = values.copy() if total is None else np.add(total, values, out=total)
            return pa.Table.from_batches([_record(kind, table["part"][0].as_py(), total.tobytes())])
        width = 1 + widths[-1 - kind]
        sums = np.zeros((_CHUNK_CELLS, width), np.int64)
        low, high = np.full(_CHUNK_CELLS, np.inf), np.full(_CHUNK_CELLS, -np.inf)
        for payload in table["payload"]:
            here, counted, least, most = _cells(payload, width)
            sums[here] += counted
            low[here] = np.minimum(low[here], least)
            high[here] = np.maximum(high[here], most)
        used = np.flatnonzero(sums[:, 0])
        payload_out = _cells_bytes(used, sums[used], low[used], high[used])
        return pa.Table.from_batches([_record(kind, table["part"][0].as_py(), payload_out)])

    return add


def _assembled(plan: _Plan, table: pa.Table, prepared: Prepared) -> tuple[list[Curve], list[Curve]]:
    kinds, parts = table["kind"].to_numpy(), table["part"].to_numpy()
    payloads = table["payload"]
    curves: list[Curve] = []
    replicates: list[Curve] = []
    arm_weight = np.zeros(len(prepared.treatments) + 1)
    arm_weights = np.zeros((plan.draws.count, len(prepared.treatments) + 1))
    for v, view in enumerate(plan.views):
        own_kinds = (-1 - v, 2 * v, 2 * v + 1)
        found = {k: {int(parts[i]): payloads[int(i)] for i in np.flatnonzero(kinds == k)} for k in own_kinds}
        shared = None if view.code else arm_weight.copy()
        curve, bins = _curve(plan, v, found[-1 - v], prepared, shared)
        curves.append(curve)
        if view.code:  # the views of single arms, which come first, hold every arm's weight
            arm_weight[[0, view.code]] = curve.stats[:, :, STATISTICS.index("w")].sum(axis=0)
        if plan.draws.count:
            own, population = (
                _dense(shape, found[2 * v + side]) for side, shape in enumerate(plan.shapes(v))
            )
            replicates.append(_replicates(plan, v, curve, bins, own, population, arm_weights))
    return curves, replicates


def _dense(shape: tuple[int, int, int], chunks: dict[int, Any]) -> F64:
    values = np.zeros(shape)
    flat = values.reshape(-1)
    for part, payload in chunks.items():
        piece = np.frombuffer(payload.as_buffer(), np.float64)
        flat[part * _CHUNK_VALUES : part * _CHUNK_VALUES + piece.shape[0]] = piece
    return values


def _curve(
    plan: _Plan, v: int, chunks: dict[int, Any], prepared: Prepared, arm_weight: F64 | None
) -> tuple[Curve, I64]:
    """Return a view's curve, and the bin of each of its points (best first)."""
    view, names = plan.views[v], plan.summed(v)
    pieces = [(part, *_cells(chunks[part], 1 + len(names))) for part in sorted(chunks)]
    cell = np.concatenate([part * _CHUNK_CELLS + used for part, used, *_ in pieces])
    sums = np.concatenate([values for _, _, values, _, _ in pieces])
    low, high = (np.concatenate([piece[side] for piece in pieces]) for side in (3, 4))
    bins, slot = cell // (view.slots + 1), cell % (view.slots + 1)
    real = {"n": sums[:, 0].astype(np.float64)}
    real |= {name: sums[:, 1 + j] * plan.fine[name] for j, name in enumerate(names)}
    used, index = np.unique(bins, return_inverse=True)
    least = np.full(used.shape[0], np.inf)
    np.minimum.at(least, index, low)  # the slots of a bin have different ones
    curve = curve_from_groups(
        score=least[index],
        high=high,
        slot=np.where(slot == view.slots, -1, slot),
        stats=np.stack([real[name] for name in STATISTICS], axis=1),
        mass=real["mass"],
        rows=real["n"],
        slots=view.slots,
        logged=prepared.logged,
        policy=view.code == 0,
        binary=prepared.binary,
        arm_mass=arm_weight,
        exact=plan.bins[v].exact,
        dr=None if view.dr is None else np.stack([real[name] for name in ("gain", "square", "mm")], axis=1),
    )
    return curve, used[::-1]


def _replicates(
    plan: _Plan, v: int, curve: Curve, bins: I64, own: F64, population: F64, arm_weights: F64
) -> Curve:
    """Return a view's replicates as one curve; writes the arms' weights to `arm_weights`, or reads them there."""
    view, coarse = plan.views[v], plan.bins[v].coarse
    number = coarse[bins]
    starts = np.flatnonzero(np.diff(number, prepend=number[0] + 1))
    base = merge_points(curve, starts.tolist())
    rank = coarse[-1] - number[starts]  # bins that have rows, in the order of the sums
    sums = own.reshape(-1, view.slots, 2, plan.draws.count)[rank]
    mass = population[rank, 0] if view.population else None
    gain = None if view.dr is None else population[rank, 1]
    shared = None
    if view.code:
        arm_weights[:, [0, view.code]] = sums[:, :, 0].sum(axis=0).T * plan.coarse["w"]
    elif not base.logged:
        shared = arm_weights
    grid = [plan.coarse[name] for name in _REPLICATED]
    return replicate_curve(base, sums, mass, shared, grid, gain)
