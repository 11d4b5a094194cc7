"""What the sections with results say: effects, the planner's steps, uplift tables."""

from __future__ import annotations

from typing import Any

from spark_uplift.report.figure import arm_colours
from spark_uplift.report.findings import Finding
from spark_uplift.report.format import Estimate, Scale, count, percent
from spark_uplift.report.inputs import ReportInputs, Row

View = dict[str, Any]


def effects_view(inputs: ReportInputs, found: list[Finding], scale: Scale) -> list[View]:
    """Rows of the table of average effects."""
    colours = arm_colours(inputs)
    decimals = scale.decimals(finding.everybody for finding in found)
    return [
        {
            "arm": finding.arm,
            "colour": colours[finding.arm],
            "n_treated": count(finding.n_treated),
            "n_control": count(finding.n_control),
            "mean_treated": scale.mean(finding.mean_treated),
            "mean_control": scale.mean(finding.mean_control),
            "effect": scale.effect(finding.everybody.value, decimals),
            "interval": scale.effect_interval(finding.everybody, decimals),
            "reading": {1: "raises the outcome", -1: "lowers the outcome", 0: "no proven effect", None: ""}[
                finding.everybody.sign
            ],
        }
        for finding in found
        if finding.everybody.value is not None
    ]


def steps_view(found: list[Finding], scale: Scale) -> dict[str, list[View]]:
    """For the slider: what treating each share of the units gives, ready to show, by arm."""
    steps = {}
    for finding in found:
        decimals = scale.decimals(step.effect for step in finding.steps)
        steps[finding.arm] = [
            {
                "share": percent(step.share),
                "effect": scale.effect(step.effect.value, decimals),
                "interval": scale.effect_interval(step.effect, decimals),
                "total": scale.effect(_times(step.effect.value, step.share), decimals),
            }
            for step in finding.steps
        ]
    return {arm: rows for arm, rows in steps.items() if rows}


def _times(value: float | None, share: float) -> float | None:
    return None if value is None else value * share


def buckets_view(inputs: ReportInputs, scale: Scale) -> list[View]:
    """One uplift table per arm."""
    tables = []
    for arm, colour in arm_colours(inputs).items():
        rows = sorted(
            (row for row in inputs.uplift_table if row["arm"] == arm), key=lambda row: row["bucket"]
        )
        estimates = [Estimate.of(row["uplift"], row["lower"], row["upper"]) for row in rows]
        decimals = scale.decimals(estimates)
        if rows:
            lines = [
                _bucket_line(row, estimate, scale, decimals)
                for row, estimate in zip(rows, estimates, strict=True)
            ]
            tables.append({"arm": arm, "colour": colour, "rows": lines})
    return tables


def _bucket_line(row: Row, estimate: Estimate, scale: Scale, decimals: int) -> View:
    cumulative = Estimate.of(row["cumulative_uplift"], row["cumulative_lower"], row["cumulative_upper"])
    return {
        "bucket": row["bucket"],
        "n": count(row["n"]),
        "n_treated": count(row["n_treated"]),
        "n_control": count(row["n_control"]),
        "mean_treated": scale.mean(row["mean_treated"]),
        "mean_control": scale.mean(row["mean_control"]),
        "predicted": scale.effect(row["predicted"], decimals),
        "uplift": scale.effect(estimate.value, decimals),
        "interval": scale.effect_interval(estimate, decimals),
        "cumulative": scale.effect(cumulative.value, decimals),
        "cumulative_interval": scale.effect_interval(cumulative, decimals),
    }
