"""Bootstrap replicates of all views in one pass over the data; the steps are in evaluate_passes.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.metrics.curves import Curve, merge_points
from spark_uplift.metrics.replicates import replicate_curve, stream_keys, tally, whole_unit
from spark_uplift.spark.arrow import hashes, numbers
from spark_uplift.spark.evaluate_input import Prepared
from spark_uplift.spark.evaluate_passes import View, batch_scores, batch_slots

__all__ = ["replicate_curves"]

REPLICATE_BINS = 400
"""Bins of a replicate: a standard error needs no more, and they are multiplied by slots and replicates."""

_CHUNK_VALUES = 1 << 18  # 2 MiB
_CHUNK = pa.schema([("chunk", pa.int32()), ("payload", pa.binary())])
_CHUNK_DDL = "chunk int, payload binary"
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class _Layout:
    """Where each view's sums lie in the arrays of a worker, and how rows get there; sent to the workers.

    Parameters
    ----------
    views : tuple of View
        The views, single arms first.
    edges : tuple of ndarray, dtype=float64
        Lowest score of each bin, ascending.
    cell_offsets, bin_offsets : tuple of int
        First cell (bin x slot) and first mass of each view; the last entry is the total.
    units : tuple of 3 floats
        Grid of w, w*y and mass.
    seed, replicates : int
        Of the bootstrap.
    """

    views: tuple[View, ...]
    edges: tuple[F64, ...]
    cell_offsets: tuple[int, ...]
    bin_offsets: tuple[int, ...]
    units: tuple[float, float, float]
    seed: int
    replicates: int

    @classmethod
    def of(
        cls, views: Sequence[View], curves: Sequence[Curve], prepared: Prepared, seed: int, count: int
    ) -> _Layout:
        """Lay out views whose curves are on the replicates' bins already."""
        bins = [curve.low.shape[0] for curve in curves]
        cells = [number * view.slots for number, view in zip(bins, views, strict=True)]
        masses = [number if view.population else 0 for number, view in zip(bins, views, strict=True)]
        w, wy, mass = (whole_unit(prepared.bounds[name], prepared.rows) for name in ("w", "wy", "mass"))
        return cls(
            views=tuple(views),
            edges=tuple(curve.low[::-1].copy() for curve in curves),
            cell_offsets=tuple(np.concatenate([[0], np.cumsum(cells)]).tolist()),
            bin_offsets=tuple(np.concatenate([[0], np.cumsum(masses)]).tolist()),
            units=(w, wy, mass),
            seed=seed,
            replicates=count,
        )

    def empty(self) -> tuple[F64, F64]:
        """Return zeros: sums of shape (cells, 2, R) and masses of shape (bins, R)."""
        sums = np.zeros((self.cell_offsets[-1], 2, self.replicates))
        return sums, np.zeros((self.bin_offsets[-1], self.replicates))

    def targets(self, batch: pa.RecordBatch) -> tuple[I32, I32]:
        """Return the cell and the mass that each row adds to in each view, -1 for none, shape (n, views)."""
        own = np.full((batch.num_rows, len(self.views)), -1, np.int32)
        population = np.full_like(own, -1)
        scores, slots = batch_scores(batch, self.views), batch_slots(batch, self.views)
        for v, view in enumerate(self.views):
            place = np.searchsorted(self.edges[v], scores[v], side="right") - 1
            rank = self.edges[v].shape[0] - 1 - np.maximum(place, 0)  # best first, as curves are
            cell = self.cell_offsets[v] + rank * view.slots + slots[v]
            own[:, v] = np.where(slots[v] >= 0, cell, -1)
            if view.population:
                population[:, v] = self.bin_offsets[v] + rank
        return own, population


def replicate_curves(
    prepared: Prepared, views: Sequence[View], curves: Sequence[Curve], *, seed: int, count: int
) -> list[Curve]:
    """Return `count` Poisson bootstrap replicates of each view's curve, on at most `REPLICATE_BINS` bins.

    Parameters
    ----------
    prepared : Prepared
        Checked rows.
    views, curves : sequence
        The views and their base curves.
    seed, count : int
        Seed of the streams, and how many.
    """
    coarse = [merge_points(curve, _starts(curve)) for curve in curves]
    layout = _Layout.of(views, coarse, prepared, seed, count)
    parts = prepared.coded().mapInArrow(_make_worker(layout), _CHUNK_DDL)
    table = parts.groupBy("chunk").applyInArrow(_add_chunks, _CHUNK_DDL).toArrow()
    sums, masses = layout.empty()
    flat = (sums.reshape(-1), masses.reshape(-1))  # views
    for number, payload in zip(table["chunk"].to_pylist(), table["payload"], strict=True):
        values = np.frombuffer(payload.as_buffer(), np.float64)
        start = (number // 2) * _CHUNK_VALUES
        flat[number % 2][start : start + values.shape[0]] = values
    return _assemble(layout, coarse, sums, masses)


def _starts(curve: Curve) -> list[int]:
    """Return the first point of each bin: every point, or bins of about equal population."""
    if curve.low.shape[0] <= REPLICATE_BINS:
        return list(range(curve.low.shape[0]))
    middle = (np.cumsum(curve.mass) - curve.mass / 2.0) / max(curve.mass.sum(), np.finfo(float).tiny)
    number = np.minimum((middle * REPLICATE_BINS).astype(np.int64), REPLICATE_BINS - 1)
    return [int(start) for start in np.flatnonzero(np.diff(number, prepend=-1))]


def _assemble(layout: _Layout, coarse: Sequence[Curve], sums: F64, masses: F64) -> list[Curve]:
    found = []
    arm_weight = np.zeros((layout.replicates, max(view.code for view in layout.views) + 1))
    for v, (view, base) in enumerate(zip(layout.views, coarse, strict=True)):
        own = sums[layout.cell_offsets[v] : layout.cell_offsets[v + 1]]
        own = own.reshape(base.low.shape[0], view.slots, 2, layout.replicates)
        mass = masses[layout.bin_offsets[v] : layout.bin_offsets[v + 1]] if view.population else None
        if view.code:  # the views of single arms, which come first, hold every arm's weight
            weight = own[:, :, 0].sum(axis=0).T * layout.units[0]
            arm_weight[:, 0], arm_weight[:, view.code] = weight[:, 0], weight[:, 1]
        shared = arm_weight if view.code == 0 and not base.logged else None
        found.append(replicate_curve(base, own, mass, shared, layout.units))
    return found


def _make_worker(layout: _Layout) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function of a partition: rows in, its sums in chunks out."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        keys = stream_keys(layout.seed, layout.replicates)
        sums, masses = layout.empty()
        rows = 0
        for batch in batches:
            rows += batch.num_rows
            _add_batch(layout, batch, keys, sums, masses)
        if rows:
            yield from _chunks(sums, 0)
            yield from _chunks(masses, 1)

    return work


def _add_batch(layout: _Layout, batch: pa.RecordBatch, keys: Any, sums: F64, masses: F64) -> None:
    y, w, e = (numbers(batch.column(name)) for name in ("y", "w", "e"))
    own, population = layout.targets(batch)
    weight = w / e
    values = np.rint(np.stack([weight, weight * y, w], axis=1) / np.array(layout.units))
    tally(hashes(batch.column("unit")), own, population, values, keys, sums, masses)


def _chunks(array: F64, kind: int) -> Iterator[pa.RecordBatch]:
    """Cut an array into records; even chunk numbers are sums, odd ones masses."""
    values = array.reshape(-1)
    for number, start in enumerate(range(0, values.shape[0], _CHUNK_VALUES)):
        piece = values[start : start + _CHUNK_VALUES].tobytes()
        arrays = [pa.array([2 * number + kind], pa.int32()), pa.array([piece], pa.binary())]
        yield pa.RecordBatch.from_arrays(arrays, schema=_CHUNK)


def _add_chunks(table: pa.Table) -> pa.Table:
    """Add up the chunks of one number: whole numbers below 2**53, so the order does not matter."""
    total: Any = None
    for payload in table["payload"]:
        values = np.frombuffer(payload.as_buffer(), np.float64)
        total = values.copy() if total is None else total + values
    return pa.table([table["chunk"].slice(0, 1), pa.array([total.tobytes()], pa.binary())], schema=_CHUNK)
