"""What deciding by the model is worth: the value of policies, and gain against cost, on the holdout.

Both take doubly robust predictions that are cross-fitted within the holdout. Values are outcomes per unit of the
population; costs and net values stand beside them where the configuration names costs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spark_uplift.learners.forest import UpliftForestModel
from spark_uplift.pipeline.context import RunContext
from spark_uplift.pipeline.robust import OWN_PROPENSITY, PREDICTED, SCORES
from spark_uplift.policy.value import Estimate
from spark_uplift.spark.cost_curve import cost_rows
from spark_uplift.spark.cost_input import CostColumns
from spark_uplift.spark.cost_passes import CurveQuestion
from spark_uplift.spark.parallel import side_by_side
from spark_uplift.spark.policy_columns import PolicyColumns
from spark_uplift.spark.policy_value import PolicyQuestion, policy_estimates
from spark_uplift.spark.small_tables import small_table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

__all__ = ["best_arm", "policy_results"]

_LOG = logging.getLogger(__name__)

METHODS = ("dr", "snips", "ips")
"""Of the table ``policy_value``; the first picks the best single arm."""


def policy_results(
    context: RunContext,
    model: UpliftForestModel,
    model_id: str,
    robust_holdout: DataFrame,
    policies: Mapping[str, Column] | None = None,
) -> list[Estimate]:
    """Write ``policy_value`` and ``cost_curve`` of the holdout.

    Policies are ``model`` (each unit gets the arm of the largest value * predicted uplift - cost, control if none
    pays), ``all:<arm>`` for every arm, and ``logged``; differences are taken to the best single arm.

    Parameters
    ----------
    robust_holdout : DataFrame
        Rows of the holdout with ``uplift``, and what `spark_uplift.pipeline.robust.robust` adds; read several times.
    policies : mapping of str to Column, optional
        Further policies by name: the arm that they take.

    Returns
    -------
    list of Estimate
        What was written to ``policy_value``.
    """
    config, arms = context.config, [context.source.control, *model.treatmentNames]
    costs = {arm: cost for arm, cost in config.economics.costs.items() if arm in arms}
    more = dict(policies or {})
    asked = _asked(context, model, robust_holdout, costs, more)
    found, curve = side_by_side(
        lambda: policy_estimates(asked, *_value_question(context, arms, costs, more)),
        lambda: _curve(context, model, asked, costs),
    )
    keys = {"run_id": context.run_id, "model_id": model_id}
    spark = context.spark
    values = small_table(spark, "policy_value", [{**vars(one), **keys} for one in found])
    points = small_table(spark, "cost_curve", [{**row, **keys} for row in curve])
    jobs = [lambda: context.write(values, "policy_value", run_id=context.run_id)]
    if curve:
        jobs.append(lambda: context.write(points, "cost_curve", run_id=context.run_id))
    side_by_side(*jobs)
    return list(found)


def best_arm(
    control: str, treatments: Sequence[str], costs: Mapping[str, float], value: float, score: str = "uplift"
) -> Column:
    """Return the arm of the largest value * uplift - cost; of equal ones control, then the first."""
    from pyspark.sql import functions as F

    net = [F.lit(-float(costs.get(control, 0.0)))]
    for k, name in enumerate(treatments):
        net.append(F.get(F.col(score), F.lit(k)) * F.lit(value) - F.lit(float(costs.get(name, 0.0))))
    top = F.greatest(*net)
    arm: Any = F
    for name, own in zip([control, *treatments], net, strict=True):
        arm = arm.when(own == top, F.lit(name))
    chosen: Column = arm
    return chosen


def _asked(
    context: RunContext,
    model: UpliftForestModel,
    rows: DataFrame,
    costs: Mapping[str, float],
    policies: Mapping[str, Column],
) -> DataFrame:
    """Return what both questions read: arm, outcome, uplift, doubly robust scores, and a column a policy."""
    from pyspark.sql import functions as F

    source, config = context.source, context.config
    roles = [name for name in ("weight", "propensity", "cluster") if getattr(source, name)]
    arms = [source.control, *model.treatmentNames]
    best = best_arm(source.control, model.treatmentNames, costs, config.economics.value)
    return rows.select(
        *("unit_id", "arm", "outcome", "uplift", *roles, SCORES, PREDICTED, OWN_PROPENSITY),
        *[taken.alias(f"policy_{n}") for n, taken in enumerate(policies.values())],
        best.alias("policy_model"),
        *[F.lit(arm).alias(f"policy_all_{n}") for n, arm in enumerate(arms)],
    )


def _value_question(
    context: RunContext, arms: list[str], costs: Mapping[str, float], policies: Mapping[str, Column]
) -> tuple[PolicyColumns, PolicyQuestion]:
    config, source = context.config, context.source
    single = {f"all:{arm}": f"policy_all_{n}" for n, arm in enumerate(arms)}
    columns = PolicyColumns(
        action="arm",
        reward="outcome",
        propensity=OWN_PROPENSITY,
        policies={
            "model": "policy_model",
            **{name: f"policy_{n}" for n, name in enumerate(policies)},
            **single,
        },
        predicted=PREDICTED,
        actions=tuple(arms),
        costs=costs or None,
        weight="weight" if source.weight else None,
        unit="unit_id",
        cluster="cluster" if source.cluster else None,
        needs_unit=bool(source.cluster),
    )
    asked = PolicyQuestion(
        methods=METHODS,
        level=config.evaluation.level,
        seed=config.seed,
        money=config.economics.value,
        baseline=tuple(single),
        include_logged=True,
    )
    return columns, asked


def _curve(
    context: RunContext, model: UpliftForestModel, rows: DataFrame, costs: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Return the points of the cost curve; none where treating is cheaper than not treating."""
    control = costs.get(context.source.control, 0.0)
    cheaper = [arm for arm in model.treatmentNames if costs.get(arm, 0.0) < control]
    if cheaper:
        _LOG.warning("there is no cost curve: control costs %g, more than the arms %s", control, cheaper)
        return []
    curve, _, _ = cost_rows(rows, *_curve_question(context, model, costs))
    return curve


def _curve_question(
    context: RunContext, model: UpliftForestModel, costs: Mapping[str, float]
) -> tuple[CostColumns, CurveQuestion]:
    config, source = context.config, context.source
    columns = CostColumns(
        treatment="arm",
        control=source.control,
        label="outcome",
        score="uplift",
        costs=costs,
        treatments=tuple(model.treatmentNames),
        dr=SCORES,
        weight="weight" if source.weight else None,
        unit="unit_id",
        cluster="cluster" if source.cluster else None,
    )
    replicates = config.evaluation.bootstrap
    asked = CurveQuestion(
        bootstrap=replicates if replicates > 1 else 0,
        level=config.evaluation.level,
        value=config.economics.value,
        seed=config.seed,
    )
    return columns, asked
