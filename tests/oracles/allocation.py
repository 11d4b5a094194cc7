"""The linear programme of an allocation, by HiGHS: one variable a unit and open treatment."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import coo_matrix


def optimum(net: Any, cost: Any, segment: Any, is_open: Any, constraints: Any) -> float:
    """Return the largest sum of net values when units may be split; no assignment of whole units can be worth more.

    ``net``, ``cost`` and ``is_open`` have shape (n, K); constraints have kind, limit, arms and segments.
    """
    unit, arm = np.nonzero(is_open & (net > 0))
    if not len(unit):
        return 0.0
    matrix, limits = _matrix(net, cost, segment, unit, arm, constraints)
    found = linprog(-net[unit, arm], A_ub=matrix, b_ub=limits, bounds=(0, 1), method="highs")
    assert found.status == 0, found.message
    return float(-found.fun)


def best_of_whole_units(net: Any, cost: Any, segment: Any, is_open: Any, constraints: Any) -> float:
    """Return the same where no unit is split, by branch and bound: for small numbers of units."""
    unit, arm = np.nonzero(is_open & (net > 0))
    matrix, limits = _matrix(net, cost, segment, unit, arm, constraints)
    found = milp(
        -net[unit, arm],
        constraints=LinearConstraint(matrix, -np.inf, limits),
        bounds=Bounds(0, 1),
        integrality=np.ones(len(unit)),
        options={"time_limit": 20, "mip_rel_gap": 1e-5},
    )
    return float(-found.fun)


def _matrix(net: Any, cost: Any, segment: Any, unit: Any, arm: Any, constraints: Any) -> tuple[Any, Any]:
    """Rows: at most one arm a unit, then the limits. Columns: open pairs of unit and arm."""
    rows, columns, values, limits = [unit], [np.arange(len(unit))], [np.ones(len(unit))], [np.ones(len(net))]
    for j, c in enumerate(constraints):
        uses = np.isin(arm, c.arms)
        if c.segments is not None:
            uses &= np.isin(segment[unit], c.segments)
        at = np.flatnonzero(uses)
        rows.append(np.full(len(at), len(net) + j))
        columns.append(at)
        values.append(cost[unit[at], arm[at]] if c.kind == "budget" else np.ones(len(at)))
        limits.append([c.limit])
    matrix = coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(len(net) + len(constraints), len(unit)),
    )
    return matrix.tocsr(), np.concatenate(limits)
