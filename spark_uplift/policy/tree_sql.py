"""A policy tree as one expression of Spark SQL: the same arm for every row, without Python.

``WHEN`` branches are tried in order, and one that is null counts as false, so a leaf needs only the conditions of the
left turns on its path: whoever would have turned left has already been taken. Numbers are double literals with all
their digits; a number column, of whatever type, is then compared as double, as it was in training. In Spark, NaN is
larger than every number, so ``x <= edge`` is false for NaN and null for null: both go right unless the tree says left.
"""

from __future__ import annotations

import re

from spark_uplift.core.binning import FeatureBins
from spark_uplift.core.rules import threshold_value
from spark_uplift.policy.tree_model import ActionTree

__all__ = ["arm_number_sql", "identifier", "leaf_sql", "literal", "number", "sql"]

# Quotes and backslashes are read differently under spark.sql.parser.escapedStringLiterals, double-quoted identifiers
# and string concatenation of older versions; "${" is replaced by a variable's value before anything is parsed.
_AWKWARD = re.compile(r"['\"\\\x00-\x1f\x7f]|\$(?=\{)")


def sql(tree: ActionTree) -> str:
    """Return the expression: a CASE, or the arm's literal where everybody gets the same.

    Examples
    --------
    ``CASE WHEN `recency` <= 3.5D AND CAST(`channel` AS STRING) IN ('Web') THEN 'mail' ELSE 'none' END``
    """
    return _case(tree, [literal(tree.arms[int(action)]) for action in tree.action])


def arm_number_sql(tree: ActionTree) -> str:
    """Return the expression of the arm's number, 0 for control."""
    return _case(tree, [str(int(action)) for action in tree.action])


def leaf_sql(tree: ActionTree) -> str:
    """Return the expression of the leaf's heap index."""
    return _case(tree, [str(int(heap)) for heap in tree.tree.heap])


def _case(tree: ActionTree, results: list[str]) -> str:
    """Return the expression that gives each leaf's result."""
    branches: list[str] = []

    def walk(node: int, conditions: tuple[str, ...]) -> None:
        child = int(tree.tree.left_child[node])
        if child >= 0:
            walk(child, (*conditions, _condition(tree, node)))
            walk(child + 1, conditions)
            return
        when = f"WHEN {' AND '.join(conditions)} THEN" if conditions else "ELSE"
        branches.append(f"{when} {results[node]}")

    walk(0, ())
    return results[0] if len(branches) == 1 else "\n  ".join(["CASE", *branches]) + "\nEND"


def _condition(tree: ActionTree, node: int) -> str:
    """Return what is true for exactly the rows that go left."""
    bins = tree.features[int(tree.tree.feature[node])]
    chosen = tree.left_codes(node)
    parts = _levels(bins, chosen) if bins.categorical else _numbers(bins, chosen)
    return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"


def _numbers(bins: FeatureBins, chosen: set[int]) -> list[str]:
    name = identifier(bins.name)
    edge = threshold_value(bins, max(chosen))
    if edge is None:  # every number goes left, and what is missing right
        return [f"{name} IS NOT NULL AND NOT isnan({name})"]
    missing = [f"{name} IS NULL", f"isnan({name})"] if 0 in chosen else []
    return [f"{name} <= {number(edge)}", *missing]


def _levels(bins: FeatureBins, chosen: set[int]) -> list[str]:
    value = f"CAST({identifier(bins.name)} AS STRING)"
    known = {code: literal(level) for code, level in enumerate(bins.levels or (), start=1)}
    inside = [text for code, text in known.items() if code in chosen]
    outside = [text for code, text in known.items() if code not in chosen]
    missing = [f"{value} IS NULL"] if 0 in chosen else []
    if bins.unseen_code in chosen:  # so does every level that training has not seen
        given = f"{value} NOT IN ({', '.join(outside)})" if outside else f"{value} IS NOT NULL"
        return [given, *missing]
    return [*([f"{value} IN ({', '.join(inside)})"] if inside else []), *missing]


def identifier(name: str) -> str:
    """Return a column's name, quoted: dots and backticks in it are part of the name."""
    return "`" + name.replace("`", "``") + "`"


def number(value: float) -> str:
    """Return a double literal with the fewest digits that give exactly this value."""
    return f"{value!r}D"


def literal(text: str) -> str:
    """Return a string literal that means the same under every setting of the parser."""
    if not _AWKWARD.search(text):
        return f"'{text}'"
    parts, at = [], 0
    for found in _AWKWARD.finditer(text):
        if found.start() > at:
            parts.append(f"'{text[at : found.start()]}'")
        parts.append(f"char({ord(found.group())})")
        at = found.end()
    if at < len(text):
        parts.append(f"'{text[at:]}'")
    return f"concat({', '.join(parts)})"
