"""What the section on cost says: what each further unit of money buys, and where to stop."""

from __future__ import annotations

from typing import Any

from spark_uplift.report.figure import arm_colours
from spark_uplift.report.format import PER, Estimate, Scale, finite, percent, plain
from spark_uplift.report.inputs import ReportInputs, Row, Rows
from spark_uplift.report.money import Money
from spark_uplift.report.value import policy_colour, policy_name

View = dict[str, Any]

_TABLE_SHARES = tuple(tenth / 10 for tenth in range(1, 11))


def along(rows: Rows) -> list[Row]:
    """The points of one cost curve in their order."""
    return sorted(rows, key=lambda row: (row.get("point") or 0, finite(row["spend"]) or 0.0, row["fraction"]))


def break_even(rows: Rows) -> Row | None:
    """The last point up to which each further treatment is predicted to be worth its cost.

    Without the table's mark, the point with the largest net value.
    """
    marked = [row for row in rows if row.get("break_even")]
    if marked:
        return marked[-1]
    known = [row for row in rows if finite(row["net"]) is not None]
    return max(known, key=lambda row: (row["net"], -row["fraction"]), default=None)


def is_free(rows: Rows) -> bool:
    """Whether treatment costs nothing, so that the share treated is the only budget."""
    return not any(finite(row["spend"]) for row in rows)


def cost_view(inputs: ReportInputs, scale: Scale) -> View | None:
    """The break-even sentence and a table at each tenth, by policy; None without a cost curve."""
    if not inputs.cost_curve:
        return None
    money = Money.of(inputs.economics)
    free = is_free(inputs.cost_curve)
    curves, ends = [], []
    colours = arm_colours(inputs)
    for policy in sorted({str(row["policy"]) for row in inputs.cost_curve}, key=lambda p: (p != "model", p)):
        rows = along([row for row in inputs.cost_curve if str(row["policy"]) == policy])
        best = break_even(rows)
        at = sorted(
            {_nearest(rows, share)["fraction"]: _nearest(rows, share) for share in _TABLE_SHARES}.items()
        )
        decimals = scale.decimals(_gain(row) for row in rows)
        if best is not None:
            end = _summary_line(best, policy, scale, money, decimals)
            ends.append({**end, "colour": policy_colour(policy, colours)})
        curves.append(
            {
                "policy": policy_name(policy),
                "lead": _cost_lead(best, rows, scale, money, free, decimals),
                "lines": [_cost_line(row, scale, money, decimals, row is best) for _, row in at],
            }
        )
    return {
        "lead": next((curve["lead"] for curve in curves if curve["lead"]), ""),
        "ends": ends if len(curves) > 1 else [],
        "curves": curves,
        "money": money.unit,
        "free": free,
        "value": _value_of_outcome(inputs, scale, money),
    }


def _nearest(rows: Rows, share: float) -> Row:
    return min(rows, key=lambda row: abs(row["fraction"] - share))


def _gain(row: Row) -> Estimate:
    return Estimate.of(row["gain"], row["lower"], row["upper"])


def _value_of_outcome(inputs: ReportInputs, scale: Scale, money: Money) -> str:
    value = finite(inputs.economics.get("value"))
    if value is None or (value == 1.0 and money.currency is None):
        return ""
    return f"One of the outcome’s units ({scale.unit}) counts {money.text(value)}."


def _cost_lead(best: Row | None, rows: Rows, scale: Scale, money: Money, free: bool, decimals: int) -> str:
    if best is None:
        return ""
    gain = f"{scale.effect_text(_gain(best), decimals)} {scale.effect_label}"
    if free:
        return (
            "Treatment costs nothing in this configuration. The gain is expected to grow until "
            f"{percent(best['fraction'])} of the units are treated; there it is {gain}."
        )
    net, spend = finite(best["net"]), money.text(_times(best["spend"]))
    if best["fraction"] == 0 or (net is not None and net <= 0):
        return "No spend is expected to pay for itself: the treatments cost more than they bring."
    text = f"for a spend of {spend} per 1,000 units of the population, a gain of {gain}"
    if net is not None:
        text += f", {money.text(net * PER, sign=True)} net"
    if best is rows[-1]:
        return f"Every treatment is expected to pay for itself: {text}."
    return (
        f"It pays to treat {percent(best['fraction'])} of the units: {text}. Beyond this break-even point a further "
        "treatment is expected to bring less than it costs."
    )


def _summary_line(best: Row, policy: str, scale: Scale, money: Money, decimals: int) -> View:
    """Where one policy breaks even, to set policies side by side."""
    return {"policy": policy_name(policy), **_cost_line(best, scale, money, decimals, best=True)}


def _cost_line(row: Row, scale: Scale, money: Money, decimals: int, best: bool) -> View:
    gain = _gain(row)
    return {
        "share": percent(row["fraction"]),
        "spend": money.amount(_times(row["spend"])),
        "gain": scale.effect(gain.value, decimals),
        "interval": scale.effect_interval(gain, decimals),
        "baseline": scale.effect(row["baseline"], decimals),
        "net": money.amount(_times(row["net"]), sign=True),
        "marginal": plain(row["marginal"]),
        "best": best,
    }


def _times(value: Any) -> float | None:
    number = finite(value)
    return None if number is None else number * PER
