"""Tables of the model: what it looks like, and what it says of each unit."""

from __future__ import annotations

from spark_uplift.schemas.declaration import declare

__all__ = ["DECLARED"]

DECLARED = (
    declare(
        "model_trees",
        "One row a node of a tree",
        """
model_id
tree | INT | Number of the tree, from 0
node | BIGINT | Path from the root as a heap index: the root is 1, children of n 2n and 2n+1
depth | INT | Edges between the root and the node
feature | STRING | Feature that the node splits on; null in a leaf
rule | STRING | Condition under which a row goes left, readable; null in a leaf
threshold | DOUBLE | Numeric split: values <= threshold go left [unit of the feature]
left_levels | ARRAY<STRING> | Categorical split: categories that go left
missing_left | BOOLEAN | Whether rows without a value go left
gain | DOUBLE | Gain of the split in the criterion's unit
n | ARRAY<BIGINT> | Rows in the node per arm, control first [rows]
effect | ARRAY<DOUBLE> | Effect of each treatment against control [outcome]
""",
        keys="model_id tree node",
        clustering=("model_id",),
    ),
    declare(
        "feature_importance",
        "One row a feature and method",
        """
run_id
model_id
feature | STRING | Name of the feature
method | STRING | How it was measured, e.g. gain or permutation
importance | DOUBLE | Importance; gains add to 1 over the features
std_error | DOUBLE | Standard error; null where the method gives none
""",
        keys="run_id model_id feature method",
    ),
    declare(
        "segments",
        "One row a segment (a readable rule) and arm",
        """
run_id
model_id
segment | INT | Number of the segment, 1 has the largest uplift
rule | STRING | Condition that units of the segment fulfil, readable
share | DOUBLE | Share of the units in the segment [0-1]
arm | STRING | Treatment that is compared with control
n
n_treated
n_control
mean_treated
mean_control
uplift
lower
upper
recommended | STRING | Arm with the best effect; the control when none is positive
""",
        keys="run_id model_id segment arm",
    ),
    declare(
        "uplift_scores",
        "One row a scored unit",
        """
model_id
list_id | STRING | List of units that was scored
unit_id
uplift | ARRAY<DOUBLE> | Predicted effect per treatment against control [outcome]
uplift_lower | ARRAY<DOUBLE> | Lower interval ends; null without intervals [outcome]
uplift_upper | ARRAY<DOUBLE> | Upper interval ends; null without intervals [outcome]
recommended | STRING | Arm with the best predicted effect; the control when none is positive
best_uplift | DOUBLE | Largest predicted effect over the treatments [outcome]
rank | BIGINT | Place of the unit in its list by best_uplift, from 1; ties by the xxhash64 of unit_id
decile | INT | Tenth of the list by rank, 1 is the best
scored_at | TIMESTAMP | When the unit was scored [UTC]
""",
        keys="model_id list_id unit_id",
        replace=2,
        clustering=("model_id", "list_id"),
        # Files hold ranges of ranks. Statistics of all columns would cost a quarter of what scoring costs in all.
        statistics=("model_id", "list_id", "rank"),
    ),
)
