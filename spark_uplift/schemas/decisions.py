"""Tables of decisions: who gets what, what that costs, and what the limits cost."""

from __future__ import annotations

from spark_uplift.schemas.declaration import declare

__all__ = ["DECLARED"]

DECLARED = (
    declare(
        "decisions",
        "One row a unit of a list: the arm that it gets",
        """
run_id
model_id
list_id | STRING | List of units that was decided
unit_id
arm | STRING | Arm that the unit gets; the control is no contact
reason | STRING | Why, e.g. best net value, over budget, capacity full, below minimum gain, excluded, explored
uplift | DOUBLE | Predicted effect of that arm [outcome]
gain | DOUBLE | What that is worth [money]
cost | DOUBLE | What the arm costs [money]
net | DOUBLE | gain - cost [money]
propensity | DOUBLE | Probability of that arm under the policy that decided, exploration included [0-1]
explored | BOOLEAN | Whether the arm was drawn to learn, not chosen
segment | STRING | Segment that capacities look at; null without
decided_at | TIMESTAMP | When the unit was decided [UTC]
""",
        keys="run_id model_id list_id unit_id",
        replace=3,
        clustering=("model_id", "list_id"),
        # Statistics of all columns would cost as much as the decisions.
        statistics=("run_id", "model_id", "list_id"),
    ),
    declare(
        "decision_summary",
        "One row an arm of a decided list, and one (*) of all: what it costs and gains",
        """
run_id
model_id
list_id | STRING | List of units that was decided
arm | STRING | Arm; * is all units
n | BIGINT | Units that get it
share | DOUBLE | Their share of the list [0-1]
cost | DOUBLE | What they cost [money]
gain | DOUBLE | What they are expected to gain: by what the holdout showed of such scores, or by the model [money]
lower | DOUBLE | Lower end of the expected gain's interval [money]
upper | DOUBLE | Upper end of the expected gain's interval [money]
net | DOUBLE | gain - cost [money]
predicted | DOUBLE | The sum of the model's own expectations [money]
basis | STRING | Where the interval comes from: holdout or scores; null without
""",
        keys="run_id model_id list_id arm",
        replace=3,
    ),
    declare(
        "decision_constraints",
        "One row a budget or capacity of a decided list",
        """
run_id
model_id
list_id | STRING | List of units that was decided
constraint | STRING | Name of the limit
kind | STRING | budget or capacity
limit | DOUBLE | The limit [money] or [units]
used | DOUBLE | What the decisions use [money] or [units]
price | DOUBLE | Net value that one more unit of the limit brings [money]
binding | BOOLEAN | Whether the limit keeps anybody from an arm
message | STRING | The same in a sentence
""",
        keys="run_id model_id list_id constraint",
        replace=3,
    ),
)
