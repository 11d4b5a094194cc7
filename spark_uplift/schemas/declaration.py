"""How a table is declared: named columns with comments, keys, and how Delta should store it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

__all__ = ["Column", "Table", "declare"]


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


def declare(name: str, comment: str, text: str, keys: str, replace: int = 1, **options: Any) -> Table:
    """Return a table from the text of its columns.

    Parameters
    ----------
    name, comment : str
        Of the table.
    text : str
        A line a column: ``name | type | comment [unit]``, or the name alone of a column that several tables share.
    keys : str
        Columns that identify a row, apart by spaces.
    replace : int
        How many of them, from the first, a job's rows share.
    **options
        Further fields of `Table`.
    """
    names = tuple(keys.split())
    return Table(name, comment, _columns(text, _COMMON), names, names[:replace], **options)
