"""Which bins of the score a curve has: every distinct score, or about equal shares of the rows.

Up to `EXACT_POINTS` distinct scores each has its own. How many there are is estimated, in tables of many rows, from
the smallest hashes of the scores (KMV); bins are then cut at quantiles of a sample drawn by hash. Neither depends on
the partitions or on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core.sampling import EDGES, mix
from spark_uplift.spark.evaluate_blocks import Layout, unpack
from spark_uplift.spark.evaluate_input import Prepared
from spark_uplift.spark.evaluate_views import View, place

__all__ = ["EXACT_POINTS", "FINE_BINS", "REPLICATE_BINS", "Bins", "bins_of"]

EXACT_POINTS = 100_000
"""Up to so many distinct scores each has its own point."""

FINE_BINS = 20_000
"""Quantile bins of the score beyond that; the error of an area is of the order of their inverse, squared."""

REPLICATE_BINS = 400
"""Bins of a replicate: a standard error needs no more, and they are multiplied by slots and replicates."""

_SAMPLE_PER_BIN = 20
_SKETCH = 2048  # an estimate of the number of distinct scores is off by 2 %
_VALUES = pa.schema([("view", pa.int32()), ("value", pa.float64()), ("n", pa.int64())])
_VALUES_DDL = "view int, value double, n bigint"
_SCOUT = pa.schema([("view", pa.int32()), ("hashes", pa.binary()), ("sample", pa.binary())])
_SCOUT_DDL = "view int, hashes binary, sample binary"
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Work = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class Bins:
    """Bins of one view's scores, ascending; a row with score s is in bin ``searchsorted(edges, s, "right")``.

    Parameters
    ----------
    edges : ndarray of shape (bins - 1,), dtype=float64
        Lowest score of each bin but the first.
    coarse : ndarray of shape (bins,), dtype=int64
        Number of the replicates' bin that each belongs to, ascending.
    exact : bool
        Whether each bin is one score.
    """

    edges: F64
    coarse: I64
    exact: bool

    @classmethod
    def at(cls, edges: F64, counts: I64, *, exact: bool) -> Bins:
        """Return bins whose (approximate) sizes are `counts`."""
        if counts.shape[0] <= REPLICATE_BINS:
            return cls(edges, np.arange(counts.shape[0]), exact)
        middle = (np.cumsum(counts) - counts / 2.0) / max(int(counts.sum()), 1)
        number = np.minimum((middle * REPLICATE_BINS).astype(np.int64), REPLICATE_BINS - 1)
        return cls(edges, np.cumsum(np.diff(number, prepend=number[0]) > 0), exact)


def bins_of(prepared: Prepared, views: Sequence[View], exact_points: int, fine_bins: int) -> list[Bins]:
    """Return the bins of each view.

    Parameters
    ----------
    prepared : Prepared
        Checked rows.
    views : sequence of View
        What to evaluate.
    exact_points : int
        Up to so many distinct scores (by estimate) every score has its bin.
    fine_bins : int
        About how many bins there are otherwise.
    """
    many = prepared.rows > _SAMPLE_PER_BIN * fine_bins
    if many:
        estimate, samples = _scouted(prepared, views, fine_bins)
        if estimate > exact_points:
            return [_quantiles(sample, fine_bins) for sample in samples]
    found = _distinct(prepared, views, many=many)
    if max(values.shape[0] for values, _ in found) <= exact_points:
        return [Bins.at(values[1:], counts, exact=True) for values, counts in found]
    return [_quantiles(np.repeat(values, counts), fine_bins) for values, counts in found]


def _quantiles(sample: F64, fine_bins: int) -> Bins:
    scores = np.sort(sample)
    count = scores.shape[0]
    cuts = np.linspace(0, count, min(fine_bins, max(count, 1)) + 1)[1:-1].astype(np.int64)
    edges = np.unique(scores[cuts])
    counts = np.bincount(np.searchsorted(edges, scores, side="right"), minlength=edges.shape[0] + 1)
    return Bins.at(edges, counts, exact=False)


def _distinct(prepared: Prepared, views: Sequence[View], *, many: bool) -> list[tuple[F64, I64]]:
    """Return the distinct scores of each view, ascending, and how many rows have them."""
    from pyspark.sql import functions as F

    parts = prepared.blocks.mapInArrow(_make_counter(prepared.layout, tuple(views)), _VALUES_DDL)
    if many:  # far more rows than scores: what partitions have in common is added up before it is sent on
        parts = parts.groupBy("view", "value").agg(F.sum("n").alias("n"))
    table = parts.toArrow()
    view, value, n = (table[name].to_numpy() for name in ("view", "value", "n"))
    found = []
    for number in range(len(views)):
        own = view == number
        values, index = np.unique(value[own], return_inverse=True)
        found.append((values, np.bincount(index, n[own], values.shape[0]).astype(np.int64)))
    return found


def _make_counter(layout: Layout, views: tuple[View, ...]) -> Work:
    """Return the function of a partition: blocks in, distinct scores with their number of rows out."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        none = (np.empty(0), np.empty(0, np.int64))
        known = [none for _ in views]
        for block in blocks(layout, batches):
            for v, placed in enumerate(place(block, views)):
                values, counts = np.unique(placed.score, return_counts=True)
                both, index = np.unique(np.concatenate([known[v][0], values]), return_inverse=True)
                sums = np.bincount(index, np.concatenate([known[v][1], counts]), both.shape[0])
                known[v] = (both, sums.astype(np.int64))
        for v, (values, counts) in enumerate(known):
            columns = [np.full(values.shape, v, np.int32), values, counts]
            yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=_VALUES)

    return work


def _scouted(prepared: Prepared, views: Sequence[View], fine_bins: int) -> tuple[float, list[F64]]:
    """Return the largest estimated number of distinct scores of a view, and a sample of the scores of each."""
    share = _SAMPLE_PER_BIN * fine_bins / prepared.rows
    worker = _make_scout(prepared.layout, tuple(views), int(share * 2**64))
    table = prepared.blocks.mapInArrow(worker, _SCOUT_DDL).toArrow()
    hashes: list[list[U64]] = [[] for _ in views]
    samples: list[list[F64]] = [[] for _ in views]
    for view, hashed, sample in zip(table["view"].to_pylist(), table["hashes"], table["sample"], strict=True):
        hashes[view].append(np.frombuffer(hashed.as_buffer(), np.uint64))
        samples[view].append(np.frombuffer(sample.as_buffer(), np.float64))
    smallest = [np.unique(np.concatenate(parts))[:_SKETCH] for parts in hashes]
    return max(_estimate(found) for found in smallest), [np.concatenate(parts) for parts in samples]


def _estimate(smallest: U64) -> float:
    """Return the number of distinct values of which these are the smallest hashes."""
    if smallest.shape[0] < _SKETCH:
        return float(smallest.shape[0])
    return (_SKETCH - 1) / (float(smallest[-1]) / 2.0**64)


def _make_scout(layout: Layout, views: tuple[View, ...], limit: int) -> Work:
    """Return the function of a partition: blocks in, smallest hashes and a sample of each view's scores out."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        smallest = [np.empty(0, np.uint64) for _ in views]
        samples: list[list[F64]] = [[] for _ in views]
        for block in blocks(layout, batches):
            for v, placed in enumerate(place(block, views)):
                hashed = mix(0, EDGES, 0, (placed.score + 0.0).view(np.uint64))
                # The score is part of the key, so that a cluster (one hash) is not sampled as a whole.
                samples[v].append(placed.score[mix(0, EDGES, 1, block.unit ^ hashed) < np.uint64(limit)])
                if smallest[v].shape[0] == _SKETCH:
                    hashed = hashed[hashed < smallest[v][-1]]
                smallest[v] = np.unique(np.concatenate([smallest[v], hashed]))[:_SKETCH]
        for v, found in enumerate(smallest):
            sample = np.concatenate([np.empty(0), *samples[v]])
            columns = [
                pa.array([v], pa.int32()),
                *(pa.array([part.tobytes()], pa.binary()) for part in (found, sample)),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=_SCOUT)

    return work


def blocks(layout: Layout, batches: Iterator[pa.RecordBatch]) -> Iterator[Any]:
    """Unpack the blocks of a partition, one after the other."""
    for batch in batches:
        for header, payload in zip(batch.column("header").to_pylist(), batch.column("payload"), strict=True):
            yield unpack(layout, header, payload)
