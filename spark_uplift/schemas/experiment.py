"""Tables of the experiment: its rows, and whether it is sound."""

from __future__ import annotations

from spark_uplift.schemas.declaration import declare

__all__ = ["DECLARED"]

DECLARED = (
    declare(
        "experiments",
        "One row a run: what was analysed",
        """
run_id
name | STRING | Name of the experiment from the configuration
source | STRING | Where the rows came from: built-in dataset, path or table
source_version | STRING | Version or content hash of the source
treatment | STRING | Column of the source that holds the arm
control | STRING | Arm that the others are compared with
outcome | STRING | Column of the source that holds the outcome
features | ARRAY<STRING> | Columns of the source used as features, in order
rows_in | BIGINT | Rows read from the source [rows]
rows_quarantined | BIGINT | Rows set aside as unusable [rows]
created_at | TIMESTAMP | When the run wrote the row [UTC]
""",
        keys="run_id",
    ),
    declare(
        "assignments",
        "One row a unit: the arm it was given, and its half of the data",
        """
run_id
unit_id
arm | STRING | Arm that the unit was assigned to
propensity | DOUBLE | Probability of that arm for this unit [0-1]
split | STRING | train or holdout, by a hash of the unit (or its cluster)
assigned_at | TIMESTAMP | When the assignment was recorded here [UTC]
stratum | STRING | Group of units within which the arms were balanced; null when there is none
recommended | STRING | Arm that a model would give the unit, where it was assigned by a design around one
""",
        keys="run_id unit_id",
        clustering=("run_id",),
    ),
    declare(
        "training_view",
        "One row a usable unit: arm, outcome and features, as used for training and evaluation",
        """
run_id
unit_id
unit_hash | BIGINT | xxhash64 of unit_id, seed 42; all randomness derives from it
arm | STRING | Arm that the unit was assigned to
outcome | DOUBLE | Observed outcome [unit of the source]
weight | DOUBLE | Weight of the row, 1 when the source has none
propensity | DOUBLE | Probability of the unit's own arm [0-1]; null when not logged
cluster | STRING | Group of units that belong together; null when each stands alone
split | STRING | train or holdout, by a hash of the unit (or its cluster)
""",
        keys="run_id unit_id",
        clustering=("run_id",),
        open_schema=True,
    ),
    declare(
        "quarantine",
        "One row an unusable row of the source and reason",
        """
run_id
unit_id | STRING | Unit of the row, as text; null when it has none
reason | STRING | Why the row can't be used, e.g. null_arm, unknown_arm, negative_weight
column_name | STRING | Column of the source with the unusable value
detail | STRING | The value and what was expected
quarantined_at | TIMESTAMP | When the row was set aside [UTC]
""",
        keys="run_id unit_id reason",
    ),
    declare(
        "check_results",
        "One row a check (and column): is the experiment sound?",
        """
run_id
check | STRING | Name of the check
status | STRING | pass, warn, fail or skip
column_name | STRING | Column that the check is about; null for checks of the whole experiment
value | DOUBLE | What was measured, in `unit`
threshold | DOUBLE | Where the check turns, in `unit`
unit | STRING | Unit of value and threshold, e.g. p-value, share, AUC
message | STRING | The finding in one sentence
hint | STRING | What to do about it
""",
        keys="run_id check column_name",
    ),
)
