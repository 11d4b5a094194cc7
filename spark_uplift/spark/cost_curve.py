"""`cost_curve`: gain against spend, the break-even point and the return of each treatment, at any size.

ALGORITHM
    1. One pass checks the rows (cost_input.py).
    2. A sample of rows by hash gives the cells of each curve: intervals of gain per money, every value its own if
       they are few. The price at which an outcome is worth its cost always begins a cell.
    3. One pass makes each row's steps (policy/curve_steps.py) and adds up cost, predicted and observed gain by cell,
       with R Poisson bootstrap replicates keyed by a hash of the unit; also what each arm brings at break-even, and if
       everybody gets it. Values are whole numbers on a grid, so no partitioning changes the result.
    The driver gets the sums and the sampled scores, and interpolates.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spark_uplift.core.sampling import EDGES
from spark_uplift.errors import DataError, bad_value
from spark_uplift.metrics.replicates import count_copies, stream_keys, whole_unit
from spark_uplift.policy.curve import Averages, Path, curve_rows, observed, quantile_edges, return_row
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
from spark_uplift.spark.cost_input import CostColumns, CostRows, prepare_costs
from spark_uplift.spark.small_tables import small_frame, small_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["CostCurveResult", "CurveQuestion", "cost_curve", "cost_rows"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_CELLS = 1600  # of all curves together
_LEAST_CELLS = 100
_SAMPLE_PER_CELL = 20
_RETURNS = (
    ("policy", "STRING"), ("arm", "STRING"), ("share", "DOUBLE"), ("cost", "DOUBLE"), ("gain", "DOUBLE"),
    ("lower", "DOUBLE"), ("upper", "DOUBLE"), ("net", "DOUBLE"), ("net_lower", "DOUBLE"), ("net_upper", "DOUBLE"),
    ("return", "DOUBLE"), ("return_lower", "DOUBLE"), ("return_upper", "DOUBLE"), ("predicted", "DOUBLE"),
    ("break_even_rank", "BIGINT"),
)  # fmt: skip


@dataclass(frozen=True)
class CostCurveResult:
    """Small Spark DataFrames.

    Parameters
    ----------
    curve : DataFrame
        A row a point of a curve, with the columns of the table ``cost_curve`` but for run and model.
    returns : DataFrame
        What treatments cost and bring per unit of the population: each arm and all (``*``) of the policy ``model``
        at its break-even point, whose rank (how many rows are treated, best first) is there too, and each arm
        given to everybody (policy ``all:<arm>``). ``return`` is gain * value / cost.
    exact : bool
        Whether every distinct gain per money was kept apart.
    """

    curve: DataFrame
    returns: DataFrame
    exact: bool


@dataclass(frozen=True, kw_only=True)
class CurveQuestion:
    """What is asked of the rows; see `cost_curve`."""

    bootstrap: int = 200
    level: float = 0.95
    value: float = 1.0
    seed: int = 1


def cost_curve(
    df: DataFrame,
    *,
    treatmentCol: str,
    controlName: str,
    labelCol: str,
    costs: Mapping[str, float] | None = None,
    costCol: str | None = None,
    scoreCol: str = "uplift",
    treatmentNames: Sequence[str] | None = None,
    propensityCol: str | None = None,
    drCol: str | None = None,
    weightCol: str | None = None,
    idCol: str | None = None,
    clusterCol: str | None = None,
    bootstrap: int = 200,
    level: float = 0.95,
    value: float = 1.0,
    seed: int = 1,
) -> CostCurveResult:
    """Measure what each budget would have gained, spent by predicted gain per money, on rows of an experiment.

    Every unit may be upgraded along the upper concave hull of its points (cost, predicted gain), from control at
    (0, 0); the upgrades of all units are bought in falling order of predicted gain per money (Sverdrup, Wu, Athey &
    Wager 2023, "Qini curves for multi-armed treatment rules", and their package maq). Arms that are predicted to gain
    nothing are never given. What costs nothing comes first, ranked by predicted gain: with no costs at all the
    curve is the gain over shares of the population. The gain is measured, not predicted: by doubly robust scores
    if there are any, else by inverse-propensity weighting with the logged propensities or the arms' shares.

    Equal gains per money are bought together, in part where the money ends. Intervals are value +- z * standard
    deviation over a Poisson bootstrap keyed by unit (or cluster), the same numbers for any partitioning.

    Parameters
    ----------
    df : DataFrame
        Rows with arm, outcome and scores; read three times, and kept between the passes where Spark can.
    treatmentCol, labelCol : str
        Columns of the arm (compared as text) and of the outcome.
    controlName : str
        Value of `treatmentCol` that is control.
    costs : mapping of str to float, optional
        Cost of each arm [money]; arms left out cost nothing. That of control is taken off the others.
    costCol : str, optional
        Instead: ``array<double>`` with the cost of each treatment for the row (a number for one treatment).
    scoreCol : str
        ``array<double>`` with the predicted effect of each treatment; a number will do for one treatment.
    treatmentNames : sequence of str, optional
        Treatments in the order of scores and costs; by default the arms in the data other than control, sorted.
    propensityCol : str, optional
        Logged probability, in (0, 1], of the arm that the row got.
    drCol : str, optional
        ``dr_value`` (control and each treatment) or ``dr_score`` (each treatment) of `spark_uplift.doubly_robust`.
    weightCol, idCol, clusterCol : str, optional
        Weights, 0 or more; unit; cluster that is resampled as a whole.
    bootstrap, seed : int
        Replicates (0 for no intervals) and their seed.
    level : float
        Coverage of the intervals, in (0, 1).
    value : float
        What one unit of the outcome is worth [money].

    Returns
    -------
    CostCurveResult

    Raises
    ------
    ColumnNotFoundError
        Columns are missing; names the nearest ones.
    DataError
        Negative costs, unknown arms, an arm without rows, null or NaN scores, bad parameters, …; all faults of a
        stage together.

    Warns
    -----
    UserWarning
        No unit has a treatment with a predicted gain.
    """
    asked = CurveQuestion(bootstrap=bootstrap, level=level, value=value, seed=seed)
    columns = CostColumns(
        treatment=treatmentCol,
        control=str(controlName),
        label=labelCol,
        score=scoreCol,
        costs=costCol if costCol is not None else dict(costs or {}),
        treatments=None if treatmentNames is None else tuple(treatmentNames),
        propensity=propensityCol,
        dr=drCol,
        weight=weightCol,
        unit=idCol,
        cluster=clusterCol,
    )
    if costs is not None and costCol is not None:
        raise DataError(bad_value("costCol", "cost_curve", "null when costs= is given", costCol))
    curve, returns, exact = cost_rows(df, columns, asked)
    if len(curve) == len({row["policy"] for row in curve}):
        warnings.warn(
            "No unit has a treatment with a predicted gain: nothing would be bought.",
            UserWarning,
            stacklevel=2,
        )
    spark = df.sparkSession
    return CostCurveResult(
        curve=small_table(spark, "cost_curve", curve, ("run_id", "model_id")),
        returns=small_frame(spark, _RETURNS, returns),
        exact=exact,
    )


def cost_rows(
    df: DataFrame, columns: CostColumns, asked: CurveQuestion
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], bool]:
    """Return the rows of curve and returns, and whether the curves are exact.

    Raises
    ------
    ColumnNotFoundError, DataError
        As `cost_curve`.
    """
    if faults := _parameter_faults(asked):
        raise DataError(faults)
    with prepare_costs(df, columns) as rows:
        views, exact = _views(rows, asked)
        grid = _Grid.of(rows)
        base, drawn, mass, drawn_mass = _add_up(rows, views, grid, asked)
    return (*_assemble(rows, views, (base, drawn, mass, drawn_mass), asked), exact)


def _parameter_faults(asked: CurveQuestion) -> list[str]:
    faults = []
    if not isinstance(asked.bootstrap, int) or asked.bootstrap < 0 or asked.bootstrap == 1:
        faults.append(bad_value("bootstrap", "cost_curve", "0, or an int of at least 2", asked.bootstrap))
    if not 0.0 < asked.level < 1.0:
        faults.append(bad_value("level", "cost_curve", "a float in the range (0, 1)", asked.level))
    if not (np.isfinite(asked.value) and asked.value > 0):
        faults.append(bad_value("value", "cost_curve", "a number above 0", asked.value))
    return faults


@dataclass(frozen=True)
class _View:
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


def _views(rows: CostRows, asked: CurveQuestion) -> tuple[list[_View], bool]:
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
        views.append(_View(name, arm, start, cells, free, paid))
        start += cells
    for name in ("settled", "all"):
        views.append(_View(name, 0, start, width, np.zeros(0), np.zeros(0)))
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


def _add_up(
    rows: CostRows, views: Sequence[_View], grid: _Grid, asked: CurveQuestion
) -> tuple[F64, F64, F64, F64]:
    """Return the sums of all cells and of the arms' weights, and of their replicates."""
    from pyspark.sql import functions as F

    code: Any = F
    for number, name in enumerate(rows.treatments, start=1):
        code = code.when(F.col("label") == name, number)
    frame = rows.frame.withColumn("arm", code.otherwise(0).cast("bigint")).drop("label")
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
    views: tuple[_View, ...],
    grid: _Grid,
    costs: F64 | None,
    scoring: tuple[bool, bool],
    arms: int,
    asked: CurveQuestion,
) -> Callable[[Iterator[pa.RecordBatch]], Sequence[npt.NDArray[Any]]]:
    """Return the function of a partition: rows in, sums of cells out."""

    def task(batches: Iterator[pa.RecordBatch]) -> Sequence[npt.NDArray[Any]]:
        keys = stream_keys(asked.seed, asked.bootstrap)
        cells, lanes = views[-1].start + views[-1].cells, grid.fine.shape[0]
        base, drawn = np.zeros((cells, lanes), np.int64), np.zeros((cells, lanes, asked.bootstrap))
        mass, drawn_mass = np.zeros(arms), np.zeros((arms, asked.bootstrap))
        for batch in batches:
            gain, cost = _gains_and_costs(batch, arms - 1, costs)
            arm = batch.column("arm").to_numpy(zero_copy_only=False)
            y, w = numbers(batch.column("y")), numbers(batch.column("w"))
            scores = _scores(batch, arm, y, arms, scoring)
            counts = count_copies(hashes(batch.column("unit")), keys)
            whole = np.rint(w / grid.mass)
            for a in range(arms):
                own = arm == a
                mass[a] += whole[own].sum()
                drawn_mass[a] += counts[own].T @ whole[own]
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


def _assemble(
    rows: CostRows, views: Sequence[_View], sums: tuple[F64, F64, F64, F64], asked: CurveQuestion
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    base, drawn, mass, drawn_mass = sums
    parts = {view.name: slice(view.start, view.start + view.cells) for view in views}
    every = base[parts["all"]]
    total = mass.sum()
    averages = Averages(every[:, 1] / total, every[:, 2] / total, observed(every, mass))
    curve: list[dict[str, Any]] = []
    for view in views:
        if view.name in ("settled", "all"):
            continue
        part = parts[view.name]
        path = Path.of(view.free_edges.shape[0], base[part], drawn[part], mass, drawn_mass)
        own = slice(view.arm - 1, view.arm) if view.arm else slice(None)
        mean = Averages(averages.cost[own], averages.predicted[own], averages.gain[own])
        curve += [{"policy": view.name, **row} for row in curve_rows(path, mean, asked.value, asked.level)]
    returns = []
    for policy, part in (("model", parts["settled"]), ("all", parts["all"])):
        cells = list(range(part.start, part.stop))
        for name, chosen in [*zip(rows.treatments, [[cell] for cell in cells], strict=True), ("*", cells)]:
            if policy == "all" and name == "*":
                continue
            found = return_row(
                base[chosen].sum(axis=0),
                drawn[chosen].sum(axis=0),
                mass,
                drawn_mass,
                asked.value,
                asked.level,
            )
            rank = round(found["share"] * rows.rows) if name == "*" else None
            label = policy if policy == "model" else f"all:{name}"
            returns.append({"policy": label, "arm": name, "break_even_rank": rank, **found})
    return curve, returns
