"""`decide`: from scores to one arm a recipient, under budgets, capacities and rules, at any size."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_uplift.errors import DataError, SparkUpliftError
from spark_uplift.policy.allocation import I64, Problem, decimals_for
from spark_uplift.policy.allocation_report import (
    ALL,
    constraint_rows,
    exceeded,
    sentence,
    summary_rows,
    whole,
)
from spark_uplift.policy.exploration import SAMPLE, TIES, Exploration, signed_key
from spark_uplift.spark import decide_passes, decide_rule, decide_units
from spark_uplift.spark.batches import unmeasured_batches
from spark_uplift.spark.decide_input import Request, checked
from spark_uplift.spark.decide_passes import CORE, Account, Setting, Solved
from spark_uplift.spark.keep import kept
from spark_uplift.spark.small_tables import small_table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["DecisionResult", "decide"]

_RUN_COLUMNS = ("run_id", "model_id", "list_id")
_LOG = logging.getLogger(__name__)

_ROUNDS, _MOVES = 6, 10
_TOLD = 5


@dataclass(frozen=True)
class DecisionResult:
    """Who gets what, and what it comes to.

    Parameters
    ----------
    decisions : DataFrame
        A row a recipient: unit_id, arm, reason, uplift, gain, cost, net, propensity, explored, segment (as the table
        ``decisions``). Plain SQL over `scored`, computed when it is read.
    summary : DataFrame
        A row an arm, and ``*`` for all (``decision_summary``).
    constraints : DataFrame
        A row a limit: used, price, binding (``decision_constraints``).
    units : int
        Recipients.
    gap : float
        Upper bound on the share of the net value that a better assignment could add.
    sentence : str
        "Spend x, expect y (interval) …".
    """

    decisions: DataFrame
    summary: DataFrame
    constraints: DataFrame
    units: int
    gap: float
    sentence: str


def decide(
    scored: DataFrame,
    *,
    idCol: str,
    treatmentNames: Sequence[str],
    controlName: str,
    scoreCol: str = "uplift",
    value: float = 1.0,
    costs: Mapping[str, float] | None = None,
    costCols: Mapping[str, str] | None = None,
    budgets: Sequence[Mapping[str, Any]] = (),
    capacities: Sequence[Mapping[str, Any]] = (),
    segmentCol: str | None = None,
    minimumGain: float = 0.0,
    exclusions: Mapping[str, str | Sequence[str]] | str | Sequence[str] | None = None,
    explore: float = 0.0,
    lowerCol: str | None = None,
    upperCol: str | None = None,
    currency: str | None = None,
    seed: int = 1,
    coreUnits: int = CORE,
) -> DecisionResult:
    """Give each recipient the arm that makes the net value of all largest, within every limit.

    The net value of a treatment is ``value * uplift - cost``; control has 0. No limit is ever exceeded, not by a cent:
    usage is counted in whole numbers. The result is within `gap` of the best that is possible (weak duality gives the
    bound; without limits that are tiny beside one contact it is far below 0.1 %).

    Equal values (up to a millionth of a typical one) are decided by a hash of the id: the same on any partitioning, in
    favour of nobody, anew with another `seed`.

    Parameters
    ----------
    scored : DataFrame
        A row a recipient; read twice, and kept in a packed form between the passes where Spark can.
    idCol : str
        Id of the recipient, unique.
    treatmentNames : sequence of str
        Treatments in the order of the scores.
    controlName : str
        Name of not being contacted.
    scoreCol : str
        ``array<double>`` with the predicted effect of each treatment; a number will do for one treatment.
    value : float
        What one unit of the outcome is worth [money].
    costs : mapping of str to float, optional
        Cost of each treatment [money]; those left out cost nothing.
    costCols : mapping of str to str, optional
        Instead, the column with a treatment's cost for each recipient [money].
    budgets : sequence of mapping
        ``{"name": …, "limit": money, "arms": […]}``; without arms it is for all.
    capacities : sequence of mapping
        ``{"arm": … or "arms": […], "limit": units, "segment": value or list, "name": …}``: at most so many recipients
        get these arms, in these segments where given.
    segmentCol : str, optional
        Column that segments are values of; also told in the decisions.
    minimumGain : float
        Net value under which a treatment is not given [money].
    exclusions : mapping of str to str (or a sequence), optional
        SQL expressions of the columns, by treatment, or ``"*"`` for all; where one is true the treatment is not given,
        e.g. ``{"*": "unsubscribed", "call": "contacts_30d >= 4"}``. One that gives null does not exclude:
        ``coalesce(unsubscribed, true)`` does.
    explore : float
        Share of recipients, in [0, 1), that get an arm drawn among control and those that no rule excludes; what they
        use counts first.
    lowerCol, upperCol : str, optional
        Ends of the scores' intervals, as `scoreCol`. Their sums are the interval of the expected gain: wide, as if all
        errors went the same way.
    currency : str, optional
        For the sentence.
    seed : int
        Of ties and exploration.
    coreUnits : int
        Units that one task solves for; no decision should depend on it but by rounding.

    Returns
    -------
    DecisionResult

    Raises
    ------
    ColumnNotFoundError
        Columns are missing; names the nearest ones.
    DataError
        Unknown arms, negative costs or limits, bad expressions, null or NaN scores, null or doubled ids, exploration
        that exceeds a limit (says which and by how much); all faults of a stage together.

    Notes
    -----
    Lagrangian dual of the multiple-choice knapsack problem (Sinha & Zoltners 1979), minimised by Newton's method on its
    smoothed form; see `spark_uplift.policy.duals` and `spark_uplift.spark.decide_passes`.

    Examples
    --------
    >>> su.decide(
    ...     scores, idCol="unit_id", treatmentNames=["call", "mail"], controlName="control", value=30.0,
    ...     costs={"call": 4.0, "mail": 0.5}, budgets=[{"name": "total", "limit": 10_000}],
    ...     capacities=[{"arm": "call", "limit": 1500}],
    ... )  # doctest: +SKIP
    """
    request = checked(scored, locals())
    rows = decide_rule.prepared(scored, request)
    problem = _problem(rows, request)
    exploration = Exploration.of(request.explore, seed)
    keys = tuple(signed_key(seed, TIES, a) for a in range(len(request.treatments)))
    setting = Setting(problem, exploration, keys, request.least)
    with ExitStack() as stack:
        with unmeasured_batches(scored.sparkSession, len(keys)):
            blocks = decide_units.packed(decide_rule.for_packing(rows, request), problem, exploration)
            blocks = stack.enter_context(kept(blocks, on_disk=True))
            facts = _facts(blocks, problem)
        _require_good(rows, blocks, request, problem, facts)
        found, total = _solved(blocks, setting, facts, signed_key(seed, SAMPLE), coreUnits)
    decisions = decide_rule.decided_rows(rows, request, setting, found)
    ends = _interval(decisions) if request.ends else None
    if request.ends:
        decisions = decisions.drop("gain_lower", "gain_upper")
    steps = 10.0**problem.decimals
    arms = [request.control, *request.treatments]
    counts = whole(total.counts.sum(axis=0))
    summary = summary_rows(arms, facts.units, counts, whole(total.spent / steps), whole(total.net), ends)
    spark = scored.sparkSession
    limits = constraint_rows(problem, found.prices, problem.used(total.counts, total.spent))
    return DecisionResult(
        decisions=decisions,
        summary=small_table(spark, "decision_summary", summary, _RUN_COLUMNS),
        constraints=small_table(spark, "decision_constraints", limits, _RUN_COLUMNS),
        units=facts.units,
        gap=max(0.0, total.bound - total.chosen) / total.bound if total.bound > 0 else 0.0,
        sentence=sentence(summary, currency),
    )


def _problem(rows: DataFrame, request: Request) -> Problem:
    from pyspark.sql import functions as F

    costs: tuple[float, ...] | None = request.costs
    most = max(request.costs)
    if request.own_costs:
        costs = None
        largest = [F.max(F.abs(F.nanvl(f"c{a}", F.lit(0.0)))) for a in range(len(request.treatments))]
        found = rows.agg(*(c.alias(f"c{i}") for i, c in enumerate(largest))).collect()[0]
        most = max((float(v) for v in found if v is not None and np.isfinite(v)), default=0.0)
    return Problem(
        treatments=len(request.treatments),
        segments=1 + len(request.segments),
        constraints=request.constraints,
        costs=costs,
        decimals=decimals_for(most),
    )


@dataclass(frozen=True)
class _Facts:
    units: int
    explorers: int
    faults: I64
    used: I64
    top: float


def _facts(blocks: DataFrame, problem: Problem) -> _Facts:
    """Pack the units, and add up what the blocks tell (one Spark job)."""
    found = blocks.select("n", "faults", "used", "top").toArrow()
    faults, totals = np.zeros(5, np.int64), np.zeros((problem.segments + 1) * problem.treatments, np.int64)
    for a, b in zip(found["faults"].to_pylist(), found["used"].to_pylist(), strict=True):
        faults += np.frombuffer(a, np.int64)
        totals += np.frombuffer(b, np.int64)
    n = int(np.sum(found["n"].to_numpy())) if found.num_rows else 0
    top = float(np.max(found["top"].to_numpy(), initial=0.0))
    explored = decide_passes.parted(problem, totals)
    return _Facts(n, int(faults[decide_units.EXPLORERS]), faults, problem.used(*explored), top)


def _require_good(
    rows: DataFrame, blocks: DataFrame, request: Request, problem: Problem, facts: _Facts
) -> None:
    """Raise a `DataError` with what is wrong with the rows."""
    names = {a: name for a, name in enumerate(request.cost_columns) if name}
    told = [
        (decide_units.NO_ID, f"The id column '{request.id}' must have no nulls", "leave those rows out"),
        (
            decide_units.NO_SCORE,
            f"The score column '{request.score}' must hold {len(request.treatments)} finite numbers a row",
            "look at the model and the rows that it scored",
        ),
        (
            decide_units.NO_COST,
            f"The cost columns {list(names.values())} must hold finite numbers",
            "fill them in",
        ),
        (
            decide_units.NEGATIVE_COST,
            f"The cost columns {list(names.values())} must be at least 0",
            "look at them",
        ),
    ]
    faults = [
        f"{text}. Got {facts.faults[i]:,} rows that don't. Hint: {hint}."
        for i, text, hint in told
        if facts.faults[i]
    ]
    if facts.units == 0:
        faults.append("The scored rows must be at least one. Got none. Hint: check the path and filters.")
    twice = _repeated(rows, blocks, facts.units) if not facts.faults[decide_units.NO_ID] else []
    if twice:
        faults.append(
            f"The id column '{request.id}' must be unique. Got ids with several rows, e.g. {twice}. "
            "Hint: keep one row a recipient."
        )
    faults += exceeded(problem, facts.used)
    if faults:
        raise DataError(faults)


def _repeated(rows: DataFrame, blocks: DataFrame, units: int) -> list[str]:
    """Return some ids that several rows have."""
    parts = max(1, min(4096, -(-units // (1 << 21))))
    same = decide_units.repeated(blocks, parts).orderBy("unit").limit(1000).collect()
    if not same:
        return []
    few = rows.sparkSession.createDataFrame([(row["unit"],) for row in same], "unit bigint")
    from pyspark.sql import functions as F

    ids = rows.select("unit", "id").join(F.broadcast(few), "unit").groupBy("id").count()
    return [row["id"] for row in ids.where("count > 1").orderBy("id").limit(_TOLD).collect()]


def _solved(
    blocks: DataFrame, setting: Setting, facts: _Facts, key: int, core: int
) -> tuple[Solved, Account]:
    """Find prices, and count until no limit is exceeded."""
    problem = setting.problem
    goal = left = problem.limits - facts.used
    free = facts.units - facts.explorers
    share = 1.0 if free <= core else core / 2 / free
    with kept(decide_passes.sampled(blocks, setting, key, share)) as sample:
        near = decide_passes.solve_sample(sample, setting, goal, free, 2 * core)
        for _ in range(_ROUNDS):
            found = _by_core(blocks, setting, near, goal) if share < 1.0 and len(goal) else near
            total = decide_passes.account(blocks, setting, found, left, facts.units, facts.top)
            over = np.maximum(problem.used(total.counts, total.spent) - problem.limits, 0)
            if not over.any():
                return found, total
            _LOG.info("limits are exceeded by %s steps, and are sought again that much lower", over.tolist())
            goal = np.maximum(goal - over, 0)
            near = found if share < 1.0 else decide_passes.solve_sample(sample, setting, goal, free, core)
    names = [c.name for c, steps in zip(problem.constraints, over, strict=True) if steps]
    raise SparkUpliftError(f"No decision was found that keeps within {names}. Hint: raise coreUnits.")


def _by_core(blocks: DataFrame, setting: Setting, near: Solved, goal: I64) -> Solved:
    """Solve for the core until its prices lie in the box that it was taken from."""
    for _ in range(_MOVES):
        found = decide_passes.solve_core(blocks, setting, near, goal)
        away = np.abs(found.prices - near.prices)
        if np.all(away <= near.widths) and not found.over.any():
            return found
        _LOG.info("prices left their box by %s and are sought around there", (away - near.widths).tolist())
        near = found
    return found


def _interval(decisions: DataFrame) -> dict[str, tuple[float, float]]:
    """Return the sums of the intervals' ends, by arm and of all (one Spark job)."""
    from pyspark.sql import functions as F

    steps = 1e6  # whole numbers add up to the same in any order
    sums = [
        F.sum(F.round(F.col(f"gain_{end}") * steps).cast("decimal(38,0)")).alias(end)
        for end in ("lower", "upper")
    ]
    found = {
        row["arm"]: (float(row[1]) / steps, float(row[2]) / steps)
        for row in decisions.groupBy("arm").agg(*sums).collect()
    }
    return {**found, ALL: (sum(v[0] for v in found.values()), sum(v[1] for v in found.values()))}
