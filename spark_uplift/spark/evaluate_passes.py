"""The passes of an evaluation over the data, and what they return to the driver.

ALGORITHM
    1. Base curves: rows are added up by (view, slot, score), a view being one arm against control, or the
    policy.
       Values are whole numbers on a grid, so sums don't depend on order. Where there are few distinct scores
       this is a `groupBy` a view. With more than `EXACT_POINTS` the scores are cut into about `FINE_BINS`
       bins at quantiles of a sample drawn by hash, which no partitioning can change; a `mapInArrow` worker
       adds its partition up by bin, and a `groupBy` adds up the partitions.
    2. Replicates (evaluate_replicates.py): the driver merges each view's points into at most `REPLICATE_BINS`
    bins of
       about equal population and sends their lower edges. A `mapInArrow` worker finds each row's bins, counts
       its copies in each replicate by hash, and adds into float64 arrays [bins, slots, 2, R] of whole
       numbers; each partition sends its arrays in chunks, which are added up by
       `groupBy(chunk).applyInArrow`.
    What reaches the driver: one row a (score, slot) and the summed chunks, never rows of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core.dtypes import STATISTICS
from spark_uplift.core.sampling import EDGES
from spark_uplift.metrics.curves import Curve, curve_from_groups
from spark_uplift.metrics.replicates import tally_integers, whole_unit
from spark_uplift.spark.arrow import numbers
from spark_uplift.spark.evaluate_input import Prepared

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["EXACT_POINTS", "FINE_BINS", "View", "base_curves", "batch_scores", "batch_slots", "views_of"]

EXACT_POINTS = 200_000
"""Up to so many distinct scores each has its own point."""

FINE_BINS = 20_000
"""Quantile bins of the score beyond that; the error of an area is of the order of their inverse, squared."""

_SAMPLE_PER_BIN = 20
_SUMMED = ("w", "wy", "wyy", "ww", "mass")
_GROUPS = pa.schema(
    [
        ("view", pa.int32()),
        ("slot", pa.int32()),
        ("key", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
    ]
    + [(name, pa.int64()) for name in ("n", *_SUMMED)]
)
_GROUPS_DDL = (
    "view int, slot int, key double, low double, high double, "
    "n bigint, w bigint, wy bigint, wyy bigint, ww bigint, mass bigint"
)
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class View:
    """One curve of an evaluation.

    Parameters
    ----------
    name : str
        The arm, or ``"*"`` for the policy.
    code : int
        Number of the arm from 1; 0 for the policy.
    score : str
        Column of the score that ranks the rows.
    slots : int
        Arms that have sums of their own, control included.
    population : bool
        Whether rows of other arms belong to the population too.
    """

    name: str
    code: int
    score: str
    slots: int
    population: bool

    def slot(self) -> Column:
        """Return the row's slot, -1 when it does not have one."""
        from pyspark.sql import functions as F

        arm = F.col("arm")
        if self.code == 0:
            return F.when((arm == 0) | (arm == F.col("best")), arm).otherwise(-1)
        return F.when(arm == 0, 0).when(arm == self.code, 1).otherwise(-1)


def views_of(prepared: Prepared, arm: str | None) -> list[View]:
    """Return the views to evaluate: the one arm, or every arm and then, with several, the policy."""
    names = prepared.treatments
    codes = [names.index(arm) + 1] if arm is not None else range(1, len(names) + 1)
    scores = ["s0" if prepared.scores == 1 else f"s{code - 1}" for code in codes]
    views = [
        View(names[code - 1], code, score, 2, prepared.logged)
        for code, score in zip(codes, scores, strict=True)
    ]
    if arm is None and len(names) > 1:
        views.append(View("*", 0, "top", len(names) + 1, True))
    return views


def base_curves(prepared: Prepared, views: Sequence[View], exact_points: int, fine_bins: int) -> list[Curve]:
    """Return the curve of each view.

    Parameters
    ----------
    prepared : Prepared
        Checked rows.
    views : sequence of View
        What to evaluate.
    exact_points : int
        Up to so many distinct scores (by estimate) every score is a point.
    fine_bins : int
        About how many bins there are otherwise.
    """
    from pyspark.sql import functions as F

    frame = prepared.coded()
    counts = frame.agg(
        *[F.approx_count_distinct(view.score).alias(str(i)) for i, view in enumerate(views)]
    ).head()
    exact = counts is None or max(counts) <= exact_points
    if exact:
        parts = reduce(
            lambda one, two: one.unionAll(two), [_rows(frame, prepared, i, v) for i, v in enumerate(views)]
        )
    else:
        edges = _sample_edges(frame, prepared, views, fine_bins)
        worker = _make_binner(tuple(views), edges, tuple(_units(prepared).values()))
        parts = frame.mapInArrow(worker, _GROUPS_DDL)
    sums = [F.sum(name).alias(name) for name in ("n", *_SUMMED)]
    grouped = parts.groupBy("view", "slot", "key").agg(
        F.min("low").alias("low"), F.max("high").alias("high"), *sums
    )
    return _curves(grouped.toArrow(), prepared, views, exact)


def _units(prepared: Prepared) -> dict[str, float]:
    """Return the grid of each additive value: sums over all rows fit into int64."""
    return {name: whole_unit(prepared.bounds[name], prepared.rows, bits=61) for name in _SUMMED}


def _rows(frame: DataFrame, prepared: Prepared, number: int, view: View) -> DataFrame:
    """Return the rows of a view with the columns of `_GROUPS`, the score itself as key."""
    from pyspark.sql import functions as F

    weight, y = F.col("w") / F.col("e"), F.col("y")
    values = {"w": weight, "wy": weight * y, "wyy": weight * y * y, "ww": weight * weight, "mass": F.col("w")}
    units = _units(prepared)
    score = F.col(view.score)
    chosen = frame.select(
        F.lit(number).alias("view"),
        view.slot().alias("slot"),
        score.alias("key"),
        score.alias("low"),
        score.alias("high"),
        F.lit(1).cast("bigint").alias("n"),
        *[F.rint(values[name] / F.lit(units[name])).cast("bigint").alias(name) for name in _SUMMED],
    )
    return chosen if view.population else chosen.where(F.col("slot") >= 0)


def _curves(table: pa.Table, prepared: Prepared, views: Sequence[View], exact: bool) -> list[Curve]:
    units = _units(prepared)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    # Groups arrive in any order; sums over them on the driver are taken in this one.
    order = np.lexsort((columns["slot"], columns["key"], columns["view"]))
    columns = {name: values[order] for name, values in columns.items()}
    sums = {name: columns[name] * units[name] for name in _SUMMED} | {"n": columns["n"].astype(np.float64)}
    found: list[Curve] = []
    arm_weight = np.zeros(len(prepared.treatments) + 1)
    for number, view in enumerate(views):
        rows = columns["view"] == number
        slot = columns["slot"][rows]
        found.append(
            curve_from_groups(
                score=_lowest(columns["key"][rows], columns["low"][rows]),
                high=columns["high"][rows],
                slot=slot,
                stats=np.stack([sums[name][rows] for name in STATISTICS], axis=1),
                mass=sums["mass"][rows],
                rows=sums["n"][rows],
                slots=view.slots,
                logged=prepared.logged,
                policy=view.code == 0,
                binary=prepared.binary,
                arm_mass=arm_weight if view.code == 0 else None,
                exact=exact,
            )
        )
        if view.code:  # the views of single arms, which come first, hold every arm's weight
            arm_weight[0] = sums["w"][rows][slot == 0].sum()
            arm_weight[view.code] = sums["w"][rows][slot == 1].sum()
    return found


def _lowest(key: npt.NDArray[Any], low: F64) -> F64:
    """Return the lowest score of each group's bin: the slots of a bin have different ones."""
    _, index = np.unique(key, return_inverse=True)
    least = np.full(int(index.max()) + 1, np.inf)
    np.minimum.at(least, index, low)
    return least[index]


def _sample_edges(frame: DataFrame, prepared: Prepared, views: Sequence[View], fine_bins: int) -> list[F64]:
    """Return the upper bounds of all bins but the last of each view, ascending."""
    from pyspark.sql import functions as F

    names = list(dict.fromkeys(view.score for view in views))
    share = min(1.0, _SAMPLE_PER_BIN * fine_bins / prepared.rows)
    # The scores are part of the key, so that a cluster (one hash) is not sampled as a whole.
    draw = F.xxhash64("unit", *names, F.lit(EDGES))
    table = frame.where(draw <= F.lit(int(share * 2**64) - 2**63 - 1)).select(*names).toArrow()
    edges = []
    for view in views:
        scores = np.sort(table[view.score].to_numpy())
        count = scores.shape[0]
        cuts = np.linspace(0, count, min(fine_bins, max(count, 1)) + 1)[1:-1].astype(np.int64)
        edges.append(np.unique(scores[cuts]))
    return edges


def batch_scores(batch: pa.RecordBatch, views: Sequence[View]) -> list[F64]:
    """Return the score that ranks the rows in each view, ndarrays of shape (n,), dtype=float64."""
    return [numbers(batch.column(view.score)) for view in views]


def batch_slots(batch: pa.RecordBatch, views: Sequence[View]) -> list[I32]:
    """Return the slot of the rows in each view, -1 for none, ndarrays of shape (n,), dtype=int32."""
    arm = batch.column("arm").to_numpy(zero_copy_only=False).astype(np.int32)
    slots = []
    for view in views:
        if view.code:
            slots.append(np.where(arm == 0, 0, np.where(arm == view.code, 1, -1)).astype(np.int32))
        else:
            best = batch.column("best").to_numpy(zero_copy_only=False)
            slots.append(np.where((arm == 0) | (arm == best), arm, -1).astype(np.int32))
    return slots


def _make_binner(
    views: tuple[View, ...], edges: list[F64], units: tuple[float, ...]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function of a partition: rows in, one row a view, slot and bin out."""
    # Cells are [view, bin, slot]; after a view's arms comes one for rows that only belong to the population.
    widths = [view.slots + 1 for view in views]
    sizes = [(e.shape[0] + 1) * width for e, width in zip(edges, widths, strict=True)]
    starts = np.concatenate([[0], np.cumsum(sizes)])

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        sums = np.zeros((starts[-1], 1 + len(_SUMMED)), np.int64)
        low, high = np.full(starts[-1], np.inf), np.full(starts[-1], -np.inf)
        for batch in batches:
            scores, slots = batch_scores(batch, views), batch_slots(batch, views)
            cells = np.empty((batch.num_rows, len(views)), np.int32)
            for v, view in enumerate(views):
                slot = np.where(slots[v] >= 0, slots[v], view.slots)
                bins = np.searchsorted(edges[v], scores[v], side="right")
                cell = starts[v] + bins * widths[v] + slot
                cells[:, v] = cell if view.population else np.where(slots[v] >= 0, cell, -1)
            y, w, e = (numbers(batch.column(name)) for name in ("y", "w", "e"))
            weight = w / e
            values = np.stack([weight, weight * y, weight * y * y, weight * weight, w], axis=1) / np.array(
                units
            )
            tally_integers(cells, np.stack(scores, axis=1), np.rint(values).astype(np.int64), sums, low, high)
        yield from _groups(sums, low, high, starts, widths)

    return work


def _groups(
    sums: npt.NDArray[np.int64], low: F64, high: F64, starts: npt.NDArray[Any], widths: list[int]
) -> Iterator[pa.RecordBatch]:
    for v, width in enumerate(widths):
        part = slice(int(starts[v]), int(starts[v + 1]))
        used = np.flatnonzero(sums[part, 0])
        slot = used % width
        columns = [
            np.full(used.shape, v, np.int32),
            np.where(slot == width - 1, -1, slot).astype(np.int32),
            (used // width).astype(np.float64),
            low[part][used],
            high[part][used],
            *np.ascontiguousarray(sums[part][used].T),
        ]
        yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=_GROUPS)
