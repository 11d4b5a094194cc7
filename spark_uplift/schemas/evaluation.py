"""Tables of the evaluation: how good a ranking is."""

from __future__ import annotations

from spark_uplift.schemas.declaration import declare

__all__ = ["DECLARED"]

DECLARED = (
    declare(
        "evaluation_metrics",
        "One row a metric, style and arm",
        """
run_id
model_id
arm | STRING | Treatment that is compared with control
metric | STRING | Name, e.g. autoc, qini, auuc
style | STRING | Convention of the number: grf, sklift, causalml, h2o, ydf, perpetual or upliftml
value | DOUBLE | The metric, as its formula says
std_error | DOUBLE | Standard error over the bootstrap replicates
lower | DOUBLE | Lower end of the interval
upper | DOUBLE | Upper end of the interval
level | DOUBLE | Coverage of the interval [0-1]
n | BIGINT | Rows that the metric rests on [rows]
bootstrap | INT | Bootstrap replicates behind the interval
exact | BOOLEAN | Whether every distinct score was kept apart; false when scores were binned
formula | STRING | The formula, readable
p_value | DOUBLE | Probability of such a value or a larger one where the true one is 0 (ate: two-sided) [0-1]
""",
        keys="run_id model_id arm metric style",
    ),
    declare(
        "uplift_table",
        "One row a bucket of predicted uplift and arm: predicted against observed",
        """
run_id
model_id
split | STRING | Rows that were evaluated: holdout or train
arm | STRING | Treatment that is compared with control
bucket | INT | Bucket by predicted uplift, 1 is the best
n
n_treated
n_control
score_min | DOUBLE | Least predicted uplift in the bucket [outcome]
score_max | DOUBLE | Largest predicted uplift in the bucket [outcome]
predicted | DOUBLE | Mean predicted uplift in the bucket [outcome]
mean_treated
mean_control
uplift
lower
upper
cumulative_n | BIGINT | Rows in this and all better buckets [rows]
cumulative_uplift | DOUBLE | Observed uplift in this and all better buckets [outcome]
cumulative_lower | DOUBLE | Lower end of the interval of cumulative_uplift [outcome]
cumulative_upper | DOUBLE | Upper end of the interval of cumulative_uplift [outcome]
""",
        keys="run_id model_id split arm bucket",
    ),
    declare(
        "evaluation_curves",
        "One row a point of a curve",
        """
run_id
model_id
arm | STRING | Treatment that is compared with control
curve | STRING | qini, uplift or toc
fraction | DOUBLE | Share of the units treated, best predicted first [0-1]
value | DOUBLE | Height of the curve [outcome]
lower | DOUBLE | Lower end of the band [outcome]
upper | DOUBLE | Upper end of the band [outcome]
baseline | DOUBLE | Height when the same share is treated at random [outcome]
""",
        keys="run_id model_id arm curve fraction",
    ),
    declare(
        "evaluation_checks",
        "One row a check of the evaluation itself and arm: can its numbers be trusted?",
        """
run_id
model_id
arm | STRING | Treatment that is compared with control, or * for the policy
check | STRING | Name: overlap, effective_sample_size, ties or score_mass
status | STRING | pass, warn or fail
value | DOUBLE | What was measured, in `unit`
threshold | DOUBLE | Where the check turns, in `unit`
unit | STRING | Unit of value and threshold, e.g. probability, rows, share
message | STRING | The finding in one sentence
hint | STRING | What to do about it
""",
        keys="run_id model_id arm check",
    ),
    declare(
        "model_comparison",
        "One row a metric, style and arm: this model against another one on the same rows and bootstrap draws",
        """
run_id
model_id
other_model | STRING | The model that it is compared with
arm | STRING | Treatment that is compared with control, or * for the policy
metric | STRING | Name, e.g. autoc, qini, gain_at_20
style | STRING | Convention of the number: grf, sklift, causalml, h2o, ydf, perpetual or upliftml
value | DOUBLE | The metric of this model
other_value | DOUBLE | The metric of the other model [unit of the metric]
difference | DOUBLE | value - other_value [unit of the metric]
std_error | DOUBLE | Standard error of the difference, from paired replicates
lower | DOUBLE | Lower end of the interval of the difference
upper | DOUBLE | Upper end of the interval of the difference
p_value | DOUBLE | Two-sided probability of such a difference where the models are equally good [0-1]
level | DOUBLE | Coverage of the interval [0-1]
n | BIGINT | Rows that the metric rests on [rows]
bootstrap | INT | Bootstrap replicates behind the interval
""",
        keys="run_id model_id other_model arm metric style",
    ),
)
