"""What a decision comes to, as rows of its tables and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spark_uplift.policy.allocation import BUDGET, F64, I64, Problem

Row = dict[str, Any]
ALL = "*"


def summary_rows(
    arms: Sequence[str],
    units: int,
    counts: Sequence[int],
    costs: Sequence[float],
    nets: Sequence[float],
    ends: Mapping[str, tuple[float, float]] | None,
) -> list[Row]:
    """Return a row an arm and one of all, with the columns of ``decision_summary`` but for run, model and list.

    Parameters
    ----------
    arms : sequence of str
        Control first.
    counts, costs, nets
        Of each treatment: units; money.
    ends : mapping of str to (float, float), optional
        Ends of the interval of each treatment's gain, and of all (`ALL`).
    """
    rows = []
    for a, arm in enumerate(arms):
        n = units - sum(counts) if a == 0 else counts[a - 1]
        cost, net = (0.0, 0.0) if a == 0 else (costs[a - 1], nets[a - 1])
        rows.append(_row(arm, n, units, cost, net, None if ends is None else ends.get(arm, (0.0, 0.0))))
    rows.append(_row(ALL, units, units, sum(costs), sum(nets), None if ends is None else ends[ALL]))
    return rows


def _row(arm: str, n: int, units: int, cost: float, net: float, ends: tuple[float, float] | None) -> Row:
    lower, upper = (None, None) if ends is None else ends
    return {
        "arm": arm, "n": int(n), "share": n / units if units else 0.0, "cost": float(cost), "gain": float(net + cost),
        "lower": lower, "upper": upper, "net": float(net), "predicted": float(net + cost),
        "basis": None if ends is None else "scores",
    }  # fmt: skip


def sentence(rows: Sequence[Row], currency: str | None = None) -> str:
    """Return "Spend x, expect y …" for rows as `summary_rows` returns them.

    Examples
    --------
    >>> sentence(summary_rows(["no", "mail"], 10, [4], [2.0], [6.0], {"mail": (5.0, 9.0), "*": (5.0, 9.0)}))
    'Spend 2.00, expect 8.00 (5.00 to 9.00), net 6.00: 4 of 10 units are contacted (mail 4).'
    """
    whole = next(row for row in rows if row["arm"] == ALL)
    unit = f" {currency}" if currency else ""
    given = [row for row in rows[1:] if row["arm"] != ALL]
    contacted = sum(row["n"] for row in given)
    each = ", ".join(f"{row['arm']} {row['n']:,}" for row in given)
    interval = "" if whole["lower"] is None else f" ({whole['lower']:,.2f} to {whole['upper']:,.2f})"
    model = f" by the holdout, {whole['predicted']:,.2f} by the model" if whole["basis"] == "holdout" else ""
    return (
        f"Spend {whole['cost']:,.2f}{unit}, expect {whole['gain']:,.2f}{unit}{interval}{model}, "
        f"net {whole['net']:,.2f}{unit}: {contacted:,} of {whole['n']:,} units are contacted ({each})."
    )


def constraint_rows(problem: Problem, prices: F64, used: I64) -> list[Row]:
    """Return a row a limit, with the columns of ``decision_constraints`` but for run, model and list.

    Complementary slackness shows in them: a limit has a price only where it is used up (but for what is smaller than
    one contact).
    """
    rows = []
    for c, price, steps, unit in zip(problem.constraints, prices, used, problem.unit, strict=True):
        amount = float(steps / unit)
        what = "money" if c.kind == BUDGET else "units"
        shown = f"{amount:,.2f} of {c.limit:,.2f}" if c.kind == BUDGET else f"{amount:,.0f} of {c.limit:,.0f}"
        if price > 0:
            one = "1 more in the budget" if c.kind == BUDGET else "room for 1 more unit"
            message = f"binding: {shown} {what} are used, and {one} would bring {price:,.4g} net."
        else:
            message = f"not binding: {shown} {what} are used."
        rows.append({
            "constraint": c.name, "kind": c.kind, "limit": float(c.limit), "used": amount, "price": float(price),
            "binding": bool(price > 0), "message": message,
        })  # fmt: skip
    return rows


def exceeded(problem: Problem, used: I64) -> list[str]:
    """Return a sentence for each limit that exploration alone exceeds."""
    found = []
    for c, steps, limit, unit in zip(problem.constraints, used, problem.limits, problem.unit, strict=True):
        if steps > limit:
            over = (steps - limit) / unit
            found.append(
                f"The exploration must fit within {c.kind} {c.name!r}. Got a use of {steps / unit:,.10g} instead, "
                f"{over:,.10g} more than its limit of {c.limit:,.10g}. Hint: lower explore, raise the limit, or "
                "exclude the arm for some units."
            )
    return found


def whole(values: Any) -> list[Any]:
    """Return numbers as Python's own."""
    return [v.item() for v in np.asarray(values)]
