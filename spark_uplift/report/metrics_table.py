"""What the table of metrics says: one line a metric and style, its formula beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spark_uplift.report.findings import ALL_ARMS, arm_names
from spark_uplift.report.format import (
    MISSING,
    THIN,
    Estimate,
    count,
    decimals_for,
    interval,
    metric,
    p_value,
    percent,
)
from spark_uplift.report.inputs import ReportInputs, Row, Rows

STYLE_ORDER = ("grf", "spark_uplift", "sklift", "causalml", "ydf", "h2o")

View = dict[str, Any]


def metrics_view(inputs: ReportInputs, wanted: Callable[[str], bool] = lambda _: True) -> View:
    """One line per wanted metric and style with a cell per arm, so that a formula is written once."""
    rows = [row for row in inputs.evaluation_metrics if wanted(str(row["metric"]))]
    present = {_arm_of(row) for row in rows}
    arms = [arm for arm in (*arm_names(inputs), ALL_ARMS) if arm in present]
    keys = sorted(
        {(str(row["metric"]), str(row["style"]), str(row["formula"])) for row in rows}, key=metric_rank
    )
    cells = {(str(row["metric"]), str(row["style"]), _arm_of(row)): row for row in rows}
    lines = [
        {
            "metric": metric_title(name),
            "style": style,
            "formula": formula,
            "cells": [_metric_cell(cells.get((name, style, arm))) for arm in arms],
        }
        for name, style, formula in keys
    ]
    return {"arms": arms, "lines": lines, "note": _metric_note(rows)}


def metric_title(name: str) -> str:
    """A metric's name as people write it: AUTOC, uplift at 30 %."""
    if name.lower() in ("autoc", "qini", "auuc", "ate"):
        return name.upper()
    spoken = name.replace("_r2", " R²").replace("_", " ")
    words, _, share = spoken.rpartition(" at ")
    return f"{words} at {share}{THIN}%" if words and share.isdigit() else spoken


def _arm_of(row: Row) -> str:
    return ALL_ARMS if row["arm"] is None else str(row["arm"])


def metric_rank(key: tuple[str, str, str]) -> tuple[int, int, str, str]:
    """Where a metric stands, by (name, style, formula): headline styles and names first."""
    name, style, _ = key
    headline = ("autoc", "qini", "auuc", "ate")
    style_rank = STYLE_ORDER.index(style) if style in STYLE_ORDER else len(STYLE_ORDER)
    return (
        style_rank,
        headline.index(name.lower()) if name.lower() in headline else len(headline),
        name,
        style,
    )


def _metric_cell(row: Row | None) -> View:
    if row is None:
        return {"value": MISSING, "interval": "", "p": ""}
    estimate = Estimate.of(row["value"], row["lower"], row["upper"])
    bounded = estimate.half_width is not None
    return {
        "value": metric(row["value"]),
        "interval": interval(estimate.lower, estimate.upper, decimals_for(estimate.half_width) + 1)
        if bounded
        else "",
        "p": p_value(row.get("p_value")),
    }


def _metric_note(rows: Rows) -> str:
    if not rows:
        return ""
    first = rows[0]
    level = percent(first["level"]) if first["level"] else None
    replicates = max(row["bootstrap"] or 0 for row in rows)
    parts = [f"{count(max(row['n'] or 0 for row in rows))} evaluated units."]
    if level and replicates:
        parts.append(f"Intervals: {level}, from {count(replicates)} bootstrap replicates of the units.")
    if any(p_value(row.get("p_value")) for row in rows):
        parts.append(
            "p: probability of such a value or a larger one if the true one is 0 (of ATE: two-sided)."
        )
    if all(row["exact"] for row in rows):
        parts.append("Computed exactly, with every distinct score kept apart.")
    else:
        parts.append(
            "Scores were grouped in fine quantile bins; the error of an area is of the order of one bin."
        )
    return " ".join(parts)
