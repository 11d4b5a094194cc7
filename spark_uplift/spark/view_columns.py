"""What the dashboard views show: columns by name, expression over the table ``t``, and comment."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["DASHBOARD", "DashboardColumn", "DashboardView"]

_ARM = "CASE WHEN t.arm = '*' THEN 'best arm for each unit' ELSE t.arm END"
_NOTHING: Mapping[str, str] = MappingProxyType({})


class DashboardColumn(NamedTuple):
    """One column of a view."""

    name: str
    expression: str
    comment: str


class DashboardView(NamedTuple):
    """One view: its table, what a row is, the job that writes the table, and its columns.

    `keys` select the newest run's rows, by the columns of the same names of ``job_runs``, or by the expressions over
    it in `chosen`.
    """

    table: str
    job: str
    comment: str
    columns: tuple[DashboardColumn, ...]
    keys: tuple[str, ...] = ("run_id",)
    chosen: Mapping[str, str] = _NOTHING


def _columns(text: str) -> tuple[DashboardColumn, ...]:
    """Columns from lines ``name | expression | comment``; an empty expression is the table's column of that name."""
    found = []
    for line in text.strip().splitlines():
        name, expression, comment = (part.strip() for part in line.split(" | "))
        found.append(DashboardColumn(name, expression if expression != "=" else f"t.{name}", comment))
    return tuple(found)


_RUN = """run_id | = | Run: its name and a hash of configuration, rows and release
model_id | = | Model: its run and the start of its digest"""

DASHBOARD = (
    DashboardView(
        "uplift_table",
        "evaluate",
        "Predicted against measured uplift by group of predicted uplift, newest run; one row a group and arm",
        _columns(
            f"""{_RUN}
arm | {_ARM} | Treatment that is compared with control
bucket | = | Group by predicted uplift, 1 is the best
units | t.n | Rows of the arm and control in the group [rows]
units_treated | t.n_treated | Rows of the arm in the group [rows]
units_control | t.n_control | Control rows in the group [rows]
mean_treated | = | Mean outcome of the arm in the group [outcome]
mean_control | = | Mean outcome of control in the group [outcome]
predicted | = | Mean predicted uplift in the group [outcome]
uplift | = | Measured uplift: mean_treated - mean_control [outcome]
uplift_lower | t.lower | Lower end of the interval of uplift [outcome]
uplift_upper | t.upper | Upper end of the interval of uplift [outcome]
share_treated | t.cumulative_n / max(t.cumulative_n) OVER (PARTITION BY t.model_id, t.split, t.arm) | Share of the units in this and better groups [0-1]
cumulative_uplift | = | Measured uplift in this and better groups [outcome]
cumulative_lower | = | Lower end of the interval of cumulative_uplift [outcome]
cumulative_upper | = | Upper end of the interval of cumulative_uplift [outcome]
split | = | Rows that were evaluated: holdout or train
"""  # noqa: E501
        ),
    ),
    DashboardView(
        "evaluation_metrics",
        "evaluate",
        "Metrics of the ranking, each with its formula, newest run; one row a metric, style and arm",
        _columns(
            f"""{_RUN}
arm | {_ARM} | Treatment that is compared with control
metric | = | Name, e.g. autoc, qini, auuc
style | = | Convention of the number: grf is the headline, others are those of the package of that name
value | = | The metric, as its formula says
value_lower | t.lower | Lower end of the interval
value_upper | t.upper | Upper end of the interval
reading | CASE WHEN t.lower > 0 THEN 'above 0' WHEN t.upper < 0 THEN 'below 0' WHEN t.lower <= 0 THEN 'not told from 0' END | Where the interval lies; null without one
level | = | Coverage of the interval [0-1]
units | t.n | Rows that the metric rests on [rows]
replicates | t.bootstrap | Bootstrap replicates behind the interval
formula | = | The formula, readable
"""  # noqa: E501
        ),
    ),
    DashboardView(
        "evaluation_curves",
        "evaluate",
        "Uplift, Qini and TOC curves with their bands, newest run; one row a point",
        _columns(
            f"""{_RUN}
arm | {_ARM} | Treatment that is compared with control
curve | = | uplift (effect among those treated), qini (gain per unit of all) or toc (effect less the average)
share_treated | t.fraction | Share of the units treated, best predicted first [0-1]
value | = | Height of the curve [outcome]
value_lower | t.lower | Lower end of the band [outcome]
value_upper | t.upper | Upper end of the band [outcome]
at_random | t.baseline | Height when the same share is treated at random [outcome]
"""
        ),
    ),
    DashboardView(
        "policy_value",
        "evaluate",
        "What a unit is worth under each policy, newest run; one row a policy, method and kind of interval",
        _columns(
            f"""{_RUN}
policy | CASE WHEN t.policy LIKE 'all:%' THEN concat('everybody: ', substring(t.policy, 5)) ELSE t.policy END | model (each unit its best arm), tree, everybody: an arm, or logged (what was done)
method | = | Estimator: dr, switch, snips, clipped_ips, ips or dm; mean for logged
value | = | Mean outcome of a unit under the policy [outcome]
value_lower | t.lower | Lower end of the interval of value [outcome]
value_upper | t.upper | Upper end of the interval of value [outcome]
level | = | Coverage of the interval [0-1]
interval_kind | t.interval | normal, bootstrap or empirical_bernstein
relative_to_logged | t.relative | Value divided by the mean logged outcome [ratio]
units | t.n | Rows [rows]
effective_units | t.effective_sample_size | Equally weighted rows that the weighted rows are worth [rows]
largest_weight | t.max_weight | Largest importance weight [ratio]
clipped_share | = | Share of the importance weights that were cut [0-1]
message | = | Warnings about overlap; null if all is well
"""  # noqa: E501
        ),
    ),
    DashboardView(
        "cost_curve",
        "evaluate",
        "Gain against spend with its band, newest run; one row a point",
        _columns(
            f"""{_RUN}
policy | = | Which policy spends: model, or one arm alone
share_treated | t.fraction | Share of the units treated [0-1]
spend | = | Money spent, per unit of the population [money]
gain | = | Outcome gained over treating nobody, per unit of the population [outcome]
gain_lower | t.lower | Lower end of the interval of gain [outcome]
gain_upper | t.upper | Upper end of the interval of gain [outcome]
net | = | Gain in money less spend, per unit of the population [money]
gain_per_money | t.marginal | Gain of the last unit of money at this point [outcome/money]
gain_at_random | t.baseline | Gain when the same is spent on random units [outcome]
"""
        ),
    ),
    DashboardView(
        "decision_summary",
        "decide",
        "Who gets what in the list decided last: units, spend and expected gain; one row an arm, * is all",
        _columns(
            f"""{_RUN}
list_id | = | List of units that was decided
arm | = | Arm; * is all of them together
units | t.n | Units that get the arm [rows]
share | = | Share of the list [0-1]
spend | t.cost | What the arm costs for these units [money]
expected_gain | t.gain | Expected gain over treating nobody [money]
gain_lower | t.lower | Lower end of the interval of expected_gain [money]
gain_upper | t.upper | Upper end of the interval of expected_gain [money]
net | = | Expected gain less spend [money]
"""
        ),
        keys=("run_id", "list_id"),
        chosen={"list_id": "outputs['list_id'] AS list_id"},
    ),
)
"""The dashboard's views."""
