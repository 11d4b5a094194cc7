"""The passes of an evaluation over the data, and what they return to the driver.

ALGORITHM
    1. Base curves: every row goes, by `explode`, to each view that it belongs to (one arm against control;
    the policy),
       and is added up by (view, slot, score) in the DataFrame API. Values are whole numbers on a grid, so
       sums don't depend on order. With more distinct scores than `EXACT_POINTS` the scores are first cut into
       about `FINE_BINS` bins at quantiles of a sample drawn by unit hash, which no partitioning can change.
    2. Replicates (evaluate_replicates.py): the driver merges each view's points into at most `REPLICATE_BINS`
    bins of about equal population and
       sends their lower edges. A `mapInArrow` worker finds each row's bins, counts its copies in each
       replicate by hash, and adds into float64 arrays [bins, slots, 2, R] of whole numbers; each partition
       sends its arrays in chunks, which are added up by `groupBy(chunk).applyInArrow`.
    What reaches the driver: one row a (score, slot) and the summed chunks, never rows of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core.dtypes import STATISTICS
from spark_uplift.core.sampling import EDGES
from spark_uplift.metrics.curves import Curve, curve_from_groups
from spark_uplift.metrics.replicates import whole_unit
from spark_uplift.spark.evaluate_input import Prepared

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["EXACT_POINTS", "FINE_BINS", "View", "base_curves", "score_matrix", "view_scores", "views_of"]

EXACT_POINTS = 200_000
"""Up to so many distinct scores each has its own point."""

FINE_BINS = 20_000
"""Quantile bins of the score beyond that; the error of an area is of the order of their inverse, squared."""

_SAMPLE_PER_BIN = 20
_SUMMED = ("w", "wy", "wyy", "ww", "mass")
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """One curve of an evaluation.

    Parameters
    ----------
    name : str
        The arm, or ``"*"`` for the policy.
    code : int
        Number of the arm from 1; 0 for the policy.
    slots : int
        Arms that have sums of their own, control included.
    population : bool
        Whether rows of other arms belong to the population too.
    """

    name: str
    code: int
    slots: int
    population: bool

    def score(self) -> Column:
        """Return the score that ranks the rows."""
        from pyspark.sql import functions as F

        return F.array_max("scores") if self.code == 0 else F.get(F.col("scores"), F.lit(self.code - 1))

    def slot(self) -> Column:
        """Return the row's slot, -1 when it only belongs to the population."""
        from pyspark.sql import functions as F

        arm = F.col("arm")
        if self.code == 0:
            return F.when((arm == 0) | (arm == F.col("best")), arm).otherwise(F.lit(-1))
        return F.when(arm == 0, 0).when(arm == self.code, 1).otherwise(F.lit(-1))


def views_of(prepared: Prepared, arm: str | None) -> list[View]:
    """Return the views to evaluate: the one arm, or every arm and, with several, the policy."""
    names = prepared.treatments
    chosen = [arm] if arm is not None else names
    views = [View(name, names.index(name) + 1, 2, prepared.logged) for name in chosen]
    if arm is None and len(names) > 1:
        views.append(View("*", 0, len(names) + 1, True))
    return views


def _units(prepared: Prepared) -> dict[str, float]:
    """Return the grid of each additive value: sums over all rows fit into int64."""
    return {name: whole_unit(prepared.bounds[name], prepared.rows, bits=61) for name in _SUMMED}


def _integers(prepared: Prepared) -> dict[str, Column]:
    """Return the additive values of a row as bigint columns on their grids."""
    from pyspark.sql import functions as F

    weight, y = F.col("w") / F.col("e"), F.col("y")
    values = {"w": weight, "wy": weight * y, "wyy": weight * y * y, "ww": weight * weight, "mass": F.col("w")}
    return {
        name: F.rint(values[name] / F.lit(unit)).cast("bigint") for name, unit in _units(prepared).items()
    }


def _long(
    frame: DataFrame, prepared: Prepared, views: Sequence[View], key: Callable[[int, View], Column]
) -> DataFrame:
    """Return a row for each row and view that it belongs to: view, slot, score, key, additive integers."""
    from pyspark.sql import functions as F

    integers = _integers(prepared)
    members = [
        F.struct(
            F.lit(number).alias("view"),
            view.slot().alias("slot"),
            view.score().alias("score"),
            key(number, view).alias("key"),
            F.lit(view.population).alias("population"),
        )
        for number, view in enumerate(views)
    ]
    exploded = frame.select(
        F.explode(F.array(*members)).alias("m"), *[v.alias(n) for n, v in integers.items()]
    )
    return exploded.where((F.col("m.slot") >= 0) | F.col("m.population")).select("m.*", *integers)


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

    points = [prepared.distinct[view.code - 1 if view.code else -1] for view in views]
    exact = max(points) <= exact_points
    frame = prepared.coded()
    if exact:
        long = _long(frame, prepared, views, lambda number, view: view.score())
    else:
        binned = _with_bins(frame, prepared, views, fine_bins)
        long = _long(binned, prepared, views, lambda number, view: F.get(F.col("bins"), F.lit(number)))
    grouped = long.groupBy("view", "slot", "key").agg(
        F.min("score").alias("low"),
        F.max("score").alias("high"),
        F.count("*").alias("n"),
        *[F.sum(name).alias(name) for name in _SUMMED],
    )
    return _curves(grouped.toArrow(), prepared, views, exact)


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
        slot, n = columns["slot"][rows], sums["n"][rows]
        shared = view.code == 0 and not prepared.logged
        found.append(
            curve_from_groups(
                score=_lowest(columns["key"][rows], columns["low"][rows]),
                high=columns["high"][rows],
                slot=slot,
                stats=np.stack([sums[name][rows] for name in STATISTICS], axis=1),
                mass=sums["mass"][rows],
                rows=n,
                slots=view.slots,
                logged=prepared.logged,
                policy=view.code == 0,
                binary=prepared.binary,
                arm_mass=arm_weight if shared else None,
                exact=exact,
            )
        )
        if view.code:
            # The views of single arms come first; together they hold every arm's weight, which the policy
            # needs.
            arm_weight[0] = sums["w"][rows][slot == 0].sum()
            arm_weight[view.code] = sums["w"][rows][slot == 1].sum()
    return found


def _lowest(key: npt.NDArray[Any], low: F64) -> F64:
    """Return the lowest score of each group's bin: the slots of a bin have different ones."""
    _, index = np.unique(key, return_inverse=True)
    least = np.full(int(index.max()) + 1, np.inf)
    np.minimum.at(least, index, low)
    return least[index]


def _with_bins(frame: DataFrame, prepared: Prepared, views: Sequence[View], fine_bins: int) -> DataFrame:
    """Add ``bins array<int>``: the number of each view's bin that the row's score lies in."""
    from pyspark.sql import functions as F

    edges = _sample_edges(frame, prepared, views, fine_bins)
    codes = [view.code for view in views]
    types = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    ddl = ", ".join(f"{name} {kind}" for name, kind in types.items())
    return frame.mapInArrow(_make_binner(codes, edges), f"{ddl}, bins array<int>").select(
        *types, F.col("bins")
    )


def _sample_edges(frame: DataFrame, prepared: Prepared, views: Sequence[View], fine_bins: int) -> list[F64]:
    from pyspark.sql import functions as F

    share = min(1.0, _SAMPLE_PER_BIN * fine_bins / prepared.rows)
    # The scores are part of the key, so that a cluster (one hash) is not sampled as a whole.
    draw = F.xxhash64("unit", "scores", F.lit(EDGES))
    sample = frame.where(draw <= F.lit(int(share * 2**64) - 2**63 - 1))
    table = sample.select(*[view.score().alias(str(number)) for number, view in enumerate(views)]).toArrow()
    edges = []
    for number in range(len(views)):
        scores = np.sort(table[str(number)].to_numpy())
        cuts = np.linspace(0, max(scores.shape[0] - 1, 0), min(fine_bins, max(scores.shape[0], 1)) + 1)
        edges.append(np.unique(scores[cuts[1:-1].astype(np.int64)]) if scores.shape[0] else np.zeros(0))
    return edges


def score_matrix(batch: pa.RecordBatch) -> F64:
    """Return the scores of a batch (no nulls), ndarray of shape (n, treatments), dtype=float64."""
    values = batch.column("scores").flatten()
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(batch.num_rows, -1)


def view_scores(scores: F64, codes: Sequence[int]) -> list[F64]:
    """Return the score that ranks the rows of each view."""
    return [scores.max(axis=1) if code == 0 else scores[:, code - 1] for code in codes]


def _make_binner(
    codes: list[int], edges: list[F64]
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ranked = view_scores(score_matrix(batch), codes)
            bins = [np.searchsorted(e, s, side="right") for e, s in zip(edges, ranked, strict=True)]
            flat = np.stack(bins, axis=1).astype(np.int32)
            offsets = np.arange(0, flat.size + 1, flat.shape[1], dtype=np.int32)
            column = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.ravel()))
            yield pa.RecordBatch.from_arrays([*batch.columns, column], names=[*batch.schema.names, "bins"])

    return work
