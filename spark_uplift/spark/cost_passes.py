"""The passes of a cost curve over the data: its cells, and what every cell adds up to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core.sampling import EDGES
from spark_uplift.metrics.replicates import count_copies, whole_unit
from spark_uplift.policy.curve import quantile_edges
from spark_uplift.policy.curve_steps import (
    Steps,
    hull_steps,
    place,
    rounded,
    settled,
    step_values,
    tally_steps,
    to_arm,
)
from spark_uplift.spark.additive import add_up
from spark_uplift.spark.arrow import hashes, numbers
from spark_uplift.spark.cost_input import CostRows

__all__ = ["CurveQuestion", "View", "sums_of_cells", "views_of"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_CELLS = 1600  # of all curves together
_LEAST_CELLS = 100
_SAMPLE_PER_CELL = 20


@dataclass(frozen=True, kw_only=True)
class CurveQuestion:
    """What is asked of the rows; see `cost_curve`."""

    bootstrap: int = 200
    level: float = 0.95
    value: float = 1.0
    seed: int = 1


@dataclass(frozen=True)
class View:
    """A curve (with edges), or one cell an arm: at break-even, or given to everybody; sent to the workers.

    Parameters
    ----------
    name : str
        ``model``, ``only:<arm>``, ``settled`` or ``all``.
    arm : int
        Of ``only:<arm>``, else 0.
    start, cells : int
        Where its cells lie among those of all views.
    free_edges, paid_edges : ndarray, dtype=float64
        See `place`.
    """

    name: str
    arm: int
    start: int
    cells: int
    free_edges: F64
    paid_edges: F64

    def steps(self, gain: F64, cost: F64, hull: Steps, price: float) -> list[tuple[Steps, I64]]:
        """Return the steps of rows, and their cells."""
        if self.name == "settled":
            found = settled(hull, gain, cost, price)
            return [(found, self.start + found.target.astype(np.int64) - 1)]
        if self.name == "all":
            arms = range(1, gain.shape[1] + 1)
            every = [to_arm(gain, cost, arm, everybody=True) for arm in arms]
            return [(one, self.start + one.target.astype(np.int64) - 1) for one in every]
        own = to_arm(gain, cost, self.arm) if self.arm else hull
        return [(own, self.start + place(own, self.free_edges, self.paid_edges))]


def _matrix(array: Any, width: int) -> F64:
    """Return a batch's array column as an ndarray of shape (n, width)."""
    return np.asarray(numbers(array.flatten()).reshape(-1, width))


def _gains_and_costs(data: Any, width: int, costs: F64 | None) -> tuple[F64, F64]:
    """Return predicted gain and cost of each treatment, of a batch or a table."""
    gain = _matrix(_whole(data.column("scores")), width)
    if costs is None:
        return gain, _matrix(_whole(data.column("costs")), width)
    return gain, np.broadcast_to(costs, gain.shape)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def views_of(rows: CostRows, asked: CurveQuestion) -> tuple[list[View], bool]:
    """Return the views, their cells cut by a sample of the rows."""
    from pyspark.sql import functions as F

    width = len(rows.treatments)
    several = width > 1
    bins = max(_CELLS // (width + several), _LEAST_CELLS)
    share = min(1.0, _SAMPLE_PER_CELL * bins / rows.rows)
    wanted = ["scores"] + (["costs"] if rows.costs is None else [])
    # The scores are part of the key, so that a cluster (one hash) is not sampled as a whole.
    draw = F.xxhash64("unit", "scores", F.lit(EDGES))
    chosen = rows.frame if share == 1.0 else rows.frame.where(draw <= F.lit(int(share * 2**64) - 2**63 - 1))
    gain, cost = _gains_and_costs(chosen.select(*wanted).toArrow(), width, rows.costs)
    views, start, exact = [], 0, share == 1.0
    for arm in range(width + 1) if several else (1,):
        steps = to_arm(gain, cost, arm) if arm else hull_steps(gain, cost)
        free_keys, paid_keys = steps.key[steps.free], steps.key[~steps.free]
        # A sample may miss kinds of steps and the lowest keys: then a cell takes what is below the others.
        free, free_exact = quantile_edges(free_keys, bins, extra=(0.0,) if share < 1.0 else ())
        extra = (0.0, float(rounded(1.0 / asked.value))) if paid_keys.shape[0] or share < 1.0 else ()
        paid, paid_exact = quantile_edges(paid_keys, bins, extra=extra)
        exact = exact and free_exact and paid_exact
        cells = free.shape[0] + paid.shape[0]
        name = "model" if arm == 0 or not several else f"only:{rows.treatments[arm - 1]}"
        views.append(View(name, arm, start, cells, free, paid))
        start += cells
    for name in ("settled", "all"):
        views.append(View(name, 0, start, width, np.zeros(0), np.zeros(0)))
        start += width
    return views, exact


@dataclass(frozen=True)
class _Grid:
    """Units in which the lanes are whole numbers, and how many lanes there are; sent to the workers."""

    fine: F64
    coarse: F64
    mass: float

    @classmethod
    def of(cls, rows: CostRows) -> _Grid:
        gains = 1 if rows.scored else len(rows.treatments) + 1
        bounds = [*(rows.bounds[name] for name in ("w", "cost", "predicted")), *[rows.bounds["gain"]] * gains]
        count = rows.rows * (len(rows.treatments) + 1)  # a row has several steps in a curve
        return cls(
            np.array([whole_unit(bound, count, bits=61) for bound in bounds]),
            np.array([whole_unit(bound, count) for bound in bounds]),
            whole_unit(rows.bounds["w"], rows.rows),
        )


def sums_of_cells(rows: CostRows, views: Sequence[View], asked: CurveQuestion) -> tuple[F64, F64, F64, F64]:
    """Return the sums of all cells and of the arms' weights, and of their replicates."""
    from pyspark.sql import functions as F

    code: Any = F
    for number, name in enumerate(rows.treatments, start=1):
        code = code.when(F.col("label") == name, number)
    frame = rows.frame.withColumn("arm", code.otherwise(0).cast("bigint")).drop("label")
    grid = _Grid.of(rows)
    cells, lanes, arms = views[-1].start + views[-1].cells, grid.fine.shape[0], len(rows.treatments) + 1
    shapes = [
        ((cells, lanes), "int64"),
        ((cells, lanes, asked.bootstrap), "float64"),
        ((arms,), "float64"),
        ((arms, asked.bootstrap), "float64"),
    ]
    task = _make_task(tuple(views), grid, rows.costs, (rows.dr, rows.scored), arms, asked)
    base, drawn, mass, drawn_mass = add_up(frame, task, shapes)
    return (
        base * grid.fine,
        drawn * grid.coarse[:, None],
        mass * grid.mass,
        drawn_mass * grid.mass,
    )


def _make_task(
    views: tuple[View, ...],
    grid: _Grid,
    costs: F64 | None,
    scoring: tuple[bool, bool],
    arms: int,
    asked: CurveQuestion,
) -> Callable[[Iterator[pa.RecordBatch]], Sequence[npt.NDArray[Any]]]:
    """Return the function of a partition: rows in, sums of cells out."""

    def task(batches: Iterator[pa.RecordBatch]) -> Sequence[npt.NDArray[Any]]:
        cells, lanes = views[-1].start + views[-1].cells, grid.fine.shape[0]
        base, drawn = np.zeros((cells, lanes), np.int64), np.zeros((cells, lanes, asked.bootstrap))
        mass, drawn_mass = np.zeros(arms), np.zeros((arms, asked.bootstrap))
        for batch in batches:
            gain, cost = _gains_and_costs(batch, arms - 1, costs)
            arm = batch.column("arm").to_numpy(zero_copy_only=False)
            y, w = numbers(batch.column("y")), numbers(batch.column("w"))
            scores = _scores(batch, arm, y, arms, scoring)
            counts = count_copies(hashes(batch.column("unit")), asked.seed, asked.bootstrap)
            whole = np.rint(w / grid.mass)
            for a in range(arms):
                own = arm == a
                mass[a] += whole[own].sum()
                drawn_mass[a] += counts[own].astype(np.float64).T @ whole[own]
            hull = hull_steps(gain, cost)
            for view in views:
                for steps, cell in view.steps(gain, cost, hull, 1.0 / asked.value):
                    values = step_values(steps, w, scores, arm, y, arms)
                    fine = np.rint(values / grid.fine).astype(np.int64)
                    tally_steps(steps.row, cell, fine, np.rint(values / grid.coarse), counts, base, drawn)
        return base, drawn, mass, drawn_mass

    return task


def _scores(
    batch: pa.RecordBatch, arm: I64, outcome: F64, arms: int, scoring: tuple[bool, bool]
) -> F64 | None:
    """Return the score of each arm, shape (n, arms); None where the arms' shares are the propensities."""
    robust, scored = scoring
    if not scored:
        return None
    if not robust:
        score = outcome / numbers(batch.column("e"))
        return np.where(arm[:, None] == np.arange(arms), score[:, None], 0.0)
    column = batch.column("dr")
    values = numbers(column.flatten())
    found = values.reshape(batch.num_rows, -1)
    if found.shape[1] == arms:
        return found
    return np.concatenate([np.zeros((batch.num_rows, 1)), found], axis=1)
