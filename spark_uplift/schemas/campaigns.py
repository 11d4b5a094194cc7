"""Tables of personalization tests: their state, what was known of the tested, and what came of them."""

from __future__ import annotations

from spark_uplift.schemas.declaration import declare

__all__ = ["DECLARED"]

DECLARED = (
    declare(
        "campaigns",
        "The state of personalization tests: one row a campaign and step that is done",
        """
run_id | STRING | Campaign: its name and a hash of what the draw hangs on
step | STRING | start, learn, send or measure
facts | MAP<STRING, STRING> | What later steps need to know of this one, e.g. the version of the recipients
message | STRING | Outcome of the step in one sentence
done_at | TIMESTAMP | When the step was done [UTC]
""",
        keys="run_id step",
        replace=2,
    ),
    declare(
        "campaign_features",
        "One row a tested recipient: its features as they were when the arm was drawn",
        """
run_id | STRING | Campaign
unit_id
""",
        keys="run_id unit_id",
        clustering=("run_id",),
        open_schema=True,
    ),
    declare(
        "campaign_values",
        "One row a policy that `learn` looked at: its cross-validated value",
        """
run_id | STRING | Campaign
policy | STRING | personalised, single, candidate 1, 2, … or all: and an arm
settings | STRING | Settings of a candidate's forest as JSON; null for others
value | DOUBLE | Mean outcome times its worth, less costs, if everybody is treated by the policy [money per recipient]
std_error | DOUBLE | Standard error of value
lower | DOUBLE | Lower end of the interval of value [money per recipient]
upper | DOUBLE | Upper end of the interval of value [money per recipient]
against | STRING | Policy that it is compared with on the same recipients
difference | DOUBLE | Value less that of `against` [money per recipient]
difference_lower | DOUBLE | Lower end of its interval [money per recipient]
difference_upper | DOUBLE | Upper end of its interval [money per recipient]
p_value | DOUBLE | Two-sided, of no difference [0-1]
level | DOUBLE | Coverage of the intervals [0-1]
n | BIGINT | Recipients of the test behind the number
chosen | BOOLEAN | Whether the remaining recipients are treated so
""",
        keys="run_id policy",
    ),
    declare(
        "campaign_results",
        "One row a comparison: what the send gained",
        """
run_id | STRING | Campaign
comparison | STRING | E.g. personalised against single
treated_as | STRING | Group that was sent something
against | STRING | Group that it is compared with
n | BIGINT | Recipients of the group
n_against | BIGINT | Recipients of the other group
share_compared | DOUBLE | Share of the recipients whom the two treat differently; only they can differ [0-1]
gain | DOUBLE | Outcome gained per recipient [outcome]
lower | DOUBLE | Lower end of the interval of gain [outcome]
upper | DOUBLE | Upper end of the interval of gain [outcome]
net | DOUBLE | The same in money, costs taken off [money per recipient]
net_lower | DOUBLE | Lower end of the interval of net [money per recipient]
net_upper | DOUBLE | Upper end of the interval of net [money per recipient]
total | DOUBLE | net times the recipients of the first group [money]
total_lower | DOUBLE | Lower end of the interval of total [money]
total_upper | DOUBLE | Upper end of the interval of total [money]
level | DOUBLE | Coverage of the intervals [0-1]
""",
        keys="run_id comparison",
    ),
)
