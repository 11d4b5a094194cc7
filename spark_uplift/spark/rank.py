"""A global rank without sorting in one place.

ALGORITHM. The packed recipients of `recipients` come in chunks, each in the order of the scores, with a few of them
told:

1. The driver looks at the told scores and chooses cuts, so that about a million recipients lie between two of them.
   A cut is a score and a hash: even if all recipients have the same score, the hashes of their ids divide them.
2. One pass over the chunks counts the recipients of every range between two cuts.
3. Another one cuts the chunks into the ranges, one shuffle brings the pieces of a range together, and one task sorts
   and numbers it from the number of recipients in all better ranges.

The cuts decide how the work is divided, never a rank. The driver holds a number a range and 16 scores a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.spark import packing
from spark_uplift.spark.packing import GOOD, Recipients
from spark_uplift.spark.recipients import POINTS, number_of_parts
from spark_uplift.spark.score import lists

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

OUTPUT_ROWS = 1 << 15
"""Rows of an Arrow batch that goes back to Spark: a whole range at once would need room in the JVM."""

Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Cuts:
    """What divides the recipients into ranges, best first.

    Attributes
    ----------
    score : ndarray of shape (ranges - 1,), dtype=float64
        Descending.
    hash : ndarray of shape (ranges - 1,), dtype=uint64
        A recipient lies before a cut with a higher score, or with the same score and a lower hash.
    """

    score: npt.NDArray[np.float64]
    hash: npt.NDArray[np.uint64]

    @property
    def ranges(self) -> int:
        """Number of ranges."""
        return len(self.score) + 1

    def places(self, best: npt.NDArray[np.float64], hashes: npt.NDArray[np.uint64]) -> packing.I64:
        """Return where recipients in the order of the scores are to be cut.

        Parameters
        ----------
        best : ndarray of shape (n,), dtype=float64
        hashes : ndarray of shape (n,), dtype=uint64

        Returns
        -------
        ndarray of shape (ranges + 1,), dtype=int64
            From 0 to n.
        """
        first = np.searchsorted(-best, -self.score, "left")
        end = np.searchsorted(-best, -self.score, "right")
        for i in np.flatnonzero(end > first):
            first[i] += np.searchsorted(hashes[first[i] : end[i]], self.hash[i])
        return np.concatenate([[0], first, [len(best)]]).astype(np.int64)


@dataclass(frozen=True)
class Tally:
    """How many recipients there are.

    Attributes
    ----------
    good, aside : int
        With a score; set aside.
    cuts : Cuts
    """

    good: int
    aside: int
    cuts: Cuts


def tally(packed: DataFrame) -> Tally:
    """Count the recipients, and choose the cuts of as many ranges as there were parts (one Spark job).

    Parameters
    ----------
    packed : DataFrame
        Columns as in `recipients.DDL`.
    """
    found = packed.select("kind", "n", "points").toArrow()
    good = packing.of_kind(found, GOOD)
    n = int(np.sum(good["n"].to_numpy()))
    return Tally(n, int(np.sum(found["n"].to_numpy())) - n, choose_cuts(good, number_of_parts(n)))


def choose_cuts(chunks: pa.Table, ranges: int) -> Cuts:
    """Return cuts at equal numbers of recipients, as far as the points of the chunks tell."""
    points = np.frombuffer(packing.joined(chunks["points"]), np.float64).reshape(-1, 2, POINTS)
    scores = points[:, 0, :].ravel()
    hashes = np.ascontiguousarray(points[:, 1, :]).view(np.uint64).ravel()
    if ranges < 2 or not len(scores):
        return Cuts(scores[:0], hashes[:0])
    order = np.lexsort((hashes, -scores))
    weight = np.cumsum(np.repeat(chunks["n"].to_numpy() / POINTS, POINTS)[order])
    at = np.unique(np.searchsorted(weight, weight[-1] * np.arange(1, ranges) / ranges))
    at = order[np.minimum(at, len(order) - 1)]
    return Cuts(scores[at], hashes[at])


def ranked(packed: DataFrame, counted: Tally, treatments: int, width: int) -> DataFrame:
    """Return the recipients with scores one a row, ranked.

    Parameters
    ----------
    packed : DataFrame
        Columns as in `recipients.DDL`; read twice.
    counted : Tally
        Of the same recipients.
    treatments, width : int
        Uplifts a recipient; values a recipient, three times as many with intervals.

    Returns
    -------
    DataFrame
        unit_id, uplift, uplift_lower and uplift_upper (null without intervals), arm (the first treatment with the
        highest uplift, from 0), best_uplift, rank (from 1, best first) and decile (1 is the best tenth).
    """
    chunks = packed.where(packed["kind"] == GOOD).drop("points")
    cuts = counted.cuts
    rows = np.array([counted.good], np.int64)
    if cuts.ranges > 1:
        rows = np.zeros(cuts.ranges, np.int64)
        counts = chunks.mapInArrow(_make_counter(cuts, treatments, width), "part int, n bigint")
        for row in counts.groupBy("part").sum("n").collect():
            rows[row[0]] = row[1]
    before = np.concatenate([[0], np.cumsum(rows)[:-1]])
    pieces = chunks.mapInArrow(_make_cutter(cuts, treatments, width), packing.DDL)
    divided = pieces.repartition(cuts.ranges, "part").groupBy("part")
    return divided.applyInArrow(_make_numberer(before, counted.good, treatments, width), DDL)


DDL = (
    "unit_id string, uplift array<double>, uplift_lower array<double>, uplift_upper array<double>, arm int, "
    "best_uplift double, rank bigint, decile int"
)
_NUMBERS = pa.list_(pa.float64())
_ARROW = pa.schema([
    ("unit_id", pa.string()), ("uplift", _NUMBERS), ("uplift_lower", _NUMBERS), ("uplift_upper", _NUMBERS),
    ("arm", pa.int32()), ("best_uplift", pa.float64()), ("rank", pa.int64()), ("decile", pa.int32()),
])  # fmt: skip


def _make_counter(cuts: Cuts, treatments: int, width: int) -> Callable[[Batches], Batches]:
    def count(batches: Batches) -> Batches:
        rows = np.zeros(cuts.ranges, np.int64)
        for batch in batches:
            for i in range(batch.num_rows):
                chunk = packing.unpacked(batch.slice(i, 1), width)
                rows += np.diff(cuts.places(chunk.value[:, :treatments].max(axis=1), chunk.hash))
        yield pa.RecordBatch.from_arrays(
            [pa.array(np.arange(cuts.ranges, dtype=np.int32)), pa.array(rows)], names=["part", "n"]
        )

    return count


def _make_cutter(cuts: Cuts, treatments: int, width: int) -> Callable[[Batches], Batches]:
    names = np.arange(cuts.ranges, dtype=np.int32)

    def divide(batches: Batches) -> Batches:
        for batch in batches:
            for i in range(batch.num_rows):
                chunk = packing.unpacked(batch.slice(i, 1), width)
                places = cuts.places(chunk.value[:, :treatments].max(axis=1), chunk.hash)
                yield packing.cut(chunk, places, names, GOOD)

    return divide


def _make_numberer(
    before: packing.I64, rows: int, treatments: int, width: int
) -> Callable[[pa.Table], pa.Table]:
    def number(table: pa.Table) -> pa.Table:
        part = table["part"][0].as_py()
        recipients = packing.unpacked(table, width)
        order, best = packing.by_score(recipients, treatments)
        batches = [
            _numbered(recipients.take(order[i : i + OUTPUT_ROWS]), best[i : i + OUTPUT_ROWS], before[part] + i + 1)
            for i in range(0, recipients.size, OUTPUT_ROWS)
        ]  # fmt: skip
        return pa.Table.from_batches(batches, _ARROW)

    def _numbered(some: Recipients, best: npt.NDArray[np.float64], first: int) -> pa.RecordBatch:
        n, k = some.size, treatments
        rank = np.arange(first, first + n, dtype=np.int64)
        value = [np.ascontiguousarray(some.value[:, i : i + k]) for i in range(0, width, k)]
        ends = [lists(found) for found in value] + [pa.nulls(n, _NUMBERS)] * (3 - len(value))
        columns = [
            some.ids.cast(pa.string()),
            *ends,
            pa.array(value[0].argmax(axis=1).astype(np.int32)),
            pa.array(best),
            pa.array(rank),
            pa.array(((rank - 1) * 10 // rows + 1).astype(np.int32)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=_ARROW)

    return number
