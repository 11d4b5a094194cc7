"""What the section on decisions says: who gets what, what it costs, what it should bring, and what binds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spark_uplift.report.figure import arm_colours
from spark_uplift.report.findings import POLICY
from spark_uplift.report.format import (
    MISSING,
    Estimate,
    count,
    decimals_for,
    finite,
    interval,
    percent,
    plain,
)
from spark_uplift.report.inputs import ReportInputs, Row, Rows
from spark_uplift.report.money import Money

View = dict[str, Any]

MAX_REASONS = 20


def decided_view(inputs: ReportInputs) -> View | None:
    """The sentence "spend x, expect y", a line per arm, the constraints and the reasons; None without decisions."""
    rows = inputs.decision_summary
    if not rows:
        return None
    money = Money.of(inputs.economics)
    total = next((row for row in rows if row["arm"] == POLICY), None)
    control = str(inputs.experiment[0]["control"]) if inputs.experiment else None
    arms = sorted(
        (row for row in rows if row["arm"] != POLICY),
        key=lambda row: (row["arm"] == control, -(row["n"] or 0)),
    )
    colours = arm_colours(inputs)
    widest = max((finite(row["share"]) or 0.0 for row in arms), default=0.0) or 1.0
    constraints = sorted(
        inputs.decision_constraints, key=lambda row: (not row["binding"], -(finite(row["price"]) or 0.0))
    )
    return {
        "lead": _lead(total, money, inputs),
        "basis": _basis(total, money),
        "by_holdout": any(row.get("basis") == "holdout" for row in rows),
        "predicted": any(finite(row.get("predicted")) is not None for row in rows),
        "money": money.unit,
        "arms": [_arm_line(row, money, colours, widest) for row in arms],
        "total": None if total is None else _arm_line(total, money, {}, 1.0),
        "constraints": [_constraint_line(row, money) for row in constraints],
        "binding": _binding(constraints, money),
        "reasons": _reasons(inputs.decision_reasons),
        "colours": colours,
    }


def _gain(row: Row) -> Estimate:
    return Estimate.of(row["gain"], row["lower"], row["upper"])


def _texts(estimate: Estimate) -> tuple[str, str]:
    half = estimate.half_width
    decimals = None if half is None else decimals_for(half)
    return plain(estimate.value, decimals, sign=True), interval(estimate.lower, estimate.upper, decimals)


def _lead(total: Row | None, money: Money, inputs: ReportInputs) -> str:
    if total is None:
        return ""
    value, bounds = _texts(_gain(total))
    unit = f" {money.currency}" if money.currency else ""
    level = next((finite(row["level"]) for row in inputs.evaluation_metrics if finite(row["level"])), None)
    name = f"{percent(level)} interval" if level else "interval"
    known = f" ({name} {bounds})" if bounds != "no interval" else ""
    return (
        f"Spend {money.text(total['cost'])}, expect {value}{unit}{known}: {count(total['n'])} units decided, "
        f"{money.text(total['net'], sign=True)} net of cost."
    )


_BASES = {
    "holdout": "The expectation is what units with such scores gained in the evaluation",
    "scores": "The expectation is the sum of the model’s own predictions",
}


def _basis(total: Row | None, money: Money) -> str:
    """Where the expectation comes from, and what the model itself predicts."""
    if total is None:
        return ""
    words = _BASES.get(str(total.get("basis")), "")
    if not words:
        return ""
    predicted = finite(total.get("predicted"))
    told = total.get("basis") != "scores" and predicted is not None
    return f"{words}; the model itself predicts {money.text(predicted, sign=True)}." if told else f"{words}."


def _arm_line(row: Row, money: Money, colours: Mapping[str, str], widest: float) -> View:
    value, bounds = _texts(_gain(row))
    share = finite(row["share"])
    return {
        "arm": row["arm"],
        "colour": colours.get(str(row["arm"])),
        "n": count(row["n"]),
        "share": percent(share, 1),
        "width": round(100 * (share or 0.0) / widest, 1),
        "cost": money.amount(row["cost"]),
        "predicted": money.amount(row.get("predicted"), sign=True),
        "gain": value,
        "interval": bounds,
        "net": money.amount(row["net"], sign=True),
    }


def _constraint_line(row: Row, money: Money) -> View:
    limit, used = finite(row["limit"]), finite(row["used"])
    share = used / limit if limit and used is not None else None
    price = finite(row["price"])
    return {
        "name": str(row["constraint"]).replace("_", " "),
        "kind": str(row["kind"]).replace("_", " "),
        "limit": plain(limit) if limit is not None else MISSING,
        "used": plain(used) if used is not None else MISSING,
        "share": percent(share) if share is not None else MISSING,
        "width": round(100 * min(share or 0.0, 1.0), 1),
        "price": MISSING if price is None else plain(price),
        "binding": bool(row["binding"]),
        "message": row["message"] or ("binding" if row["binding"] else ""),
    }


def _binding(rows: Rows, money: Money) -> str:
    """Which constraints bind, in a sentence."""
    if not rows:
        return ""
    names = [f"“{str(row['constraint']).replace('_', ' ')}”" for row in rows if row["binding"]]
    if not names:
        return "No constraint binds: every unit gets its best arm, so more budget or capacity would change nothing."
    verb = "binds" if len(names) == 1 else "bind"
    return f"{' and '.join(names)} {verb}: without {'it' if len(names) == 1 else 'them'} the net gain would be larger."


def _reasons(rows: Rows) -> list[View]:
    ordered = sorted(
        (row for row in rows if row["count"]), key=lambda row: (-row["count"], str(row["reason"]))
    )
    total = sum(row["count"] for row in ordered)
    return [
        {
            "arm": row["arm"],
            "reason": str(row["reason"]).replace("_", " "),
            "count": count(row["count"]),
            "share": percent(row["count"] / total, 1),
        }
        for row in ordered[:MAX_REASONS]
    ]
