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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spark_uplift.errors import DataError, bad_value
from spark_uplift.policy.curve import Averages, Path, curve_rows, observed, return_row
from spark_uplift.spark.cost_input import CostColumns, CostRows, prepare_costs
from spark_uplift.spark.cost_passes import CurveQuestion, View, sums_of_cells, views_of
from spark_uplift.spark.small_tables import small_frame, small_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["CostCurveResult", "CurveQuestion", "cost_curve", "cost_rows"]

F64 = npt.NDArray[np.float64]

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
        views, exact = views_of(rows, asked)
        sums = sums_of_cells(rows, views, asked)
    return (*_assemble(rows, views, sums, asked), exact)


def _parameter_faults(asked: CurveQuestion) -> list[str]:
    faults = []
    if not isinstance(asked.bootstrap, int) or asked.bootstrap < 0 or asked.bootstrap == 1:
        faults.append(bad_value("bootstrap", "cost_curve", "0, or an int of at least 2", asked.bootstrap))
    if not 0.0 < asked.level < 1.0:
        faults.append(bad_value("level", "cost_curve", "a float in the range (0, 1)", asked.level))
    if not (np.isfinite(asked.value) and asked.value > 0):
        faults.append(bad_value("value", "cost_curve", "a number above 0", asked.value))
    return faults


def _assemble(
    rows: CostRows, views: Sequence[View], sums: tuple[F64, F64, F64, F64], asked: CurveQuestion
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
