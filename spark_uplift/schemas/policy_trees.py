"""The table of policy trees: who gets which arm, as rules that people read and SQL that runs."""

from __future__ import annotations

from spark_uplift.schemas.declaration import declare

__all__ = ["DECLARED"]

DECLARED = (
    declare(
        "policy_trees",
        "One row a node of a policy tree, valued on units that it was not grown on",
        """
run_id
model_id
kind | STRING | policy (grown on outcomes) or surrogate (grown on the model's predictions)
node | BIGINT | Path from the root as a heap index: the root is 1, children of n 2n and 2n+1
depth | INT | Edges between the root and the node
feature | STRING | Feature that the node splits on; null in a leaf
rule | STRING | Who comes to the node, readable
threshold | DOUBLE | Numeric split: values <= threshold go left; null where all given ones do [unit of the feature]
left_levels | ARRAY<STRING> | Categorical split: categories that go left
missing_left | BOOLEAN | Whether rows without a value go left
arm | STRING | Arm that a leaf gives; null in other nodes
n | BIGINT | Units of the holdout that come to the node [rows]
share | DOUBLE | Share of the units, by weight [0-1]
value | DOUBLE | What the tree gains over control in the node, net of costs [money per unit]
lower | DOUBLE | Lower end of the interval of value [money per unit]
upper | DOUBLE | Upper end of the interval of value [money per unit]
sql | STRING | The whole tree as one expression of Spark SQL; on the root's row alone
condition | STRING | Condition under which units go left, readable; null in a leaf
other | STRING | Root's row: policy that the whole tree is compared with, all:<arm> (best in training) or model
difference | DOUBLE | Root's row: value of the tree minus that of the other policy, same units [money per unit]
difference_lower | DOUBLE | Lower end of the interval of difference [money per unit]
difference_upper | DOUBLE | Upper end of the interval of difference [money per unit]
kept | DOUBLE | Root's row of a surrogate: share of the model's predicted gain over control that it keeps [0-1]
""",
        keys="run_id model_id kind node",
    ),
)
