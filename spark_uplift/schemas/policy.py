"""Tables of the value of policies, and of gain against cost."""

from __future__ import annotations

from spark_uplift.schemas.declaration import declare

__all__ = ["DECLARED"]

DECLARED = (
    declare(
        "policy_value",
        "One row a policy, method and kind of interval: what a unit is worth under the policy, from logged rows",
        """
run_id
model_id
policy | STRING | model (each unit's best arm), tree, surrogate, all:<arm>, or logged (what was done)
method | STRING | Estimator: ips, clipped_ips, snips, dm, dr or switch; mean for logged
value | DOUBLE | Mean outcome of a unit of the population under the policy [outcome]
std_error | DOUBLE | Standard error of value [outcome]
lower | DOUBLE | Lower end of the interval of value [outcome]
upper | DOUBLE | Upper end of the interval of value [outcome]
level | DOUBLE | Coverage of the interval [0-1]
interval | STRING | Kind of the interval: normal, bootstrap or empirical_bernstein
relative | DOUBLE | Value divided by the mean logged outcome [ratio]
n | BIGINT | Rows [rows]
effective_sample_size | DOUBLE | Rows that the importance weights are worth: sum(u)^2/sum(u^2) [rows]
max_weight | DOUBLE | Largest importance weight that is used [ratio]
clipped_share | DOUBLE | Share of the importance weights that clipping cuts off [0-1]
message | STRING | Warnings about overlap; null if all is well
mean_weight | DOUBLE | Mean importance weight before clipping; 1 if propensities are right [ratio]
mean_weight_error | DOUBLE | Standard error of mean_weight [ratio]
cost | DOUBLE | Mean cost of a unit under the policy [money]
net | DOUBLE | value in money minus cost [money]
baseline | STRING | Policy that difference is taken to
difference | DOUBLE | Value minus the value of the baseline on the same rows [outcome]
difference_lower | DOUBLE | Lower end of the paired interval of difference [outcome]
difference_upper | DOUBLE | Upper end of the paired interval of difference [outcome]
""",
        keys="run_id model_id policy method interval",
    ),
    declare(
        "cost_curve",
        "One row a point of a curve of gain against spend, best predicted gain per money first",
        """
run_id
model_id
policy | STRING | model (each unit's best arms), or only:<arm> (that arm or control)
fraction | DOUBLE | Share of the units that are treated [0-1]
spend | DOUBLE | Money spent, per unit of the population [money]
gain | DOUBLE | Outcome gained over treating nobody, per unit of the population [outcome]
lower | DOUBLE | Lower end of the interval of gain [outcome]
upper | DOUBLE | Upper end of the interval of gain [outcome]
net | DOUBLE | Gain in money minus spend, per unit of the population [money]
marginal | DOUBLE | Predicted gain per money of the last unit treated; null where it costs nothing [outcome/money]
baseline | DOUBLE | Gain of the same spend on random units, with the arms that are best on average [outcome]
point | INT | Number of the point, from 0, where nobody is treated
std_error | DOUBLE | Standard error of gain [outcome]
predicted | DOUBLE | Predicted gain, per unit of the population [outcome]
break_even | BOOLEAN | Whether predicted marginal gain is worth its cost up to here and not beyond
""",
        keys="run_id model_id policy point",
    ),
)
