"""Every Delta table of the package, declared once as data.

A table is named columns with a comment (and unit) each, the keys that its rows are unique by, and the columns
that a job's rows are rewritten by. ``spark/tables.py`` creates, checks, reads and writes tables from these
declarations alone; no other module spells out a schema. Types are Spark SQL's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from spark_uplift.errors import TableError, nearest
from spark_uplift.schemas import (
    campaigns,
    decisions,
    evaluation,
    experiment,
    modelling,
    operations,
    policy,
    policy_trees,
)
from spark_uplift.schemas.declaration import Column, Table

__all__ = ["SCHEMA_VERSION", "TABLES", "Column", "Table", "table"]

SCHEMA_VERSION = 1
"""Version of all declarations; stored with each table, raised when a change is not additive."""

_PARTS = (experiment, modelling, evaluation, policy, policy_trees, decisions, campaigns, operations)

TABLES: Mapping[str, Table] = MappingProxyType(
    {declared.name: declared for part in _PARTS for declared in part.DECLARED}
)
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
