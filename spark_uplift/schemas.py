"""Every Delta table of the package, declared once as data.

A table is named columns with a comment (and unit) each, the keys that its rows are unique by, and the columns
that a job's rows are rewritten by. ``spark/tables.py`` creates, checks, reads and writes tables from these
declarations alone; no other module spells out a schema. Types are Spark SQL's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from spark_uplift.errors import TableError, nearest

__all__ = ["SCHEMA_VERSION", "TABLES", "Column", "Table", "table"]

SCHEMA_VERSION = 1
"""Version of all declarations below; stored with each table, raised when a change is not additive."""


@dataclass(frozen=True)
class Column:
    """One column: Spark SQL type, and a comment that gives meaning and unit."""

    name: str
    type: str
    comment: str

    @property
    def ddl(self) -> str:
        """The column's line in ``CREATE TABLE``."""
        comment = self.comment.replace("\\", "\\\\").replace("'", "\\'")
        return f"`{self.name}` {self.type} COMMENT '{comment}'"


@dataclass(frozen=True)
class Table:
    """One table.

    Parameters
    ----------
    name : str
        Folder under the warehouse.
    comment : str
        What a row is.
    columns : tuple of Column
        In the order in which they are stored.
    keys : tuple of str
        Columns that identify a row.
    replace_keys : tuple of str
        The leading part of `keys` that a job's rows share: a re-run rewrites exactly the rows that have its
        values.
    clustering : tuple of str
        Columns for liquid clustering; empty for tables that stay small.
    statistics : tuple of str
        Columns whose ranges are kept for each file, so that readers skip files; empty for all. Fewer make writing
        cheaper.
    open_schema : bool
        Whether further columns (the features of the source) may follow the declared ones.
    """

    name: str
    comment: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    replace_keys: tuple[str, ...]
    clustering: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    open_schema: bool = False

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def ddl(self) -> str:
        """The declared columns as Spark SQL DDL, comments included."""
        return ", ".join(column.ddl for column in self.columns)


# Lines are "name | type | comment [unit]"; a name alone stands for a column of _COMMON.
# [outcome] stands for: in the unit of the outcome column.
_COMMON_TEXT = """
run_id | STRING | Run that wrote the row: name and a hash of config, source and code
model_id | STRING | Model that the row belongs to: its run and the start of its digest
unit_id | STRING | Unit of the experiment (customer, device, request), as text
n | BIGINT | Rows of the arm and control in the group [rows]
n_treated | BIGINT | Rows of the arm in the group [rows]
n_control | BIGINT | Control rows in the group [rows]
mean_treated | DOUBLE | Mean outcome of the arm in the group [outcome]
mean_control | DOUBLE | Mean outcome of control in the group [outcome]
uplift | DOUBLE | Observed uplift: mean_treated - mean_control [outcome]
lower | DOUBLE | Lower end of the interval of uplift [outcome]
upper | DOUBLE | Upper end of the interval of uplift [outcome]
"""


def _columns(text: str, common: Mapping[str, Column] = MappingProxyType({})) -> tuple[Column, ...]:
    lines = (line.split(" | ") for line in text.strip().splitlines())
    return tuple(common[line[0]] if len(line) == 1 else Column(*line) for line in lines)


_COMMON = {column.name: column for column in _columns(_COMMON_TEXT)}


def _table(name: str, comment: str, text: str, keys: str, replace: int = 1, **options: Any) -> Table:
    names = tuple(keys.split())
    return Table(name, comment, _columns(text, _COMMON), names, names[:replace], **options)


_DECLARED = (
    _table(
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
    _table(
        "assignments",
        "One row a unit: the arm it was given, and its half of the data",
        """
run_id
unit_id
arm | STRING | Arm that the unit was assigned to
propensity | DOUBLE | Probability of that arm for this unit [0-1]
split | STRING | train or holdout, by a hash of the unit (or its cluster)
assigned_at | TIMESTAMP | When the assignment was recorded here [UTC]
""",
        keys="run_id unit_id",
        clustering=("run_id",),
    ),
    _table(
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
    _table(
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
    _table(
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
    _table(
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
    _table(
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
    _table(
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
    _table(
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
    _table(
        "evaluation_metrics",
        "One row a metric, style and arm",
        """
run_id
model_id
arm | STRING | Treatment that is compared with control
metric | STRING | Name, e.g. autoc, qini, auuc
style | STRING | Convention of the number: grf, sklift, causalml, h2o or ydf
value | DOUBLE | The metric, as its formula says
std_error | DOUBLE | Standard error over the bootstrap replicates
lower | DOUBLE | Lower end of the interval
upper | DOUBLE | Upper end of the interval
level | DOUBLE | Coverage of the interval [0-1]
n | BIGINT | Rows that the metric rests on [rows]
bootstrap | INT | Bootstrap replicates behind the interval
exact | BOOLEAN | Whether every distinct score was kept apart; false when scores were binned
formula | STRING | The formula, readable
""",
        keys="run_id model_id arm metric style",
    ),
    _table(
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
    _table(
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
    _table(
        "job_runs",
        "The audit trail: one row a job of a run",
        """
run_id
job | STRING | Use case: check, prepare, train, evaluate, score or report
status | STRING | succeeded or failed
started_at | TIMESTAMP | Start [UTC]
finished_at | TIMESTAMP | End [UTC]
user | STRING | Account that ran the job
config | STRING | The whole configuration as canonical JSON
code_version | STRING | Version of the package
inputs | MAP<STRING, STRING> | Version of each table or source that was read
outputs | MAP<STRING, STRING> | Version of each table, path of each file that was written
digest | STRING | sha256 of the model's canonical arrays; null for jobs without a model
rows_in | BIGINT | Rows read [rows]
rows_out | BIGINT | Rows written [rows]
rows_quarantined | BIGINT | Rows set aside as unusable [rows]
message | STRING | Outcome in one sentence, or the error
""",
        keys="run_id job",
        replace=2,
    ),
)

TABLES: Mapping[str, Table] = MappingProxyType({declared.name: declared for declared in _DECLARED})
"""All tables by name."""


def table(name: str) -> Table:
    """Return the declaration of a table.

    Raises
    ------
    TableError
        If no table of that name is declared.
    """
    if name not in TABLES:
        near = nearest(name, TABLES)
        hint = f" Hint: did you mean {near!r}?" if near else ""
        raise TableError(f"There is no table named {name!r}. Declared tables: {sorted(TABLES)}.{hint}")
    return TABLES[name]
