"""What the section on calibration says: do predicted effects come true, and does the effect differ at all?"""

from __future__ import annotations

from typing import Any

from spark_uplift.report.figure import arm_colours
from spark_uplift.report.findings import POLICY_NAME, arm_names, estimate_of, find_metric
from spark_uplift.report.format import Estimate, decimals_for, finite, interval, p_value, plain
from spark_uplift.report.inputs import ReportInputs
from spark_uplift.report.metrics_table import metrics_view

View = dict[str, Any]

PREFIXES = ("calibration", "heterogeneity", "blp", "gates")
"""Metrics whose names begin so belong to this section."""

SLOPES = ("calibration_slope",)


def belongs(name: str) -> bool:
    """Whether a metric is shown in this section rather than among the other metrics."""
    return name.lower().startswith(PREFIXES)


def calibration_view(inputs: ReportInputs) -> View | None:
    """A sentence an arm and the metrics of calibration; None when nothing is predicted against measured."""
    if not any(finite(row["predicted"]) is not None for row in inputs.uplift_table):
        return None
    colours = arm_colours(inputs)
    readings = []
    for arm in arm_names(inputs):
        slope = estimate_of(find_metric(inputs.evaluation_metrics, arm, SLOPES))
        if slope.value is not None:
            text = f"{_reading(slope)}{_heterogeneity(inputs, arm)}"
            readings.append({"arm": arm, "colour": colours[arm], "text": text})
    return {
        "readings": readings,
        "metrics": metrics_view(inputs, belongs),
        "policy": any(row["arm"] == POLICY_NAME for row in inputs.uplift_table),
    }


def _heterogeneity(inputs: ReportInputs, arm: str) -> str:
    """Whether the effect differs between units at all, by the test's p-value."""
    row = find_metric(inputs.evaluation_metrics, arm, ["heterogeneity"])
    p = p_value(row.get("p_value")) if row is not None else ""
    return f" Test that effects do not differ at all: p {p}." if p else ""


def _reading(slope: Estimate) -> str:
    """What the slope of measured on predicted effects means."""
    value = slope.value or 0.0
    decimals = 2 if slope.half_width is None else max(2, decimals_for(slope.half_width))
    text = f"slope {plain(slope.value, decimals)}"
    if slope.lower is None or slope.upper is None:
        return f"{text}, without an interval."
    text += f" ({interval(slope.lower, slope.upper, decimals)})"
    if slope.lower <= 0 <= slope.upper:
        return f"{text}: it includes 0, so it is not shown that higher predictions mean larger effects."
    if slope.upper < 0:
        return f"{text}: units with higher predictions gained less, so do not use these predictions."
    if slope.lower <= 1 <= slope.upper:
        return f"{text}: it includes 1, so differences come true about as large as predicted."
    if value < 1:
        return f"{text}: differences between units come true, but smaller than predicted."
    return f"{text}: differences between units are larger than predicted."
