"""From a list to scored recipients, each once.

ALGORITHM. One pass over the list, one shuffle of packed rows (`packing`):

1. Every task scores its rows, puts aside those that can't be scored, and cuts the others by the hash of their id into
   as many parts as the list has millions of rows. Of rows with the same id that it meets together it sends one on.
2. Every part is then whole in one task: of rows with the same id one stays, the others are put aside. The part goes
   on in the order of the scores, with a few of them as points from which the ranking chooses its cuts.

Equal hashes of different ids put nobody aside: ids are compared. What a part holds is a function of the list alone,
whatever tasks were lost, run twice or differently divided. A task holds `FLUSH` rows or one part, never the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.forest import Forest
from spark_uplift.spark import arrow, packing
from spark_uplift.spark.packing import BAD, GOOD, NAMELESS, Recipients
from spark_uplift.spark.score import encode, predictor

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

FLUSH = 1 << 18
"""Rows that a task of the first step cuts into parts together."""

PART = 1 << 20
"""Rows of a part, about; of more than `MAX_PARTS` times as many rows the parts get larger."""
MAX_PARTS = 8192

CHUNK = 1 << 17
"""Rows of a packed row that leaves the second step."""

POINTS = 16
"""Of each packed row so many scores are told, at equal distances."""

NO_ID, DUPLICATE = -1, 0
"""Reasons: no id, and a second row; 1 + j is an infinite value of feature j."""

DDL = f"{packing.DDL}, points binary"
_ARROW = packing.ARROW.append(pa.field("points", pa.binary()))
Batches = Iterator[pa.RecordBatch]


def number_of_parts(rows: int) -> int:
    """Return how many parts a list of so many rows is divided into."""
    return max(1, min(MAX_PARTS, -(-rows // PART)))


def packed(df: DataFrame, forest: Forest, parts: int, level: float | None = None) -> DataFrame:
    """Score a list; return its recipients packed, each once, see the ALGORITHM above.

    Parameters
    ----------
    df : DataFrame
        Columns: unit_id (text), the hash of it (bigint), then the forest's features as double or text, in its order.
    forest : Forest
    parts : int
    level : float, optional
        Coverage of intervals; their ends follow the uplifts in ``value``.

    Returns
    -------
    DataFrame
        Columns as in `DDL`; ``part`` is of no more use.
    """
    k = len(forest.treatments)
    width = k if level is None else 3 * k
    scored = df.mapInArrow(_make_scorer(forest, parts, level, FLUSH), packing.DDL)
    divided = scored.repartition(parts, "part").groupBy("part")
    return divided.applyInArrow(_make_gatherer(k, width, CHUNK), DDL)


def _make_scorer(forest: Forest, parts: int, level: float | None, flush: int) -> Callable[[Batches], Batches]:
    features, k = forest.features, len(forest.treatments)
    predict = predictor(forest.packed, level)

    def score(batches: Batches) -> Batches:
        good: list[Recipients] = []
        waiting = 0
        for batch in batches:
            rows, aside, n_nameless = _divide(batch, features, predict)
            if n_nameless:
                yield packing.nameless(n_nameless)
            if aside.size:
                yield _by_hash(aside, parts, BAD)
            good.append(rows)
            waiting += rows.size
            if waiting >= flush:
                yield from _flushed(good, parts, k)
                good, waiting = [], 0
        if waiting:
            yield from _flushed(good, parts, k)

    return score


def _divide(
    batch: pa.RecordBatch,
    features: tuple[FeatureBins, ...],
    predict: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]],
) -> tuple[Recipients, Recipients, int]:
    """Return (scored recipients, those set aside with the reason, rows without an id)."""
    nameless = batch.column(0).null_count
    if nameless:
        batch = batch.filter(batch.column(0).is_valid())
    ids = packing.large_strings(batch.column(0))
    hashes = arrow.hashes(batch.column(1))
    columns = batch.columns[2:]
    reason = np.zeros(batch.num_rows, np.int32)
    for j in reversed(range(len(features))):
        if not features[j].categorical:
            reason[np.isinf(arrow.numbers(columns[j]))] = 1 + j
    aside = Recipients(hashes[:0], ids[:0], reason[:0, None])
    if reason.any():
        aside = Recipients(hashes, ids, reason[:, None]).take(reason != 0)
        usable = reason == 0
        columns = [column.filter(pa.array(usable)) for column in columns]
        hashes, ids = hashes[usable], ids.filter(pa.array(usable))
    return Recipients(hashes, ids, predict(encode(features, tuple(columns)))), aside, nameless


def _flushed(good: Sequence[Recipients], parts: int, treatments: int) -> Batches:
    kept, again = packing.one_a_unit(packing.concatenated(good), treatments)
    yield _cut_by_hash(kept, parts, GOOD)
    if again.size:
        yield _cut_by_hash(_set_aside(again), parts, BAD)


def _set_aside(again: Recipients) -> Recipients:
    return Recipients(again.hash, again.ids, np.full((again.size, 1), DUPLICATE, np.int32))


def _by_hash(recipients: Recipients, parts: int, kind: int) -> pa.RecordBatch:
    return _cut_by_hash(recipients.take(np.argsort(recipients.hash)), parts, kind)


def _cut_by_hash(recipients: Recipients, parts: int, kind: int) -> pa.RecordBatch:
    """Cut recipients in the order of the hash into the parts of equal ranges of it."""
    names = np.arange(parts, dtype=np.int32)
    high = recipients.hash >> np.uint64(32)
    part = (high * np.uint64(parts)) >> np.uint64(32)
    cuts = np.append(np.searchsorted(part, names.astype(np.uint64)), recipients.size)
    return packing.cut(recipients, cuts.astype(np.int64), names, kind)


def _make_gatherer(treatments: int, width: int, chunk: int) -> Callable[[pa.Table], pa.Table]:
    def gather(table: pa.Table) -> pa.Table:
        out = [_without_points(batch) for batch in _aside(table)]
        good = packing.of_kind(table, GOOD)
        if good.num_rows:
            kept, again = packing.one_a_unit(packing.unpacked(good, width), treatments)
            if again.size:
                ends = np.array([0, again.size], np.int64)
                again_cut = packing.cut(_set_aside(again), ends, np.zeros(1, np.int32), BAD)
                out.append(_without_points(again_cut))
            order, best = packing.by_score(kept, treatments)
            out.append(_in_chunks(kept.take(order), best, chunk))
        return pa.Table.from_batches(out, _ARROW)

    return gather


def _aside(table: pa.Table) -> list[pa.RecordBatch]:
    """Return what was put aside before, packed rows as they are, those without an id as one number."""
    found = [packing.of_kind(table, BAD).combine_chunks().to_batches()]
    nameless = packing.of_kind(table, NAMELESS)
    if nameless.num_rows:
        found.append([packing.nameless(int(np.sum(nameless["n"].to_numpy())))])
    return [batch for batches in found for batch in batches]


def _without_points(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [*batch.columns, pa.array([b""] * batch.num_rows, pa.binary())], schema=_ARROW
    )


def _in_chunks(recipients: Recipients, best: npt.NDArray[np.float64], chunk: int) -> pa.RecordBatch:
    """Return recipients in the order of the scores as packed rows with points.

    A point is a score (float64) and a hash (uint64): the place of a recipient in the whole list's order.
    """
    cuts = np.append(np.arange(0, recipients.size, chunk), recipients.size)
    batch = packing.cut(recipients, cuts, np.zeros(len(cuts) - 1, np.int32), GOOD)
    points: list[Any] = []
    for first, end in pairwise(cuts):
        at = first + (np.arange(POINTS) * 2 + 1) * (end - first) // (2 * POINTS)
        points.append(best[at].tobytes() + recipients.hash[at].tobytes())
    return pa.RecordBatch.from_arrays([*batch.columns, pa.array(points, pa.binary())], schema=_ARROW)


def set_aside(packed_rows: DataFrame) -> DataFrame:
    """Return those who were set aside one a row: unit_id (null where there is none), reason (int).

    Parameters
    ----------
    packed_rows : DataFrame
        Columns as in `DDL`.

    Returns
    -------
    DataFrame
        Reasons as in `NO_ID` and `DUPLICATE`.
    """
    others = packed_rows.where(packed_rows["kind"] != GOOD).drop("points")
    return others.mapInArrow(_make_spreader(CHUNK), "unit_id string, reason int")


def _make_spreader(chunk: int) -> Callable[[Batches], Batches]:
    schema = pa.schema([("unit_id", pa.string()), ("reason", pa.int32())])

    def spread(batches: Batches) -> Batches:
        for batch in batches:
            for i in range(batch.num_rows):
                row = batch.slice(i, 1)
                if row["kind"][0].as_py() == BAD:
                    found = packing.unpacked(row, 1, np.int32)
                    columns = [found.ids.cast(pa.string()), pa.array(found.value[:, 0])]
                    yield pa.RecordBatch.from_arrays(columns, schema=schema)
                    continue
                left = row["n"][0].as_py()
                while left:
                    n = min(left, chunk)
                    columns = [pa.nulls(n, pa.string()), pa.array(np.full(n, NO_ID, np.int32))]
                    yield pa.RecordBatch.from_arrays(columns, schema=schema)
                    left -= n

    return spread
