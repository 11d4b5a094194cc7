"""A policy tree as rows of the table ``policy_trees``."""

from __future__ import annotations

import math
from typing import Any

from spark_uplift.core import rules
from spark_uplift.policy import tree_sql
from spark_uplift.policy.tree_model import ActionTree
from spark_uplift.policy.tree_value import PolicyValue

__all__ = ["node_rows"]


def node_rows(tree: ActionTree, value: PolicyValue | None = None) -> list[dict[str, Any]]:
    """Return a row a node, in heap order, without the columns of run and model.

    Parameters
    ----------
    value : PolicyValue or None
        From other rows than the tree's own. Without it shares and numbers of rows are those of training, and there
        are no values.
    """
    found = []
    for node in range(tree.tree.n_nodes):
        heap = int(tree.tree.heap[node])
        leaf = bool(tree.tree.left_child[node] < 0)
        bins = None if leaf else tree.features[int(tree.tree.feature[node])]
        numeric = bins is not None and not bins.categorical
        estimate = None if value is None else value.nodes.get(heap)
        found.append(
            {
                "kind": tree.facts.get("kind", "policy"),
                "node": heap,
                "depth": heap.bit_length() - 1,
                "feature": None if bins is None else bins.name,
                "rule": tree.rule(node),
                "condition": tree.condition(node),
                "threshold": rules.threshold_value(bins, int(tree.tree.threshold[node]))
                if numeric and bins is not None
                else None,
                "left_levels": rules.left_levels(bins, tree.tree, node)
                if bins is not None and bins.categorical
                else None,
                "missing_left": None if leaf else bool(tree.tree.missing_left[node]),
                "arm": tree.arms[int(tree.action[node])] if leaf else None,
                "n": int(tree.rows[node]) if value is None else value.rows[heap],
                "share": tree.rows[node] / max(int(tree.rows[0]), 1) if value is None else value.shares[heap],
                "value": None if estimate is None else _number(estimate.value),
                "lower": None if estimate is None else _number(estimate.lower),
                "upper": None if estimate is None else _number(estimate.upper),
                "sql": tree_sql.sql(tree) if node == 0 else None,
            }
        )
    return found


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
