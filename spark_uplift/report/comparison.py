"""What the section on two models says: which of them ranks better, and how sure that is."""

from __future__ import annotations

from typing import Any

from spark_uplift.report.findings import ALL_ARMS, POLICY_NAME
from spark_uplift.report.format import (
    MISSING,
    Estimate,
    count,
    decimals_for,
    finite,
    interval,
    p_value,
    percent,
    plain,
    shorten,
)
from spark_uplift.report.inputs import ReportInputs, Row, Rows
from spark_uplift.report.metrics_table import metric_rank, metric_title

View = dict[str, Any]


def comparison_view(inputs: ReportInputs) -> View | None:
    """The verdict in one sentence and a line per metric, style and arm; None without a comparison."""
    rows = sorted(inputs.model_comparison, key=_rank)
    if not rows:
        return None
    other = str(rows[0]["other_model"])
    return {
        "other": other,
        "short": shorten(other),
        "lead": _lead(_headline(rows), other),
        "lines": [_line(row) for row in rows],
        "several": len({row["other_model"] for row in rows}) > 1,
        "note": _note(rows),
    }


def _rank(row: Row) -> tuple[Any, ...]:
    arm = ALL_ARMS if row["arm"] is None else str(row["arm"])
    return (
        str(row["other_model"]),
        *metric_rank((str(row["metric"]), str(row["style"]), "")),
        arm != POLICY_NAME,
        arm,
    )


def _headline(rows: Rows) -> Row:
    """The row that decides: AUTOC of the policy, or what stands first."""
    return next((row for row in rows if str(row["metric"]).lower() == "autoc"), rows[0])


def _lead(row: Row, other: str) -> str:
    difference = Estimate.of(row["difference"], row["lower"], row["upper"])
    name = metric_title(str(row["metric"]))
    verdict = {
        1: f"This model ranks better than “{other}”",
        -1: f"This model ranks worse than “{other}”",
        0: f"These units do not tell this model and “{other}” apart",
        None: f"This model beside “{other}”; there is no interval, so neither is shown to be better",
    }[difference.sign]
    arm = "" if row["arm"] is None else f" for {row['arm']}"
    return f"{verdict}: {name}{arm} differs by {_difference(row, difference)}."


def _difference(row: Row, difference: Estimate) -> str:
    decimals = _decimals(difference)
    text = plain(difference.value, decimals, sign=True)
    if difference.half_width is None:
        return text
    level = finite(row["level"])
    name = f"{percent(level)} interval" if level else "interval"
    p = p_value(row["p_value"])
    return (
        f"{text} ({name} {interval(difference.lower, difference.upper, decimals)}{f', p {p}' if p else ''})"
    )


def _decimals(estimate: Estimate) -> int | None:
    return None if estimate.half_width is None else max(2, decimals_for(estimate.half_width))


def _line(row: Row) -> View:
    difference = Estimate.of(row["difference"], row["lower"], row["upper"])
    decimals = _decimals(difference)
    return {
        "metric": metric_title(str(row["metric"])),
        "style": row["style"],
        "arm": ALL_ARMS if row["arm"] is None else row["arm"],
        "other": row["other_model"],
        "value": plain(row["value"], decimals),
        "other_value": plain(row["other_value"], decimals),
        "difference": plain(difference.value, decimals, sign=True),
        "interval": interval(difference.lower, difference.upper, decimals),
        "p": p_value(row["p_value"]).removeprefix("= ") or MISSING,
        "reading": {1: "this model better", -1: "other model better", 0: "not told apart", None: ""}[
            difference.sign
        ],
    }


def _note(rows: Rows) -> str:
    first = rows[0]
    parts = ["Difference: this model less the other, both measured on the same rows."]
    if first["bootstrap"] and first["level"]:
        parts.append(
            f"{percent(first['level'])} intervals from {count(first['bootstrap'])} bootstrap replicates that weigh "
            "the rows of both models alike (a paired comparison); p-values are two-sided, for a difference of 0."
        )
    if len({(row["metric"], row["style"], row["arm"]) for row in rows}) > 1:
        parts.append(
            "Several lines test several things: the more of them, the more likely that one differs by luck."
        )
    return " ".join(parts)
